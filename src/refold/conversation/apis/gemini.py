"""Gemini's generateContent, and its stream: of Google's own API and of Vertex.

Shapes are those of https://ai.google.dev/api/generate-content; the API takes keys in camel case
and in snake case. A chunk of a stream is an answer with some of the parts. Calls of models that
give them no id are paired with their results by the function's name.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final

from refold.conversation import chat_shapes as shapes
from refold.conversation import events
from refold.conversation.apis import base, blocks
from refold.conversation.apis.base import Body
from refold.conversation.apis.blocks import Piece
from refold.conversation.apis.joining import join
from refold.conversation.chat_shapes import Path, Unread
from refold.conversation.openai_chat import text_or_none

_KINDS: Final = (
    "text", "functionCall", "functionResponse", "inlineData", "fileData", "executableCode",
    "codeExecutionResult", "toolCall", "toolResponse",
)  # fmt: skip
_CITING: Final = ("citationMetadata", "groundingMetadata", "urlContextMetadata")
_SNAKE: Final = re.compile(r"_([a-z])")


class Gemini(blocks.BlockApi):
    """The reader of generateContent."""

    name = "gemini.generate_content"
    provider = "google"
    lists = ("contents", "tools")
    _path = re.compile(r":(generateContent|streamGenerateContent)$")
    talk = "contents"
    _no_params = ("systemInstruction", "labels")
    _roles = {"user": "user", "function": "user", None: "user", "model": "agent"}
    _content = "parts"
    _facts = ("responseId", "modelVersion", "finishReason", "usageMetadata")
    _calls = ("functionCall",)
    _tokens = {
        "input_tokens": "promptTokenCount+toolUsePromptTokenCount",
        "output_tokens": "candidatesTokenCount+thoughtsTokenCount",
        "cached_tokens": "cachedContentTokenCount",
        "reasoning_tokens": "thoughtsTokenCount",
    }

    def _joined(self, said: Sequence[Body]) -> tuple[Body, bool]:
        """The answer that chunks are of; it ends where each candidate says why."""
        body: Body = {}
        candidates: dict[str, Body] = {}
        for chunk in map(_camel, said):
            body |= {key: chunk[key] for key in chunk.keys() - {"candidates", "error"}}
            for one in map(_camel, base.objects_in(chunk.get("candidates"))):
                _add(candidates.setdefault(str(one.get("index", 0)), {}), one)
        if candidates:
            body["candidates"] = list(candidates.values())
        ends = [one.get("finishReason") for one in candidates.values()]
        return body, all(ends) if ends else "promptFeedback" in body

    def _prompt(self, body: Mapping[str, Any], unread: list[Unread], /) -> str | None:
        parts = _camel(body.get("systemInstruction")).get("parts")
        pieces = self._pieces(parts, ["systemInstruction", "parts"], unread)
        return blocks.text_of(pieces) if pieces else None

    def _tools(self, body: Mapping[str, Any], unread: list[Unread]) -> list[events.Tool]:
        tools: list[events.Tool] = []
        for number, tool in enumerate(base.objects_in(body.get("tools"))):
            functions = _camel(tool).get("functionDeclarations")
            flat = [_flat(one) for one in base.objects_in(functions)]
            path = f"/tools/{number}"
            tools += base.tools_in(flat, f"{path}/functionDeclarations", unread)
            if functions is None:
                unread.append(Unread("tool", path, "a tool that the provider runs is not kept"))
        return tools

    def _body(self, body: object) -> Mapping[str, Any]:
        """Keys in camel case; why the first candidate ended stands beside it, or why none began."""
        given = _camel(body)
        candidates = base.objects_in(given.get("candidates"))
        blocked = _camel(given.get("promptFeedback")).get("blockReason")
        if blocked and not candidates:
            return {"error": {"message": f"the prompt was blocked: {blocked}"}}
        first = _camel(candidates[0]) if candidates else {}
        return {**given, "finishReason": first.get("finishReason")} if first else given

    def _answer(self, body: Mapping[str, Any], unread: list[Unread]) -> list[Piece] | None:
        candidates = base.objects_in(body.get("candidates"))
        if not candidates:
            return None
        for number in range(1, len(candidates)):
            unread.append(Unread("choice", f"/candidates/{number}", "a candidate after the first"))
        first = _camel(candidates[0])
        path: Path = ["candidates", 0, "content", "parts"]
        pieces = self._pieces(_camel(first.get("content")).get("parts"), path, unread)
        cited = [{"type": key, **first[key]} for key in _CITING if isinstance(first.get(key), dict)]
        return [*pieces, *(Piece("beside", one) for one in cited)]

    def _pieces(self, content: object, path: Path, unread: list[Unread]) -> list[Piece]:
        """As of other APIs, each part with the type that it has by its key."""
        parts = content if isinstance(content, list) else [content] if content else []
        content = [_typed(part) if isinstance(part, dict) else part for part in parts]
        return super()._pieces(content, path, unread)

    def _piece(self, block: Body, path: Path) -> Piece:
        inner = _camel(block.get(block["type"]))
        match block["type"]:
            case "text":
                return blocks.words_of(block, path)
            case "functionCall" if inner.keys() & {"partialArgs", "willContinue"}:
                raise shapes.refused("a call in pieces is not read", path)
            case "functionCall":
                flat = {**block, **inner, "type": "functionCall"}
                call_id = inner.get("id") or shapes.function_id(inner.get("name"))
                said = "functionCall id args"
                call = blocks.call_of(
                    flat, [*path, "functionCall"], call_id, inner.get("args"), said
                )
                return call._replace(raw=block)
            case "functionResponse":
                name, result = text_or_none(inner.get("name")), inner.get("response")
                call_id = inner.get("id") or shapes.function_id(name)
                is_error = isinstance(result, dict) and result.keys() == {"error"}
                event = events.ToolResult(shapes.read_id(call_id), result, is_error, name=name)
                return Piece("result", block, event=event)
            case "thought":
                return Piece("thought", block)
            case "inlineData" | "fileData":
                return Piece("media", block)
            case "odd":
                return Piece("odd", block)
        return Piece("beside", block)


GEMINI: Final = Gemini()


def _camel(value: object) -> Body:
    """An object with its own keys in camel case; {} of what is none."""
    given = value if isinstance(value, Mapping) else {}
    return {_SNAKE.sub(lambda m: m[1].upper(), str(key)): inner for key, inner in given.items()}


def _typed(part: Body) -> Body:
    part = _camel(part)
    kinds = ["thought"] * (part.get("thought") is True)
    kinds += [kind for kind in _KINDS if part.get(kind) is not None]
    return {"type": "", **part} | {"type": kinds[0] if kinds else "odd"}


def _flat(function: Body) -> Body:
    """A function in the flat shape of the older chat completions."""
    names = {"parametersJsonSchema": "parameters"}
    return {names.get(key, key): value for key, value in _camel(function).items()}


def _add(candidate: Body, said: Body) -> None:
    """Add a chunk of a candidate: its parts come behind those before; plain text goes on."""
    content = candidate.setdefault("content", {"parts": []})
    more = _camel(said.pop("content", None))
    for part in base.objects_in(more.pop("parts", None)):
        last = content["parts"][-1] if content["parts"] else {}
        is_more = part.keys() | last.keys() <= {"text", "thought"} and bool(last)
        if is_more and part.get("thought") == last.get("thought"):
            join(last, {"text": part.get("text")})
        else:
            content["parts"].append(part)
    if "citationMetadata" in said:
        join(candidate, {"citationMetadata": said.pop("citationMetadata")})
    candidate |= said
    content |= more
