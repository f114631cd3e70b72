"""The replays that a store holds, found by the names of their branches."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import asdict

from refold.core.clock import rfc3339
from refold.core.event import category_of
from refold.core.expected import NO_EVENTS
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import NotFound, UsageError
from refold.replay.accounting import Accounting, DecisionOutcomes, account
from refold.replay.course import record_of
from refold.replay.events import Role
from refold.replay.faults import fault_in
from refold.replay.hidden import GONE, Hidden
from refold.replay.journal import StoredAnswer, answers
from refold.replay.placing import Went, placed, went
from refold.replay.plan import ReplayPlan, ToAsk, plan_of, plans, to_ask
from refold.replay.variant import NEXT_STEP, Variant, branch_name

_BRANCH: Final = re.compile(r"(.+)~replay-([0-9a-f]{12})-(\d{1,9})")
LISTED_MAX: Final = 10


class ReplayRun(Accounting, frozen=True, kw_only=True):
    """One sample of a variant: when it ran, and what came of the decisions.

    ``changes`` is what the variant says but its label: empty where the recorded agent was asked
    again. ``first_at`` is empty where nothing was asked yet. ``unfinished`` conversations of a free
    run stopped before their end.
    """

    variant: str
    mode: str
    label: str | None
    changes: dict[str, Any]
    sample: int
    first_at: str
    last_at: str
    conversations: int
    streams: list[str]
    unfinished: int = 0


class Reckoned(NamedTuple):
    """What a replay of one conversation came to when stream and branch went ``at`` these versions.

    ``outcomes`` are how many decisions there are, answered, failed and after the plan, ``moments``
    when its first event was recorded and its last, where there is one; ``is_unfinished`` where its
    course was cut off.
    """

    at: tuple[int, int, int | None]
    outcomes: DecisionOutcomes
    moments: list[int]
    is_unfinished: bool = False


@dataclass(frozen=True)
class Replay:
    """A variant and, by sample, the streams that it was to be tried on, asked or not yet.

    ``role`` is what it was in its last run.
    """

    variant: Variant
    streams: dict[int, list[str]] = field(default_factory=dict)
    role: Role = "candidate"

    def __str__(self) -> str:
        """Its id, label, and how much there is of it."""
        label = f" ({self.variant.label})" if self.variant.label else ""
        label += f" at {self.variant.endpoint}" if self.variant.endpoint else ""
        count = max(len(streams) for streams in self.streams.values())
        return f"{self.variant.id}{label}, {count} conversation{'s' if count != 1 else ''}"

    def conversations(self, sample: int = 0, *, category: str | None = None) -> list[str]:
        """The streams of a sample; raises :class:`~refold.errors.NotFound` for none."""
        streams = self.streams.get(sample, [])
        found = [s for s in streams if category in (None, _category(s))]
        if not found:
            of = "" if category is None else f" in category {category!r}"
            facts = {} if category is None else {"category": category}
            raise NotFound(f"nothing{of} was replayed as sample {sample} of {self}", **facts)
        return found

    def run(
        self, store: Store, sample: int, *, kept: dict[str, Reckoned] | None = None
    ) -> ReplayRun:
        """What a sample came to.

        ``kept`` is what it was when it was last looked at: where no more has come, it is not read.
        """
        streams = sorted(self.conversations(sample))
        plan, known = plan_of(store, self.variant.id), {} if kept is None else kept
        for stream in streams:
            branch = branch_name(stream, self.variant, sample)
            until = None if plan is None else plan.versions.get(stream)
            at = (store.head(branch), store.head(stream), until)
            if branch not in known or known[branch].at != at:
                known[branch] = _reckoned(store, stream, branch, plan, at)
        begun = [known[branch_name(stream, self.variant, sample)] for stream in streams]
        moments = [moment for one in begun for moment in one.moments]
        found = account(one.outcomes for one in begun)
        said: dict[str, Any] = msgspec.to_builtins(self.variant)
        return ReplayRun(
            variant=self.variant.id,
            mode=said.pop("mode", NEXT_STEP),
            label=said.pop("label", None),
            changes=said,
            sample=sample,
            first_at=rfc3339(min(moments)) if moments else "",
            last_at=rfc3339(max(moments)) if moments else "",
            conversations=len(streams),
            streams=streams,
            unfinished=sum(one.is_unfinished for one in begun),
            **asdict(found),
        )


def replays(store: Store, *, category: str | None = None) -> list[Replay]:
    """Every replay that a store holds, one a variant; of all conversations or of a category."""
    check_store(store, call="replays", instead="give refold.open(…)")
    found: dict[str, Replay] = {}
    tried: dict[tuple[str, int], dict[str, None]] = {}
    for plan in plans(store):
        for sample, streams in plan.streams.items():
            of = [stream for stream in streams if category in (None, _category(stream))]
            if of:
                found.setdefault(plan.variant.id, Replay(plan.variant, role=plan.terms.role))
                tried[plan.variant.id, sample] = dict.fromkeys(of)
    # A branch is of the category of its stream, with a mark.
    for info in store.streams(category=None if category is None else f"{category}~"):
        named = _BRANCH.fullmatch(info.stream)
        if named is None:
            continue
        stream, variant_id, sample = named[1], named[2], int(named[3])
        if variant_id not in found:
            found[variant_id] = Replay(_variant_on(store, info.stream))
        tried.setdefault((variant_id, sample), {})[stream] = None
    for (variant_id, sample), of_sample in tried.items():
        found[variant_id].streams[sample] = list(of_sample)
    return list(found.values())


class ReplayBranch(NamedTuple):
    """A branch with the answers of a replay: of which conversation, variant and sample."""

    stream: str
    variant: Variant
    sample: int


def replay_on(store: Store, branch: str) -> ReplayBranch | None:
    """What a branch holds the answers of; None for a stream that no replay has made."""
    named = _BRANCH.fullmatch(branch)
    if named is None or store.head(branch) == NO_EVENTS:
        return None
    return ReplayBranch(named[1], _variant_on(store, branch), int(named[3]))


def only_pair(store: Store) -> tuple[str, str] | None:
    """The ids of a candidate and of the control of its run, where a store has no other replays."""
    match sorted((one.terms.role, one.terms.run, one.variant.id) for one in plans(store)):
        case [("candidate", run, one), ("control", other_run, other)] if run == other_run:
            return one, other
    return None


def find_replay(found: Collection[Replay], wanted: str | None = None) -> Replay:
    """The replay of an id, the beginning of one, or a label; without any, the only one there is.

    Raises :class:`~refold.errors.NotFound` for none, :class:`~refold.errors.UsageError` for
    several.
    """
    if not found:
        raise NotFound("there is no replay in this store: run `refold replay` first")
    matches = [
        one
        for one in found
        if one.variant.label == wanted or one.variant.id.startswith(wanted or "")
    ]
    match matches:
        case [replay]:
            return replay
        case []:
            raise NotFound(f"no replay is called {wanted!r}: {_listed(found)}")
    # The first of what can be judged, not of what it is set against.
    first = min(matches, key=lambda one: one.role == "control")
    one = f"name one, as --variant {first.variant.id}"
    raise UsageError(f"several replays fit: {one}: {_listed(matches)}")


def _reckoned(
    store: Store, stream: str, branch: str, plan: ReplayPlan | None, at: tuple[int, int, int | None]
) -> Reckoned:
    events = list(store.read(branch)) if at[0] != NO_EVENTS else []
    asked = to_ask(list(store.read(stream)), stream, plan)
    moments = [event.recorded_at_us for event in events if event.stream == branch]
    ends = [min(moments), max(moments)] if moments else []
    is_course = plan is not None and plan.variant.made != NEXT_STEP
    if is_course:
        course = went(events)
        return Reckoned(at, _of_course(asked, course), ends, course.is_unfinished)
    known = Hidden(store).answers(asked.history, asked.decisions, answers(events))
    counted = _outcomes(asked, known)
    return Reckoned(at, counted, ends)


def _of_course(asked: ToAsk, course: Went) -> DecisionOutcomes:
    """How many decisions a course came to, and what became of the others."""
    every = placed(record_of(asked.history, asked.decisions).turns, course)
    count = Counter(one.standing for one in every)
    later = len(asked.later)
    return DecisionOutcomes(
        len(every) + later,
        count["comparable"] + count["diverged"],
        count["failed"],
        later,
        count["conditional"],
        count["excluded"],
        bool(course.answers) or count["missing"] < len(every),
    )


def _outcomes(asked: ToAsk, stored: Mapping[str, StoredAnswer]) -> DecisionOutcomes:
    """How many decisions of a conversation there are, answered, failed, and after the plan."""
    found = [stored[one.at] for one in asked.decisions if one.at in stored]
    # As everywhere: what a candidate does not take, or keeps back, is its answer.
    came = [one for one in found if one.error != GONE]
    of = [one.action is not None or fault_in(one.error or "") is not None for one in came]
    later = sum(one.at not in stored for one in asked.later)
    every, gone = len(asked.decisions) + later, len(found) - len(came)
    is_begun = bool(found)
    return DecisionOutcomes(every, of.count(True), of.count(False), later, 0, gone, is_begun)


def _category(stream: str) -> str:
    return category_of(stream).rstrip("~")


def _listed(some: Iterable[Replay]) -> str:
    titles = [str(replay) for replay in some]
    more = [f"and {len(titles) - LISTED_MAX} more"] if len(titles) > LISTED_MAX else []
    return "; ".join(titles[:LISTED_MAX] + more)


def _variant_on(store: Store, branch: str) -> Variant:
    """The variant that a branch was made with, by what its replay recorded about itself."""
    for recorded in store.read(branch):
        if recorded.type == "replay.started":
            return msgspec.convert(recorded.data["variant"], Variant)
    raise NotFound(f"{branch} does not say what its replay changed: replay it again", stream=branch)
