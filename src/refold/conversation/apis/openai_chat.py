"""OpenAI's chat completions: ``POST …/chat/completions``, of OpenAI, Azure and all who speak it.

The shapes are read by :mod:`refold.conversation.openai_chat`; here is what only calls have: whole
requests, and answers in chunks (https://platform.openai.com/docs/api-reference/chat/streaming).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from refold.conversation.apis import base
from refold.conversation.apis.base import Body
from refold.conversation.apis.joining import join
from refold.conversation.chat_shapes import Unread
from refold.conversation.events import AgentConfigured, ModelResponse, Tool
from refold.conversation.openai_chat import Chat, read_completion, read_each
from refold.core.event import Event

_OF_CHUNKS: Final = frozenset({"choices", "object", "obfuscation", "error"})


class OpenAIChat(base.Api):
    """The reader of chat completions."""

    name = "openai.chat"
    provider = "openai"
    lists = ("messages", "tools", "functions")
    _path = re.compile(r"/chat/completions$")
    talk = "messages"
    asks = (
        "temperature top_p n stop seed max_tokens max_completion_tokens presence_penalty "
        "frequency_penalty logit_bias response_format tool_choice parallel_tool_calls "
        "reasoning_effort service_tier"
    )
    _no_params = ("functions", *base.ASKING)

    def read_answer(self, body: Any, response: ModelResponse, tools: Sequence[Tool] = ()) -> Chat:
        """As :func:`~refold.conversation.openai_chat.read_completion`."""
        return read_completion(body, response, tools)

    def _joined(self, said: Sequence[Body]) -> tuple[Body, bool]:
        """The completion that chunks are of; it ends where each choice says why."""
        body: Body = {}
        choices: dict[int, Body] = {}
        for chunk in said:
            body |= {k: v for k, v in chunk.items() if k not in _OF_CHUNKS and v is not None}
            for choice in base.objects_in(chunk.get("choices")):
                index = choice.get("index")
                _add(choices.setdefault(index if type(index) is int else 0, {}), choice)
        is_done = body.pop("type", None) == base.DONE
        if body or choices:
            made = [_made(index, choices[index]) for index in sorted(choices)]
            body = {**body, "object": "chat.completion", "choices": made}
        ends = [choice.get("finish_reason") for choice in choices.values()]
        return body, is_done or bool(ends and all(ends))

    def _tools(self, body: Mapping[str, Any], unread: list[Unread]) -> list[Tool]:
        keys = ("tools", "functions")
        return [tool for key in keys for tool in base.tools_in(body.get(key), f"/{key}", unread)]

    def _elements(
        self, items: list[Any], agent: AgentConfigured, unread: list[Unread]
    ) -> list[list[Event]]:
        of_messages: list[Unread] = []
        elements = list(read_each(items, agent, of_messages))
        unread += [one._replace(pointer=f"/messages{one.pointer}") for one in of_messages]
        return elements


OPENAI_CHAT: Final = OpenAIChat()

# -- chunks ---------------------------------------------------------------------------------------


def _made(index: int, choice: Body) -> Body:
    """A choice as it stands in a completion."""
    message = {"role": "assistant", "content": None, **choice.get("message", {})}
    for call in base.objects_in(message.get("tool_calls")):
        call.pop("index", None)
    return {"finish_reason": None, **choice, "index": index, "message": message}


def _add(choice: Body, said: Body) -> None:
    """Add what a chunk says of a choice."""
    delta = said.get("delta", said.get("message"))
    if isinstance(delta, dict):
        join(choice.setdefault("message", {}), delta)
    join(choice, {k: v for k, v in said.items() if k not in ("delta", "message", "index")})
