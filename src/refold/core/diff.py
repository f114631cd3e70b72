"""Two histories, or two states, side by side."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from difflib import Match, SequenceMatcher
from itertools import zip_longest
from typing import Any, Final, Literal, TypeVar

import msgspec

from refold.core import patch
from refold.core.jsonvalue import Numbering, check, equal
from refold.core.patch import Operation
from refold.core.recorded import Recorded, history_of

T = TypeVar("T")

PAIRS_MAX: Final = 25_000_000
"""Histories whose differing ends are longer than this, multiplied, are compared place by place."""


@dataclass(frozen=True, slots=True)
class Change:
    """One place where two histories differ.

    ``kind`` is ``"removed"`` (only ``before``), ``"added"`` (only ``after``) or ``"changed"``
    (both, of one type; ``patch`` leads from one payload to the other).
    """

    kind: Literal["removed", "added", "changed"]
    before: Recorded | None
    after: Recorded | None
    patch: tuple[Operation, ...] = ()


@dataclass(frozen=True, slots=True)
class HistoryDiff:
    """``shared`` events stand at the start of both histories; ``changes`` is all that differs."""

    shared: int
    changes: tuple[Change, ...]

    def __bool__(self) -> bool:
        """Whether the histories differ."""
        return bool(self.changes)


def _go_on() -> None:
    pass


def diff(
    before: Iterable[Recorded], after: Iterable[Recorded], *, heed: Callable[[], None] | None = None
) -> HistoryDiff:
    """How one history became another, compared by type and payload.

    Either may be a list of recorded events, a branch, or what ``read`` gives. Payloads are the same
    where they are the same JSON: numbers by value (1 is 1.0), keys in any order. Times, ids and
    metadata are not compared. An event of an old schema is compared as what it is read as, one
    that is split part by part. Raises :class:`~refold.errors.UpcastFailed` where it cannot be.

    ``heed`` is called time and again meanwhile; what it raises ends the comparison.
    """
    heed = heed or _go_on
    first, second = ([*_heeding(history_of(x, call="diff"), heed)] for x in (before, after))
    shared = _shared(first, second)
    first, second = _parted(first[shared:]), _parted(second[shared:])
    numbers = Numbering()
    keys = [[_key(event, numbers) for event in _heeding(side, heed)] for side in (first, second)]
    changes: list[Change] = []
    for operation, i1, i2, j1, j2 in _opcodes(keys[0], keys[1], heed):
        if operation != "equal":
            changes += _heeding(_changes(first[i1:i2], second[j1:j2]), heed)
    return HistoryDiff(shared, tuple(changes))


def diff_states(before: object, after: object) -> tuple[Operation, ...]:
    """The RFC 6902 operations that lead from one state to another.

    States are compared as the JSON they would be stored as: decimals as their text.
    """
    return tuple(patch.diff(_json(before), _json(after)))


def _json(state: object) -> Any:
    return msgspec.to_builtins(state, str_keys=True)


def _heeding(found: Iterable[T], heed: Callable[[], None]) -> Iterator[T]:
    for one in found:
        heed()
        yield one


class _Matcher(SequenceMatcher[Any]):
    """Heeds before each of its searches, which come to the square of the lengths by themselves."""

    def __init__(self, first: list[Any], second: list[Any], heed: Callable[[], None]) -> None:
        super().__init__(None, first, second, autojunk=False)
        self._heed = heed

    def find_longest_match(self, *where: Any) -> Match:
        self._heed()
        return super().find_longest_match(*where)


def _opcodes(
    first: list[Any], second: list[Any], heed: Callable[[], None]
) -> list[tuple[str, int, int, int, int]]:
    """Which runs are equal and which are not; beyond the bound, all of it is one change."""
    if len(first) * len(second) > PAIRS_MAX:
        return [("replace", 0, len(first), 0, len(second))]
    return list(_Matcher(first, second, heed).get_opcodes())


def _shared(first: Sequence[Recorded], second: Sequence[Recorded]) -> int:
    count = 0
    for a, b in zip(first, second, strict=False):
        if a.stored_kind != b.stored_kind or not (a.raw == b.raw or equal(a.data, b.data)):
            break
        count += 1
    return count


def _changes(removed: Sequence[Recorded], added: Sequence[Recorded]) -> Iterator[Change]:
    """Neighbours of one type are one event changed; the rest came or went."""
    for before, after in zip_longest(removed, added):
        if before is not None and after is not None and before.type == after.type:
            operations = tuple(patch.diff(before.data, after.data))
            yield Change("changed", before, after, operations)
            continue
        if before is not None:
            yield Change("removed", before, None)
        if after is not None:
            yield Change("added", None, after)


def _parted(events: Sequence[Recorded]) -> list[Recorded]:
    """The events with each that is split as its parts; a retired one is still what was stored."""
    return [part for event in events for part in event.parts() or (event,)]


def _key(recorded: Recorded, numbers: Numbering) -> tuple[str, int]:
    """What events are the same by: the kind, and the payload as it is read, numbers by value."""
    check(recorded.data)
    return recorded.kind.tag, numbers.of(recorded.data)
