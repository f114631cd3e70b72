"""What differs between two JSON values, as a JSON Patch (RFC 6902), and what a patch makes.

What a JSON value is, how deep it may be and when two are equal: :mod:`refold.core.jsonvalue`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from reprlib import repr as shortened
from typing import Any, Final, Literal, get_args

import msgspec
from msgspec import UNSET
from msgspec.structs import asdict

from refold.core.alignment import Pair, Score, common_ends, heaviest_pairs, place_by_place, refined
from refold.core.jsonvalue import (
    Numbering,
    check,
    copy,
    equal,
    index_in,
    parse_pointer,
    pointer,
    walk,
)
from refold.errors import UsageError

ALIGNMENT_CELLS_MAX: Final = 1_000_000
"""What one diff may spend on aligning lists: n entries against m take n * m cells, and again the
entries inside each where likeness is looked for."""
COPIED_VALUES_MAX: Final = 100_000
"""The values that ``copy`` operations of one patch may add: each could double the document."""

OpName = Literal["add", "remove", "replace", "move", "copy", "test"]

_OP_NAMES: Final = get_args(OpName)
_MEMBERS: Final = ("op", "from", "path", "value")
_LISTS: Final = (list, tuple)


class Operation(msgspec.Struct, frozen=True, rename={"from_": "from"}):
    """One operation of RFC 6902; ``before`` is the value that a removal or replacement ends."""

    op: OpName
    path: str
    value: Any = UNSET
    from_: Any = UNSET
    before: Any = UNSET


def to_json(operation: Operation) -> dict[str, Any]:
    """The operation as the RFC writes it, without ``before``."""
    members = {**asdict(operation), "from": operation.from_}
    return {name: members[name] for name in _MEMBERS if members[name] is not UNSET}


def diff(before: Any, after: Any) -> list[Operation]:
    """The operations (add, remove, replace) that turn ``before`` into ``after``, in order.

    Dicts are compared key by key, in the order of their keys; two that share no key are replaced
    whole. Lists are aligned on what stayed, then on what is alike, then place by place, so that
    an entry changed in place is changed only where it differs. Aligning takes time and memory in
    proportion to the product of two lengths, so one diff spends 1,000,000 cells on it (a list of
    1,000 changed throughout) and compares lists beyond that place by place. Values in the
    operations are those of the arguments, not copies. Raises :class:`UsageError` for values that
    are not JSON or nested over 200 deep.
    """
    check(before)
    check(after)
    differ = _Differ()
    differ.compare(before, after, "")
    return differ.operations


def apply(document: Any, operations: Iterable[Operation | Mapping[str, Any]]) -> Any:
    """``document`` after ``operations``, ours or RFC 6902 objects; shares nothing with either.

    All or nothing. Raises :class:`UsageError` with ``index``, ``op`` and ``path`` of the first
    operation that cannot be done: a place that is not there, a ``test`` that does not hold, a
    member missing, the root removed, a value moved into itself, a result nested over 200 deep,
    more than 100,000 values copied.
    """
    check(document)
    root, copied = {"": copy(document)}, 0
    for index, written in enumerate(operations):
        operation = written if isinstance(written, Operation) else _read(written, index)
        try:
            _check_members(operation)
            copied += _perform(root, operation)
            if copied > COPIED_VALUES_MAX:
                raise UsageError(f"the patch copies more than {COPIED_VALUES_MAX} values")
        except UsageError as refused:
            op, path = operation.op, operation.path
            why = f"operation {index} ({op} {path!r}): {refused.message}"
            raise UsageError(why, index=index, op=op, path=path) from refused
    return root[""]


class _Differ:
    """One run of :func:`diff`: the operations so far and what may still be spent on aligning."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self._numbers = Numbering()
        self._cells_left = ALIGNMENT_CELLS_MAX

    def compare(self, before: Any, after: Any, path: str) -> None:
        """Add the operations for one place of the document."""
        if self._numbers.of(before) == self._numbers.of(after):
            return
        if isinstance(before, _LISTS) and isinstance(after, _LISTS):
            self._compare_lists(before, after, path)
        elif _share_keys(before, after):
            self._compare_dicts(before, after, path)
        else:
            self.operations.append(Operation("replace", path, value=after, before=before))

    def _compare_dicts(self, before: dict[str, Any], after: dict[str, Any], path: str) -> None:
        for key in sorted(before.keys() | after.keys()):
            place = path + pointer((key,))
            if key not in after:
                self.operations.append(Operation("remove", place, before=before[key]))
            elif key not in before:
                self.operations.append(Operation("add", place, value=after[key]))
            else:
                self.compare(before[key], after[key], place)

    def _compare_lists(self, before: Sequence[Any], after: Sequence[Any], path: str) -> None:
        # An operation applies to what those before it left: `at` is the place as of then.
        at = old = new = 0
        for old_pair, new_pair in [*self._pairs(before, after), (len(before), len(after))]:
            for gone in before[old:old_pair]:
                self.operations.append(Operation("remove", f"{path}/{at}", before=gone))
            for come in after[new:new_pair]:
                self.operations.append(Operation("add", f"{path}/{at}", value=come))
                at += 1
            if old_pair < len(before):
                self.compare(before[old_pair], after[new_pair], f"{path}/{at}")
            at, old, new = at + 1, old_pair + 1, new_pair + 1

    def _pairs(self, before: Sequence[Any], after: Sequence[Any]) -> list[Pair]:
        """Which entry of ``before`` became which of ``after``."""
        olds = [self._numbers.of(item) for item in before]
        news = [self._numbers.of(item) for item in after]

        def stayed(old: range, new: range) -> Iterable[Pair]:
            cells = len(old) * len(new)
            return self._heaviest(old, new, lambda i, j: olds[i] == news[j], cells)

        def alike(old: range, new: range) -> Iterable[Pair]:
            mine, theirs = _entries(before, old), _entries(after, new)
            if not (mine and theirs):
                return ()
            cells = mine * len(new) + theirs * len(old)
            return self._heaviest(old, new, lambda i, j: self._likeness(before[i], after[j]), cells)

        pairs = common_ends(olds, news)
        for align in (stayed, alike, place_by_place):
            pairs = refined(pairs, len(before), len(after), align)
        return pairs

    def _heaviest(self, olds: range, news: range, score: Score, cells: int) -> Iterable[Pair]:
        """The pairs with the highest total score; none when that would cost too much."""
        if cells > self._cells_left:
            return ()
        self._cells_left -= cells
        return heaviest_pairs(olds, news, score)

    def _likeness(self, before: Any, after: Any) -> float:
        """The share of entries that two dicts or two lists have in common; 0 for other values."""
        number = self._numbers.of
        if isinstance(before, dict) and isinstance(after, dict):
            keys = before.keys() & after.keys()
            shared = sum(number(before[key]) == number(after[key]) for key in keys)
        elif isinstance(before, _LISTS) and isinstance(after, _LISTS):
            shared = len({*map(number, before)} & {*map(number, after)})
        else:
            return 0.0
        return shared / max(len(before), len(after), 1)


