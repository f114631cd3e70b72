"""What is left of a run: what the writers were told, and what stands where, read from outside."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple
from zlib import crc32

from tests.faults.shared.journal import Deed


class Entry(NamedTuple):
    """An event as plain SQL shows it; ``data`` is kept where something is reckoned from it."""

    position: int
    stream: str
    version: int
    type: str
    op: str
    n: int
    data: Mapping[str, Any] | None = None


class Run(NamedTuple):
    """Positions that a reader was given side by side, first to last; ``sum`` of what they hold."""

    first: int
    last: int
    sum: int


class Message(NamedTuple):
    """An event in a topic of Kafka, in the order of its partition."""

    partition: int
    stream: str
    version: int
    position: int


class TallyRow(NamedTuple):
    """What a projection keeps of a stream: ``trail`` depends on every event and their order."""

    events: int
    trail: int


@dataclass
class Topic:
    """All that who reads what is committed finds there.

    A feed that is begun again sends at most ``again_max`` positions again.
    """

    messages: list[Message]
    again_max: int


@dataclass
class Evidence:
    """All of it."""

    deeds: dict[str, Deed] = field(default_factory=dict)
    log: list[Entry] = field(default_factory=list)
    readers: dict[str, list[Run]] = field(default_factory=dict)
    tallies: dict[str, dict[str, TallyRow]] = field(default_factory=dict)
    topics: dict[str, Topic] = field(default_factory=dict)
    complaints: list[str] = field(default_factory=list)


TRAIL_MODULUS = 1_000_003


def next_trail(trail: int, version: int, op: str, n: int) -> int:
    """The trail of a stream with one more event."""
    return (trail * 31 + crc32(f"{version} {op} {n}".encode())) % TRAIL_MODULUS


def sum_of(before: int, position: int, stream: str, version: int) -> int:
    """The sum of a run with one more event."""
    return crc32(f"{position} {stream} {version}".encode(), before)


def tallied(log: list[Entry]) -> dict[str, TallyRow]:
    """The rows that a projection must hold: a plain loop over the log."""
    found: dict[str, TallyRow] = {}
    for one in log:
        events, trail = found.get(one.stream, TallyRow(0, 0))
        trail = next_trail(trail, one.version, one.op, one.n)
        found[one.stream] = TallyRow(events + 1, trail)
    return found


def by_op(log: list[Entry]) -> dict[str, list[Entry]]:
    """The events of each append, in the order of the log."""
    found: dict[str, list[Entry]] = {}
    for one in log:
        found.setdefault(one.op, []).append(one)
    return found


def runs_of(log: list[Entry]) -> Iterator[Run]:
    """The whole log as one run."""
    total = 0
    for one in log:
        total = sum_of(total, one.position, one.stream, one.version)
    if log:
        yield Run(log[0].position, log[-1].position, total)
