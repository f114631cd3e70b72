"""What a function names, and what it changes: read from its bytecode."""

from __future__ import annotations

import dis
from collections.abc import Iterator, Sequence
from types import CodeType
from typing import Final

_CHANGING: Final = {
    *("add", "append", "appendleft", "clear", "difference_update", "discard", "extend"),
    *("extendleft", "insert", "intersection_update", "move_to_end", "pop", "popitem", "popleft"),
    *("remove", "reverse", "rotate", "setdefault", "sort", "subtract"),
    *("symmetric_difference_update", "update"),
}
"""Methods that change what they belong to."""
_STORING: Final = {"STORE_SUBSCR", "STORE_ATTR", "STORE_SLICE"}
_DELETING: Final = {"DELETE_SUBSCR", "DELETE_ATTR"}


def variables_of(code: CodeType) -> tuple[list[str], set[str]]:
    """The globals that some code names, in order, and what it changes.

    That is a variable that it binds again, or in whose value it changes an element, an attribute,
    or anything by a method such as ``append``; and likewise an attribute, as ``.name``.
    """
    named: dict[str, None] = {}
    changed: set[str] = set()
    for body in _bodies(code):
        steps = list(dis.get_instructions(body))
        for index, (name, _, _, variable, *_) in enumerate(steps):
            verb, _, kind = name.partition("_")
            if verb == "LOAD" and kind in ("GLOBAL", "NAME"):
                named[variable] = None
            if kind not in ("GLOBAL", "NAME", "DEREF", "ATTR", "METHOD"):
                continue
            if verb in ("STORE", "DELETE") or _is_changed(steps[index + 1 :]):
                changed.add(f".{variable}" if kind in ("ATTR", "METHOD") else variable)
    return list(named), changed


def _bodies(code: CodeType) -> Iterator[CodeType]:
    """Some code, and that of the functions, classes and comprehensions in it."""
    yield code
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _bodies(constant)


def _is_changed(steps: Sequence[dis.Instruction]) -> bool:
    """Whether the value that was loaded just now is what the next steps change."""
    depth, before = 1, ""  # of the stack, from that value on
    for step in steps:
        if depth == 1 and step.opname in ("LOAD_ATTR", "LOAD_METHOD") and step.argval in _CHANGING:
            return True
        depth += dis.stack_effect(step.opcode, step.arg, jump=False)
        if depth <= 0:
            # `it[key] = value` takes a value from below it; `it[key] += value` has swapped.
            stores = step.opname in _STORING and (depth == -1 or before == "SWAP")
            return stores or (step.opname in _DELETING and depth == 0)
        before = step.opname
    return False
