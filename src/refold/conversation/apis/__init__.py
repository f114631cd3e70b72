"""One reader for each model API: its requests, its answers whole and streamed, as events.

Capture, importers, replay and :meth:`~refold.recording.Session.model_responded` read an API's
shapes here and nowhere else.
"""

from __future__ import annotations

from typing import Final

from refold.conversation.apis.anthropic_messages import ANTHROPIC_MESSAGES
from refold.conversation.apis.base import Api
from refold.conversation.apis.openai_chat import OPENAI_CHAT

APIS: Final[tuple[Api, ...]] = (OPENAI_CHAT, ANTHROPIC_MESSAGES)


def api_of(path: str) -> Api | None:
    """The API that a call to this path of a URL is of; None where it is of none."""
    return next((api for api in APIS if api.matches(path)), None)
