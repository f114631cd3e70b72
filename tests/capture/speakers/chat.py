"""Chat completions at random (https://platform.openai.com/docs/api-reference/chat)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    ModelResponse,
    Prompt,
    Tool,
    ToolCall,
    Usage,
    UserUtterance,
)
from tests.capture.speakers.drawing import Draw
from tests.capture.speakers.said import NO_SCHEMA, Agent, Body, Came, Speaker, Turn, result

IMAGE: Body = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
SOUND: Body = {"type": "input_audio", "input_audio": {"data": "UklGRg==", "format": "wav"}}


class ChatSpeaker(Speaker):
    """What an answer says stands in one message, so its ``Came`` has the message in its facts."""

    name = "openai.chat"
    talk = "messages"

    def path(self, *, streams: bool) -> str:
        return "/v1/chat/completions"

    def agent(self, draw: Draw) -> Agent:
        head: Body = {"model": draw.choice(["gpt-5", "llama-3"])}
        params = {"temperature": draw.choice([0, 0.5, 1.0]), "seed": 7, "odd": draw.value()}
        params = {key: value for key, value in params.items() if draw.chance(0.5)}
        beside = {"user": "u-1", "store": True, "stream_options": {"include_usage": True}}
        beside = {key: value for key, value in beside.items() if draw.chance(0.5)}
        tools, unread = [], []
        for n in range(draw.randint(0, 3)):
            made, tool = _tool(draw, n)
            head.setdefault("tools", []).append(made)
            tools.append(tool)
        if draw.chance(0.1):
            unread = [f"/tools/{len(tools)}/name"]
            head.setdefault("tools", []).append({"type": "web_search"})
        prompts = [draw.words() for _ in range(draw.choice([0, 1, 1, 2, 3]))]
        lead = [self.instructions(draw, text) for text in prompts]
        configured = AgentConfigured(
            model=head["model"],
            provider="openai",
            params={key: value for key, value in params.items() if value is not None},
            tools=tools,
            prompt=Prompt("\n\n".join(prompts)) if prompts else None,
        )
        return Agent({**head, **params, **beside}, lead, configured, unread)

    def instructions(self, draw: Draw, text: str) -> Body:
        content: Any = [{"type": "text", "text": text}] if draw.chance(0.2) else text
        return {"role": draw.choice(["system", "developer"]), "content": content}

    def user(self, draw: Draw, words: str) -> Turn:
        message: Body = {"role": "user", "content": words}
        parts = None
        if draw.chance(0.3):
            parts = [{"type": "text", "text": words}]
            parts += [draw.choice([IMAGE, SOUND])] if draw.chance(0.7) else []
            message["content"] = parts
        if draw.chance(0.2):
            message["name"] = "Ann"
        return Turn([message], [UserUtterance(words, parts, party=message.get("name"))])

    def results(self, draw: Draw, calls: Sequence[ToolCall]) -> Turn:
        turn = Turn([], [])
        for call in calls:
            text = draw.words()
            content: Any = [{"type": "text", "text": text}] if draw.chance(0.2) else text
            if call.call_id.startswith("function:"):
                item = {"role": "function", "name": call.name, "content": text}
                turn.events.append(result(call, text, name=call.name))
            else:
                item = {"role": "tool", "tool_call_id": call.call_id, "content": content}
                turn.events.append(result(call, content))
            turn.items.append(item)
        return turn

    def answer(self, draw: Draw, agent: Agent, *, streams: bool) -> Body:
        message: Body = {"role": "assistant", "content": draw.words()}
        reason = "stop"
        kinds = ["words", "words", "refusal", "calls", "calls", "words and calls", "audio", "odd"]
        kind = draw.choice(kinds if streams else [*kinds, "legacy", "parts"])
        match kind:
            case "refusal":
                message |= {"refusal": message["content"], "content": None}
            case "calls" | "words and calls":
                reason = "tool_calls"
                if kind == "calls":
                    message["content"] = None
                names = [tool.name for tool in agent.configured.tools] or ["look"]
                kinds_of = {tool.name: tool.kind for tool in agent.configured.tools}
                items = []
                for _ in range(draw.randint(1, 3)):
                    name = draw.choice(names)
                    items.append(_call(draw, name, kinds_of.get(name, "function"), streams))
                message["tool_calls"] = items
            case "legacy":
                reason = "function_call"
                call = {"name": "look", "arguments": json.dumps(draw.object())}
                message |= {"content": None, "function_call": call}
            case "audio":
                audio = {"id": draw.token("audio"), "data": "UklGRg==", "expires_at": 9}
                message |= {"content": None, "audio": {**audio, "transcript": draw.words()}}
            case "parts":
                text = {"type": "text", "text": draw.words()}
                message["content"] = [text, IMAGE] if draw.chance(0.5) else [text]
            case "odd":
                message["reasoning_content"] = draw.words()
        if draw.chance(0.2):
            cited = {"start_index": 0, "end_index": 2, "title": "T", "url": "https://a.example"}
            message["annotations"] = [{"type": "url_citation", "url_citation": cited}]
        if not streams and draw.chance(0.5):
            message = {"refusal": None, **message}
        choice = {"index": 0, "message": message, "finish_reason": reason}
        body: Body = {"id": draw.token("chatcmpl"), "object": "chat.completion", "created": 1}
        body |= {"model": "gpt-5-2026-01-01", "choices": [choice], "usage": _usage(draw)}
        return draw.without_nulls(body)

    def came(self, body: Body) -> Came:
        choice = body["choices"][0]
        usage = body.get("usage")
        facts = {
            "response_id": body["id"],
            "model": body["model"],
            "usage": _read(usage) if usage else None,
            "finish_reason": choice["finish_reason"],
            "message": choice["message"],
        }
        return Came([], facts, is_whole=True)

    def unread(self, items: Sequence[Body]) -> list[str]:
        # What was said aloud is sent again by its id alone.
        return [f"/messages/{n}/audio" for n, one in enumerate(items) if one.get("audio")]

    def spoken(self, came: Came) -> list[Any]:
        facts = {**came.facts}
        message = facts.pop("message", {})
        text, parts = message.get("content") or "", None
        if isinstance(text, list):
            text, parts = text[0]["text"], text
        text = text or message.get("refusal") or message.get("audio", {}).get("transcript") or ""
        calls = [_called(item) for item in message.get("tool_calls") or ()]
        if legacy := message.get("function_call"):
            said = legacy["arguments"]
            calls.append(ToolCall("function:look", "look", said, json.loads(said)))
        made: list[Any] = [ModelResponse(**facts)]
        if text or parts or not calls:
            reason = facts.get("finish_reason") if came.is_whole else None
            made.append(AgentUtterance(text, parts, reason))
        return [*made, *calls]

    def heard(self, came: Came) -> str:
        return "" if "audio" in came.facts.get("message", {}) else super().heard(came)

    def frames(self, draw: Draw, body: Body, came: Came) -> Iterator[tuple[str, Any]]:
        head = {key: body[key] for key in ("id", "created", "model")}
        head["object"] = "chat.completion.chunk"
        (choice,) = body["choices"]
        facts = came.facts = {
            "response_id": head["id"],
            "model": head["model"],
            "usage": None,
            "finish_reason": None,
            "message": {},
        }

        def chunk(delta: Body, reason: str | None = None) -> tuple[str, Any]:
            one = {"index": 0, "delta": delta, "finish_reason": reason, "logprobs": None}
            return "", {**head, "choices": [one], "usage": None}

        yield chunk({"role": "assistant", "content": draw.choice(["", None])})
        yield from (chunk(delta) for delta in _deltas(draw, choice["message"], facts["message"]))
        came.is_whole, facts["finish_reason"] = True, choice["finish_reason"]
        yield chunk({}, choice["finish_reason"])
        if usage := body.get("usage"):
            facts["usage"] = _read(usage)
            yield "", {**head, "choices": [], "usage": usage}
        yield "", "[DONE]"

    def again(self, draw: Draw, body: Body) -> list[Body]:
        message = {**body["choices"][0]["message"]}
        for key in ("annotations", "reasoning_content", "refusal"):
            if not message.get(key) or (key != "refusal" and draw.chance(0.5)):
                message.pop(key, None)
        if audio := message.get("audio"):
            message = {"role": "assistant", "audio": {"id": audio["id"]}}
        if items := message.get("tool_calls"):
            message["tool_calls"] = [_respaced(draw, item) for item in items]
        if isinstance(message.get("content"), str) and draw.chance(0.2):
            message["content"] = [{"type": "text", "text": message["content"]}]
        if draw.chance(0.3):
            nulls = ("content", "refusal", "audio", "function_call", "tool_calls")
            message = {**dict.fromkeys(nulls), **message}
        return [draw.shuffled(message)]

    def words(self, text: str) -> list[Body]:
        return [{"role": "assistant", "content": text}]


def _tool(draw: Draw, number: int) -> tuple[Body, Tool]:
    name = f"tool{number}"
    if draw.chance(0.25):
        custom = {"name": name, "description": "Any text."}
        return {"type": "custom", "custom": custom}, Tool(
            name, "Any text.", {}, NO_SCHEMA, kind="custom"
        )
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    function = {"name": name, "description": "Does it.", "parameters": schema}
    return {"type": "function", "function": function}, Tool(name, "Does it.", schema)


def _call(draw: Draw, name: str, kind: str, streams: bool) -> Body:
    own = draw.token("call")
    if kind == "custom":
        return {"id": own, "type": "custom", "custom": {"name": name, "input": draw.words()}}
    texts = ["{}", "", json.dumps(draw.object()), json.dumps(draw.object(), ensure_ascii=False)]
    arguments: Any = draw.choice([*texts, '{"broken": ', "null"])
    if not streams and draw.chance(0.1):
        arguments = draw.choice([None, {"a": "é", "b": [1]}])
    return {"id": own, "type": "function", "function": {"name": name, "arguments": arguments}}


def _called(item: Body) -> ToolCall:
    if item["type"] == "custom":
        inner = item["custom"]
        return ToolCall(item["id"], inner["name"], inner["input"], kind="custom")
    inner = item["function"]
    text = inner.get("arguments")
    if not isinstance(text, str):
        text = "" if text is None else json.dumps(text, ensure_ascii=False, separators=(",", ":"))
    try:
        parsed = json.loads(text)
    except ValueError:
        parsed = None
    return ToolCall(item["id"], inner["name"], text, parsed)


def _usage(draw: Draw) -> Body | None:
    if draw.chance(0.2):
        return None
    usage: Body = {"prompt_tokens": draw.randint(0, 9_000), "completion_tokens": 5}
    if draw.chance(0.5):
        usage["prompt_tokens_details"] = {"cached_tokens": draw.randint(0, 99), "audio_tokens": 0}
    if draw.chance(0.5):
        usage["completion_tokens_details"] = draw.choice([None, {"reasoning_tokens": 3}])
    return {**usage, "total_tokens": 9}


def _read(usage: Body) -> Usage:
    cached = (usage.get("prompt_tokens_details") or {}).get("cached_tokens", 0)
    thought = (usage.get("completion_tokens_details") or {}).get("reasoning_tokens")
    return Usage(usage["prompt_tokens"], usage["completion_tokens"], cached, None, thought)


def _deltas(draw: Draw, message: Body, so_far: Body) -> Iterator[Body]:
    """The pieces of a message; ``so_far`` is as much of it as they have said."""
    for key in ("reasoning_content", "content", "refusal"):
        for piece in draw.pieces(message.get(key) or ""):
            so_far[key] = so_far.get(key, "") + piece
            yield {key: piece}
    if audio := message.get("audio"):
        grown = so_far["audio"] = {"id": audio["id"], "transcript": ""}
        for n, piece in enumerate(draw.pieces(audio["transcript"])):
            grown["transcript"] += piece
            yield {"audio": {"transcript": piece} if n else {**grown}}
        yield {"audio": {"data": audio["data"], "expires_at": audio["expires_at"]}}
    for index, item in enumerate(message.get("tool_calls") or ()):
        kind, key = ("custom", "input") if "custom" in item else ("function", "arguments")
        inner = item[kind]
        so_far.setdefault("tool_calls", []).append(item)  # Half of it is no call either.
        yield {"tool_calls": [{**item, "index": index, kind: {**inner, key: ""}}]}
        for piece in draw.pieces(inner[key]):
            yield {"tool_calls": [{"index": index, kind: {key: piece}}]}
    if cited := message.get("annotations"):
        yield {"annotations": cited}


def _respaced(draw: Draw, item: Body) -> Body:
    """A call with the JSON of its arguments written otherwise."""
    text = item.get("function", {}).get("arguments")
    try:
        value = json.loads(text)
    except (ValueError, TypeError):
        return item
    if not isinstance(value, dict) or draw.chance(0.6):
        return item
    return {**item, "function": {**item["function"], "arguments": json.dumps(value, indent=1)}}
