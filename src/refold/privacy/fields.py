"""Which values of which events are personal."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from typing import Final

from refold.core.event import Kind
from refold.errors import UsageError, shown
from refold.privacy.places import Path

EVERY: Final = "*"
"""Stands for every type of event, and in a pointer for every member or element."""


class Fields:
    """The personal values of events of one type, by JSON Pointers into the payload.

    A step ``*`` is any member or element; the pointer ``""`` every member, and a payload that has
    none itself. Of a value inside another one that is personal, the outer counts.
    """

    def __init__(self, pointers: Iterable[str]) -> None:
        self.paths = [*dict.fromkeys(path for pointer in pointers for path in _paths(pointer))]

    @classmethod
    def joined(cls, declared: Fields | None, found: Iterable[str]) -> Fields:
        """Those that were declared, if any, and more."""
        both = cls(found)
        both.paths += declared.paths if declared else []
        return both

    @cached_property
    def names(self) -> list[str]:
        """Those members of a payload that are personal, or have something in them that is.

        None at all where any member may be, or the payload.
        """
        names = [*dict.fromkeys(path[0] if path else EVERY for path in self.paths)]
        return [] if EVERY in names else names

    def are_at(self, path: Path) -> bool:
        """Whether the value at a place is personal."""
        return any(
            len(wanted) == len(path)
            and all(step in (EVERY, one) for step, one in zip(wanted, path, strict=True))
            for wanted in self.paths
        )


class FieldTable:
    """The personal values of events by type; ``*`` stands for every type."""

    def __init__(self, table: Mapping[str, Sequence[str]]) -> None:
        if not isinstance(table, Mapping):
            raise _odd(table)
        for name, pointers in table.items():
            is_list = isinstance(pointers, Sequence) and not isinstance(pointers, str)
            if not (isinstance(name, str) and is_list):
                raise _odd({name: pointers})
        self._table = {name: tuple(pointers) for name, pointers in table.items()}
        self._of: dict[str, Fields | None] = {}
        for name in table:
            self.of(name)

    def of(self, tag: str) -> Fields | None:
        """Those of events of a kind, as it is stored; None where there are none."""
        try:
            return self._of[tag]
        except KeyError:
            name = Kind.parse(tag).type
            pointers = [*self._table.get(EVERY, ()), *self._table.get(name, ())]
            found = self._of[tag] = Fields(pointers) if pointers else None
            return found

    def __bool__(self) -> bool:
        return bool(self._table)


def with_more(*tables: Mapping[str, Sequence[str]]) -> dict[str, Sequence[str]]:
    """Tables as one: of a type that several have, all that they say; nothing after an empty one."""
    found: dict[str, Sequence[str]] = {}
    for table in tables:
        for name, pointers in FieldTable(table)._table.items():
            found[name] = (*found.get(name, ()), *pointers) if pointers else ()
    return found


def _paths(pointer: str) -> list[Path]:
    """The ways that a pointer means."""
    if pointer == "":
        return [(), (EVERY,)]
    if not isinstance(pointer, str) or not pointer.startswith("/"):
        why = f"{shown(pointer)} is no JSON Pointer: it begins with a /, such as /text"
        raise UsageError(why, argument="fields")
    steps = pointer[1:].split("/")
    return [tuple(step.replace("~1", "/").replace("~0", "~") for step in steps)]


def _odd(given: object) -> UsageError:
    return UsageError(
        f"fields={shown(given)} is no table of personal values: give types of events and lists of "
        'JSON Pointers, such as {"user.utterance": ["/text"]}',
        argument="fields",
    )


CONVERSATION: Final[Mapping[str, Sequence[str]]] = {
    "session.started": [
        "/parties/*/name", "/parties/*/id", "/parties/*/address", "/initial_state/*",
    ],
    "session.ended": ["/error"],
    "agent.configured": ["/prompt/text", "/prompt/hash", "/params/*"],
    "user.utterance": ["/text", "/parts/*/*", "/party", "/words/*/text", "/audio"],
    "agent.utterance": ["/text", "/parts/*/*", "/party"],
    "model.request": ["/hash", "/params/*", "/url"],
    "model.response": ["/parts/*/*"],
    "model.failed": ["/error"],
    "tool.call": ["/arguments", "/parsed"],
    "tool.decided": ["/approver", "/changed_arguments"],
    "tool.result": ["/result"],
    "tool.relayed": ["/result"],
    "retrieval.completed": ["/query", "/ids/*", "/hashes/*"],
    "memory.read": ["/query", "/ids/*", "/hashes/*"],
    "memory.written": ["/ids/*", "/hashes/*"],
    "state.patched": ["/patch/*/value"],
    "score.recorded": ["/comment"],
    "label.recorded": ["/comment"],
    "speech.started": ["/party"],
    "speech.stopped": ["/party"],
    "playback.interrupted": ["/played_text", "/unplayed_text", "/party"],
    "dtmf.received": ["/digits"],
    "call.held": ["/from_party", "/to_party"],
    "call.transferred": ["/from_party", "/to_party"],
    "decision.recorded": ["/reasons/*", "/reference"],
    "consent.recorded": ["/party"],
    "consent.revoked": ["/party"],
    "wire.request": ["/hash", "/gaps/*/0", "/new/*", "/text", "/base64"],
    "wire.piece": ["/text"],
    "wire.answer": ["/text", "/lead", "/rest", "/hash", "/headers/*"],
    "wire.waiting": ["/run/*"],
}  # fmt: skip
"""The personal values in events of :mod:`refold.conversation` and of what was captured.

Texts, arguments, results, names, addresses, and the exact bytes of requests and answers.
"""
