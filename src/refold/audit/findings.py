"""What is wrong with a sealed log, told one by one and not without bound."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal, NamedTuple

FINDINGS_MAX: Final = 100
"""So many are told; the others are counted."""
What = Literal["event", "log", "tile", "head", "signature", "value"]


class Finding(NamedTuple):
    """One thing that is not as it was sealed; ``position`` is that of an event, where it is one."""

    what: What
    detail: str
    position: int | None = None


class Findings:
    """The first findings, and how many there are in all."""

    def __init__(self, told: Iterable[Finding] = (), count: int = 0) -> None:
        self.told, self.count = list(told), count

    def add(self, what: What, detail: str, position: int | None = None) -> None:
        """Another one."""
        self.count += 1
        if len(self.told) < FINDINGS_MAX:
            self.told.append(Finding(what, detail, position))

    def take(self, others: Findings) -> None:
        """Those of another look, behind these."""
        self.count += others.count
        self.told += others.told[: FINDINGS_MAX - len(self.told)]
