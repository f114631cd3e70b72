"""What a framework gave, kept in a store exactly, and beside it what it says.

A message is an event of a type of its adapter's own, whose ``value`` is the message as it came.
Right before it stand the events of the vocabulary that it says, so that the stream is read, folded
and shown as any conversation.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from contextlib import suppress
from functools import partial, wraps
from typing import Any, Concatenate, Final, ParamSpec, TypeVar
from urllib.parse import quote

import msgspec

from refold.capture.answers import shortened
from refold.capture.elements import PIECE_BYTES_MAX, in_pieces
from refold.capture.exact import text_before
from refold.capture.threads import current
from refold.conversation.events import AgentUtterance, ToolCall, ToolResult, UserUtterance
from refold.core.clock import recordable, to_us
from refold.core.encode import EVENTS_PER_APPEND_MAX
from refold.core.event import Event
from refold.core.expected import ANY, Expected
from refold.core.payload import encode_payload
from refold.core.recorded import Recorded
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import Conflict, InvalidEvent, RefoldError, UsageError, shown

ATTEMPTS_MAX: Final = 100

_UNNAMEABLE: Final = re.compile("[%/~\x00-\x1f\x7f-\x9f\u2028\u2029]")

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")


class Verbatim(msgspec.Struct):
    """How an event holds a message: as its value, its JSON text, or in so many pieces before it."""

    value: msgspec.Raw = msgspec.Raw()
    text: str = ""
    pieces: int = 0


def kept(type_name: str, text: str, **beside: Any) -> list[Event]:
    """The events that hold what a JSON text says, the last of them of the type.

    It holds the text itself where what it says can be no payload (NaN, half of a surrogate pair,
    more than 128 levels), and what is larger than an event may be is in pieces before it.
    ``beside`` are other fields of the event.
    """
    with suppress(UnicodeEncodeError, InvalidEvent):
        payload = msgspec.json.encode({**beside, "value": msgspec.Raw(text.encode())})
        if len(payload) <= PIECE_BYTES_MAX:
            encode_payload(msgspec.Raw(payload))
            return [Event(type_name, msgspec.Raw(payload))]
    text = json.dumps(json.loads(text))
    first, *others = in_pieces(text)
    if not others:
        return [Event(type_name, {**beside, "text": text})]
    last = Event(type_name, {**beside, "pieces": 1 + len(others)})
    return [*map(Event.of, (first, *others)), last]


def text_of(store: Store, recorded: Recorded) -> str:
    """The JSON text that an event of :func:`kept` holds."""
    held: Verbatim = msgspec.json.decode(recorded.raw, type=Verbatim)
    if held.pieces:
        return text_before(store, recorded, held.pieces)
    return held.text or bytes(held.value).decode()


def json_text(value: object, adapter: Any = None) -> str:
    """A value as JSON text; :class:`~refold.errors.InvalidEvent` for what is no JSON.

    ``adapter`` is the ``TypeAdapter`` of a value of pydantic's, which must also read it again.
    """
    try:
        if adapter is None:
            return json.dumps(value, ensure_ascii=False)
        text: bytes = adapter.dump_json(value)
        adapter.validate_json(text)
        return text.decode()
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidEvent(f"{shown(value)} is not JSON: {error}") from error


def readable(text: str) -> Any:
    """What a JSON text says, such that it can be told: without halves of characters and NaN.

    Raises :class:`~refold.errors.InvalidEvent` for what nests too deep to be read again.
    """
    whole = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    try:
        return json.loads(whole, parse_constant=str)
    except (ValueError, RecursionError) as error:
        raise InvalidEvent(f"{text:.60}… cannot be read again: {error}") from error


def told(stream: str, said: Iterable[Event]) -> list[Event]:
    """What of the events tells a conversation, and can be stored in a stream.

    None in a block of :func:`refold.capture.conversation` with that stream, where the calls to the
    model tell it. Of what is too large for an event, long texts are only named.
    """
    if current() == stream:
        return []
    kinds = UserUtterance, AgentUtterance, ToolCall, ToolResult
    words = [event for event in said if isinstance(event.data, kinds)]
    fit = (event if _fits(event) else shortened(event) for event in words)
    return [event for event in fit if _fits(event)]


def _fits(event: Event) -> bool:
    try:
        encode_payload(event.data)
    except InvalidEvent:
        return False
    return True


def appends_of(
    stream: str,
    events: Sequence[Event],
    *,
    expected: Expected = ANY,
    metadata: Mapping[str, Any] | None = None,
) -> list[Append]:
    """Any number of events as the parts of one append to a stream."""
    starts = range(0, len(events), EVENTS_PER_APPEND_MAX)
    pages = [events[at : at + EVENTS_PER_APPEND_MAX] for at in starts]
    wanted = [expected, *[ANY] * len(pages)]
    return [Append(stream, page, wanted[at], metadata) for at, page in enumerate(pages)]


def retried(append: Callable[[], R]) -> R:
    """Make an append that rests on what was read, again where another came first.

    Raises :class:`~refold.errors.Conflict` after 100 times.
    """
    for _ in range(ATTEMPTS_MAX - 1):
        with suppress(Conflict):
            return append()
    return append()


def check_category(category: str) -> None:
    """Refuse what cannot be the first word of a stream's name."""
    if not category or set("-~") & set(category):
        raise UsageError(f"a category is a word without - and ~, unlike {category!r}")


def check_id(given: object, *, what: str) -> None:
    """Refuse what cannot name a session or a conversation."""
    if not isinstance(given, str) or not given:
        raise UsageError(f"{what} is text that is not empty, not {shown(given)}")


def nameable(text: str) -> str:
    """A part of a stream's name, from which ``urllib.parse.unquote`` gives the text again.

    It has no ``~``, which makes a name that of a branch, and no ``/``.
    """
    return _UNNAMEABLE.sub(lambda each: "%7E" if each[0] == "~" else quote(each[0], safe=""), text)


def time_us(said: object) -> int | None:
    """The microseconds of a moment in RFC 3339; None of what says none that can be recorded."""
    with suppress(RefoldError):
        return recordable(to_us(said), what="the time") if isinstance(said, str) else None
    return None


def awaited(
    method: Callable[Concatenate[S, P], R],
) -> Callable[Concatenate[S, P], Coroutine[Any, Any, R]]:
    """The method to ``await``, on a worker thread, whichever event loop runs."""

    @wraps(method)
    async def call(self: S, /, *args: P.args, **kwargs: P.kwargs) -> R:
        from anyio import to_thread  # Late: it comes with the frameworks.

        return await to_thread.run_sync(partial(method, self, *args, **kwargs))

    return call
