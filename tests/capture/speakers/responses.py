"""OpenAI's Responses at random (https://platform.openai.com/docs/api-reference/responses)."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec.structs import replace

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

IMAGE: Body = {"type": "input_image", "image_url": "data:image/png;base64,iVBORw0KGgo="}


class ResponsesSpeaker(Speaker):
    """Items, whole or each begun, continued and ended by events."""

    name = "openai.responses"
    talk = "input"

    def path(self, *, streams: bool) -> str:
        return "/v1/responses"

    def agent(self, draw: Draw) -> Agent:
        params: Body = {"temperature": 0.5, "reasoning": {"effort": "low"}, "odd": draw.value()}
        beside: Body = {"store": False, "include": ["reasoning.encrypted_content"], "user": "u"}
        params = {key: value for key, value in params.items() if draw.chance(0.5)}
        beside = {key: value for key, value in beside.items() if draw.chance(0.5)}
        head: Body = {"model": draw.choice(["gpt-5", "gpt-5-mini"]), **params, **beside}
        prompts = [draw.words() for _ in range(draw.choice([0, 1, 2]))]
        made = [self.instructions(draw, text) for text in prompts]
        lead = [one for one in made if one]
        if draw.chance(0.6):
            prompts = [draw.words(), *prompts]
            head["instructions"] = prompts[0]
        tools, unread = [], []
        for n in range(draw.randint(0, 3)):
            offered, tool = _tool(draw, n)
            head.setdefault("tools", []).append(offered)
            tools.append(tool)
            unread += [f"/tools/{n}/strict"] if "strict" in offered else []
        if draw.chance(0.1):
            unread.append(f"/tools/{len(tools)}/name")
            head.setdefault("tools", []).append({"type": "web_search"})
        configured = AgentConfigured(
            model=head["model"],
            provider="openai",
            params={key: value for key, value in params.items() if value is not None},
            tools=tools,
            prompt=Prompt("\n\n".join(prompts)) if prompts else None,
        )
        return Agent(head, lead, configured, unread)

    def instructions(self, draw: Draw, text: str) -> Body | None:
        content: Any = [{"type": "input_text", "text": text}] if draw.chance(0.3) else text
        return {"role": draw.choice(["system", "developer"]), "content": content}

    def user(self, draw: Draw, words: str) -> Turn:
        text = {"type": "input_text", "text": words}
        content: Any = draw.choice([words, [text], [text, IMAGE]])
        has_more = isinstance(content, list) and len(content) > 1
        item: Body = {"role": "user", "content": content}
        item |= {"type": "message"} if draw.chance(0.4) else {}
        return Turn([item], [UserUtterance(words, content if has_more else None)])

    def results(self, draw: Draw, calls: Sequence[ToolCall]) -> Turn:
        turn = Turn([], [])
        for call in calls:
            kind = "custom_tool_call_output" if call.kind == "custom" else "function_call_output"
            value: Any = draw.choice([draw.words(), "", [IMAGE]])
            output = value
            if isinstance(value, str) and draw.chance(0.3):
                output = [{"type": "input_text", "text": value}]
            turn.items.append({"type": kind, "call_id": call.call_id, "output": output})
            turn.events.append(result(call, value))
        return turn

    def answer(self, draw: Draw, agent: Agent, *, streams: bool) -> Body:
        items: list[Body] = []
        if draw.chance(0.3):
            thought = {"type": "reasoning", "id": draw.token("rs"), "encrypted_content": "eA=="}
            summary = [{"type": "summary_text", "text": draw.words()}] * draw.randint(0, 1)
            items.append({**thought, "summary": summary})
        kind = draw.choice(["words", "words", "calls", "calls", "refusal", "beside", "cited"])
        if kind in ("words", "beside", "cited") or draw.chance(0.4):
            items.append(_message(draw, {"type": "output_text", "text": draw.words()}))
        reason: Any = None
        match kind:
            case "words" if draw.chance(0.2):
                reason = {"reason": "max_output_tokens"}
            case "calls":
                kinds = {tool.name: tool.kind for tool in agent.configured.tools}
                names = [*kinds] or ["look"]
                for _ in range(draw.randint(1, 3)):
                    name = draw.choice(names)
                    items.append(_call(draw, name, kinds.get(name, "function")))
            case "refusal":
                items = [_message(draw, {"type": "refusal", "refusal": draw.words()})]
            case "beside":
                action = {"type": "search", "query": draw.words()}
                search: Body = {"type": "web_search_call", "id": draw.token("ws"), "action": action}
                made: Body = {
                    "type": "image_generation_call",
                    "id": draw.token("ig"),
                    "result": "AA==",
                }
                code: Body = {
                    "type": "code_interpreter_call",
                    "id": draw.token("ci"),
                    "code": "1+1",
                }
                more = draw.choice([search, made, {**code, "container_id": "c", "outputs": None}])
                items.insert(draw.randint(0, 1), {**more, "status": "completed"})
            case "cited":
                cited = {"type": "url_citation", "url": "https://a.example", "title": "T"}
                items[-1]["content"][0]["annotations"] = [{**cited, "start_index": 0}]
        usage: Body = {"input_tokens": draw.randint(0, 99), "output_tokens": draw.randint(0, 99)}
        usage["input_tokens_details"] = {"cached_tokens": draw.randint(0, 9)}
        usage["output_tokens_details"] = {"reasoning_tokens": draw.randint(0, 9)}
        status = "incomplete" if reason else "completed"
        head: Body = {"id": draw.token("resp"), "object": "response", "created_at": 1}
        head |= {"status": status, "error": None, "incomplete_details": reason, "model": "gpt-5-x"}
        return {**head, "output": items, "usage": usage}

    def came(self, body: Body) -> Came:
        reason = (body["incomplete_details"] or {}).get("reason", body["status"])
        facts = {"response_id": body["id"], "model": body["model"], "finish_reason": reason}
        facts["usage"] = _read(body["usage"])
        return Came([_block(one) for one in body["output"]], facts, is_whole=True)

    def frames(self, draw: Draw, body: Body, came: Came) -> Iterator[tuple[str, Any]]:
        number = 0

        def event(kind: str, **more: Any) -> tuple[str, Any]:
            nonlocal number
            number += 1
            return kind, {"type": kind, "sequence_number": number, **more}

        begun = {**body, "status": "in_progress", "output": [], "usage": None}
        begun["incomplete_details"] = None
        facts = {"response_id": body["id"], "model": body["model"], "usage": None}
        came.facts = {**facts, "finish_reason": "in_progress"}
        yield event("response.created", response=begun)
        yield event("response.in_progress", response=begun)
        for index, item in enumerate(body["output"]):
            for kind, so_far, more in _grown(draw, item):
                came.blocks[index:] = [_block(so_far)]
                yield event(kind, output_index=index, item_id=item["id"], **more)
            came.blocks[index:] = [_block(item)]
            yield event("response.output_item.done", output_index=index, item=item)
        whole = self.came(body)
        came.blocks, came.facts, came.is_whole = whole.blocks, whole.facts, True
        kind = "response.incomplete" if body["incomplete_details"] else "response.completed"
        yield event(kind, response=body)

    def again(self, draw: Draw, body: Body) -> list[Body]:
        items = [{**one} for one in body["output"]]
        if draw.chance(0.3):
            items = [one for one in items if one["type"] != "reasoning"]
        if draw.chance(0.3):
            items = [{k: v for k, v in one.items() if k not in ("id", "status")} for one in items]
        return [self._as_words(draw, one) for one in items]

    def _as_words(self, draw: Draw, item: Body) -> Body:
        """A message as the words that are all of it."""
        parts = item.get("content", [])
        is_plain = item["type"] == "message" and [one["type"] for one in parts] == ["output_text"]
        return self.words(parts[0]["text"])[0] if is_plain and draw.chance(0.3) else item

    def words(self, text: str) -> list[Body]:
        return [{"role": "assistant", "content": text}]


class ResponsesByIdSpeaker(ResponsesSpeaker):
    """Conversations that go on from what the service keeps: only what is new is sent."""

    def agent(self, draw: Draw) -> Agent:
        agent = ResponsesSpeaker().agent(draw)
        prompt = Prompt(agent.head["instructions"]) if "instructions" in agent.head else None
        return agent._replace(lead=[], configured=replace(agent.configured, prompt=prompt))

    def instructions(self, draw: Draw, text: str) -> Body | None:
        return None

    def request(self, draw: Draw, agent: Agent, items: list[Body], *, streams: bool) -> Body:
        answers = [place for place, one in enumerate(items) if "answered" in one]
        if not answers:
            return super().request(draw, agent, items, streams=streams)
        last = answers[-1]
        body = super().request(draw, agent, items[last + 1 :], streams=streams)
        return {**body, "previous_response_id": items[last]["answered"]}

    def again(self, draw: Draw, body: Body) -> list[Body]:
        return [{"answered": body["id"]}]

    def heard(self, came: Came) -> str:
        return ""


def _tool(draw: Draw, number: int) -> tuple[Body, Tool]:
    name = f"tool{number}"
    made: Body = {"type": "custom", "name": name, "description": "Any text."}
    if draw.chance(0.25):
        return made, Tool(name, "Any text.", {}, NO_SCHEMA, kind="custom")
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"]}
    made |= {"type": "function", "description": "Does it.", "parameters": schema}
    made |= {"strict": True} if draw.chance(0.2) else {}
    return made, Tool(name, "Does it.", schema)


def _message(draw: Draw, part: Body) -> Body:
    if part["type"] == "output_text":
        part |= {"annotations": [], "logprobs": []}
    head = {"type": "message", "id": draw.token("msg"), "status": "completed"}
    return {**head, "role": "assistant", "content": [part]}


def _call(draw: Draw, name: str, kind: str) -> Body:
    head = {"id": draw.token("fc"), "call_id": draw.token("call"), "name": name}
    if kind == "custom":
        return {"type": "custom_tool_call", **head, "input": draw.words()}
    arguments = draw.choice(["{}", "", json.dumps(draw.object()), '{"broken": '])
    return {"type": "function_call", **head, "arguments": arguments, "status": "completed"}


def _block(item: Body) -> Block:
    match item["type"]:
        case "message":
            parts = item["content"]
            text = "".join(part.get("text", part.get("refusal", "")) for part in parts)
            odd = [one for one in parts if one["type"] == "refusal" or one.get("annotations")]
            return Block("words", item, text, is_plain=not odd)
        case "function_call" | "custom_tool_call":
            is_custom = item["type"] == "custom_tool_call"
            text = item["input"] if is_custom else item["arguments"]
            try:
                parsed = None if is_custom else msgspec.json.decode(text)
            except msgspec.DecodeError:
                parsed = None
            kind: Any = "custom" if is_custom else "function"
            call = ToolCall(item["call_id"], item["name"], text, parsed, kind=kind)
            return Block("call", item, call=call, is_plain=True)
        case "reasoning":
            return Block("thought", item)
        case "image_generation_call":
            return Block("media", item)
    return Block("beside", item)


def _read(usage: Body) -> Usage:
    cached = usage["input_tokens_details"]["cached_tokens"]
    thought = usage["output_tokens_details"]["reasoning_tokens"]
    return Usage(usage["input_tokens"], usage["output_tokens"], cached, None, thought)


def _grown(draw: Draw, item: Body) -> Iterator[tuple[str, Body, Body]]:
    """The events of an item until it is whole, each with the item as far as it has come then."""
    texts = {"arguments": "function_call_arguments", "input": "custom_tool_call_input"}
    texts["code"] = "code_interpreter_call_code"
    empty: Body = {key: "" if key in texts else value for key, value in item.items()}
    empty |= {key: [] for key in ("content", "summary") if key in item}
    added = "response.output_item.added"
    yield added, empty, {"item": empty}
    for key, kind in texts.items():
        so_far = ""
        for piece in draw.pieces(item.get(key, "")):
            so_far += piece
            yield f"response.{kind}.delta", {**empty, key: so_far}, {"delta": piece}
    for part in item.get("summary", ()):
        of_part, so_far, made = {"summary_index": 0}, "", {"type": "summary_text"}
        kind = "response.reasoning_summary_part.added"
        yield kind, empty, {**of_part, "part": {**made, "text": ""}}
        for piece in draw.pieces(part["text"]):
            so_far += piece
            grown = {**empty, "summary": [{**made, "text": so_far}]}
            yield "response.reasoning_summary_text.delta", grown, {**of_part, "delta": piece}
    for part in item.get("content", ()):
        key = "refusal" if part["type"] == "refusal" else "text"
        of_part, so_far, made = {"content_index": 0}, "", {"type": part["type"]}
        none: Body = {**part, key: "", **({"annotations": []} if key == "text" else {})}
        yield "response.content_part.added", empty, {**of_part, "part": none}
        kind = "response.refusal.delta" if key == "refusal" else "response.output_text.delta"
        for piece in draw.pieces(part[key]):
            so_far += piece
            grown = {**empty, "content": [{**made, key: so_far}]}
            yield kind, grown, {**of_part, "delta": piece, "logprobs": []}
        for number, cited in enumerate(part.get("annotations", ())):
            grown = {**empty, "content": [{**made, key: so_far, "annotations": [cited]}]}
            more = {"annotation": cited, "annotation_index": number}
            yield "response.output_text.annotation.added", grown, {**of_part, **more}
