"""Anthropic's Messages: ``POST …/v1/messages``, of Anthropic itself, Vertex and others.

Shapes and streams are those of https://platform.claude.com/docs/en/api/messages. A tool's result
stands in a turn of the user; the prompt stands beside the messages. The tokens that were read
from the cache or written to it are input beside ``input_tokens`` there, and part of it here.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

import msgspec

from refold.conversation import chat_shapes as shapes
from refold.conversation import events
from refold.conversation.apis import base, blocks
from refold.conversation.apis.base import Body
from refold.conversation.apis.blocks import Piece
from refold.conversation.apis.joining import join
from refold.conversation.chat_shapes import Path, Unread

_MEDIA: Final = frozenset({"image", "document", "search_result", "container_upload"})
_BESIDE: Final = frozenset({"compaction", "fallback", "mcp_tool_listing"})
_DIRECT: Final = {"type": "direct"}
"""The caller of a tool that is called by the model itself."""


class AnthropicMessages(blocks.BlockApi):
    """The reader of Messages."""

    name = "anthropic.messages"
    provider = "anthropic"
    lists = ("system", "messages", "tools")
    _path = re.compile(r"/v1/messages$|/publishers/anthropic/models/[^/]+:(stream)?[rR]awPredict$")
    talk = "messages"
    asks = (
        "max_tokens temperature top_p top_k stop_sequences thinking tool_choice service_tier "
        "mcp_servers container context_management output_config output_format betas"
    )
    _no_params = ("system", "cache_control", "diagnostics", "anthropic_version")
    _roles = {"user": "user", "assistant": "agent", "system": "prompt"}
    _facts = ("id", "model", "stop_reason", "usage")
    _calls = ("tool_use",)
    _tokens = {
        "input_tokens": "input_tokens+cache_read_input_tokens+cache_creation_input_tokens",
        "output_tokens": "output_tokens",
        "cached_tokens": "cache_read_input_tokens",
        "cache_write_tokens": "cache_creation_input_tokens",
        "reasoning_tokens": "output_tokens_details.thinking_tokens",
    }

    def _joined(self, said: Sequence[Body]) -> tuple[Body, bool]:
        """The message of a stream. The input of a call that was cut stays the text that came."""
        body: Body = {}
        made: dict[str, Body] = {}
        for data in said:
            index = str(data.get("index"))
            match data:
                case {"type": "message_start", "message": dict(message)}:
                    body = message
                case {"type": "content_block_start", "content_block": dict(block)}:
                    made[index] = block
                    if block.get("type") == "fallback":  # The model that goes on from here.
                        body |= {"model": _set_in(block.get("to")).get("model")}
                case {"type": "content_block_delta", "delta": dict(delta)}:
                    _grow(made.setdefault(index, {}), delta)
                case {"type": "message_delta"}:
                    # Counts are those of the whole message so far.
                    counts = _set_in(body.get("usage")) | _set_in(data.get("usage"))
                    more = _set_in(data) | _set_in(data.get("delta")) | {"usage": counts}
                    body |= {key: more[key] for key in more.keys() - {"type", "delta"}}
        if body or made:
            body["content"] = [_finished(block) for block in made.values()]
        return body, any(data.get("type") == "message_stop" for data in said)

    def _prompt(self, body: Mapping[str, Any], unread: list[Unread], /) -> str | None:
        system = self._pieces(body.get("system"), ["system"], unread)
        return blocks.text_of(system) if system else None

    def _tools(self, body: Mapping[str, Any], unread: list[Unread]) -> list[events.Tool]:
        items = body.get("tools")
        if isinstance(items, list):
            items = [_flat(item) if isinstance(item, dict) else item for item in items]
        return base.tools_in(items, "/tools", unread)

    def _answer(self, body: Mapping[str, Any], unread: list[Unread]) -> list[Piece] | None:
        if not isinstance(body.get("content"), list):
            return None
        # What is said of a refusal beside it is no words of the model.
        details = base.objects_in([body.get("stop_details")])
        pieces = self._pieces(body["content"], ["content"], unread)
        return [*pieces, *(Piece("beside", one) for one in details)]

    def _piece(self, block: Body, path: Path) -> Piece:
        match block.get("type"):
            case "text":
                return blocks.words_of(block, path)
            case "tool_use":
                said = "id input cache_control" + " caller" * (block.get("caller") == _DIRECT)
                return blocks.call_of(block, path, block.get("id"), block.get("input"), said)
            case "tool_result":
                call_id, result = shapes.read_id(block.get("tool_use_id")), block.get("content")
                is_error = block.get("is_error") is True
                event = events.ToolResult(call_id, blocks.result_of(result), is_error)
                return Piece("result", block, event=event)
            case "thinking" | "redacted_thinking":
                return Piece("thought", block)
            case str(kind) if kind in _MEDIA:
                return Piece("media", block)
            case str(kind) if kind in _BESIDE or kind.endswith(("_tool_use", "_tool_result")):
                return Piece("beside", block)
        return Piece("odd", block)


ANTHROPIC_MESSAGES: Final = AnthropicMessages()


def _flat(tool: Body) -> Body:
    """A tool in the flat shape of the older chat completions."""
    names = {"input_schema": "parameters"}
    return {names.get(key, key): v for key, v in tool.items() if key != "cache_control"}


def _set_in(holder: object) -> Body:
    """What is set in an object; nothing of what is none."""
    return {k: v for k, v in holder.items() if v is not None} if isinstance(holder, dict) else {}


def _grow(block: Body, delta: Body) -> None:
    """Add to a block what a delta says of it."""
    more = {key: value for key, value in delta.items() if key not in ("type", "citation")}
    if "citation" in delta:
        more["citations"] = [delta["citation"]]
    join(block, more)


def _finished(block: Body) -> Body:
    """A block with the input of its call read."""
    if text := block.pop("partial_json", ""):
        try:
            block["input"] = msgspec.json.decode(text)
        except (msgspec.DecodeError, RecursionError):
            block["input"] = text
    return block
