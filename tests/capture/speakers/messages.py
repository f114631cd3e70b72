"""Anthropic's Messages at random (https://platform.claude.com/docs/en/api/messages)."""

from __future__ import annotations

import json
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
from tests.capture.speakers.said import NO_SCHEMA, Agent, Block, Body, Came, Speaker, Turn, result

SOURCE = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
IMAGE: Body = {"type": "image", "source": SOURCE}
PAPER: Body = {"type": "document", "source": {"type": "text", "data": "x"}, "title": "T"}
CACHED = {"cache_control": {"type": "ephemeral"}}
DIRECT = {"caller": {"type": "direct"}}
CITED = {"type": "char_location", "cited_text": "x", "document_index": 0, "start_char_index": 0}


class MessagesSpeaker(Speaker):
    """Blocks, whole or each begun, continued and ended by events."""

    name = "anthropic.messages"
    talk = "messages"

    def path(self, *, streams: bool) -> str:
        return "/v1/messages?beta=true"

    def agent(self, draw: Draw) -> Agent:
        params: Body = {"max_tokens": 1024, "temperature": 0.5, "odd": draw.value()}
        params = {key: value for key, value in params.items() if draw.chance(0.6)}
        if draw.chance(0.3):
            params["thinking"] = {"type": "enabled", "budget_tokens": 2000}
        head: Body = {"model": draw.choice(["claude-x", "claude-y"]), **params}
        prompt = None
        if draw.chance(0.7):
            prompt = draw.words()
            head["system"] = prompt
            if draw.chance(0.5):
                more = draw.words()
                blocks: list[Body] = [{"type": "text", "text": text} for text in (prompt, more)]
                blocks[-1] |= CACHED if draw.chance(0.5) else {}
                head["system"], prompt = blocks, prompt + more
        tools = [_tool(draw, n) for n in range(draw.randint(0, 3))]
        if draw.chance(0.1):
            made = {"type": "web_search_20250305", "name": "web_search"}
            tools.append((made, Tool("web_search", "", {}, NO_SCHEMA)))
        if tools:
            head["tools"] = [made for made, _ in tools]
        configured = AgentConfigured(
            model=head["model"],
            provider="anthropic",
            params={key: value for key, value in params.items() if value is not None},
            tools=[tool for _, tool in tools],
            prompt=Prompt(prompt) if prompt is not None else None,
        )
        return Agent(head, [], configured, [])

    def instructions(self, draw: Draw, text: str) -> Body:
        return {"role": "system", "content": text}

    def user(self, draw: Draw, words: str) -> Turn:
        text: Body = {"type": "text", "text": words}
        text |= CACHED if draw.chance(0.3) else {}
        content: Any = draw.choice([words, [text], [text, IMAGE], [PAPER, text]])
        has_more = isinstance(content, list) and len(content) > 1
        said = UserUtterance(words, content if has_more else None)
        return Turn([{"role": "user", "content": content}], [said])

    def results(self, draw: Draw, calls: Sequence[ToolCall]) -> Turn:
        turn, blocks = Turn([], []), []
        for call in calls:
            block: Body = {"type": "tool_result", "tool_use_id": call.call_id}
            value: Any = draw.choice([draw.words(), "", None, [IMAGE]])
            content = value
            if isinstance(value, str) and draw.chance(0.4):
                content = [{"type": "text", "text": value}]
            if content is not None or draw.chance(0.5):
                block["content"] = content
            is_error = draw.chance(0.2)
            block |= {"is_error": is_error} if is_error or draw.chance(0.3) else {}
            blocks.append(block)
            turn.events.append(result(call, value, is_error=is_error))
        if draw.chance(0.2):
            blocks.append({"type": "text", "text": "And?"})
            turn.events.append(UserUtterance("And?"))
        turn.items.append({"role": "user", "content": blocks})
        return turn

    def answer(self, draw: Draw, agent: Agent, *, streams: bool) -> Body:
        blocks: list[Body] = []
        more: Body = {}
        reason = "end_turn"
        if draw.chance(0.3):
            blocks.append({"type": "thinking", "thinking": draw.words(), "signature": "c2ln"})
        if draw.chance(0.1):
            blocks.append({"type": "redacted_thinking", "data": "b3BhcXVl"})
        kind = draw.choice(["words", "words", "calls", "calls", "refusal", "search", "cited"])
        if kind != "calls" or draw.chance(0.5):
            blocks.append({"type": "text", "text": draw.words()})
        match kind:
            case "calls":
                reason = "tool_use"
                names = [tool.name for tool in agent.configured.tools] or ["look"]
                for _ in range(draw.randint(1, 3)):
                    call: Body = {"type": "tool_use", "id": draw.token("toolu")}
                    call |= {"name": draw.choice(names), "input": draw.choice([{}, draw.object()])}
                    call |= DIRECT if draw.chance(0.2) else {}
                    blocks.append(call)
            case "refusal":
                reason, more = "refusal", {"stop_details": {"type": "refusal", "category": "x"}}
            case "search":
                own = draw.token("srvtoolu")
                search: Body = {"type": "server_tool_use", "id": own, "name": "web_search"}
                blocks.append({**search, "input": {"query": draw.words()}})
                found = {"type": "web_search_result", "url": "https://a.example", "title": "T"}
                found |= {"encrypted_content": "eA=="}
                blocks.append(
                    {"type": "web_search_tool_result", "tool_use_id": own, "content": [found]}
                )
                blocks.append({"type": "text", "text": draw.words()})
            case "cited":
                blocks[-1]["citations"] = [CITED]
                plain: Body = {"type": "text", "text": draw.words()}
                plain["citations"] = None
                blocks.append(plain)
        usage: Body = {"input_tokens": draw.randint(0, 99), "output_tokens": draw.randint(2, 99)}
        if draw.chance(0.5):
            read, wrote = draw.randint(0, 9), draw.choice([0, 7])
            usage |= {"cache_read_input_tokens": read, "cache_creation_input_tokens": wrote}
        head: Body = {
            "id": draw.token("msg"),
            "type": "message",
            "role": "assistant",
            "model": "claude",
        }
        head |= {"stop_reason": reason, "stop_sequence": None, **more}
        return {**head, "content": blocks, "usage": usage}

    def came(self, body: Body) -> Came:
        blocks = [_block(one) for one in body["content"]]
        if details := body.get("stop_details"):
            blocks.append(Block("beside", details))
        facts = {"response_id": body["id"], "model": body["model"]}
        facts |= {"usage": _read(body["usage"]), "finish_reason": body["stop_reason"]}
        return Came(blocks, facts, is_whole=True)

    def frames(self, draw: Draw, body: Body, came: Came) -> Iterator[tuple[str, Any]]:
        def event(kind: str, **more: Any) -> tuple[str, Any]:
            return kind, {"type": kind, **more}

        usage = {**body["usage"], "output_tokens": 1}
        came.facts = {"response_id": body["id"], "model": body["model"], "usage": _read(usage)}
        began = {**body, "content": [], "stop_reason": None, "usage": usage}
        began.pop("stop_details", None)
        yield event("message_start", message=began)
        if draw.chance(0.5):
            yield event("ping")
        for index, block in enumerate(body["content"]):
            yield from self._block_frames(draw, index, block, came)
            yield event("content_block_stop", index=index)
        ended = {key: body[key] for key in ("stop_reason", "stop_sequence")}
        if details := body.get("stop_details"):
            ended["stop_details"] = details
            came.blocks.append(Block("beside", details))
        came.facts |= {"usage": _read(body["usage"]), "finish_reason": body["stop_reason"]}
        counts = {"output_tokens": body["usage"]["output_tokens"]}
        yield event("message_delta", delta=ended, usage=counts)
        came.is_whole = True
        yield event("message_stop")

    def _block_frames(
        self, draw: Draw, index: int, block: Body, came: Came
    ) -> Iterator[tuple[str, Any]]:
        """A block that begins empty and grows."""
        texts = {"text": "text_delta", "thinking": "thinking_delta", "signature": "signature_delta"}
        grown = {key: "" if key in texts else value for key, value in block.items()}
        grown.pop("citations", None)
        if "input" in block:
            grown["input"] = {}
        came.blocks.append(_block(grown))
        kind = "content_block_start"
        yield kind, {"type": kind, "index": index, "content_block": {**grown}}
        pieces: list[tuple[Body, Body]] = []
        for key, of_type in texts.items():
            so_far = ""
            for piece in draw.pieces(block.get(key, "")):
                so_far += piece
                pieces.append(({"type": of_type, key: piece}, {key: so_far}))
        for cited in block.get("citations") or ():
            delta = {"type": "citations_delta", "citation": cited}
            pieces.append((delta, {"citations": [cited]}))
        if block.get("input"):
            text = json.dumps(block["input"])
            so_far = ""
            for piece in ["", *draw.pieces(text)]:
                so_far += piece
                is_all = so_far == text
                made = block["input"] if is_all else so_far or {}
                delta = {"type": "input_json_delta", "partial_json": piece}
                pieces.append((delta, {"input": made}))
        for delta, said in pieces:
            grown |= said
            came.blocks[-1] = _block({**grown})
            kind = "content_block_delta"
            yield kind, {"type": kind, "index": index, "delta": delta}

    def again(self, draw: Draw, body: Body) -> list[Body]:
        blocks = [{**one} for one in body["content"]]
        if draw.chance(0.3):
            blocks = [one for one in blocks if "thinking" not in one["type"]]
        for one in blocks:
            if one.get("citations") is None or draw.chance(0.3):
                one.pop("citations", None)
        if draw.chance(0.3):
            blocks[-1] |= CACHED
        content: Any = blocks
        if [one["type"] for one in blocks] == ["text"] and draw.chance(0.5):
            content = blocks[0]["text"]
        return [{"role": "assistant", "content": content}]

    def words(self, text: str) -> list[Body]:
        return [{"role": "assistant", "content": [{"type": "text", "text": text}]}]


