"""One reader for each model API: its requests, its answers whole and streamed, as events.

Capture, importers, replay and :meth:`~refold.recording.Session.model_responded` read an API's
shapes here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from refold.conversation.apis.anthropic_messages import ANTHROPIC_MESSAGES
from refold.conversation.apis.base import Api
from refold.conversation.apis.gemini import GEMINI
from refold.conversation.apis.openai_chat import OPENAI_CHAT
from refold.conversation.apis.openai_responses import OPENAI_RESPONSES
from refold.conversation.events import ModelResponse, Tool
from refold.conversation.openai_chat import Chat

APIS: Final[tuple[Api, ...]] = (OPENAI_CHAT, OPENAI_RESPONSES, ANTHROPIC_MESSAGES, GEMINI)


def api_of(path: str) -> Api | None:
    """The API that a call to this path of a URL is of; None where it is of none."""
    return next((api for api in APIS if api.matches(path)), None)


def api_of_answer(body: object) -> Api:
    """The API that an answer is of, by what stands in it; chat completions where nothing says."""
    match body:
        case {"candidates": _} | {"promptFeedback": _} | {"prompt_feedback": _}:
            return GEMINI
        case {"object": "response"} | {"output": list()}:
            return OPENAI_RESPONSES
        case {"type": "message"}:
            return ANTHROPIC_MESSAGES
    return OPENAI_CHAT


def read_answer(body: Any, response: ModelResponse, tools: Sequence[Tool] = ()) -> Chat:
    """The events of an answer of whichever API it is, as :meth:`Api.read_answer` has them."""
    return api_of_answer(body).read_answer(body, response, tools)
