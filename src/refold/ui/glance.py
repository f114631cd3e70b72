"""What a page shows of a conversation's state at a version, however long the conversation is.

A fold of its own, for its state stays small: words and finished calls are let go, so that there is
a snapshot of it near any version.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Any, Final, NamedTuple

import msgspec

from refold import Fold, Recorded
from refold.conversation import Conversation
from refold.conversation.state import ConversationState

EDGES_MAX: Final = 400
"""So many moments are kept apart; of more, the older ones are put together two by two."""
CALLS_KEPT: Final = 32
"""So many calls, a power of two, may be kept beside those that are open."""
_WAITED_FOR: Final = {
    "model.response": "model",
    "agent.utterance": "model",
    "model.failed": "model",
    "tool.result": "tools",
    "tool.relayed": "tools",
    "user.utterance": "caller",
}
"""Who the time before an event was spent waiting for; anything else counts as ``other``."""


class TimeSpent(NamedTuple):
    """A stretch of the bar of time: who was waited for, how long, and where it lies, 0 to 1."""

    who: str
    ms: float
    start: float
    width: float


class Glanced(msgspec.Struct):
    """A conversation without what was said, and where its time went.

    ``state`` is that of :data:`~refold.conversation.Conversation`, but for its words and most
    calls that are answered. ``edges`` are moments in microseconds, in order; until each of them,
    from the one before, whom ``waited`` names was waited for. ``spent_us`` is exact by who.
    ``turns`` counts what was said, by either side.
    """

    state: ConversationState = msgspec.field(default_factory=ConversationState)
    edges: list[int] = []
    waited: list[str] = []
    spent_us: dict[str, int] = {}
    turns: int = 0

    def spent(self) -> Iterator[TimeSpent]:
        """The bar of time, neighbours for the same one together."""
        edges, whole_us = self.edges, self.edges[-1] - self.edges[0] if self.edges else 0
        begin = 0
        for place in range(1, len(edges)):
            if place + 1 < len(edges) and self.waited[place + 1] == self.waited[place]:
                continue
            start_us, took_us = edges[begin] - edges[0], edges[place] - edges[begin]
            begin = place
            if took_us > 0:
                share = start_us / whole_us, took_us / whole_us
                yield TimeSpent(self.waited[place], took_us / 1_000, *share)


def outline(state: ConversationState) -> dict[str, Any]:
    """What of a state changes from event to event, but for the words themselves, as JSON values."""
    usage = state.usage
    said = {
        "status": state.status,
        "agent": state.agent and state.agent.agent,
        "state": state.state,
        "tokens": usage.counted and {"in": usage.input_tokens, "out": usage.output_tokens},
        "answers without tokens": usage.responses - usage.counted,
        "cost": state.cost,
        "answers without a price": usage.responses - usage.priced,
        "money": state.money.net,
        "open calls": sorted(state.open_calls),
        "scores": {one.event.name: one.event.value for one in state.scores},
    }
    given = {name: one for name, one in said.items() if one or name == "state"}
    built: dict[str, Any] = msgspec.to_builtins(given, enc_hook=str)
    return built


Glance: Final[Fold[Glanced]] = Fold("glance", Glanced)


def _passed(glanced: Glanced, who: str, at_us: int) -> Glanced:
    state = glanced.state
    glanced.turns += len(state.transcript)
    state.transcript.clear()
    state.unmatched_results.clear()
    state.early_interruptions.clear()
    if state.last_at_us is not None and at_us <= state.last_at_us:  # Else it was said of it later.
        _wait(glanced, who, at_us)
    return glanced


def _let_go(state: ConversationState) -> None:
    """Let go of calls that are answered, each time that there are twice as many as before."""
    calls = state.tool_calls
    if len(calls) < CALLS_KEPT or len(calls) & (len(calls) - 1):
        return
    kept = sorted(place for places in state.open_calls.values() for place in places)
    place_of = {place: now for now, place in enumerate(kept)}
    state.tool_calls = [calls[place] for place in kept]
    state.open_calls = {
        call_id: [place_of[place] for place in places]
        for call_id, places in state.open_calls.items()
    }


def _wait(glanced: Glanced, who: str, at_us: int) -> None:
    """Someone was waited for until a moment; what comes late in the log parts a stretch in two."""
    edges, waited, spent_us = glanced.edges, glanced.waited, glanced.spent_us
    place = bisect_right(edges, at_us)
    took_us = at_us - edges[place - 1] if place else 0
    spent_us[who] = spent_us.get(who, 0) + took_us
    if place < len(edges):
        spent_us[waited[place]] += -took_us if place else edges[0] - at_us
    edges.insert(place, at_us)
    waited.insert(place, who)
    if len(edges) > EDGES_MAX:
        _coarsen(glanced)


def _coarsen(glanced: Glanced) -> None:
    """Put the older moments together two by two, each two under the longer one's name."""
    edges, waited = glanced.edges, glanced.waited
    for place in range(EDGES_MAX // 2, 1, -2):
        first_us, second_us = edges[place - 1] - edges[place - 2], edges[place] - edges[place - 1]
        if first_us > second_us:
            waited[place] = waited[place - 1]
        del edges[place - 1], waited[place - 1]


def _step_of(name: str, handler: Any) -> Callable[..., Glanced]:
    """What a conversation makes of an event, and then what is let go of it."""
    evolve, who = handler.evolve, _WAITED_FOR.get(name, "other")

    def at_place(glanced: Glanced, event: Any, id: str, at_us: int) -> Glanced:
        evolve(glanced.state, event, id, at_us)
        if name == "tool.call":
            _let_go(glanced.state)
        return _passed(glanced, who, at_us)

    def recorded(glanced: Glanced, event: Any, recorded: Recorded) -> Glanced:
        evolve(glanced.state, event, recorded)
        return _passed(glanced, who, recorded.occurred_at_us)

    return at_place if handler.wants_place else recorded


for _name, _handler in Conversation.handlers.items():
    Glance.on(_handler.target or _name)(_step_of(_name, _handler))
