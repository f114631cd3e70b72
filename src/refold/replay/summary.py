"""What a run of a replay came to."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from decimal import Decimal
from typing import Final

import msgspec
from msgspec.structs import replace

from refold.conversation.events import Usage
from refold.replay.actions import total_cost
from refold.replay.decision import total_usage
from refold.replay.faults import fault_in
from refold.replay.requests import Outcome
from refold.replay.variant import ReplayResult

FAILURES_SHOWN_MAX: Final = 20


class FailedDecision(msgspec.Struct, frozen=True):
    """A decision without an answer: where, why (``kind: message``), after how many requests.

    ``at`` is the stream of a conversation that cannot be read.
    """

    at: str
    error: str
    attempts: int


class ReplaySummary(ReplayResult, frozen=True, kw_only=True):
    """What a run of a replay did; ``mode`` says how, ``not_measured`` what that does not show.

    Of ``decisions`` in ``conversations``, ``kept`` had their answer before; this run's ``answered``
    and ``failed`` took ``requests``. ``unreadable`` conversations hold an event that does not fit
    its class: what of them was not asked is missing. ``excluded`` decisions are beside these: what
    led to them is redacted or erased. ``stopped`` says why a run ended before all
    was asked. ``cost`` (US dollars) and ``usage`` are sums of this run over the ``cost_known`` and
    ``usage_known`` answers that told; None where none did, and at least so much where fewer did
    than ``requests`` were made. ``failures`` holds 20, the service's first. A later run asks what
    failed again. ``parts`` are the summaries of each variant and sample, where there are several.
    """

    conversations: int
    decisions: int
    kept: int
    answered: int = 0
    failed: int = 0
    requests: int = 0
    unreadable: int = 0
    excluded: int = 0
    stopped: str = ""
    usage: Usage | None = None
    usage_known: int = 0
    cost: Decimal | None = None
    cost_known: int = 0
    failures: list[FailedDecision] = []
    parts: list[ReplaySummary] = []

    def adding(self, at: str, outcome: Outcome) -> ReplaySummary:
        """The summary with one more decision."""
        requests = self.requests + outcome.attempts
        if outcome.action is None:
            failed = FailedDecision(at, outcome.error, outcome.attempts)
            shown = _first([*self.failures, failed])
            return replace(self, requests=requests, failed=self.failed + 1, failures=shown)
        usage, cost = outcome.action.usage, outcome.action.cost
        return replace(
            self,
            requests=requests,
            answered=self.answered + 1,
            usage=total_usage([one for one in (self.usage, usage) if one is not None]),
            usage_known=self.usage_known + (usage is not None),
            cost=total_cost([self.cost, cost]),
            cost_known=self.cost_known + (cost is not None),
        )

    def with_part(self, part: ReplaySummary, missing: int) -> ReplaySummary:
        """The summary with what another process did, which had so many ``missing`` to ask.

        What it found answered meanwhile is kept, by whomever it was asked.
        """
        counts = ("answered", "failed", "requests", "unreadable", "usage_known", "cost_known")
        return replace(
            self,
            **{name: getattr(self, name) + getattr(part, name) for name in counts},
            kept=self.kept + max(0, part.kept + missing - part.decisions),
            usage=total_usage([one.usage for one in (self, part) if one.usage is not None]),
            cost=total_cost([self.cost, part.cost]),
            failures=_first([*self.failures, *part.failures]),
        )

    def unable(self, stream: str, error: Exception) -> ReplaySummary:
        """The summary with one more conversation that cannot be read."""
        failed = FailedDecision(stream, f"unreadable: {error}", 0)
        shown = _first([*self.failures, failed])
        return replace(self, unreadable=self.unreadable + 1, failures=shown)


def _first(failures: Iterable[FailedDecision]) -> list[FailedDecision]:
    """Those that are shown; one that is the service's is not hidden by what a candidate refuses."""
    return sorted(failures, key=lambda one: fault_in(one.error) is not None)[:FAILURES_SHOWN_MAX]


def together(parts: Sequence[ReplaySummary]) -> ReplaySummary:
    """The summary of a run: that of its one variant and sample, or of all of them."""
    if len(parts) == 1:
        return parts[0]
    counts = (
        *("decisions", "kept", "answered", "failed", "requests", "usage_known", "cost_known"),
        "excluded",
    )
    failures = [failure for part in parts for failure in part.failures]
    return replace(
        parts[0],
        **{name: sum(getattr(part, name) for part in parts) for name in counts},
        usage=total_usage([part.usage for part in parts if part.usage is not None]),
        cost=total_cost(part.cost for part in parts),
        failures=_first(dict.fromkeys(failures)),
        parts=list(parts),
    )
