"""The fold of a conversation: its state at any moment.

Events of types that have no step change nothing.
"""

from __future__ import annotations

from typing import Final

from refold.conversation.afterwards import AFTERWARDS
from refold.conversation.state import ConversationState
from refold.conversation.steps import DURING
from refold.core.fold import Fold

Conversation: Final[Fold[ConversationState]] = Fold("conversation", ConversationState)
"""The fold of a conversation: ``store.fold("call-42", refold.conversation.Conversation)``."""

for _event, _step in (DURING | AFTERWARDS).items():
    Conversation.on(_event)(_step)
