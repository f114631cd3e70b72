"""What the code of a user asks its model, and the answer that is given it, by OpenAI's two APIs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from refold.conversation.apis.base import Api
from refold.conversation.chat_export import MessageWriter
from refold.replay.request import ChatRequest, Message, as_openai
from refold.replay.variant import RESERVED_PARAMS

Body = dict[str, Any]
_CHAT: Final = "openai.chat"
_RESPONSES: Final = "openai.responses"
_ALIKE: Final = ("temperature", "top_p", "parallel_tool_calls")
"""The parameters that both APIs have under one name."""
_NO_PARAMS: Final = RESERVED_PARAMS | {"stream_options"}


def asked_in(api: Api, content: bytes, path: str) -> ChatRequest | None:
    """The question of a request, in chat messages; None for an API that cannot be answered here.

    Of the Responses API what chat messages do not hold, such as thoughts, is left out.
    """
    body: Body = msgspec.json.decode(content)
    if api.name == _CHAT:
        params = {name: value for name, value in body.items() if name not in _NO_PARAMS}
        tools = body.get("tools") or []
        return ChatRequest(
            messages=body["messages"], model=body.get("model"), tools=tools, params=params
        )
    if api.name != _RESPONSES:
        return None
    asked = api.read_request(body, path)
    writer = MessageWriter()
    writer.add(asked.agent, {})
    for event in (event for element in asked.elements for event in element):
        writer.add(event.data, {})
    tools = [as_openai(tool) for tool in asked.agent.tools]
    kept: Body = {name: body[name] for name in _ALIKE if name in body}
    messages = [*writer.finished([])]
    return ChatRequest(messages=messages, model=asked.agent.model, tools=tools, params=kept)


def body_of(api: Api, message: Message, content: bytes) -> tuple[str, bytes]:
    """An assistant message as the answer to a request: its content type, and the body."""
    asked: Body = msgspec.json.decode(content)
    if api.name == _CHAT:
        whole, pieces = _chat(message, asked), _chat_pieces
    else:
        whole, pieces = _response(message, asked), _response_pieces
    if not asked.get("stream"):
        return "application/json", msgspec.json.encode(whole)
    return "text/event-stream", b"".join(pieces(whole))


def _calls(message: Message) -> list[Body]:
    calls: list[Body] = message.get("tool_calls") or []
    return calls


def _chat(message: Message, asked: Body) -> Body:
    said = {"role": "assistant", "content": message.get("content"), "refusal": None}
    calls = _calls(message)
    reason = "tool_calls" if calls else "stop"
    choice = {"index": 0, "message": said | ({"tool_calls": calls} if calls else {})}
    usage = {"prompt_tokens": 0, "completion_tokens": 0, "total_tokens": 0}
    head = {"id": "known", "object": "chat.completion", "created": 0, "model": asked.get("model")}
    return {**head, "choices": [{**choice, "finish_reason": reason}], "usage": usage}


def _chat_pieces(whole: Body) -> Iterator[bytes]:
    (choice,) = whole["choices"]
    calls = [{"index": n, **call} for n, call in enumerate(_calls(choice["message"]))]
    delta = choice["message"] | ({"tool_calls": calls} if calls else {})
    head = {**whole, "object": "chat.completion.chunk", "usage": None}
    yield _frame({**head, "choices": [{"index": 0, "delta": delta, "finish_reason": None}]})
    last = {"index": 0, "delta": {}, "finish_reason": choice["finish_reason"]}
    yield _frame({**head, "choices": [last]})
    yield _frame({**head, "choices": [], "usage": whole["usage"]})
    yield b"data: [DONE]\n\n"


def _response(message: Message, asked: Body) -> Body:
    output: list[Body] = []
    if message.get("content"):
        text = {"type": "output_text", "text": message["content"], "annotations": []}
        own = {"type": "message", "id": "msg_known", "role": "assistant", "content": [text]}
        output.append({**own, "status": "completed"})
    output += [_called(call) for call in _calls(message)]
    counts: Body = {"input_tokens": 0, "output_tokens": 0, "total_tokens": 0}
    counts |= {"input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0}}
    counts |= {"output_tokens_details": {"reasoning_tokens": 0}}
    head = {"id": "resp_known", "object": "response", "created_at": 0, "status": "completed"}
    head |= {"model": asked.get("model"), "parallel_tool_calls": True, "tool_choice": "auto"}
    return {**head, "output": output, "tools": asked.get("tools") or [], "usage": counts}


def _called(call: Body) -> Body:
    own = {"id": f"fc_{call.get('id')}", "call_id": call.get("id"), "status": "completed"}
    if (custom := call.get("custom")) is not None:
        return {"type": "custom_tool_call", **own, "name": custom["name"], "input": custom["input"]}
    function = call["function"]
    said = {"name": function["name"], "arguments": function["arguments"]}
    return {"type": "function_call", **own, **said}


def _response_pieces(whole: Body) -> Iterator[bytes]:
    frames: list[Body] = [{"type": "response.created"} | {"response": {**whole, "output": []}}]
    for index, item in enumerate(whole["output"]):
        for kind in ("added", "done"):
            frame = {"type": f"response.output_item.{kind}", "output_index": index, "item": item}
            frames.append(frame)
    frames.append({"type": "response.completed", "response": whole})
    for number, frame in enumerate(frames):
        yield _frame({**frame, "sequence_number": number}, name=frame["type"])


def _frame(said: Mapping[str, Any], *, name: str = "") -> bytes:
    head = f"event: {name}\n".encode() if name else b""
    return head + b"data: " + msgspec.json.encode(said) + b"\n\n"