def _tool(draw: Draw, number: int) -> tuple[Body, Tool]:
    name, schema = f"tool{number}", {"type": "object", "properties": {"a": {"type": "string"}}}
    made: Body = {"name": name, "description": "Does it.", "input_schema": schema}
    made |= {"type": "custom"} if draw.chance(0.3) else {}
    made |= CACHED if draw.chance(0.2) else {}
    return made, Tool(name, "Does it.", schema)


def _block(raw: Body) -> Block:
    match raw["type"]:
        case "text":
            return Block("words", raw, raw["text"], is_plain=not raw.get("citations"))
        case "tool_use":
            given = raw["input"]
            text = given if isinstance(given, str) else msgspec.json.encode(given).decode()
            parsed = None if isinstance(given, str) else given
            return Block(
                "call", raw, call=ToolCall(raw["id"], raw["name"], text, parsed), is_plain=True
            )
        case "thinking" | "redacted_thinking":
            return Block("thought", raw)
    return Block("beside", raw)


def _read(usage: Body) -> Usage:
    read, wrote = usage.get("cache_read_input_tokens"), usage.get("cache_creation_input_tokens")
    everything = usage["input_tokens"] + (read or 0) + (wrote or 0)
    return Usage(everything, usage["output_tokens"], read or 0, wrote)
