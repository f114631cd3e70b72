"""OpenAI's chat completions: ``POST …/chat/completions``, of OpenAI, Azure and all who speak it.

The shapes are read by :mod:`refold.conversation.openai_chat`; here is what only calls have: whole
requests, and answers in chunks (https://platform.openai.com/docs/api-reference/chat/streaming).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from refold.conversation.apis.base import (
    Api,
    Asked,
    Assembled,
    Body,
    data_of,
    error_in,
    objects_in,
    params_of,
)
from refold.conversation.apis.sse import Frame
from refold.conversation.chat_shapes import Unread, read_tools
from refold.conversation.events import AgentConfigured, ModelResponse, Prompt, Tool
from refold.conversation.openai_chat import Chat, read_completion, read_each
from refold.errors import InvalidEvent

_NO_PARAMS: Final = (
    "messages", "model", "tools", "functions", "stream", "stream_options",
    "metadata", "user", "safety_identifier", "prompt_cache_key", "store",
)  # fmt: skip
# What a chunk says at once; other texts come in pieces.
_AT_ONCE: Final = frozenset({"id", "type", "role", "index", "format", "finish_reason"})
_OF_CHUNKS: Final = frozenset({"choices", "object", "obfuscation", "error"})


class OpenAIChat(Api):
    """The reader of chat completions."""

    name = "openai.chat"
    provider = "openai"
    lists = ("messages", "tools", "functions")
    _path = re.compile(r"/chat/completions$")

    def read_request(self, body: Mapping[str, Any], path: str = "") -> Asked:
        """As :meth:`Api.read_request`; a system message after others configures the agent anew."""
        messages = body.get("messages") if isinstance(body, Mapping) else None
        if not isinstance(messages, list):
            raise InvalidEvent("a request for a chat completion has messages", path="/messages")
        unread: list[Unread] = []
        model = body.get("model")
        agent = AgentConfigured(
            model=model if isinstance(model, str) else _deployment(path),
            provider=self.provider,
            params=params_of(body, _NO_PARAMS, unread),
            tools=[tool for key in ("tools", "functions") for tool in _tools(body, key, unread)],
        )
        of_messages: list[Unread] = []
        elements = list(read_each(messages, agent, of_messages))
        unread += [one._replace(pointer=f"/messages{one.pointer}") for one in of_messages]
        prompts: list[str] = []
        for events in elements:
            if not (events and isinstance(said := events[0].data, AgentConfigured)):
                break
            prompts.append(said.prompt.text if said.prompt is not None else "")
            events.clear()
        prompt = Prompt("\n\n".join(prompts)) if prompts else None
        return Asked(replace(agent, prompt=prompt), elements, unread)

    def read_answer(
        self, body: Mapping[str, Any], response: ModelResponse, tools: Sequence[Tool] = ()
    ) -> Chat:
        """As :func:`~refold.conversation.openai_chat.read_completion`."""
        return read_completion(body, response, tools)

    def assemble(self, frames: Iterable[Frame]) -> Assembled:
        """The chat completion that the chunks are of; it ends where each choice says why."""
        body: Body = {}
        choices: dict[int, Body] = {}
        error: Body | None = None
        is_done = False
        for frame in frames:
            chunk = data_of(frame)
            error = error or error_in(frame, chunk)
            is_done = is_done or frame.data.strip() == "[DONE]"
            body |= {k: v for k, v in chunk.items() if k not in _OF_CHUNKS and v is not None}
            for said in objects_in(chunk.get("choices")):
                index = said.get("index")
                _add(choices.setdefault(index if type(index) is int else 0, {}), said)
        if body or choices:
            made = [_made(index, choices[index]) for index in sorted(choices)]
            body = {**body, "object": "chat.completion", "choices": made}
        ends = [choice.get("finish_reason") for choice in choices.values()]
        return Assembled(body, error is None and (is_done or bool(ends and all(ends))), error)


OPENAI_CHAT: Final = OpenAIChat()


def _deployment(path: str) -> str | None:
    """The model of an Azure deployment, which its URL may name alone."""
    found = re.search(r"/deployments/([^/?]+)/", path)
    return found[1] if found else None


def _tools(body: Mapping[str, Any], key: str, unread: list[Unread]) -> list[Tool]:
    if body.get(key) is None:
        return []
    tools, odd = read_tools(body[key])
    unread += [one._replace(pointer=f"/{key}{one.pointer}") for one in odd]
    return tools


# -- chunks ---------------------------------------------------------------------------------------


def _made(index: int, choice: Body) -> Body:
    """A choice as it stands in a completion."""
    message = {"role": "assistant", "content": None, **choice.get("message", {})}
    for call in objects_in(message.get("tool_calls")):
        call.pop("index", None)
    return {"finish_reason": None, **choice, "index": index, "message": message}


def _add(choice: Body, said: Body) -> None:
    """Add what a chunk says of a choice."""
    delta = said.get("delta", said.get("message"))
    if isinstance(delta, dict):
        _join(choice.setdefault("message", {}), delta)
    _join(choice, {k: v for k, v in said.items() if k not in ("delta", "message", "index")})


def _join(whole: Body, piece: Mapping[str, Any]) -> None:
    """Add a piece to what came before it: texts and lists grow, all else is what came last."""
    for key, value in piece.items():
        before = whole.get(key)
        match before, value:
            case _, None | "" if key in whole:
                pass
            # Some servers say a function's name again with each piece of its arguments.
            case str(), str() if key not in _AT_ONCE and (key, before) != ("name", value):
                whole[key] = before + value
            case dict(), dict():
                _join(before, value)
            case None | list(), list():
                whole[key] = _grown(before or [], value, are_calls=key == "tool_calls")
            case str(), list():
                whole[key] = [*_text_parts(before), *value]
            case list(), str():
                whole[key] = [*before, *_text_parts(value)]
            case _:
                whole[key] = value


def _text_parts(text: str) -> list[Any]:
    return [{"type": "text", "text": text}] if text else []


def _grown(items: list[Any], pieces: list[Any], *, are_calls: bool) -> list[Any]:
    """A list with more of it: a piece of what has an index goes there, all else is new.

    A call that a server gives no index is known by its id; a piece without one is of the last.
    """
    items = list(items)
    for piece in pieces:
        last = _last_of(items, piece, are_calls) if isinstance(piece, dict) else None
        if last is None:
            items.append(piece)
        else:
            _join(last, piece)
    return items


def _last_of(items: list[Any], piece: Body, are_calls: bool) -> Body | None:
    index, own_id = piece.get("index"), piece.get("id")
    objects = [item for item in reversed(items) if isinstance(item, dict)]
    if index is not None:
        return next((item for item in objects if item.get("index") == index), None)
    is_more = are_calls and objects and own_id in (None, "", objects[0].get("id"))
    return objects[0] if is_more else None
