"""Calls as the transport sees them, of conversations by chat completions."""

import json
from collections.abc import Iterable, Sequence
from typing import Any
from uuid import uuid4

from refold.capture.call import Ending, ModelCall
from refold.capture.recorder import CallRecorder
from refold.conversation.apis.openai_chat import OPENAI_CHAT

URL = "https://models.example/v1/chat/completions"
Message = dict[str, Any]
START_US = 1_700_000_000_000_000


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def agent(text: str | None, *calls: tuple[str, str, str]) -> Message:
    """A message of the agent with calls of id, name and arguments."""
    items = [
        {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
        for call_id, name, arguments in calls
    ]
    return {"role": "assistant", "content": text} | ({"tool_calls": items} if items else {})


def result(call_id: str, content: str) -> Message:
    return {"role": "tool", "tool_call_id": call_id, "content": content}


def asked(messages: Sequence[Message], **rest: Any) -> bytes:
    """The body of a request."""
    return json.dumps({"model": "m-1", "messages": [*messages], **rest}).encode()


def answered(message: Message, **rest: Any) -> bytes:
    """The body of an answer."""
    reason = "tool_calls" if "tool_calls" in message else "stop"
    choice = {"index": 0, "message": message, "finish_reason": reason}
    usage = {"prompt_tokens": 100, "completion_tokens": 10}
    return json.dumps(
        {"id": "r-1", "model": "m-1", "choices": [choice], "usage": usage, **rest}
    ).encode()


def streamed(text: str, *, end: bool = True) -> list[bytes]:
    """The pieces of a streamed answer of words, one each."""
    frames: list[Any] = [{"delta": {"role": "assistant", "content": ""}, "finish_reason": None}]
    frames += [{"delta": {"content": f"{w} "}, "finish_reason": None} for w in text.split()]
    frames += [{"delta": {}, "finish_reason": "stop"}] if end else []
    made = [
        b"data: %b\n\n" % json.dumps({"id": "r-2", "choices": [{"index": 0, **one}]}).encode()
        for one in frames
    ]
    return [*made, b"data: [DONE]\n\n"] if end else made


def call_of(body: bytes, **known: Any) -> ModelCall:
    """A call about to be sent."""
    given: dict[str, Any] = {"headers": {}, "started_us": START_US, **known}
    return ModelCall(id=uuid4().hex, api=OPENAI_CHAT, url=URL, request=body, **given)


def ends(
    recorder: CallRecorder,
    call: ModelCall,
    pieces: Iterable[bytes] = (),
    *,
    ending: Ending = "whole",
    status: int | None = 200,
    error: str | None = None,
) -> None:
    """What comes of a call that has begun."""
    call.status = status
    pieces = [*pieces]
    kind = "text/event-stream" if pieces and pieces[0].startswith(b"data:") else "application/json"
    call.answer_headers = {"content-type": kind}
    for piece in pieces:
        recorder.received(call, piece)
    call.ending, call.error, call.latency_ms, call.first_token_ms = ending, error, 250.0, 90.0
    recorder.end(call)


def talk(
    recorder: CallRecorder, messages: list[Message], answer: Message, **known: Any
) -> ModelCall:
    """One whole call; the answer is added to the messages."""
    rest = known.pop("rest", {})
    call = call_of(asked(messages, **rest), **known)
    recorder.begin(call)
    ends(recorder, call, [answered(answer)])
    messages.append(answer)
    return call
