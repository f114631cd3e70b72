"""A call's events, as it begins, as its answer comes, and as it ends."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from refold.capture.answers import Came, read_answer
from refold.capture.call import Call
from refold.capture.conversations import RESPONSE, Chain
from refold.capture.elements import (
    PIECE_BYTES_MAX,
    answer_bytes,
    answer_kept,
    encode_form,
    taken_apart,
)
from refold.capture.events import WireAnswer, WirePiece, WireRequest
from refold.capture.exact import CALL, answers_in
from refold.capture.following import PROCESS, Followed, Sent
from refold.capture.histories import Spot, with_branch
from refold.capture.placing import GOING_ON, Places, goes_on, this_process
from refold.capture.prices import Prices, PriceTable
from refold.conversation import events
from refold.conversation.apis import APIS
from refold.conversation.apis.base import Api, Asked
from refold.conversation.openai_chat import AGENT_UNKNOWN
from refold.core.event import NAME_BYTES_MAX, Event
from refold.core.expected import NO_EVENTS, NO_STREAM
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import Conflict, InvalidEvent, OutcomeUnknown
from refold.recording.notes import stamped

TRIES_MAX: Final = 100
"""How often an append is made again after others who write to the same stream."""
UNREAD_MAX: Final = 20
"""How many places of a request that are not understood are named."""


class Counts(NamedTuple):
    """What a recorder has recorded: calls that ended, those of them that failed, streams."""

    calls: int
    failed: int
    streams: int


@dataclass(slots=True)
class _Going:
    """A call that goes on: where it is recorded, the history that it is about, what came."""

    stream: str = ""
    conversation: str = ""
    chain: Chain = field(default_factory=Chain)
    data: bytearray = field(default_factory=bytearray)
    pieces: int = 0


class Recorder:
    """Records calls in a store; of one thread, but calls may interleave.

    Streams that nobody names are ``category-<id of their first call>``. ``prices`` is what
    :class:`~refold.capture.prices.PriceTable` takes. What cannot be stored raises the store's
    error, and nothing more is recorded of that call.
    """

    def __init__(
        self,
        store: Store,
        *,
        category: str = "chat",
        prices: Prices | None = None,
    ) -> None:
        self._store = store
        self._prices = PriceTable(prices)
        self._places = Places(store, category)
        self._calls: dict[str, _Going] = {}
        self._ended = self._failed = 0
        self._streams: set[int] = set()

    @property
    def recorded(self) -> Counts:
        """What has been recorded so far."""
        return Counts(self._ended, self._failed, len(self._streams))

    def begin(self, call: Call) -> None:
        """Record what a request says that its conversation had not, and the request, exactly."""
        going = _Going()
        body = _object_in(call.request)
        asked = _asked(call, body)
        self._until_stored(call, lambda: self._begin(call, body, asked, going))
        self._calls[call.id] = going

    def received(self, call: Call, data: bytes) -> None:
        """Record bytes of the answer as they came."""
        going = self._calls.get(call.id)
        if going is None or not data:
            return
        head: dict[str, Any] = {"status": call.status, "headers": call.answer_headers}
        kept = answer_kept(data, **({} if going.pieces else head))
        key = f"{call.id}.{going.pieces}"
        metadata = _metadata(call.id, going.conversation)
        self._until_stored(
            call, lambda: self._store.append(going.stream, [kept], key=key, metadata=metadata)
        )
        going.data += data
        going.pieces += 1

    def end(self, call: Call) -> None:
        """Record what came of a call: an answer, or how it failed."""
        going = self._calls.get(call.id)
        if going is None:
            return
        came = Came(
            bytes(going.data),
            call.ending or "cut",
            status=call.status,
            headers=call.answer_headers,
            error=call.error,
            attempt=call.attempt,
        )
        response = events.ModelResponse(
            first_token_ms=call.first_token_ms, latency_ms=call.latency_ms
        )
        at_us = call.started_us + round((call.latency_ms or 0) * 1_000)
        ended = _Ended(call.id, call.api, came, response, going.chain, at_us, going.conversation)
        self._until_stored(call, lambda: self._end(self._places.following(going.stream), ended))
        self._let_go(call.id)

    # -- a call begins ----------------------------------------------------------------------------

    def _begin(self, call: Call, body: dict[str, Any], asked: Asked, going: _Going) -> None:
        if going.stream and call.id in self._places.following(going.stream).open:
            return  # It was stored, though the store could not say so.
        state, chain, seen, conversation = self._places.place(call, body, asked)
        going.stream, going.conversation, going.chain = state.stream, conversation, chain
        for other, sent in [*state.open.items()]:
            if not goes_on(other, sent, now_us=call.started_us):
                self._end(state, self._lost(state, other, sent))
        said = _said(state, asked, seen)
        form, digests = taken_apart(call.request, state.known())
        exact = _in_events(form)
        request = Event.of(
            events.ModelRequest(call.api.name, hash=form.hash, attempt=call.attempt),
            metadata={"unread": [one.pointer for one in asked.unread[:UNREAD_MAX]]}
            if asked.unread
            else None,
        )
        made, _ = stamped(state.notes, [*said, *exact, request], occurred_at=call.started_us)
        spot = Spot(state.stream, state.notes.version + len(said))
        metadata = _metadata(call.id, conversation) | {PROCESS: this_process()}
        GOING_ON.add(call.id)
        self._append(state, made, [chain.tag], spot, metadata, key=call.id)
        state.request_kept(spot.version + len(exact), digests)
        self._streams.add(hash(state.stream))

    # -- a call ends ------------------------------------------------------------------------------

    def _end(self, state: Followed, ended: _Ended) -> None:
        if ended.call not in state.open:
            return
        came, agent = ended.came, state.notes.agent
        # The message is known by the version of its response, behind the end of the bytes.
        response = replace(ended.response, message_id=f"m{state.notes.version + 2}")
        said = read_answer(ended.api, came, response, agent.tools if agent is not None else [])
        said = [self._priced(one, agent) for one in said]
        tags = {ended.chain.after(said).tag}
        if is_failed := isinstance(said[-1].data, events.ModelFailed):
            tags.add(ended.chain.tag)
        elif isinstance(first := said[0].data, events.ModelResponse) and first.response_id:
            tags |= _response_tags(first.response_id)
        whole = hashlib.sha256(came.data).hexdigest()
        head: dict[str, Any] = {"status": came.status, "headers": dict(came.headers)}
        end = WireAnswer(ending=came.ending, hash=whole, **({} if came.data else head))
        made, _ = stamped(state.notes, [end, *said], occurred_at=ended.at_us)
        spot = Spot(state.stream, state.notes.version + len(made))
        metadata = _metadata(ended.call, ended.conversation)
        self._append(state, made, sorted(tags), spot, metadata, key=f"{ended.call}.end")
        self._ended += 1
        self._failed += is_failed

    def _lost(self, state: Followed, call: str, sent: Sent) -> _Ended:
        """The end of a call whose process ended before: with what had come of its answer."""
        kept = [one for _, one in answers_in(self._store, state.stream, sent.version, call)]
        first = kept[0] if kept else WireAnswer()
        came = Came(
            b"".join(map(answer_bytes, kept)),
            "lost",
            status=first.status,
            headers=first.headers,
            attempt=sent.attempt,
        )
        api = next((one for one in APIS if one.name == sent.api), APIS[0])
        chain = Chain.at(sent.tags)
        return _Ended(call, api, came, events.ModelResponse(), chain, None, sent.conversation)

    def _priced(self, event: Event, agent: events.AgentConfigured | None) -> Event:
        response = event.data
        if not isinstance(response, events.ModelResponse):
            return event
        asked = agent.model if agent is not None else None
        cost = self._prices.cost((response.model, asked), response.usage)
        return with_(event, data=replace(response, cost=cost))

    # -- the store --------------------------------------------------------------------------------

    def _append(
        self,
        state: Followed,
        made: Sequence[Event],
        tags: Sequence[str],
        spot: Spot,
        metadata: dict[str, Any],
        *,
        key: str,
    ) -> None:
        version = state.notes.version
        expected = NO_STREAM if version == NO_EVENTS else version
        append = Append(state.stream, made, expected, metadata, tags=tags)
        self._store.append_together(with_branch(append, spot), key=key)
        self._places.histories.note(tags, spot)

    def _until_stored(self, call: Call, work: Callable[[], object]) -> None:
        """Do it again where another writer came first, or the store could not say what became."""
        for left in reversed(range(TRIES_MAX)):
            try:
                work()
                return
            except (Conflict, OutcomeUnknown):
                if not left:
                    self._let_go(call.id)
                    raise
            except BaseException:
                self._let_go(call.id)
                raise

    def _let_go(self, call: str) -> None:
        self._calls.pop(call, None)
        GOING_ON.discard(call)


class _Ended(NamedTuple):
    """A call that ended: what is known of it, and the history that it was about."""

    call: str
    api: Api
    came: Came
    response: events.ModelResponse
    chain: Chain
    at_us: int | None
    conversation: str


def _metadata(call: str, conversation: str) -> dict[str, Any]:
    return {"correlation": conversation, "origin": "recorded", CALL: call}


def _object_in(raw: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _asked(call: Call, body: dict[str, Any]) -> Asked:
    """What a request says; nothing where it is none of its API."""
    try:
        return call.api.read_request(body, urlsplit(call.url).path)
    except InvalidEvent:
        return Asked(AGENT_UNKNOWN, [], [])


def _said(state: Followed, asked: Asked, seen: int) -> list[Event]:
    """What a request says that its stream does not hold: who is asked, and what was said since."""
    fresh = list(_numbered(asked.elements[seen:], state.notes.version + 3))
    agents = [one.data for said in asked.elements[:seen] for one in said]
    agents = [one for one in agents if isinstance(one, events.AgentConfigured)]
    agent = (agents or [asked.agent])[-1]
    begins: list[Event] = []
    if state.notes.version == NO_EVENTS:
        begins.append(Event.of(events.SessionStarted()))
    if agent not in (AGENT_UNKNOWN, state.notes.agent):
        begins.append(Event.of(agent))
    return begins + fresh


def _numbered(elements: Sequence[Sequence[Event]], version: int) -> Iterator[Event]:
    """The events of elements; those of one share a message id that no other of the stream has."""
    for said in elements:
        for event in said:
            data = event.data
            if isinstance(data, events.AgentUtterance | events.ToolCall):
                event = with_(event, data=replace(data, message_id=f"m{version}"))
            yield event
        version += len(said)


def _in_events(form: WireRequest) -> list[object]:
    """A form as one event, or as one with pieces before it where it is too large."""
    raw = encode_form(form)
    if len(raw) <= PIECE_BYTES_MAX:
        return [form]
    text = raw.decode()
    size = PIECE_BYTES_MAX // 4  # Characters of up to four bytes.
    pieces = [WirePiece(text[at : at + size]) for at in range(0, len(text), size)]
    return [*pieces, WireRequest(pieces=len(pieces))]


def _response_tags(response_id: str) -> set[str]:
    tag = RESPONSE + response_id
    return {tag} if tag.isprintable() and len(tag.encode()) <= NAME_BYTES_MAX else set()
