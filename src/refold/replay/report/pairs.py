"""Two conversations turn by turn: which turn of one is which of the other, and what differs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from refold.core.alignment import Pair, common_ends, heaviest_pairs, place_by_place, refined
from refold.core.jsonvalue import Numbering
from refold.core.recorded import Recorded
from refold.replay.actions import CallPair, arguments_of, compare_actions
from refold.replay.arms import itself
from refold.replay.decision import Action, Call, Decision, decisions
from refold.replay.faults import UNKNOWN, offered_by
from refold.replay.normalising import normal_words
from refold.replay.report.formatting import json_text, text_at
from refold.replay.report.turns import (
    REDACTED,
    Side,
    TurnRow,
    both_sides,
    conversation_rows,
    without_redacted,
)

CELLS_MAX: Final = 250_000
"""Stretches that differ and are longer than this, multiplied, are paired place by place."""
ALONE: Final = "alone"
"""The level of a turn that only one conversation has."""
HIDDEN: Final = "redacted"
"""The level of a turn of which something was taken out: nobody can tell whether it is the same."""
_OF_A_KIND: Final = 0.1
_TOLD_BY: Final = {"user": ("party", "text", "parts"), "result": ("result", "is_error")}
"""What of an event makes it the same turn; of a note, all of it."""


class PairedTurn(NamedTuple):
    """A turn of one conversation: as it is shown, what it says or does, and who does.

    ``told`` is what it is the same by, as JSON; ``decision`` is that of an answer.
    """

    row: TurnRow
    who: str
    action: Action
    told: list[Any]
    decision: Decision | None = None

    @property
    def words(self) -> set[str]:
        """What it may have in common with another."""
        said = [self.action.text, *(f"{one.name} {one.arguments}" for one in self.action.calls)]
        return {word for text in said for word in text.casefold().split()}

    @property
    def is_hidden(self) -> bool:
        """Whether something of it was redacted."""
        return REDACTED in [self.action.text, *(call.arguments for call in self.action.calls)]


def paired_rows(a: Sequence[Recorded], b: Sequence[Recorded]) -> Iterator[TurnRow]:
    """The turns of two histories as rows: those that are the same once, others side by side.

    A turn that only one has stands alone, at the level :data:`ALONE`. Turns are the same where
    their words, their calls with all arguments, or the results of tools are; one of which something
    was redacted only as the very same event.
    """
    olds, news = _turns(a), _turns(b)
    old = new = 0
    for old_pair, new_pair in [*_pairs(olds, news), (len(olds), len(news))]:
        yield from (_alone(turn, place=0) for turn in olds[old:old_pair])
        yield from (_alone(turn, place=1) for turn in news[new:new_pair])
        if old_pair < len(olds):
            yield _together(olds[old_pair], news[new_pair])
        old, new = old_pair + 1, new_pair + 1


def _turns(history: Sequence[Recorded]) -> list[PairedTurn]:
    if not history:
        return []
    made = {one.at: one for one in decisions(history)}
    alone = without_redacted(itself(history[-1].stream, [*made.values()]), history)
    return [_turn(row, made.get(row.link.text)) for row in conversation_rows(alone, history)]


def _turn(row: TurnRow, decision: Decision | None) -> PairedTurn:
    data, kind = row.data, row.kind
    if row.sides and row.sides[0].action is not None:
        action = row.sides[0].action
        calls = [[call.name, call.kind, arguments_of(call)] for call in action.calls]
        said = [kind, normal_words(action.text), [*action.parts], calls]
        return PairedTurn(row, "Agent", action, said, decision)
    if not row.type:
        return PairedTurn(row, kind.capitalize(), Action(text=REDACTED), [kind])
    told: list[Any] = [kind, row.type, *(data.get(name) for name in _TOLD_BY.get(kind, ()))]
    if kind == "user":
        who = text_at(data, "party") or "User"
        return PairedTurn(row, who, Action(text=text_at(data, "text")), told)
    if kind == "result":
        tool = f"{row.tool} {'failed' if data.get('is_error') else 'returned'}"
        given = Call(tool, json_text({"result": data.get("result")}))
        return PairedTurn(row, "Tool", Action(calls=(given,)), [*told, row.tool])
    return PairedTurn(row, "Event", Action(text=f"{row.type} {json_text(data)}"), [*told, data])


def _pairs(olds: Sequence[PairedTurn], news: Sequence[PairedTurn]) -> list[Pair]:
    """Which turn of one is which of the other: what is the same first, then what is alike."""
    numbers = Numbering()
    before, after = ([numbers.of(one.told) for one in side] for side in (olds, news))
    mine, theirs = ([one.words for one in side] for side in (olds, news))

    def likeness(i: int, j: int) -> float:
        if olds[i].row.kind != news[j].row.kind:
            return 0.0
        every = mine[i] | theirs[j]
        return _OF_A_KIND + (len(mine[i] & theirs[j]) / len(every) if every else 1)

    def stayed(old: range, new: range) -> Iterable[Pair]:
        if len(old) * len(new) > CELLS_MAX:
            return ()
        return heaviest_pairs(old, new, lambda i, j: before[i] == after[j])

    def alike(old: range, new: range) -> Iterable[Pair]:
        if len(old) * len(new) > CELLS_MAX:
            return [pair for pair in place_by_place(old, new) if likeness(*pair)]
        return heaviest_pairs(old, new, likeness)

    pairs = common_ends(before, after)
    for align in (stayed, alike):
        pairs = refined(pairs, len(olds), len(news), align)
    return pairs


def _together(old: PairedTurn, new: PairedTurn) -> TurnRow:
    """A turn of both: as the one that it is, or with what differs marked."""
    level, pairs = _difference(old, new)
    if level == "same":
        sides = [replace(side, who="Both") for side in old.row.sides]
        return replace(old.row, sides=sides, level="same" if sides else "")
    sides = both_sides((f"{old.who}, a", old.action), (f"{new.who}, b", new.action), pairs)
    return replace(old.row, sides=sides, level=level)


def _difference(old: PairedTurn, new: PairedTurn) -> tuple[str, list[CallPair]]:
    """The level of a turn against another of its kind, and which of their calls match."""
    if old.row.link.text == new.row.link.text:
        return "same", []
    if old.is_hidden or new.is_hidden:
        return HIDDEN, []
    before, after = (
        UNKNOWN if one.decision is None else offered_by(one.decision.configured)
        for one in (old, new)
    )
    found = compare_actions(old.action, new.action, offered=after, recorded_offered=before)
    if old.decision is not None:
        return found.level, found.pairs
    numbers = Numbering()
    if numbers.of(old.told) == numbers.of(new.told):
        return "same", []
    calls = "arguments" if found.pairs else "tools"
    return calls if old.row.kind == "result" else "words", found.pairs


def _alone(turn: PairedTurn, *, place: int) -> TurnRow:
    sides = [Side(f"{turn.who}, {name}") for name in "ab"]
    sides[place] = replace(sides[place], action=turn.action)
    return replace(turn.row, sides=sides, level=ALONE, error="no such turn")
