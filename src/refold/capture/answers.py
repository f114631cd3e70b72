"""What came of a call, as events: the answer, or as much of it as came, and how it failed."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace as with_
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from refold.capture.call import ModelCall
from refold.conversation import events
from refold.conversation.apis.base import Assembled
from refold.conversation.apis.saying import has_token
from refold.conversation.apis.sse import Frame, SseParser, frames_of
from refold.core.event import Event
from refold.errors import InvalidEvent

ERROR_CHARS_MAX: Final = 2_000
"""How much of what a server says instead of an answer goes into ``model.failed``."""
TEXT_CHARS_MAX: Final = 65_536
"""A longer text is only named in an event that would be too large; the exact bytes have it."""
BEGINNING_MAX: Final = 1 << 20
"""How many bytes of an answer are looked through for its first word."""

_decoder: Final = json.JSONDecoder()
_WHY: Final = {
    "whole": "the answer ended before the API's own end of it",
    "cut": "the connection broke before the answer was whole",
    "closed": "the caller stopped reading before the answer was whole",
    "timeout": "no more came in time",
    "cancelled": "the caller cancelled it",
    "unreachable": "no answer came",
    None: "the process that made the call ended before the answer was whole",
}


def read_answer(
    call: ModelCall, data: bytes, response: events.ModelResponse, tools: Sequence[events.Tool]
) -> list[Event]:
    """The events of an answer of which ``data`` came; ``model.failed`` ends one that is not whole.

    The words that came of such an answer are kept before it; half a call was not made. A call
    without an ending is one whose process ended.
    """
    read = _assembled(call, data)
    if call.status is None or call.status >= 400 or not read.body:
        return [_failed(call, read.error or read.body)]
    try:
        said, unread = call.api.read_answer(read.body, response, tools)
    except InvalidEvent as refused:
        why = {"message": f"the answer is none: {refused.message}"} if read.is_whole else None
        return [_failed(call, read.error or why)]
    if unread:
        said[0] = with_(said[0], metadata={"unread": [one.pointer for one in unread]})
    failures = [one.data.error for one in said if isinstance(one.data, events.ModelFailed)]
    if read.is_whole and not failures:
        return [_finished(one, said[0].data) for one in said]
    words = [one for one in said if isinstance(one.data, events.AgentUtterance)]
    words = [one for one in words if one.data.text or one.data.parts]
    error = {"message": failures[0]} if failures else read.error
    return [*(said[:1] if words else []), *words, _failed(call, error)]


def _assembled(call: ModelCall, data: bytes) -> Assembled:
    """The body of an answer, streamed or not; an empty one of what is no JSON."""
    data = unpacked(data, call.answer_headers.get("content-encoding"))
    kind = call.answer_headers.get("content-type", "")
    if "event-stream" in kind or data.lstrip().startswith((b"data:", b"event:")):
        return call.api.assemble(frames_of([data]))
    if data.lstrip().startswith(b"["):  # As Gemini streams where no events are asked for.
        values = [*_values_in(data.decode(errors="replace"))]
        if values:
            return call.api.assemble(Frame("", text) for text in values)
    try:
        body = msgspec.json.decode(data)
    except (ValueError, RecursionError):
        is_all = data and (call.ending == "whole" or (call.status or 0) >= 400)
        text = data[: 4 * ERROR_CHARS_MAX].decode(errors="replace").strip()
        return Assembled({}, False, {"message": text} if is_all else None)
    return Assembled(body if isinstance(body, dict) else {}, True)


def _values_in(array: str) -> Iterator[str]:
    """The text of the whole values of a JSON array, as far as it came."""
    end, last = array.index("[") + 1, len(array)
    with suppress(ValueError, RecursionError):
        while end < last:
            start = next((n for n in range(end, last) if array[n] not in " \t\r\n,"), last)
            _, end = _decoder.raw_decode(array, start)
            yield array[start:end]


def unpacked(data: bytes, packing: str | None) -> bytes:
    """The bytes without the compression that the headers name, as far as they go."""
    if not packing:
        return data
    import httpx2  # Late: few answers need it.

    parts: list[bytes] = []
    stream = httpx2.ByteStream(data)
    with suppress(httpx2.DecodingError):  # It was cut: what could be unpacked is there.
        headers = {"content-encoding": packing}
        parts.extend(httpx2.Response(200, headers=headers, stream=stream).iter_bytes())
    return b"".join(parts)


def _failed(call: ModelCall, said: Mapping[str, Any] | None) -> Event:
    """Why there is no whole answer: in the words of the server, where it has any."""
    error = (said or {}).get("error", said)
    why = error.get("message") if isinstance(error, Mapping) else error
    if error and not isinstance(why, str):
        why = msgspec.json.encode(error).decode()
    if not why and call.status is not None and call.status >= 400:
        why = f"HTTP {call.status}"
    elif not why:
        why = ": ".join(filter(None, (_WHY[call.ending], call.error)))
    return Event.of(events.ModelFailed(why[:ERROR_CHARS_MAX], call.attempt, call.status))


def _finished(event: Event, response: Any) -> Event:
    """Words with why the answer ended, as its response has it."""
    if not isinstance(event.data, events.AgentUtterance):
        return event
    return with_(event, data=replace(event.data, finish_reason=response.finish_reason))


def shortened(event: Event) -> Event:
    """An event that is too large to be stored, with its long texts named instead."""
    if not isinstance(event.data, events.Payload):
        return event
    data = msgspec.convert(_short(msgspec.to_builtins(event.data)), type(event.data))
    return with_(event, data=data)


def _short(value: Any) -> Any:
    if isinstance(value, str) and len(value) > TEXT_CHARS_MAX:
        return f"[{len(value):,} characters of SHA-256 {events.sha256_of(value)}]"
    if isinstance(value, list):
        return [_short(item) for item in value]
    if isinstance(value, dict):
        return {key: _short(item) for key, item in value.items()}
    return value


# -- while it streams -----------------------------------------------------------------------------


class FirstToken:
    """Looks through an answer until the first frame that has something of it.

    It gives the call its ``first_token_ms``. A frame that only begins an answer, or names its
    role, has nothing of it. The time stays unknown where an answer is not streamed, or its first
    megabyte says nothing. ``began`` is when the call did, by ``time.perf_counter``.
    """

    def __init__(self, call: ModelCall, began: float) -> None:
        self._call, self._began, self._came = call, began, b""
        self._waits = True

    def take(self, chunk: bytes, at: float) -> None:
        """One more piece of the answer; ``at`` is when it came, by ``time.perf_counter``."""
        headers = self._call.answer_headers
        if self._waits and "event-stream" in headers.get("content-type", ""):
            self._came += chunk
            self._waits = len(self._came) < BEGINNING_MAX
            frames = SseParser().feed(unpacked(self._came, headers.get("content-encoding")))
            if any(map(has_token, frames)):
                self._waits = False
                self._call.first_token_ms = round((at - self._began) * 1000, 3)
