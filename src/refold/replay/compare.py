"""A replay beside its record: by decision, by conversation, and as a whole.

Conversations are compared one at a time, so that any number of them fits into memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, overload

import msgspec
from msgspec.structs import replace

from refold.conversation.attributes import Attributes
from refold.core.expected import NO_EVENTS
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import UsageError, refuse_unless
from refold.replay.actions import ConversationComparison, Terms, compare_conversation
from refold.replay.answer import Verdicts
from refold.replay.arms import (
    OF_THE_RECORD,
    Arm,
    Question,
    check_cluster,
    check_question,
    itself,
    measured,
    verdicts,
)
from refold.replay.checks.scoring import scored
from refold.replay.checks.seen import NamedCheck
from refold.replay.control import check_control, check_recorded
from refold.replay.decision import (
    Decision,
    Prices,
    asked_model,
    check_prices,
    priced,
    priced_decisions,
)
from refold.replay.faults import offered_in
from refold.replay.figures import Figures, Parting, Tally
from refold.replay.journal import StoredAnswer, answers
from refold.replay.metrics import Metric
from refold.replay.normalising import NOTHING_IGNORED, Ignored, ignored
from refold.replay.plan import ToAsk, plan_of, to_ask
from refold.replay.variant import (
    OPENED,
    ReplayResult,
    Variant,
    branch_name,
    check_variant,
    checked_streams,
)


class Control(msgspec.Struct, frozen=True, kw_only=True):
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
    those decisions in the first ten of them. ``conversations`` are :class:`Conversations`;
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
    conversations: Sequence[ConversationComparison]


class _Place(NamedTuple):
    """A conversation and its replay, as far as they went when they were first compared."""

    stream: str
    version: int
    branch: str
    branch_version: int


class _Beside(NamedTuple):
    """A conversation, what was recorded of it, and what each side's samples came to."""

    stream: str
    history: list[Recorded]
    decisions: list[Decision]
    sides: list[list[ConversationComparison]]


class Conversations(Sequence[ConversationComparison]):
    """Compared conversations in order, read from the log anew whenever they are gone through.

    So they take no memory, and need the store to be open; what is added to it later is not seen.
    What was not to be asked is missing, and marked: a conversation went on with it after the plan.
    Each is there once a sample.
    """

    def __init__(
        self,
        store: Store,
        streams: Iterable[str],
        variant: Variant,
        samples: Sequence[int],
        checks: Sequence[NamedCheck] = (),
        ignored: Ignored = NOTHING_IGNORED,
        prices: Prices | None = None,
    ) -> None:
        self._store, self.samples, self._checks = store, samples, checks
        self._terms = Terms(ignored, offered_in(variant.tools))
        self._plan, self._prices = plan_of(store, variant.id), prices or {}
        self._model = variant.model or (None if self._plan is None else self._plan.terms.model)
        self._is_one_model = variant.agent is None or variant.model is None
        self._places = [
            _Place(stream, version, branch, store.head(branch))
            for stream in streams
            for version in [store.head(stream)]
            for branch in [branch_name(stream, variant, sample) for sample in samples]
        ]

    def __len__(self) -> int:
        return len(self._places)

    @overload
    def __getitem__(self, index: int) -> ConversationComparison: ...
    @overload
    def __getitem__(self, index: slice) -> list[ConversationComparison]: ...
    def __getitem__(
        self, index: int | slice
    ) -> ConversationComparison | list[ConversationComparison]:
        if isinstance(index, slice):
            return [self._compared(place) for place in self._places[index]]
        return self._compared(self._places[index])

    def __iter__(self) -> Iterator[ConversationComparison]:
        return map(self._compared, self._places)

    def beside(self, *others: Conversations) -> Iterator[_Beside]:
        """Each conversation with its samples in these and in others; its record is read once."""
        sides = [one._by_stream() for one in (self, *others)]
        for places in zip(*sides, strict=True):
            record = self._recorded(places[0][0])
            compared = [
                [of._compared(place, record) for place in side]
                for of, side in zip((self, *others), places, strict=True)
            ]
            yield _Beside(places[0][0].stream, record.history, record.decisions, compared)

    def _by_stream(self) -> Iterator[list[_Place]]:
        each = len(self.samples)
        return (self._places[n : n + each] for n in range(0, len(self._places), each))

    def _recorded(self, place: _Place) -> ToAsk:
        events = list(self._store.read(place.stream, to_version=place.version))
        asked = to_ask(events, place.stream, self._plan)
        return asked._replace(decisions=priced_decisions(asked.decisions, self._prices))

    def _compared(self, place: _Place, record: ToAsk | None = None) -> ConversationComparison:
        branch, last = place.branch, place.branch_version
        events = () if last == NO_EVENTS else self._store.read(branch, to_version=last)
        history, made, after = self._recorded(place) if record is None else record
        stored = answers(events)
        later = [one for one in after if one.at not in stored]
        if self._prices:
            stored |= {
                one.at: self._priced(stored[one.at], one) for one in made if one.at in stored
            }
        found = compare_conversation(place.stream, branch, made, stored, self._terms, later=later)
        return scored(found, history, made, self._checks)

    def _priced(self, answer: StoredAnswer, decision: Decision) -> StoredAnswer:
        if answer.action is None or answer.action.cost is not None:
            return answer
        # Where one agent of several was changed, only the answer says which model it is of.
        model = (self._model or asked_model(decision)) if self._is_one_model else None
        return replace(answer, action=priced(answer.action, model, self._prices))


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
) -> Comparison:
    """Compare what a replay of ``variant`` put on the streams' branches with what was recorded.

    ``control`` is the variant of an A/A replay of the same streams (or the same variant as another
    ``control_sample``). All samples that were planned are taken together, unless one is named.
    Decisions that were not replayed count as missing; those that came after the plan do too, and
    are in no verdict. ``checks`` (see
    :func:`~refold.replay.checks.reading.read_check`) are made of both answers at each decision;
    ``ignore`` names fields of arguments that do not count: ``book/request_id``. ``prices`` by model
    give a cost to answers without one, recorded or replayed, by their tokens. Raises
    :class:`~refold.errors.NotFound` for a stream that does not exist,
    :class:`~refold.errors.UsageError` for a control that is not the recorded agent again: one with
    another prompt, other tools, another model or other parameters than a seed.
    """
    check_store(store, call="compare", instead=OPENED)
    check_variant(variant)
    check_prices(prices)
    asked = [(variant, _samples(store, variant, sample))]
    if control is not None:
        asked.append(_as_control(store, control, control_sample, asked[0]))
    question = question or Question()
    those = dict.fromkeys(checked_streams(streams))
    known, arms = _arms(question, checks, has_control=control is not None)
    check_cluster(store, those, question.cluster)
    sides = [Conversations(store, those, *one, checks, ignored(ignore), prices) for one in asked]
    tallies, without_cluster = [Tally() for _ in sides], 0
    for one in sides[0].beside(*sides[1:]):
        if control is not None:
            check_recorded(control, one.decisions)
        cluster = _cluster(one, question)
        without_cluster += cluster is None
        _add(one, tallies, arms, cluster or one.stream, checks)
    figures, first = [tally.figures() for tally in tallies], tallies[0]
    is_complete = all(map(_is_complete, figures))
    return Comparison(
        variant=variant,
        variant_id=variant.id,
        sample=sides[0].samples[0],
        samples=[*sides[0].samples],
        question=question,
        without_cluster=without_cluster,
        verdicts=verdicts(question, arms[0], arms[1], known, known, is_complete=is_complete),
        figures=figures[0],
        control=None if control is None else _control(control, sides[1].samples, figures[1]),
        partings=first.partings,
        first_partings=first.first_partings,
        conversations=sides[0],
    )


