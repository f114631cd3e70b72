"""Gemini's generateContent at random (https://ai.google.dev/api/generate-content)."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec

from refold.conversation.events import (
    AgentConfigured,
    Prompt,
    Tool,
    ToolCall,
    Usage,
    UserUtterance,
)
from tests.capture.speakers.drawing import Draw
from tests.capture.speakers.said import Agent, Block, Body, Came, Speaker, Turn, result

IMAGE: Body = {"inlineData": {"mimeType": "image/png", "data": "iVBORw0KGgo="}}


class GeminiSpeaker(Speaker):
    """Parts, each of which a chunk of a stream brings or goes on with."""

    name = "gemini.generate_content"
    talk = "contents"

    def path(self, *, streams: bool) -> str:
        verb = "streamGenerateContent?alt=sse" if streams else "generateContent"
        return f"/v1beta/models/gemini-3:{verb}"

    def agent(self, draw: Draw) -> Agent:
        params: Body = {"generationConfig": {"temperature": 0.5}, "cachedContent": "c/1"}
        params = {key: value for key, value in params.items() if draw.chance(0.5)}
        head: Body = {**params, **({"labels": {"a": "b"}} if draw.chance(0.2) else {})}
        prompt = None
        if draw.chance(0.6):
            prompt = draw.words()
            head["systemInstruction"] = {"parts": [{"text": prompt}]}
        tools = [_tool(draw, n) for n in range(draw.randint(0, 3))]
        unread: list[str] = []
        if tools:
            head["tools"] = [{"functionDeclarations": [made for made, _ in tools]}]
        if draw.chance(0.1):
            unread = [f"/tools/{len(head.setdefault('tools', []))}"]
            head["tools"].append({"googleSearch": {}})
        if draw.chance(0.3):
            head = {_snake(key): value for key, value in head.items()}
        configured = AgentConfigured(
            model="gemini-3",
            provider="google",
            params=params,
            tools=[tool for _, tool in tools],
            prompt=Prompt(prompt) if prompt is not None else None,
        )
        return Agent(head, [], configured, unread)

    def request(self, draw: Draw, agent: Agent, items: list[Body], *, streams: bool) -> Body:
        return draw.shuffled({**agent.head, self.talk: items})

    def user(self, draw: Draw, words: str) -> Turn:
        parts = draw.choice([[{"text": words}], [{"text": words}, IMAGE]])
        said = UserUtterance(words, [_typed(one) for one in parts] if len(parts) > 1 else None)
        role = {"role": "user"} if draw.chance(0.9) else {}
        return Turn([{**role, "parts": _written(draw, parts)}], [said])

    def results(self, draw: Draw, calls: Sequence[ToolCall]) -> Turn:
        turn, parts = Turn([], []), []
        for call in calls:
            response = draw.choice([{"result": draw.words()}, {"error": "no"}, draw.object()])
            given: Body = {"name": call.name, "response": response}
            if not call.call_id.startswith("function:"):
                given["id"] = call.call_id
            parts.append({"functionResponse": given})
            is_error = response.keys() == {"error"}
            turn.events.append(result(call, response, is_error=is_error, name=call.name))
        turn.items.append({"role": "user", "parts": _written(draw, parts)})
        return turn

    def answer(self, draw: Draw, agent: Agent, *, streams: bool) -> Body:
        parts: list[Body] = []
        if draw.chance(0.3):
            parts.append({"text": draw.words(), "thought": True})
        kind = draw.choice(["words", "words", "calls", "calls", "signed", "code", "image", "cited"])
        if kind != "calls" or draw.chance(0.5):
            parts.append({"text": draw.words()})
        candidate: Body = {"finishReason": "STOP", "index": 0}
        match kind:
            case "calls":
                names = [tool.name for tool in agent.configured.tools] or ["look"]
                names = draw.sample(names, draw.randint(1, len(names)))
                for name in names:
                    call: Body = {"name": name, "args": draw.choice([{}, draw.object()])}
                    call |= {"id": draw.token("fc")} if draw.chance(0.5) else {}
                    parts.append({"functionCall": call})
                if draw.chance(0.3):
                    parts[-len(names)]["thoughtSignature"] = "c2ln"
            case "signed":
                parts.append({"text": draw.words(), "thoughtSignature": "c2ln"})
            case "code":
                parts.append({"executableCode": {"language": "PYTHON", "code": "print(1)"}})
                parts.append({"codeExecutionResult": {"outcome": "OUTCOME_OK", "output": "1"}})
                parts.append({"text": draw.words()})
            case "image":
                parts.append(IMAGE)
            case "cited":
                candidate["groundingMetadata"] = {"webSearchQueries": [draw.words()]}
        usage: Body = {"promptTokenCount": draw.randint(0, 99), "candidatesTokenCount": 5}
        more = {"thoughtsTokenCount": 3, "cachedContentTokenCount": 2, "toolUsePromptTokenCount": 1}
        usage |= {key: value for key, value in more.items() if draw.chance(0.3)}
        candidate["content"] = {"role": "model", "parts": parts}
        head = {"modelVersion": "gemini-3-001", "responseId": draw.token("r")}
        return {"candidates": [candidate], "usageMetadata": usage, **head}

    def came(self, body: Body) -> Came:
        (candidate,) = body["candidates"]
        blocks = [_block(_typed(one)) for one in candidate["content"]["parts"]]
        blocks += _cited(candidate)
        facts = {**_facts(body), "finish_reason": candidate["finishReason"]}
        return Came(blocks, facts, is_whole=True)

    def frames(self, draw: Draw, body: Body, came: Came) -> Iterator[tuple[str, Any]]:
        (candidate,) = body["candidates"]
        parts = [*_chunked(draw, candidate["content"]["parts"])]
        last = len(parts) - 1
        beside = {key: value for key, value in body.items() if key != "candidates"}
        came.facts = _facts(body)
        for place, part in enumerate(parts):
            one: Body = {"content": {"role": "model", "parts": [part]}, "index": 0}
            _add(came.blocks, part)
            if place == last:
                one |= {key: candidate[key] for key in candidate.keys() - {"content"}}
                came.blocks += _cited(candidate)
                came.facts["finish_reason"] = candidate["finishReason"]
                came.is_whole = True
            yield "", {**beside, "candidates": [one]}

    def again(self, draw: Draw, body: Body) -> list[Body]:
        parts = body["candidates"][0]["content"]["parts"]
        if draw.chance(0.3):
            parts = [one for one in parts if not one.get("thought")]
        return [{"role": "model", "parts": _written(draw, parts)}]

    def words(self, text: str) -> list[Body]:
        return [{"role": "model", "parts": [{"text": text}]}]


def _tool(draw: Draw, number: int) -> tuple[Body, Tool]:
    name, schema = f"tool{number}", {"type": "OBJECT", "properties": {"a": {"type": "STRING"}}}
    key = draw.choice(["parameters", "parametersJsonSchema"])
    return {"name": name, "description": "Does it.", key: schema}, Tool(name, "Does it.", schema)


def _snake(key: str) -> str:
    return re.sub("([A-Z])", lambda found: f"_{found[1].lower()}", key)


def _written(draw: Draw, parts: Sequence[Body]) -> list[Body]:
    """Parts as a client writes them: in camel case, or in snake case."""
    if draw.chance(0.7):
        return [*parts]
    return [{_snake(key): value for key, value in part.items()} for part in parts]


def _typed(part: Body) -> Body:
    """A part as it is kept, with its kind."""
    if part.get("thought"):
        return {"type": "thought", **part}
    return {"type": next(key for key in part if key != "thoughtSignature"), **part}


def _block(raw: Body) -> Block:
    match raw["type"]:
        case "text":
            return Block("words", raw, raw["text"], is_plain="thoughtSignature" not in raw)
        case "functionCall":
            inner = raw["functionCall"]
            own = inner.get("id") or f"function:{inner['name']}"
            text = msgspec.json.encode(inner["args"]).decode()
            call = ToolCall(own, inner["name"], text, inner["args"])
            return Block("call", raw, call=call, is_plain="thoughtSignature" not in raw)
        case "thought":
            return Block("thought", raw)
        case "inlineData":
            return Block("media", raw)
    return Block("beside", raw)


def _cited(candidate: Body) -> list[Block]:
    found = candidate.get("groundingMetadata")
    return [Block("beside", {"type": "groundingMetadata", **found})] if found else []


def _facts(body: Body) -> Body:
    counts = body["usageMetadata"]
    thoughts = counts.get("thoughtsTokenCount")
    usage = Usage(
        counts["promptTokenCount"] + counts.get("toolUsePromptTokenCount", 0),
        counts["candidatesTokenCount"] + (thoughts or 0),
        counts.get("cachedContentTokenCount", 0),
        None,
        thoughts,
    )
    return {"response_id": body["responseId"], "model": body["modelVersion"], "usage": usage}


def _chunked(draw: Draw, parts: Sequence[Body]) -> Iterator[Body]:
    """Parts as chunks bring them: a text in pieces."""
    for part in parts:
        if part.keys() <= {"text", "thought"}:
            yield from ({**part, "text": piece} for piece in draw.pieces(part["text"]))
        else:
            yield part


def _add(blocks: list[Block], part: Body) -> None:
    """One more part of a stream: plain text goes on with plain text before it."""
    last = {key: value for key, value in blocks[-1].raw.items() if key != "type"} if blocks else {}
    is_more = last.keys() == part.keys() <= {"text", "thought"}
    if is_more:
        blocks[-1] = _block({**blocks[-1].raw, "text": last["text"] + part["text"]})
    else:
        blocks.append(_block(_typed(part)))
