"""What came of a call, as events: the answer, or as much of it as came, and how it failed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from refold.conversation import events
from refold.conversation.apis.base import Api, Assembled
from refold.conversation.apis.sse import Frame, frames_of
from refold.core.event import Event
from refold.errors import InvalidEvent

ERROR_CHARS_MAX: Final = 2_000
"""How much of what a server says instead of an answer goes into ``model.failed``."""

_WHY: Final = {
    "whole": "the answer ended before the API's own end of it",
    "cut": "the connection broke before the answer was whole",
    "closed": "the caller stopped reading before the answer was whole",
    "timeout": "no more came in time",
    "cancelled": "the caller cancelled it",
    "unreachable": "no answer came",
    "lost": "the process that made the call ended before the answer was whole",
}


@dataclass(slots=True)
class Came:
    """What came of a call: bytes as on the wire, and how it ended.

    ``ending`` is a :data:`call.Ending`, or ``lost`` where the process that made it ended first.
    """

    data: bytes
    ending: str
    status: int | None = None
    headers: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None
    attempt: int = 1


def read_answer(
    api: Api, came: Came, response: events.ModelResponse, tools: Sequence[events.Tool]
) -> list[Event]:
    """The events of an answer; ``model.failed`` is the last where it is none, or not whole.

    Words that came of an answer that is not whole are kept before it. Half a call was not made.
    """
    read = _assembled(api, came)
    if came.status is None or came.status >= 400 or not read.body:
        return [_failed(came, read.error or read.body)]
    try:
        chat = api.read_answer(read.body, response, tools)
    except InvalidEvent as refused:
        why = {"message": f"the answer is none: {refused.message}"} if read.is_whole else None
        return [_failed(came, read.error or why)]
    told = {"unread": [one.pointer for one in chat.unread]} if chat.unread else None
    said = [with_(chat.events[0], metadata=told or chat.events[0].metadata), *chat.events[1:]]
    failures = [one.data for one in said if isinstance(one.data, events.ModelFailed)]
    if read.is_whole and not failures:
        return [_finished(one, said[0].data) for one in said]
    words = [
        one for one in said if isinstance(one.data, events.AgentUtterance) and _tells(one.data)
    ]
    kept = [one for one in said if isinstance(one.data, events.ModelResponse) and words] + words
    error = {"message": failures[0].error} if failures else read.error
    return [*kept, _failed(came, error)]


def _assembled(api: Api, came: Came) -> Assembled:
    """The body of an answer, streamed or not; an empty one of what is no JSON."""
    data = _unpacked(came)
    kind = came.headers.get("content-type", "")
    if "event-stream" in kind or data.lstrip().startswith((b"data:", b"event:")):
        return api.assemble(frames_of([data]))
    try:
        body = msgspec.json.decode(data)
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        is_all = came.ending == "whole" or (came.status or 0) >= 400
        return Assembled({}, False, {"message": _text(data)} if data and is_all else None)
    if isinstance(body, list):  # As Gemini streams where no events are asked for.
        return api.assemble([Frame("", msgspec.json.encode(item).decode()) for item in body])
    return Assembled(body if isinstance(body, dict) else {}, True)


def _unpacked(came: Came) -> bytes:
    """The bytes without the compression that the headers name, as far as they go."""
    packing = came.headers.get("content-encoding")
    if not packing:
        return came.data
    import httpx2  # Late: whoever captures has one of its kind, but not each of its calls needs it.

    try:
        whole = httpx2.Response(200, headers={"content-encoding": packing}, content=came.data)
        return whole.content
    except httpx2.DecodingError:
        return b""


def _failed(came: Came, said: Mapping[str, Any] | None) -> Event:
    why = _message(said)
    if not why and came.status is not None and came.status >= 400:
        why = f"HTTP {came.status}"
    elif not why:
        why = f"{_WHY[came.ending]}: {came.error}" if came.error else _WHY[came.ending]
    return Event.of(events.ModelFailed(why[:ERROR_CHARS_MAX], came.attempt, came.status))


def _message(said: Mapping[str, Any] | None) -> str:
    """What a server says of an error, in its own words."""
    error = (said or {}).get("error", said)
    if isinstance(error, Mapping):
        message = error.get("message")
        return message if isinstance(message, str) else _text(msgspec.json.encode(error))
    return error if isinstance(error, str) else ""


def _text(data: bytes) -> str:
    return data[: 4 * ERROR_CHARS_MAX].decode(errors="replace").strip()


def _finished(event: Event, response: Any) -> Event:
    """Words with why the answer ended, as its response has it."""
    if not isinstance(event.data, events.AgentUtterance):
        return event
    return with_(event, data=replace(event.data, finish_reason=response.finish_reason))


def _tells(said: events.AgentUtterance) -> bool:
    return bool(said.text or said.parts)
