"""A replay beside its record: by decision, by conversation, and as a whole.

Conversations are compared one at a time, so that any number of them fits into memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from itertools import groupby, islice
from typing import Any, Final, NamedTuple

import msgspec
from msgspec.structs import replace

from refold.conversation.attributes import Attributes
from refold.core.expected import NO_EVENTS
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import refuse_unless
from refold.replay.actions import ConversationComparison, Terms, compare_conversation
from refold.replay.answer import Verdicts
from refold.replay.arms import (
    OF_ANSWERS,
    OF_THE_RECORD,
    Arm,
    Question,
    check_cluster,
    check_question,
    itself,
    measured,
    verdicts,
)
from refold.replay.checks.scoring import UNSCORED, Scoring
from refold.replay.checks.seen import NamedCheck
from refold.replay.control import check_control, check_other, check_recorded, promised
from refold.replay.decision import (
    Action,
    Decision,
    Prices,
    asked_model,
    check_prices,
    priced,
    priced_decisions,
)
from refold.replay.events import ReplayPlanned
from refold.replay.faults import offered_in
from refold.replay.figures import Figures, Parting, Tally
from refold.replay.hidden import Hidden
from refold.replay.journal import UNREADABLE, StoredAnswer, answers
from refold.replay.judge import Judge, Judgements, JudgeUsed
from refold.replay.led import compare_course
from refold.replay.metrics import Metric
from refold.replay.normalising import NOTHING_IGNORED, Ignored, ignored
from refold.replay.plan import ToAsk, plan_of, to_ask
from refold.replay.recorded import RecordedComparison
from refold.replay.variant import (
    MODES,
    NEXT_STEP,
    OPENED,
    ReplayResult,
    Variant,
    branch_name,
    check_variant,
    checked_streams,
)

UNREADABLE_SHOWN: Final = 10


class Control(msgspec.Struct, frozen=True):
    """Another replay of the same conversations, with nothing changed: the noise floor (A/A)."""

    variant: Variant
    variant_id: str
    samples: list[int]
    figures: Figures


class Comparison(ReplayResult, frozen=True, kw_only=True):
    """A replay compared with its record; ``mode`` says how every figure here was made.

    ``not_measured`` says in a sentence what that mode does not show. ``verdicts`` answer the
    ``question``, candidate against control; without a control, against the record, where that can
    be. Of ``without_cluster`` conversations it is not known what they are clustered by: each stands
    for itself. ``samples`` are the runs of the variant in it, ``sample`` the first of them:
    ``figures`` count the answers of all, verdicts average them first. ``partings`` counts the
    conversations in which some decision was another action; ``first_partings`` are the first of
    those decisions in the first ten of them. ``unreadable`` are the conversations that cannot be
    read, each with why: nothing of them is in any figure, so that no verdict is over all that was
    to be asked. ``judge`` is who judged the answers. ``conversations`` are :class:`Conversations`;
    :func:`json_pieces` turns all of it into JSON, the same log into the same bytes.
    """

    samples: list[int]
    question: Question
    without_cluster: int
    verdicts: Verdicts
    figures: Figures
    control: Control | None
    partings: int
    first_partings: list[Parting]
    unreadable: dict[str, str]
    judge: JudgeUsed | None
    conversations: Sequence[ConversationComparison]


class _Place(NamedTuple):
    """A conversation and its replay, as far as they went when they were first compared."""

    stream: str
    version: int
    branch: str
    branch_version: int


class AnsweredBeside(NamedTuple):
    """A conversation, what was recorded of it, and what the samples of either side came to.

    ``against`` are those of the control, or the record itself where there is none. ``cluster`` is
    what it belongs to, itself where nothing is asked; None where it is not known.
    """

    stream: str
    cluster: str | None
    decisions: list[Decision]
    candidate: list[ConversationComparison]
    against: list[ConversationComparison]


class Conversations(Sequence[ConversationComparison]):
    """Compared conversations in order, read from the log anew whenever they are gone through.

    So they take no memory, and need the store to be open; what is added to it later is not seen.
    What was not to be asked is missing, and marked: a conversation went on with it after the plan.
    Each is there once a sample that it was planned for. ``unreadable`` are those that were left
    out, each with why. ``control`` are the same as a control answered, where there is one.
    """

    control: Conversations | None = None

    def __init__(
        self,
        store: Store,
        streams: Iterable[str],
        variant: Variant,
        sample: int | None = None,
        scoring: Scoring = UNSCORED,
        ignored: Ignored = NOTHING_IGNORED,
        prices: Prices | None = None,
    ) -> None:
        self._store, self._hidden = store, Hidden(store)
        self._scoring, self.unreadable = scoring, dict[str, str]()
        self.mode = variant.made
        self._terms = Terms(ignored, offered_in(variant.tools))
        self._plan, self._prices = plan_of(store, variant.id), prices or {}
        self._model = variant.model or (None if self._plan is None else self._plan.terms.model)
        self._is_one_model = variant.agent is None or variant.model is None
        first = {} if self._plan is None else self._plan.first
        self.terms = {
            stream: {n: one for n, one in first.get(stream, {}).items() if sample in (None, n)}
            for stream in streams
        }
        self._at: dict[str, list[_Place]] = {}
        # What was planned of other conversations is no part of this one.
        self.samples = sorted({n for of in self.terms.values() for n in of}) or [sample or 0]
        self._places = [
            _Place(stream, version, branch, store.head(branch))
            for stream, of in self.terms.items()
            for version in [store.head(stream)]
            for branch in [branch_name(stream, variant, n) for n in of or self.samples[:1]]
        ]

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: Any) -> Any:
        """The one at an index, or a list of those of a slice."""
        if isinstance(index, slice):
            return [self._compared(place) for place in self._places[index]]
        return self._compared(self._places[index])

    def __iter__(self) -> Iterator[ConversationComparison]:
        return map(self._compared, self._places)

    def of(self, stream: str) -> Iterator[ConversationComparison]:
        """The samples of one of them, as far as they can be read."""
        if not self._at:
            self._at = {of[0].stream: of for of in self._by_stream()}
        for place in self._at.get(stream, ()):
            with suppress(*UNREADABLE):
                yield self._compared(place)

    def beside(self, cluster: str | None = None) -> Iterator[AnsweredBeside]:
        """Each conversation with what it is set against; its record is read once.

        Those that cannot be read are left out, of the control too.
        """
        every = [self] if self.control is None else [self, self.control]
        unreadable = dict[str, str]()
        for places in zip(*(one._by_stream() for one in every), strict=True):
            try:
                one = self._beside(places, cluster)
            except UNREADABLE as error:
                unreadable[places[0][0].stream] = str(error)
                continue
            yield one
        for side in every:
            side.unreadable |= unreadable
            side._places = [place for place in side._places if place.stream not in unreadable]

    def _beside(self, places: Sequence[Sequence[_Place]], by: str | None) -> AnsweredBeside:
        stream, record = places[0][0].stream, self._recorded(places[0][0])
        candidate = [self._compared(place, record) for place in places[0]]
        if self.control is not None:
            against = [self.control._compared(place, record) for place in places[1]]
        else:
            alone = itself(stream, record.decisions)
            against = [self._scoring.scored(alone, record.history, record.decisions)]
        cluster = stream if by is None else Attributes.of(record.history).by(by)
        return AnsweredBeside(stream, cluster, record.decisions, candidate, against)

    def declared(self) -> list[ReplayPlanned]:
        """What was declared when each sample of each conversation was planned."""
        return [one for of in self.terms.values() for one in of.values()]

    def _by_stream(self) -> Iterator[list[_Place]]:
        return (list(of) for _, of in groupby(self._places, lambda place: place.stream))

    def _recorded(self, place: _Place) -> ToAsk:
        events = list(self._store.read(place.stream, to_version=place.version))
        asked = to_ask(events, place.stream, self._plan)
        return asked._replace(decisions=priced_decisions(asked.decisions, self._prices))

    def _compared(self, place: _Place, record: ToAsk | None = None) -> ConversationComparison:
        branch, last = place.branch, place.branch_version
        events = [] if last == NO_EVENTS else list(self._store.read(branch, to_version=last))
        history, made, after = self._recorded(place) if record is None else record
        stored = answers(events)
        later = [one for one in after if one.at not in stored]
        if self.mode != NEXT_STEP:
            how = (history, made), events, self._terms, self._price
            found = compare_course(place.stream, branch, *how, later=after)
            return self._scoring.scored(found, history, made, events)
        if self._prices:
            stored |= {d.at: self._priced(stored[d.at], d) for d in made if d.at in stored}
        known = self._hidden.answers(history, made, stored)
        found = compare_conversation(place.stream, branch, made, known, self._terms, later=later)
        return self._scoring.scored(found, history, made, events)

    def _priced(self, answer: StoredAnswer, decision: Decision) -> StoredAnswer:
        action = answer.action
        return answer if action is None else replace(answer, action=self._price(action, decision))

    def _price(self, action: Action, decision: Decision) -> Action:
        if action.cost is not None or not self._prices:
            return action
        # Where one agent of several was changed, only the answer says which model it is of.
        model = (self._model or asked_model(decision)) if self._is_one_model else None
        return priced(action, model, self._prices)


def compare(
    store: Store,
    streams: Iterable[str],
    variant: Variant,
    *,
    control: Variant | None = None,
    sample: int | None = None,
    control_sample: int | None = None,
    question: Question | None = None,
    checks: Sequence[NamedCheck] = (),
    ignore: Iterable[str] = (),
    prices: Prices | None = None,
    judge: Judge | None = None,
    progress: Callable[[int, int], object] | None = None,
) -> Comparison:
    """Compare what a replay of ``variant`` put on the streams' branches with what was recorded.

    ``control`` is the variant of an A/A replay of the same streams (or the same variant as another
    ``control_sample``). All samples that were planned are taken together, unless one is named.
    Decisions that were not replayed count as missing; those that came after the plan do too, and
    are in no verdict. ``checks`` (:func:`~refold.replay.checks.reading.read_check`) are made of
    both answers at each decision, and ``judge`` scores them by what it has said
    (:func:`~refold.replay.judging.ask_judge`). ``ignore`` names fields of arguments that do not
    count: ``book/request_id``. ``prices`` by model give a cost to answers without one.
    ``progress`` is told how many conversations were read, and of how many. Raises
    :class:`~refold.errors.NotFound` for a stream that does not exist, :class:`UsageError` for a
    control with another prompt, tools, model or parameters (but a seed) than were recorded.
    """
    _check(store, variant, prices)
    those = dict.fromkeys(checked_streams(streams))
    question = question or Question()
    check_cluster(store, those, question.cluster)
    asked = [(variant, sample), *_as_control(control, control_sample, variant.made)]
    scoring = Scoring(checks, None if judge is None else Judgements(store, judge))
    how: Any = {"scoring": scoring, "ignored": ignored(ignore), "prices": prices}
    sides = _sides([Conversations(store, those, *one, **how) for one in asked])
    promises = promised(*(one.declared() for one in sides), asked=question.deciding)
    known = measured(checks, judge, is_timed=promises.is_timed, mode=variant.made)
    tallies, arms, without_cluster = _counted(sides[0], question, control, known, progress)
    figures, unreadable = [tally.figures() for tally in tallies], sides[0].unreadable
    said = [MODES[variant.made], *promises.said, *_unread(unreadable), *scoring.said]
    is_complete = not unreadable and all(one.accounting.is_complete for one in figures)
    return Comparison(
        mode=variant.made,
        variant=variant,
        variant_id=variant.id,
        sample=sides[0].samples[0],
        samples=[*sides[0].samples],
        question=question,
        without_cluster=without_cluster,
        verdicts=verdicts(question, *arms, known, is_complete=is_complete),
        figures=figures[0],
        control=Control(control, control.id, sides[1].samples, figures[1]) if control else None,
        partings=len(tallies[0].parted),
        first_partings=tallies[0].first_partings,
        unreadable=unreadable,
        judge=scoring.used,
        not_measured=" ".join(said),
        conversations=sides[0],
    )


def _sides(sides: list[Conversations]) -> list[Conversations]:
    sides[0].control = next(iter(sides[1:]), None)
    check_other([place.branch for side in sides for place in side._places])
    return sides


def _check(store: Store, variant: Variant, prices: Prices | None) -> None:
    check_store(store, call="compare", instead=OPENED)
    check_variant(variant)
    check_prices(prices)


def _arms(question: Question, known: Mapping[str, Metric], *, has_control: bool) -> tuple[Arm, Arm]:
    """An arm for the candidate and one for its control, or for the record."""
    check_question(question, known)
    of_record = [known[name] for name in known if name in OF_THE_RECORD or name not in OF_ANSWERS]
    against = ("control", known.values()) if has_control else ("record", of_record)
    every = (("candidate", known.values()), against)
    one, other = (Arm(*of, is_early=question.looks == "any") for of in every)
    return one, other


def _unread(unreadable: Mapping[str, str]) -> list[str]:
    shown = [f"{stream} ({why})" for stream, why in islice(unreadable.items(), UNREADABLE_SHOWN)]
    more = f" and {len(unreadable) - len(shown)} more" * (len(unreadable) > len(shown))
    return [f"Cannot be read, and is missing: {', '.join(shown)}{more}."] if shown else []


def _counted(
    answered: Conversations,
    question: Question,
    control: Variant | None,
    known: Mapping[str, Metric],
    progress: Callable[[int, int], object] | None,
) -> tuple[list[Tally], tuple[Arm, Arm], int]:
    """The counts of each side, the arms, and of how many conversations the cluster is unknown."""
    arms = _arms(question, known, has_control=control is not None)
    modes = [answered.mode] + [one.mode for one in [answered.control] if one is not None]
    tallies, without_cluster = [Tally(mode) for mode in modes], 0
    for read, one in enumerate(answered.beside(question.cluster)):
        if progress is not None:
            progress(read, len(answered.terms))
        without_cluster += one.cluster is None
        if control is not None and answered.control is not None:
            asked = answered.control.terms[one.stream].values()
            check_recorded(control, one.decisions, asked)
        for arm, compared in zip(arms, (one.candidate, one.against), strict=True):
            for each in compared:
                arm.add(each, one.cluster or one.stream)
        for tally, compared in zip(tallies, (one.candidate, one.against), strict=False):
            for each in compared:
                tally.add(each)
    return tallies, arms, without_cluster


def _as_control(
    control: Variant | None, sample: int | None, mode: str
) -> list[tuple[Variant, int | None]]:
    """The control and which sample of it, where it is one."""
    if control is None:
        return []
    refuse_unless(isinstance(control, Variant), "a refold.replay.Variant", control=control)
    check_control(control, mode)
    return [(control, sample)]


def json_pieces(comparison: Comparison | RecordedComparison) -> Iterator[bytes]:
    """A comparison as JSON, a conversation at a time where they are read one at a time."""
    if not isinstance(comparison, Comparison):
        yield msgspec.json.encode(comparison)
        return
    whole = msgspec.json.encode(replace(comparison, conversations=[]))
    yield whole.removesuffix(b"]}")
    for number, conversation in enumerate(comparison.conversations):
        yield (b"," if number else b"") + msgspec.json.encode(conversation)
    yield b"]}"
