"""Figures of several rounds: medians, spread, ratios, and whether a target is reached. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from statistics import median
from typing import Any

from bench.plan import Target, Unit, Workload


@dataclass
class Outcome:
    """What a workload's rounds gave: each label's value in each round, and what is missing."""

    workload: Workload
    values: dict[str, list[float]] = field(default_factory=dict)
    processor_us: dict[str, list[float]] = field(default_factory=dict)
    """Of an event, in each round: of the subject, and of the server that it asks."""
    details: dict[str, dict[str, Any]] = field(default_factory=dict)
    failures: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    """Entries that read something else than the others."""
    took_s: float = 0.0
    load: float = 0.0
    """How many processes wanted a processor in the last minute: over the cores, it was noisy."""


@dataclass(frozen=True)
class Verdict:
    """A target beside what was measured; ``ratio`` None when something is missing."""

    workload: str
    entry: str
    against: str
    figure: float
    ratio: float | None
    spread: tuple[float, float]
    at_most: bool

    @property
    def met(self) -> bool:
        """Whether it is reached."""
        if self.ratio is None:
            return False
        return self.ratio <= self.figure if self.at_most else self.ratio >= self.figure


def ratios(unit: Unit, ours: Sequence[float], theirs: Sequence[float]) -> list[float]:
    """How many times as good, round by round; for bytes, how large a part."""
    if unit == "s":
        return [b / a for a, b in zip(ours, theirs, strict=False)]
    return [a / b for a, b in zip(ours, theirs, strict=False)]


def best_of(unit: Unit, labels: Sequence[str], values: Mapping[str, Sequence[float]]) -> str | None:
    """The label with the best median among those that were measured."""
    measured = [label for label in labels if values.get(label)]
    if not measured:
        return None
    chosen = min if unit in ("s", "bytes/event") else max
    return chosen(measured, key=lambda label: median(values[label]))


def verdicts(outcome: Outcome) -> list[Verdict]:
    """Every target of a workload."""
    return [_verdict(outcome, target) for target in outcome.workload.targets]


def _verdict(outcome: Outcome, target: Target) -> Verdict:
    unit, values = outcome.workload.unit, outcome.values
    best = best_of(unit, target.against, values)
    ours = values.get(target.entry, [])
    found = ratios(unit, ours, values[best]) if best is not None else []
    return Verdict(
        workload=outcome.workload.name,
        entry=target.entry,
        against=best if best is not None else " or ".join(target.against),
        figure=target.figure,
        ratio=median(found) if found else None,
        spread=(min(found), max(found)) if found else (0.0, 0.0),
        at_most=unit == "bytes/event",
    )
