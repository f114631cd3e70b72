"""What was decided about personal data, as events of one stream: holds, redactions, erasures.

They name subjects by pseudonyms and events by their ids, and hold no personal data. What is to go
is recorded before anything goes, and what went after that: one without the other is unfinished.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from refold.conversation import governance
from refold.core.encode import EVENTS_PER_APPEND_MAX
from refold.core.expected import NO_STREAM
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import Conflict, Unavailable
from refold.privacy.policy import Hold

STREAM: Final = "refold-privacy"
"""Where decisions are recorded, in the log itself or in one of their own."""
OUT_OF_REACH: Final = "write-ahead log of the server"
"""A part that never answers: a server writes over it in its own time. All else can be done."""
TRIES_MAX: Final = 100


@dataclass
class Decisions:
    """What is in force: holds by name, and what was begun and not finished, by id."""

    version: int = -1
    holds: dict[str, Hold] = field(default_factory=dict)
    hold_count: int = 0
    erasures: dict[str, governance.ErasureRequested] = field(default_factory=dict)
    redactions: dict[str, list[governance.RedactionApplied]] = field(default_factory=dict)

    def take(self, recorded: Recorded) -> None:
        """Go on by one event."""
        self.version = recorded.version
        match recorded.type:
            case "hold.placed":
                self.hold_count += 1
                placed: governance.HoldPlaced = recorded.to_class(governance.HoldPlaced)
                said = placed.hold, placed.subject, placed.category, placed.reason
                self.holds[placed.hold] = Hold(*said, recorded.recorded_at_us)
            case "hold.released":
                self.holds.pop(recorded.data["hold"], None)
            case "erasure.requested":
                asked = recorded.to_class(governance.ErasureRequested)
                self.erasures[asked.erasure] = asked
            case "erasure.executed":
                told: governance.ErasureExecuted = recorded.to_class(governance.ErasureExecuted)
                self.redactions.pop(told.erasure, None)
                if not {*told.unanswered} - {OUT_OF_REACH} and told.kept_until is None:
                    self.erasures.pop(told.erasure, None)
            case "redaction.applied":
                applied = recorded.to_class(governance.RedactionApplied)
                if applied.redaction:
                    self.redactions.setdefault(applied.redaction, []).append(applied)
            case "redaction.completed":
                self.redactions.pop(recorded.data["redaction"], None)


def decisions(log: Store) -> Decisions:
    """What is in force, of the log that decisions are recorded in."""
    found = Decisions()
    if log.head(STREAM) >= 0:
        for recorded in log.read(STREAM):
            found.take(recorded)
    return found


def check_decided(log: Store) -> Iterator[tuple[str, bool, str]]:
    """One line of a diagnosis: whether everything that was to go went."""
    found = decisions(log)
    if found.version < 0:
        return
    left = [f"{one.erasure} of {one.subject}: `refold erase`" for one in found.erasures.values()]
    begun = (one for one in found.redactions if one not in found.erasures)
    left += [f"{name}: `refold redact` finishes it first" for name in begun]
    told = f"{len(found.holds)} in force, and nothing is left to take out"
    yield "holds, erasures", not left, f"not finished: {', '.join(left)}" if left else told


def decide(log: Store, choose: Callable[[Decisions], Sequence[Any]]) -> Decisions:
    """Record what is chosen on what is in force; what was, then.

    ``choose`` is asked again where another decision came first. Nothing chosen, nothing recorded.
    """
    for _ in range(TRIES_MAX):
        found = decisions(log)
        chosen = choose(found)
        try:
            _record(log, chosen, found.version)
        except Conflict:
            continue
        return found
    raise Unavailable(f"deciding lost {TRIES_MAX} races")


def record(log: Store, events: Iterable[Any]) -> None:
    """Record what follows from a decision, after whatever was recorded meanwhile."""
    made = tuple(events)
    decide(log, lambda _: made)


def _record(log: Store, events: Sequence[Any], version: int) -> None:
    for start in range(0, len(events), EVENTS_PER_APPEND_MAX):
        page = events[start : start + EVENTS_PER_APPEND_MAX]
        expected = NO_STREAM if version < 0 else version
        version = log.append(STREAM, page, expected=expected).version
