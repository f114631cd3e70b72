"""What a verdict says of one metric, and several of them together."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final, Literal

import msgspec

from refold.replay.metrics import Metric
from refold.replay.stats import CONFIDENCE, Looks

Answer = Literal[
    "better",
    "worse",
    "equivalent",
    "not worse",
    "inconclusive",
    "changed more than noise",
    "no change seen",
]


Sides = tuple[str, str]
"""What the two that are compared are called: the one that is judged, and what it is set against."""
SIDES: Final[Sides] = ("candidate", "control")


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What can be said of one metric; numbers are in its unit, and None where not known.

    ``candidate`` and ``control`` are means over the items known of both (where there are none, over
    what is known of each), ``difference`` the one less the other, and ``low`` and ``high`` what it
    lies between with ``confidence``, by ``method``. ``items`` were asked, in ``clusters``, and of
    ``missing`` an answer of either arm is not known: counted as the lowest and the highest there
    can be, the difference over all items is ``missing_low`` and ``missing_high``.
    ``smallest_effect`` would have been seen in four of five such comparisons, ``clusters_needed``
    settle an inconclusive one as often. ``p`` is the chance of so large a difference where there is
    none, ``adjusted_p`` the same among several metrics. Where ``looks`` is ``"any"``, a run that is
    not complete is answered too, by what was asked so far. Of a guardrail (``is_guardrail``) it is
    enough that it is not worse; ``is_not_worse`` says that it surely is not, by more than the
    margin, which of the primary metric leaves open whether it is better. ``plain`` is the answer in
    a sentence.
    """

    metric: Metric
    answer: Answer
    plain: str
    candidate: float | None = None
    control: float | None = None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    method: str = ""
    items: int = 0
    clusters: int = 0
    missing: int = 0
    missing_low: float | None = None
    missing_high: float | None = None
    margin: float | None = None
    smallest_effect: float | None = None
    clusters_needed: int | None = None
    p: float | None = None
    adjusted_p: float | None = None
    confidence: float = CONFIDENCE
    is_complete: bool = True
    looks: Looks = "one"
    clustered_by: str = "conversation"
    sides: Sides = SIDES
    is_guardrail: bool = False
    is_not_worse: bool = False

    @property
    def is_answered(self) -> bool:
        """Whether it may be answered: the run is complete, or may be looked at at any time."""
        return self.is_complete or self.looks == "any"


class Verdicts(msgspec.Struct, frozen=True, kw_only=True):
    """One metric declared beforehand, the guardrails that must not get worse, and all others.

    ``ship`` is the first sentence: would you ship this? Of the metrics in ``unknown`` no value was
    seen on both sides; they are among the verdicts only where a threshold asks about one.
    """

    ship: str
    primary: Verdict
    guardrails: list[Verdict] = []
    rest: list[Verdict] = []
    unknown: list[Verdict] = []

    def __iter__(self) -> Iterator[Verdict]:
        """Each of which something is known, the primary first."""
        return iter([self.primary, *self.guardrails, *self.rest])
