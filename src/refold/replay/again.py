"""What a candidate would do had a conversation gone otherwise, beside what it does as it went."""

from __future__ import annotations

import hashlib
from bisect import bisect_left
from collections import Counter
from contextlib import suppress
from decimal import Decimal
from math import inf
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from refold.conversation.data_flow import ANSWERS
from refold.conversation.what_if import WhatIf
from refold.core.expected import NO_EVENTS
from refold.engine.branch import Branch
from refold.engine.store import Store
from refold.errors import Conflict, UsageError
from refold.replay.actions import Terms, compare_decision
from refold.replay.candidate import Candidate, ChatEndpoint
from refold.replay.clients import ClientCandidate, candidate_of
from refold.replay.decision import Action, Call, Decision, Prices, check_prices, decisions
from refold.replay.faults import offered_in
from refold.replay.heard import as_heard
from refold.replay.hidden import Hidden, is_told
from refold.replay.journal import answers
from refold.replay.normalising import NOTHING_IGNORED, normal_arguments, normal_words
from refold.replay.options import RunOptions
from refold.replay.plan import answered_by
from refold.replay.running import Progress
from refold.replay.stats.exact import apart, apart_p, fewest_samples
from refold.replay.stats.several import holm
from refold.replay.variant import Variant, branch_name
from refold.replay.work import Work, work_off

ALPHA: Final = 0.05
"""What chance alone makes less often than this is more than noise."""
AS_IT_IS: Final = Variant()
"""The candidate as the record has the agent."""
WORDS_ONLY: Final = "words only"
DIGITS_MAX: Final = 100
"""Of a whole number that is written out."""
_JSON: Final = msgspec.json.Encoder(order="deterministic", decimal_format="number")


class AskedSide(msgspec.Struct, frozen=True):
    """What was answered on one side: how often which calls, and how far from what was recorded.

    ``stream`` is the history that was asked about, its last answer the one at ``at``. ``failed``
    counts the samples without an answer, ``error`` says why the last of them has none.
    """

    stream: str
    at: str
    actions: dict[str, int]
    levels: dict[str, int]
    words: dict[str, int]
    failed: int = 0
    error: str = ""


class AskedAgain(msgspec.Struct, frozen=True, kw_only=True):
    """A decision asked again: ``was`` as the conversation went, ``changed`` as it would have gone.

    ``apart`` is the share of the answers that would have to be others for both sides to do the
    same, ``actions_p`` and ``words_p`` the chance that one distribution of calls, or of exact words
    beside them, is dealt out so far apart (exact, both held to 5 % together). None where a side has
    no answer.
    """

    decision: str
    variant_id: str
    samples: int
    was: AskedSide
    changed: AskedSide
    apart: float | None = None
    actions_p: float | None = None
    words_p: float | None = None
    stopped: str = ""

    @property
    def verdict(self) -> str:
        """Whether the change moved what the candidate does, in one sentence."""
        if self.apart is None or self.actions_p is None or self.words_p is None:
            return "A side has no answer, so nothing is known of the change."
        if self.actions_p <= ALPHA:
            by = f"{self.apart:.0%} of its answers are other calls"
            return (
                f"The change moves what it does by more than noise: {by} (p {self.actions_p:.2g})."
            )
        if self.words_p <= ALPHA:
            why = f"its words it does (p {self.words_p:.2g})"
            return f"The change does not move its calls by more than noise; {why}."
        least, fewest = fewest_samples(ALPHA / 2), min(map(_answered, (self.was, self.changed)))
        if fewest < least:
            return (
                f"Of {fewest} answers a side no difference can be told from noise: ask for "
                f"{least} samples or more."
            )
        return (
            f"No change beyond noise is seen in {fewest} answers a side (p {self.actions_p:.2g}); "
            "a small one may be there all the same."
        )


