"""A replay beside its record: by decision, by conversation, and as a whole.

Conversations are compared one at a time, so that any number of them fits into memory.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple, overload

import msgspec
from msgspec.structs import replace

from refold.core.expected import NO_EVENTS
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import UsageError, refuse_unless
from refold.replay.actions import ConversationComparison, Terms, compare_conversation
from refold.replay.decision import Decision, decisions
from refold.replay.faults import offered_in
from refold.replay.figures import Figures, Paired, Parting, Tally, paired
from refold.replay.journal import answers
from refold.replay.variant import (
    OPENED,
    ReplayResult,
    Variant,
    branch_name,
    check_variant,
    checked_streams,
)


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """Another replay of the same conversations, with nothing changed: the noise floor (A/A).

    ``paired`` sets the candidate against it.
    """

    variant: Variant
    variant_id: str
    sample: int
    figures: Figures
    paired: Paired


class Comparison(ReplayResult, frozen=True, kw_only=True):
    """A replay compared with its record; ``mode`` says how every figure here was made.

    ``not_measured`` says in a sentence what that mode does not show. ``partings`` counts the
    conversations in which some decision was another action; ``first_partings`` are the first of
    those decisions in the first ten of them. ``conversations`` are :class:`Conversations`;
    :func:`json_pieces` turns all of it into JSON, the same log into the same bytes.
    """

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


class Conversations(Sequence[ConversationComparison]):
    """Compared conversations in order, read from the log anew whenever they are gone through.

    So they take no memory, and need the store to be open; what is added to it later is not seen.
    """

    def __init__(self, store: Store, streams: Iterable[str], variant: Variant, sample: int) -> None:
        self._store = store
        self._terms = Terms(offered=offered_in(variant.tools))
        self._places = [
            _Place(stream, store.head(stream), branch, store.head(branch))
            for stream in streams
            for branch in [branch_name(stream, variant, sample)]
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

    def beside(self, *others: Conversations) -> Iterator[list[ConversationComparison]]:
        """These and other replays of the same conversations; the record is read once for all."""
        for places in zip(*(one._places for one in (self, *others)), strict=True):
            recorded = self._recorded(places[0])
            yield [self._compared(place, recorded) for place in places]

    def _recorded(self, place: _Place) -> list[Decision]:
        return decisions(self._store.read(place.stream, to_version=place.version))

    def _compared(
        self, place: _Place, recorded: list[Decision] | None = None
    ) -> ConversationComparison:
        branch, last = place.branch, place.branch_version
        events = () if last == NO_EVENTS else self._store.read(branch, to_version=last)
        recorded = self._recorded(place) if recorded is None else recorded
        return compare_conversation(place.stream, branch, recorded, answers(events), self._terms)


def compare(
    store: Store,
    streams: Iterable[str],
    variant: Variant,
    *,
    control: Variant | None = None,
    sample: int = 0,
    control_sample: int = 0,
) -> Comparison:
    """Compare what a replay of ``variant`` put on the streams' branches with what was recorded.

    ``control`` is the variant of an A/A replay of the same streams (or the same variant as another
    ``control_sample``). Decisions that were not replayed count as missing. Raises
    :class:`~refold.errors.NotFound` for a stream that does not exist,
    :class:`~refold.errors.UsageError` for a control that changes the prompt or the tools.
    """
    check_store(store, call="compare", instead=OPENED)
    check_variant(variant)
    if control is not None:
        refuse_unless(isinstance(control, Variant), "a refold.replay.Variant", control=control)
        _check_control(control, is_candidate=(control.id, control_sample) == (variant.id, sample))
    asked = [(variant, sample), *([] if control is None else [(control, control_sample)])]
    those = list(dict.fromkeys(checked_streams(streams)))
    sides = [Conversations(store, those, *one) for one in asked]
    tallies = [Tally() for _ in sides]
    for together in sides[0].beside(*sides[1:]):
        for tally, one in zip(tallies, together, strict=True):
            tally.add(one)
    tally = tallies[0]
    return Comparison(
        variant=variant,
        variant_id=variant.id,
        sample=sample,
        figures=tally.figures(),
        control=None if control is None else _control(control, control_sample, *tallies),
        partings=tally.partings,
        first_partings=tally.first_partings,
        conversations=sides[0],
    )


def json_pieces(comparison: Comparison) -> Iterator[bytes]:
    """A comparison as JSON, a conversation at a time."""
    whole = msgspec.json.encode(replace(comparison, conversations=[]))
    yield whole.removesuffix(b"]}")
    for number, conversation in enumerate(comparison.conversations):
        yield (b"," if number else b"") + msgspec.json.encode(conversation)
    yield b"]}"


def _control(variant: Variant, sample: int, candidate: Tally, again: Tally) -> Control:
    return Control(
        variant=variant,
        variant_id=variant.id,
        sample=sample,
        figures=again.figures(),
        paired=paired(candidate.same_action, again.same_action),
    )


def _check_control(control: Variant, *, is_candidate: bool) -> None:
    changed = [name for name in ("prompt", "tools") if getattr(control, name) is not None]
    if changed:
        raise UsageError(
            f"the control changes the {changed[-1]}: a control is the recorded agent again, so "
            "that what differs is noise",
            argument="control",
        )
    if is_candidate:
        raise UsageError(
            "the control is the candidate itself: give another variant or control_sample=",
            argument="control",
        )
