"""What is measured: workloads, who takes part in each, and what is to be reached."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

Unit = Literal["events/s", "s", "bytes/event", "/s"]


@dataclass(frozen=True)
class Ask:
    """One request to a subject."""

    subject: str
    do: str
    arguments: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Entry:
    """One line of a workload: ``label`` is unique in it; measured once a round."""

    label: str
    ask: Ask


@dataclass(frozen=True)
class Target:
    """``entry`` must be ``figure`` times as good as ``against``, or as the best of several.

    As good: as many a second, or as few seconds. For bytes, ``figure`` is the most that
    ``entry / against`` may be. ``times``: how often the ratio was asked for.
    """

    entry: str
    figure: float
    against: tuple[str, ...]


@dataclass(frozen=True)
class Workload:
    """Entries measured in turn, round after round; ``prepare`` before them, ``clear`` after."""

    name: str
    title: str
    unit: Unit
    entries: Sequence[Entry]
    targets: Sequence[Target] = ()
    prepare: Sequence[Ask] = ()
    clear: Sequence[Ask] = ()
    rounds: int = 0
    compared: Sequence[str] = ()
    """Entries whose states must be equal: they read the same events."""
    checks: Sequence[Sequence[Ask]] = ()
    """Requests whose states must be equal, group by group; asked once."""
    note: str = ""


@dataclass(frozen=True)
class Scale:
    """How much of everything."""

    seconds: float
    rounds: int
    """How often each entry is measured, unless its workload says otherwise."""
    stream: int
    huge_stream: int
    log: int
    log_streams: int
    rival_log: int
    bytes_events: int
    growth: tuple[int, ...]
    turns: int
    """Of one long conversation."""
    calls: int
    """Of one conversation whose every request holds all of it."""
    server_log: int
    """Events in a log that is read from a server."""


FULL = Scale(
    seconds=0.25,
    rounds=9,
    stream=100_000,
    huge_stream=1_000_000,
    log=1_000_000,
    log_streams=10_000,
    rival_log=100_000,
    bytes_events=24_000,
    growth=(100_000, 10_000_000),
    turns=10_000,
    calls=1_000,
    server_log=100_000,
)
QUICK = Scale(
    seconds=0.1,
    rounds=3,
    stream=5_000,
    huge_stream=20_000,
    log=20_000,
    log_streams=200,
    rival_log=5_000,
    bytes_events=6_000,
    growth=(10_000, 100_000),
    turns=1_000,
    calls=200,
    server_log=10_000,
)
