"""The fold of a conversation: its state at any moment.

Events of types that have no step change nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from refold.conversation.afterwards import AFTERWARDS
from refold.conversation.state import ConversationState, Step
from refold.conversation.steps import DURING
from refold.core.fold import Fold
from refold.core.recorded import Recorded

Conversation: Final[Fold[ConversationState]] = Fold("conversation", ConversationState)
"""The fold of a conversation: ``store.fold("call-42", refold.conversation.Conversation)``."""


def _timed(step: Step) -> Callable[..., ConversationState]:
    def evolve(state: ConversationState, event: Any, recorded: Recorded) -> ConversationState:
        _see_time(state, recorded.occurred_at_us)
        step(state, event, recorded)
        return state

    return evolve


def _untimed(step: Step) -> Callable[..., ConversationState]:
    def evolve(state: ConversationState, event: Any, recorded: Recorded) -> ConversationState:
        step(state, event, recorded)
        return state

    return evolve


def _see_time(state: ConversationState, at_us: int) -> None:
    if state.first_at_us is None or at_us < state.first_at_us:
        state.first_at_us = at_us
    if state.last_at_us is None or at_us > state.last_at_us:
        state.last_at_us = at_us
    state.duration_ms = (state.last_at_us - state.first_at_us) // 1_000


for _class, _step in DURING.items():
    Conversation.on(_class)(_timed(_step))
for _class, _step in AFTERWARDS.items():
    Conversation.on(_class)(_untimed(_step))