def _entries(items: Sequence[Any], indexes: range) -> int:
    """What looking into the dicts and lists among these items costs, in cells."""
    return sum(1 + len(items[i]) for i in indexes if isinstance(items[i], (dict, *_LISTS)))


def _share_keys(before: Any, after: Any) -> bool:
    """Whether these are two dicts worth comparing by key; an empty one always is."""
    if not (isinstance(before, dict) and isinstance(after, dict)):
        return False
    return not before or not after or not before.keys().isdisjoint(after)


def _read(written: Mapping[str, Any], index: int) -> Operation:
    if not isinstance(written, Mapping):
        raise UsageError(
            f"operation {index} is {shortened(written)}, not an object with op and path",
            index=index,
            op=None,
            path=None,
        )
    op: Any = written.get("op")
    path: Any = written.get("path")
    return Operation(op, path, value=written.get("value", UNSET), from_=written.get("from", UNSET))


def _check_members(operation: Operation) -> None:
    if operation.op not in _OP_NAMES:
        raise UsageError(f"op must be one of {', '.join(_OP_NAMES)}")
    if not isinstance(operation.path, str):
        raise UsageError("the member path is missing")
    if operation.op in ("add", "replace", "test") and operation.value is UNSET:
        raise UsageError("the member value is missing")
    if operation.op in ("move", "copy") and operation.from_ is UNSET:
        raise UsageError("the member from is missing")


def _perform(root: dict[str, Any], operation: Operation) -> int:
    """Change ``root``, which holds the document under ""; how many values it copied within."""
    place = ("", *parse_pointer(operation.path))
    match operation.op:
        case "add":
            _add(root, place, operation.value)
        case "remove":
            _remove(root, place)
        case "replace":
            _replace(root, place, operation.value)
        case "test":
            _test(walk(root, place), operation.value)
        case "move":
            _move(root, ("", *parse_pointer(operation.from_)), place)
        case "copy":
            return _add(root, place, walk(root, ("", *parse_pointer(operation.from_))))
    return 0


def _add(root: dict[str, Any], place: tuple[str, ...], value: Any) -> int:
    count = check(value, level=len(place))
    holder, last = walk(root, place[:-1]), place[-1]
    if isinstance(holder, dict):
        holder[last] = copy(value)
    elif isinstance(holder, list):
        end = len(holder) if last == "-" else index_in(holder, last, beyond=1)
        holder.insert(end, copy(value))
    else:
        raise UsageError(f"{last!r} leads into a {type(holder).__name__}")
    return count


def _remove(root: dict[str, Any], place: tuple[str, ...]) -> Any:
    if len(place) == 1:
        raise UsageError("the whole document cannot be removed; replace it")
    removed, holder = walk(root, place), walk(root, place[:-1])
    del holder[place[-1] if isinstance(holder, dict) else int(place[-1])]
    return removed


def _replace(root: dict[str, Any], place: tuple[str, ...], value: Any) -> None:
    check(value, level=len(place))
    walk(root, place)
    holder, last = walk(root, place[:-1]), place[-1]
    holder[last if isinstance(holder, dict) else int(last)] = copy(value)


def _move(root: dict[str, Any], source: tuple[str, ...], place: tuple[str, ...]) -> None:
    if source != place and place[: len(source)] == source:
        raise UsageError("a value cannot be moved into itself")
    value = walk(root, source)
    if source != place:
        _remove(root, source)
        _add(root, place, value)


def _test(found: Any, expected: Any) -> None:
    if not equal(found, expected):
        raise UsageError(f"it is {shortened(found)}, not {shortened(expected)}")