def _arms(
    question: Question, checks: Sequence[NamedCheck], *, has_control: bool
) -> tuple[dict[str, Metric], list[Arm]]:
    """What is measured, by name, and an arm for the candidate and one for its control."""
    known = measured(checks)
    check_question(question, known)
    of_record = [*OF_THE_RECORD, *(check.metric.name for check in checks)]
    is_early = question.looks == "any"
    names = (known, known if has_control else of_record)
    return known, [Arm(of, known, is_early=is_early) for of in names]


def _cluster(one: _Beside, question: Question) -> str | None:
    """What a conversation belongs to, itself where nothing is asked; None where it is not known."""
    asked = question.cluster
    return one.stream if asked is None else Attributes.of(one.history).by(asked)


def _add(
    one: _Beside,
    tallies: Sequence[Tally],
    arms: Sequence[Arm],
    cluster: str,
    checks: Sequence[NamedCheck],
) -> None:
    """Count a conversation on each side; where there is no control, the record is one."""
    for tally, compared in zip(tallies, one.sides, strict=True):
        for each in compared:
            tally.add(each)
    if len(one.sides) > 1:
        against = one.sides[1]
    else:
        record = itself(one.stream, one.decisions)
        against = [scored(record, one.history, one.decisions, checks)]
    for arm, compared in zip(arms, (one.sides[0], against), strict=True):
        for each in compared:
            arm.add(each, cluster)


def _samples(store: Store, variant: Variant, sample: int | None) -> list[int]:
    """The sample that is wanted, else all that were planned."""
    if sample is not None:
        return [sample]
    plan = plan_of(store, variant.id)
    return [0] if plan is None else sorted(plan.streams)


def _as_control(
    store: Store, control: Variant, sample: int | None, candidate: tuple[Variant, list[int]]
) -> tuple[Variant, list[int]]:
    """The control with its samples, where it is one and not the candidate itself."""
    refuse_unless(isinstance(control, Variant), "a refold.replay.Variant", control=control)
    check_control(control)
    samples = _samples(store, control, sample)
    if candidate[0].id == control.id and set(candidate[1]) & set(samples):
        raise UsageError(
            "the control is the candidate itself: give another variant or control_sample=",
            argument="control",
        )
    return control, samples


def _is_complete(figures: Figures) -> bool:
    return not figures.accounting.missing and not figures.accounting.never_begun


def _control(variant: Variant, samples: Sequence[int], figures: Figures) -> Control:
    return Control(variant=variant, variant_id=variant.id, samples=[*samples], figures=figures)


def json_pieces(comparison: Comparison) -> Iterator[bytes]:
    """A comparison as JSON, a conversation at a time."""
    whole = msgspec.json.encode(replace(comparison, conversations=[]))
    yield whole.removesuffix(b"]}")
    for number, conversation in enumerate(comparison.conversations):
        yield (b"," if number else b"") + msgspec.json.encode(conversation)
    yield b"]}"
