"""A call's events, as it begins, as its answer comes, and as it ends."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_
from typing import Any, Final, NamedTuple
from urllib.parse import urlsplit

import msgspec
from msgspec.structs import replace

from refold.capture.answers import read_answer, shortened
from refold.capture.call import ModelCall
from refold.capture.conversations import Chain, response_tags
from refold.capture.elements import answer_bytes, answer_kept, in_events, taken_apart
from refold.capture.events import WireAnswer
from refold.capture.exact import CALL, answers_in
from refold.capture.followed import GOING_ON, PROCESS, Followed, goes_on, this_process
from refold.capture.heard import Heard
from refold.capture.histories import Spot, with_branch
from refold.capture.placing import Places, is_part
from refold.capture.prices import Prices, PriceTable
from refold.capture.tools import ToolRuns, unsaid
from refold.conversation import events
from refold.conversation.apis import APIS
from refold.conversation.apis.base import Asked
from refold.conversation.openai_chat import AGENT_UNKNOWN
from refold.core.event import Event, event_id
from refold.core.expected import NO_EVENTS, NO_STREAM
from refold.core.recorded import Recorded
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import Conflict, InvalidEvent, OutcomeUnknown
from refold.recording.in_force import Telling
from refold.recording.notes import stamped
from refold.recording.tool_run import ToolRun

TRIES_MAX: Final = 100
"""How often an append is made again after others who write to the same stream."""
ANSWER_BYTES_MAX: Final = 1 << 20
"""The most of an answer that goes into one event, which may be six times as long, as JSON text."""
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

    stream: str
    conversation: str
    chain: Chain
    data: bytearray = field(default_factory=bytearray)
    pieces: int = 0
    has_failed: bool = False


class CallRecorder:
    """Records calls in a store; of one thread, but calls may interleave.

    Streams that nobody names are ``category-<id of their first call>``. ``prices`` is what
    :class:`~refold.capture.prices.PriceTable` takes. What cannot be stored raises the store's
    error, and nothing more is recorded of that call.
    """

    def __init__(
        self, store: Store, *, category: str = "chat", prices: Prices | None = None
    ) -> None:
        self._store = store
        self._prices = PriceTable(prices)
        self._places = Places(store, category)
        self._heard = Heard()
        self._tools = ToolRuns(store, self._places, self._goes_on)
        self._calls: dict[str, _Going] = {}
        self._ended = self._failed = 0
        self._streams: set[int] = set()

    @property
    def recorded(self) -> Counts:
        """What has been recorded so far."""
        return Counts(self._ended, self._failed, len(self._streams))

    def begin(self, call: ModelCall) -> None:
        """Record what a request says that its conversation had not, and the request, exactly."""
        GOING_ON.add(call.id)
        body = _object_in(call.request)
        self._until_stored(call, lambda: self._begin(call, body))
        self._streams.add(hash(self._calls[call.id].stream))

    def received(self, call: ModelCall, data: bytes) -> None:
        """Record bytes of the answer as they came."""
        going = self._calls.get(call.id)
        if going is None or not data:
            return
        for at in range(0, len(data), ANSWER_BYTES_MAX):
            self._received(call, going, data[at : at + ANSWER_BYTES_MAX])

    def _received(self, call: ModelCall, going: _Going, data: bytes) -> None:
        kept = answer_kept(data, **({} if going.pieces else _head(call)))
        key, metadata = f"{call.id}.{going.pieces}", _metadata(call, going)
        self._until_stored(
            call, lambda: self._store.append(going.stream, [kept], key=key, metadata=metadata)
        )
        going.data += data
        going.pieces += 1

    def end(self, call: ModelCall) -> None:
        """Record what came of a call: an answer, or how it failed."""
        going = self._calls.get(call.id)
        if going is not None:
            follow = self._places.following
            self._until_stored(call, lambda: self._end(follow(going.stream), call, going))
            self._let_go(call)
            self._ended += 1
            self._failed += going.has_failed

    def tool(self, named: str | None, run: ToolRun, make: Telling) -> None:
        """Record a run of a tool, in the conversation that the caller named."""
        self._again(lambda: self._tools.tell(named, run, make))

    def _goes_on(self, stream: str) -> bool:
        return any(is_part(going.stream, stream) for going in self._calls.values())

    # -- a call begins ----------------------------------------------------------------------------

    def _begin(self, call: ModelCall, body: dict[str, Any]) -> None:
        going = self._calls.get(call.id)
        if going is not None and call.id in self._places.following(going.stream).open:
            return  # It was stored, though the store could not say so.
        said, start = self._heard.unread(call.request, body)
        asked = _asked(call, said)
        placed = self._places.fitting(call, body, asked, start)
        if placed is None and start.digest:
            asked = _asked(call, body)
            placed = self._places.fitting(call, body, asked, Chain())
        # By their places in all of it, not in what was new.
        unread = asked.unread and _asked(call, body).unread
        state, chain, seen, conversation = placed or self._places.unfitting(call, body, asked)
        stream = state.notes.stream
        going = self._calls[call.id] = _Going(stream, conversation, chain)
        lost = [one for one in state.open.items() if not goes_on(*one, now_us=call.started_us)]
        if lost and self._store.head(stream) > state.notes.version:
            self._begin(call, body)  # They have ended since the stream was read.
            return
        for one in lost:
            self._end(state, *self._lost(*one))
            state.catch_up()
        new = _said(state, asked, seen)
        form, digests = taken_apart(call.request, state.known())
        exact = in_events(form)
        made = events.ModelRequest(call.api.name, hash=form.hash, attempt=call.attempt)
        told = {"unread": [one.pointer for one in unread[:UNREAD_MAX]]}
        given = [*new, *exact, Event.of(made, metadata=told if unread else None)]
        about = _metadata(call, going) | {PROCESS: this_process()}
        spot = Spot(stream, state.notes.version + len(new))
        self._append(state, spot, given, about, {chain.tag}, at_us=call.started_us, key=call.id)
        state.request_kept(spot.version + len(exact), digests)
        self._heard.note(call.request, body, asked, chain)

    # -- a call ends ------------------------------------------------------------------------------

    def _end(self, state: Followed, call: ModelCall, going: _Going) -> None:
        if call.id not in state.open:
            return
        version, agent = state.notes.version, state.notes.agent or AGENT_UNKNOWN
        times: dict[str, Any] = {
            "first_token_ms": call.first_token_ms,
            "latency_ms": call.latency_ms,
        }
        # The message is known by the version of its response, behind the end of the bytes.
        response = events.ModelResponse(message_id=f"m{version + 2}", **times)
        said = read_answer(call, bytes(going.data), response, agent.tools)
        first, tags = said[0].data, {going.chain.after(said).tag}
        if isinstance(first, events.ModelResponse):
            cost = self._prices.cost((first.model, agent.model), first.usage)
            said[0] = with_(said[0], data=replace(first, cost=cost))
            tags |= response_tags(first.response_id)
        going.has_failed = isinstance(said[-1].data, events.ModelFailed)
        if going.has_failed:
            tags.add(going.chain.tag)
        kept = {} if going.data else _head(call)
        whole = hashlib.sha256(going.data).hexdigest()
        given = [WireAnswer(ending=call.ending or "lost", hash=whole, **kept), *said]
        spot = Spot(state.notes.stream, version + len(given))
        at_us = call.started_us + round((call.latency_ms or 0) * 1_000) if call.ending else None
        about, key = _metadata(call, going), f"{call.id}.end"
        self._append(state, spot, given, about, tags, at_us=at_us, key=key)
        self._tools.note(spot.stream, said)

    def _lost(self, call_id: str, request: Recorded) -> tuple[ModelCall, _Going]:
        """A call whose process ended before it did, with what had come of its answer."""
        stream, metadata = request.stream, request.metadata
        asked = self._store.event(event_id(stream, request.version + 1)).event
        kept = [one for _, one in answers_in(self._store, stream, request.version, call_id)]
        head = kept[0] if kept else WireAnswer()
        api = next((one for one in APIS if one.name == asked.api), APIS[0])
        call = ModelCall(call_id, api, "", b"", {}, request.occurred_at_us, attempt=asked.attempt)
        call.status, call.answer_headers = head.status, head.headers
        data = bytearray().join(map(answer_bytes, kept))
        chain = Chain.at(metadata.get("tags", ()))
        return call, _Going(stream, metadata["correlation"], chain, data)

    # -- the store --------------------------------------------------------------------------------

    def _append(
        self, state: Followed, spot: Spot, given: Sequence[object], about: dict[str, Any],
        tags: set[str], *, at_us: int | None, key: str,
    ) -> None:  # fmt: skip
        made, _ = stamped(state.notes, given, occurred_at=at_us)
        version = state.notes.version
        expected = NO_STREAM if version == NO_EVENTS else version
        append = Append(spot.stream, made, expected, about, tags=sorted(tags))
        try:
            self._store.append_together(with_branch(append, spot), key=key)
        except InvalidEvent:  # As of an image that is larger than an event may be.
            append = append._replace(events=[*map(shortened, made)])
            self._store.append_together(with_branch(append, spot), key=key)
        self._places.histories.note(tags, spot)

    def _until_stored(self, call: ModelCall, work: Callable[[], object]) -> None:
        try:
            self._again(work)
        except BaseException:
            self._let_go(call)
            raise

    def _again(self, work: Callable[[], object]) -> None:
        """Do it again where another writer came first, or the store could not say what became."""
        for left in reversed(range(TRIES_MAX)):
            try:
                work()
                break
            except (Conflict, OutcomeUnknown):
                if not left:
                    raise

    def _let_go(self, call: ModelCall) -> None:
        self._calls.pop(call.id, None)
        GOING_ON.discard(call.id)


def _metadata(call: ModelCall, going: _Going) -> dict[str, Any]:
    return {**call.metadata, "correlation": going.conversation, "origin": "recorded", CALL: call.id}


def _head(call: ModelCall) -> dict[str, Any]:
    return {"status": call.status, "headers": dict(call.answer_headers)}


def _object_in(raw: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _asked(call: ModelCall, body: Mapping[str, Any]) -> Asked:
    """What a request says; nothing where it is none of its API."""
    try:
        return call.api.read_request(body, urlsplit(call.url).path)
    except InvalidEvent:
        return Asked(AGENT_UNKNOWN, [], [])


def _said(state: Followed, asked: Asked, seen: int) -> list[Event]:
    """What a request says that its stream does not hold: who is asked, and what was said since."""
    told = [one.data for said in asked.elements[:seen] for one in said]
    agents = [one for one in told if isinstance(one, events.AgentConfigured)]
    agent = (agents or [asked.agent])[-1]
    begins: list[Event] = []
    if state.notes.version == NO_EVENTS:
        begins.append(Event.of(events.SessionStarted()))
    if agent not in (AGENT_UNKNOWN, state.notes.agent):
        begins.append(Event.of(agent))
    said = [[*unsaid(state, one)] for one in asked.elements[seen:]]
    return [*begins, *_numbered(said, state.notes.version + len(begins) + 1)]


def _numbered(elements: Sequence[Sequence[Event]], version: int) -> Iterator[Event]:
    """The events of elements; those of one share a message id that no other of the stream has."""
    for said in elements:
        for event in said:
            is_answer = isinstance(event.data, events.AgentUtterance | events.ToolCall)
            data = replace(event.data, message_id=f"m{version}") if is_answer else event.data
            yield with_(event, data=data)
        version += len(said)