def ask_again(
    store: Store,
    found: WhatIf,
    candidate: Candidate,
    variant: Variant = AS_IT_IS,
    *,
    samples: int = 5,
    prices: Prices | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> AskedAgain:
    """Ask the first decision that rests on what was changed, with the change and without.

    Where none rests on it, the first that comes after it. The candidate gets the history before
    that decision, on one side without what no longer follows, ``samples`` times each, both in turn.
    Words that were cut off are told as far as they were heard. The two histories are saved as
    branches of the conversation (``~was-…`` and ``~if-…``), and the answers as those of a replay,
    so asking again asks only what is missing. ``options`` are those of
    :class:`~refold.replay.options.RunOptions`. Raises :class:`~refold.errors.UsageError` where the
    agent says nothing after the change, a model would be told the same on both sides, or what led
    to the decision is withheld, or gone for good.
    """
    check_prices(prices)
    hidden = Hidden(store)
    hidden.check([*found.before, *found.after])
    candidate, how = candidate_of(candidate), RunOptions(**options)
    decision, sides = _sides(store, found, hidden)
    model, endpoint = None, None
    if isinstance(candidate, ChatEndpoint | ClientCandidate):
        model, endpoint = candidate.model, candidate.url
    asked = answered_by(store, variant, endpoint)
    # Of both sides as many at a time as are under way at once, so that they are asked together.
    step = max(1, how.workers // 2)
    stopped, budget = "", how.bounds(prices or {}).budget
    for first in range(0, samples, step):
        part = replace(how, samples=min(step, samples - first), budget=budget)
        work = Work([asked], first, candidate, model, prices or {}, part)
        run = work.running(store, _counting(progress, 2 * first, 2 * samples))
        run.since = {stream: one.version for stream, one in sides.items()}
        run.plan(sides, {})
        if not run.is_whole and not stopped:
            known_by = part.run([asked], first, run.versions)
            terms = part.terms(asked, False, first, known_by, (model, endpoint), prices or {})
            run.terms = [replace(terms, since=run.since)]
            work_off(run, part.asker(candidate, prices or {}), part.workers)
        stopped = run.stopped
    was, changed = (_side(store, stream, one, asked, samples) for stream, one in sides.items())
    return _judged(
        AskedAgain(
            decision=decision.at,
            variant_id=asked.id,
            samples=samples,
            was=was,
            changed=changed,
            stopped=stopped,
        )
    )


def _sides(store: Store, found: WhatIf, hidden: Hidden) -> tuple[Decision, dict[str, Decision]]:
    """The decision that is asked again, and the two histories that end with it, saved."""
    decision, last = _first_resting(found)
    was = store.branch(found.before.stream, at=last)
    if lost := next((one for one in was if hidden.is_in(one)), None):
        raise UsageError(
            f"{lost.id} ({lost.type}) is redacted or erased, and led to {decision.at}: nobody can "
            "be asked what it would have said, as nobody can be told that any more",
            code="withheld",
            id=lost.id,
        )
    gone = [one.event.id for one in found.groundless if one.event.version < decision.version]
    own = {recorded.id for recorded in was}
    after, spoken = list(found.after), was.events[-1].id
    end = next(n for n, recorded in enumerate(after) if recorded.id == spoken)
    changed = found.after.without(*gone, *(recorded.id for recorded in after[end + 1 :]))
    was, changed = as_heard(was), as_heard(changed)
    if _told_before(was) == _told_before(changed):
        raise UsageError(
            f"a model is told the same before {decision.at} with the change and without: there is "
            "nothing to ask again"
        )
    told = [[one.id, one.type, one.data] for one in changed if one.id not in own]
    digest = hashlib.sha256(msgspec.json.encode([*told, [one.id for one in changed]])).hexdigest()
    sides = {}
    for mark, branch in (("was", was), ("if", changed)):
        name = f"{found.before.stream}~{mark}-{digest[:12]}"
        _kept(store, branch, name)
        sides[name] = decisions(list(store.read(name)))[-1]
    return decision, sides


def _told_before(branch: Branch[Any]) -> list[tuple[str, Any]]:
    """What a model is told in a history, but for its last event."""
    return [(one.type, one.data) for one in [*branch][:-1] if is_told(one)]


def _first_resting(found: WhatIf) -> tuple[Decision, int]:
    """The first decision that rests on the change, else after it; with its last version."""
    spoken = [one for one in found.before if one.type in ANSWERS]
    groundless = {one.event.id for one in found.groundless}
    gone = {one.id for one in found.removed}
    versions = [one.version for one in spoken]
    begins, later = _last_before(found), None
    every = decisions(found.before.events)
    for one, following in zip(every, [*every[1:], None], strict=True):
        until = inf if following is None else following.version
        own = spoken[bisect_left(versions, one.version) : bisect_left(versions, until)]
        if any(said.id in gone for said in own):
            continue
        if any(said.id in groundless for said in own):
            return one, own[-1].version
        if later is None and one.version > begins:
            later = one, own[-1].version
    if later is None:
        raise UsageError("the agent says nothing after the change: there is nothing to ask again")
    return later


def _last_before(found: WhatIf) -> int:
    """The version of the last event before the first change."""
    last = -1
    for old, new in zip(found.before, found.after, strict=False):
        if old.id != new.id:
            break
        last = old.version
    return last


def _kept(store: Store, branch: Branch[Any], name: str) -> None:
    if store.head(name) == NO_EVENTS:
        with suppress(Conflict):  # Another process has just kept the same.
            branch.save(name)


def _side(
    store: Store, stream: str, decision: Decision, variant: Variant, samples: int
) -> AskedSide:
    actions, levels, words = Counter[str](), Counter[str](), Counter[str]()
    error, terms = "", Terms(offered=offered_in(variant.tools))
    for sample in range(samples):
        branch = branch_name(stream, variant, sample)
        events = store.read(branch) if store.head(branch) != NO_EVENTS else ()
        answer = answers(events).get(decision.at)
        levels[compare_decision(decision, answer, terms).level] += 1
        if answer is None or answer.action is None:
            error = "not asked" if answer is None else answer.error or "no answer"
            continue
        actions[_told(answer.action)] += 1
        said = [normal_words(answer.action.text), *map(_JSON.encode, answer.action.parts)]
        words["\n".join([_told(answer.action), *map(str, said)])] += 1
    failed = samples - actions.total()
    return AskedSide(stream, decision.at, dict(actions), dict(levels), dict(words), failed, error)


def _told(action: Action) -> str:
    """What an answer does: its calls by what they say, in no order."""
    calls = sorted(f"{call.name} {_arguments(call)}" for call in action.calls)
    return ", ".join(calls) or (WORDS_ONLY if action.text or action.parts else "nothing")


def _arguments(call: Call) -> str:
    said = normal_arguments(call, {}, NOTHING_IGNORED)
    return said if isinstance(said, str) else _JSON.encode(_whole(said)).decode()


def _whole(value: Any) -> Any:
    """A value with ``2`` for ``2.0``: one number, however it was written."""
    match value:
        case dict():
            return {name: _whole(own) for name, own in value.items()}
        case list():
            return [_whole(own) for own in value]
        case Decimal() if value == value.to_integral_value() and value.adjusted() < DIGITS_MAX:
            return int(value)
    return value


def _counting(progress: Progress | None, before: int, total: int) -> Progress | None:
    """Progress over all samples, of which so many were asked by earlier parts of the run."""
    if progress is None:
        return None
    return lambda done, _total, cost, failed: progress(before + done, total, cost, failed)


def _judged(asked: AskedAgain) -> AskedAgain:
    sides = asked.was, asked.changed
    if not all(map(_answered, sides)):
        return asked
    ps = holm([apart_p(*(one.actions for one in sides)), apart_p(*(one.words for one in sides))])
    far = apart(*(one.actions for one in sides))
    return replace(asked, apart=far, actions_p=ps[0], words_p=ps[1])


def _answered(side: AskedSide) -> int:
    return sum(side.actions.values())
