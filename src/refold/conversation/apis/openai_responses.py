"""OpenAI's Responses: ``POST …/responses``, of OpenAI, Azure and others who speak it.

Shapes and streams are those of https://platform.openai.com/docs/api-reference/responses. A
request and an answer are items: messages, calls, results of calls, reasoning. A call with a
``call_id`` is run by whoever asks and is a tool's call here; what the provider ran itself has none
and is kept in the parts of the response.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from refold.conversation import chat_shapes as shapes
from refold.conversation import events
from refold.conversation.apis import base, blocks
from refold.conversation.apis.base import Body
from refold.conversation.apis.blocks import Piece
from refold.conversation.apis.joining import join
from refold.conversation.chat_shapes import Path, Unread
from refold.conversation.openai_chat import text_or_none
from refold.core.event import Event

_GOES_ON: Final = ("previous_response_id", "conversation")
_MEDIA: Final = frozenset({"input_image", "input_file", "input_audio", "image_generation_call"})
_BESIDE: Final = frozenset({"program", "program_output", "additional_tools"})
_ENDS: Final = frozenset({"response.completed", "response.incomplete", "response.failed"})
# Where the text of a delta goes: the list of parts that it has an index for, the part, its field.
_DELTAS: Final = {
    "response.output_text.delta": ("content", "output_text", "text"),
    "response.output_text.annotation.added": ("content", "output_text", "annotations"),
    "response.refusal.delta": ("content", "refusal", "refusal"),
    "response.reasoning_text.delta": ("content", "reasoning_text", "text"),
    "response.reasoning_summary_text.delta": ("summary", "summary_text", "text"),
    "response.function_call_arguments.delta": ("", "", "arguments"),
    "response.mcp_call_arguments.delta": ("", "", "arguments"),
    "response.custom_tool_call_input.delta": ("", "", "input"),
    "response.code_interpreter_call_code.delta": ("", "", "code"),
}


class OpenAIResponses(blocks.BlockApi):
    """The reader of Responses."""

    name = "openai.responses"
    provider = "openai"
    lists = ("input", "tools")
    _path = re.compile(r"/responses$")
    talk = "input"
    asks = (
        "instructions temperature top_p max_output_tokens max_tool_calls reasoning text "
        "tool_choice truncation parallel_tool_calls include background store service_tier "
        "prompt previous_response_id conversation top_logprobs"
    )
    _no_params = ("instructions", "background", "include", *_GOES_ON, *base.ASKING)
    _goes_on = _GOES_ON
    _roles = {"user": "user", "assistant": "agent", "system": "prompt", "developer": "prompt"}
    _facts = ("id", "model", "status", "usage")
    _calls = ("function_call", "custom_tool_call")

    def _joined(self, said: Sequence[Body]) -> tuple[Body, bool]:
        """The response of a stream: as its end has it, or the items as far as they came."""
        body: Body = {}
        items: dict[int, Body] = {}
        is_whole = False
        for data in said:
            index = data.get("output_index")
            match data:
                case {"type": str(kind), "response": dict(response)}:
                    body |= response
                    is_whole = is_whole or kind in _ENDS
                case {"item": dict(item)} if type(index) is int:
                    items[index] = item
                case {"type": str(kind)} if type(index) is int:
                    _grow(items.setdefault(index, {}), kind, data)
        if (body or items) and not (is_whole and body.get("output")):
            body["output"] = [items[index] for index in sorted(items)]
        return body, is_whole

    def _prompt(self, body: Mapping[str, Any], _unread: list[Unread], /) -> str | None:
        return text_or_none(body.get("instructions"))

    def _tools(self, body: Mapping[str, Any], unread: list[Unread]) -> list[events.Tool]:
        items = body.get("tools")
        if isinstance(items, list):
            items = [{"custom": one} if _is_custom(one) else one for one in items]
        return base.tools_in(items, "/tools", unread)

    def _body(self, body: object) -> Mapping[str, Any]:
        """Input that is text is a message of the user; an answer that was cut short says why."""
        given = super()._body(body)
        if isinstance(said := given.get("input"), str):
            return {**given, "input": [{"role": "user", "content": said}]}
        reason = super()._body(given.get("incomplete_details")).get("reason")
        return {**given, "status": reason} if reason else given

    def _element(
        self, item: Body, path: Path, own: str, agent: events.AgentConfigured, unread: list[Unread]
    ) -> list[Event]:
        if item.get("type", "message") == "message":
            return super()._element(item, path, own, agent, unread)
        if item["type"] == "item_reference":
            return []
        piece = self._checked(item, path, unread)
        is_result = piece.kind == "result"
        return blocks.heard([piece]) if is_result else blocks.spoken([piece], own, agent.tools)

    def _item(self, item: Any, path: Path, unread: list[Unread]) -> list[Piece]:
        """The pieces of an item: of a message its words, and what else is in it."""
        if not isinstance(item, dict) or item.get("type", "message") != "message":
            return [self._checked(item, path, unread)]
        said = self._pieces(item.get("content"), [*path, "content"], unread)
        is_plain = all(piece.is_plain for piece in said) and not item.get("phase")
        words = Piece("words", item, blocks.text_of(said), is_plain=is_plain)
        return [words, *(piece for piece in said if piece.kind != "words")]

    def _answer(self, body: Mapping[str, Any], unread: list[Unread]) -> list[Piece] | None:
        items = body.get("output")
        # One that is made in the background has nothing to say yet.
        if not isinstance(items, list) or (
            not items and body.get("status") in ("queued", "in_progress")
        ):
            return None
        read = (self._item(item, ["output", n], unread) for n, item in enumerate(items))
        return [piece for pieces in read for piece in pieces]

    def _piece(self, block: Body, path: Path) -> Piece:
        call_id, of_call = block.get("call_id"), "id call_id status arguments input"
        match block.get("type"):
            case "text" | "input_text" | "output_text" | "summary_text" | "reasoning_text":
                return blocks.words_of(block, path)
            case "refusal":
                return blocks.words_of(block, path, "refusal")
            case "function_call":
                return blocks.call_of(block, path, call_id, block.get("arguments"), of_call)
            case "custom_tool_call":
                call = blocks.call_of(block, path, call_id, str(block.get("input")), of_call)
                return call._replace(event=replace(call.event, kind="custom", parsed=None))
            case str(kind) if kind in _BESIDE:
                return Piece("beside", block)
            case str(kind) if call_id and kind.endswith("_output"):
                result = blocks.result_of(block.get("output", block.get("tools")))
                is_error = block.get("status") == "failed"
                event = events.ToolResult(shapes.read_id(call_id), result, is_error)
                return Piece("result", block, event=event)
            case str(kind) if call_id and kind.endswith("_call"):
                more = {k: block[k] for k in block.keys() - {"type", "id", "call_id", "status"}}
                named = {**block, "name": kind.removesuffix("_call")}
                return blocks.call_of(named, path, call_id, more, of_call)._replace(raw=block)
            case "reasoning" | "compaction":
                return Piece("thought", block)
            case str(kind) if kind in _MEDIA:
                return Piece("media", block)
            case str(kind) if kind.endswith(("_call", "_output")) or kind.startswith("mcp_"):
                return Piece("beside", block)
        return Piece("odd", block)


OPENAI_RESPONSES: Final = OpenAIResponses()


def _is_custom(tool: object) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "custom"


def _grow(item: Body, kind: str, data: Body) -> None:
    """Add to an item what an event of its stream says of it."""
    holder, of_type, field = _DELTAS.get(kind, ("", "", ""))
    if not field:
        return
    part = _part(item, holder, data) if holder else item
    if of_type:
        part.setdefault("type", of_type)
    join(part, {field: data["delta"] if "delta" in data else [data.get("annotation")]})


def _part(item: Body, holder: str, data: Body) -> Body:
    """The part of an item that an event is about, in its place or else behind the others."""
    parts = item[holder] = base.objects_in(item.get(holder))
    index = data.get("summary_index" if holder == "summary" else "content_index")
    if type(index) is not int or not 0 <= index < len(parts):
        parts.append({})
        return parts[-1]
    return parts[index]
