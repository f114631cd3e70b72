"""A store in a few lines of plain Python: what the stateful tests hold the real one to.

A log of events, streams as lists of places in it, the first answer of each key.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import msgspec

from refold.core.event import Event, category_of
from refold.core.expected import ANY, NO_STREAM, STREAM_EXISTS, Expected
from refold.core.fold import Decider, Fold
from refold.core.registry import Registry
from refold.engine.append import Append
from refold.errors import Rejected
from refold.ports import Appended

REGISTRY = Registry()
TYPES = ("test.a", "test.b", "test.c")
NUMBERS_MAX = 12
"""A stream with more of them takes no further command."""


class Numbers(msgspec.Struct, frozen=True):
    """The state that is folded to: the numbers of two of the three types, in order."""

    numbers: tuple[int, ...] = ()


def _summing() -> Fold[Numbers]:
    fold = Fold("sum", Numbers, registry=REGISTRY)
    fold.on("test.a", "test.b")(lambda state, event: Numbers((*state.numbers, event["n"])))
    return fold


SUM = _summing()


def _decided(number: int, state: Numbers) -> list[Event]:
    """One more number, unless it is there already; too many are refused."""
    if len(state.numbers) > NUMBERS_MAX:
        raise Rejected("full")
    return [] if number in state.numbers else [Event("test.a", {"n": number})]


ONE_OF_EACH = Decider(SUM, _decided)


class Kept(NamedTuple):
    """An event as the model keeps it."""

    stream: str
    type: str
    n: int | None
    occurred_at: int
    recorded_at: int


@dataclass
class Model:
    """What the store should say; positions of the log are indexes into ``log`` plus one."""

    log: list[Kept] = field(default_factory=list)
    streams: dict[str, list[int]] = field(default_factory=dict)
    keys: dict[str, tuple[object, list[Appended]]] = field(default_factory=dict)

    def head(self, stream: str) -> int:
        """The last version of a stream."""
        return len(self.streams.get(stream, ())) - 1

    def append(self, parts: Sequence[Append], key: str | None, now: int) -> list[Appended] | str:
        """The answers of an append, or the name of its refusal."""
        content = [(part.stream, [told(event) for event in part.events]) for part in parts]
        if key in self.keys:
            first_content, answers = self.keys[key]
            same = first_content == content
            return [a._replace(duplicate=True) for a in answers] if same else "key_reused"
        heads: dict[str, int] = {}
        for part in parts:
            head = heads.get(part.stream, self.head(part.stream))
            if not _is_met(part.expected, head):
                return "conflict"
            heads[part.stream] = head + len(part.events)
        recorded_at = max(now, self.log[-1].recorded_at if self.log else now)
        answers = [self._stored(part, recorded_at, now) for part in parts]
        if key is not None:
            self.keys[key] = (content, answers)
        return answers

    def execute(self, stream: str, number: int, now: int) -> Appended | str | None:
        """What a command of :data:`ONE_OF_EACH` comes to."""
        numbers = self.folded(stream, range(self.head(stream) + 1))
        if len(numbers) > NUMBERS_MAX:
            return "rejected"
        if number in numbers:
            return None
        answer = self.append([Append(stream, [Event("test.a", {"n": number})])], None, now)
        return answer if isinstance(answer, str) else answer[0]

    def found(self, after: int, categories: Any, types: Any) -> list[int]:
        """The positions after one, narrowed as a reader of the log narrows them."""
        return [
            position
            for position, kept in enumerate(self.log, 1)
            if position > after
            and (categories is None or category_of(kept.stream) in categories)
            and (types is None or kept.type in types)
        ]

    def fork(self, parent: str, shared: int, stream: str, own: list[Kept]) -> None:
        """A new stream that shares the first places of another."""
        self.streams[stream] = self.streams[parent][:shared]
        for kept in own:
            self.log.append(kept)
            self.streams[stream].append(len(self.log))

    def events(self, stream: str) -> list[Kept]:
        """The history of a stream."""
        return [self.log[position - 1] for position in self.streams[stream]]

    def is_within(self, version: int, position: int, moment: dict[str, int]) -> bool:
        """Whether an event counts at a moment."""
        kept = self.log[position - 1]
        said = {
            "version": version,
            "position": position,
            "recorded_until": kept.recorded_at,
            "occurred_until": kept.occurred_at,
        }
        return all(said[measure] <= bound for measure, bound in moment.items())

    def folded(self, stream: str, versions: Sequence[int]) -> tuple[int, ...]:
        """The state after some events of a stream."""
        events = self.events(stream) if stream in self.streams else []
        chosen = [events[version] for version in versions]
        return tuple(e.n for e in chosen if e.type in TYPES[:2] and e.n is not None)

    def _stored(self, part: Append, recorded_at: int, now: int) -> Appended:
        for name, n, at in map(told, part.events):
            at_us = now if at is None else at
            self.log.append(Kept(part.stream, name, n, at_us, recorded_at))
            self.streams.setdefault(part.stream, []).append(len(self.log))
        return Appended(
            part.stream, self.head(part.stream), len(self.log), len(part.events), recorded_at
        )


def _is_met(expected: Expected, head: int) -> bool:
    if expected is NO_STREAM:
        return head == -1
    if expected is STREAM_EXISTS:
        return head >= 0
    return expected is ANY or expected == head


def told(event: object) -> tuple[Any, ...]:
    """What an event of these tests says."""
    assert isinstance(event, Event)
    return event.type, event.data["n"], event.occurred_at


def made(events: Sequence[object], at_us: int) -> list[Kept]:
    """Events that a branch made up: without a time of their own they have that of their place."""
    said = map(told, events)
    return [Kept("", name, n, at_us if at is None else at, 0) for name, n, at in said]
