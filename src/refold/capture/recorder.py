"""A call's events, as it begins, as its answer comes, and as it ends."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from dataclasses import replace as with_
from functools import partial
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from refold.capture.answers import read_answer, shortened
from refold.capture.call import ModelCall
from refold.capture.conversations import Chain, response_tags
from refold.capture.elements import answer_bytes, answer_kept, in_events, taken_apart
from refold.capture.events import WireAnswer
from refold.capture.exact import CALL, answers_in
from refold.capture.placing import Places, asked_in, is_part
from refold.capture.prices import Prices, PriceTable
from refold.capture.streams import (
    GOING_ON,
    PROCESS,
    Followed,
    Spot,
    again,
    goes_on,
    with_branch,
)  # fmt: skip
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
from refold.errors import InvalidEvent
from refold.process import this_process
from refold.recording.notes import stamped

ANSWER_BYTES_MAX: Final = 1 << 20
"""The most of an answer that goes into one event, which may be six times as long, as JSON text."""
UNREAD_MAX: Final = 20
"""How many places of a request that are not understood are named."""


@dataclass(slots=True)
class _Going:
    """A call that goes on: where it is recorded, the history that it is about, what came.

    ``about`` is the metadata of its events.
    """

    stream: str
    chain: Chain
    about: dict[str, Any]
    data: bytearray = field(default_factory=bytearray)
    pieces: int = 0


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
        self.tools: Final = ToolRuns(store, self._places, self._going)
        """Records the runs of tools in the same conversations."""
        self._calls: dict[str, _Going] = {}

    def begin(self, call: ModelCall) -> None:
        """Record what a request says that its conversation had not, and the request, exactly."""
        GOING_ON.add(call.id)
        body = _object_in(call.request)
        self._until_stored(call, lambda: self._begin(call, body))

    def received(self, call: ModelCall, data: bytes) -> None:
        """Record bytes of the answer as they came."""
        going = self._calls.get(call.id)
        if going is None:
            return
        for at in range(0, len(data), ANSWER_BYTES_MAX):
            piece = data[at : at + ANSWER_BYTES_MAX]
            kept = [answer_kept(piece, **({} if going.pieces else _head(call)))]
            told: Any = {"key": f"{call.id}.{going.pieces}", "metadata": going.about}
            self._until_stored(call, partial(self._store.append, going.stream, kept, **told))
            going.data += piece
            going.pieces += 1

    def end(self, call: ModelCall) -> None:
        """Record what came of a call: an answer, or how it failed."""
        going = self._calls.get(call.id)
        if going is not None:
            follow = self._places.following
            self._until_stored(call, lambda: self._end(follow(going.stream), call, going))
            self.let_go(call)

    def let_go(self, call: ModelCall) -> None:
        """Record nothing more of a call; what its stream has of it is that of one that was lost."""
        self._calls.pop(call.id, None)
        GOING_ON.discard(call.id)
        self.tools.tell_due(in_any_case=False)

    def _going(self, named: str | None) -> dict[str, str]:
        calls = self._calls.items()
        return {call: going.stream for call, going in calls if is_part(going.stream, named)}

    # -- a call begins ----------------------------------------------------------------------------

    def _begin(self, call: ModelCall, body: dict[str, Any]) -> None:
        going = self._calls.get(call.id)
        if going is not None and call.id in self._places.following(going.stream).open:
            return  # It was stored, though the store could not say so.
        state, conversation, chain, asked, seen = self._places.place(call, body)
        asked = _by(call.metadata.get("agent"), asked)
        stream = state.notes.stream
        going = self._calls[call.id] = _Going(stream, chain, _about(call, conversation))
        lost = [one for one in state.open.items() if not goes_on(*one, now_us=call.started_us)]
        if lost and self._store.head(stream) > state.notes.version:
            self._begin(call, body)  # They have ended since the stream was read.
            return
        for lost_id, request in lost:
            self._end(state, *self._lost(lost_id, request))
            state.catch_up()
        if state.waiting:
            self.tools.tell_left(state, now_us=call.started_us)
            state.catch_up()
        new = _said(state, asked, seen)
        form = taken_apart(call.request, state.known)
        made = events.ModelRequest(
            call.api.name, hash=form.hash, attempt=call.attempt, url=call.url
        )
        # By their places in all of it, not in what was new.
        unread = asked.unread and asked_in(call, body).unread
        told = {"unread": [one.pointer for one in unread[:UNREAD_MAX]]} if unread else None
        given = [*new, *in_events(form), Event.of(made, metadata=told)]
        about = going.about | {PROCESS: this_process()}
        spot = Spot(stream, state.notes.version + len(new))
        self._append(state, spot, given, about, {chain.tag}, at_us=call.started_us, key=call.id)

    # -- a call ends ------------------------------------------------------------------------------

    def _end(self, state: Followed, call: ModelCall, going: _Going) -> None:
        if call.id not in state.open:
            return
        version, agent = state.notes.version, state.notes.agent or AGENT_UNKNOWN
        times: Any = {"first_token_ms": call.first_token_ms, "latency_ms": call.latency_ms}
        # The message is known by the version of its response, behind the end of the bytes.
        response = events.ModelResponse(message_id=f"m{version + 2}", **times)
        said = read_answer(call, bytes(going.data), response, agent.tools)
        first, tags = said[0].data, {going.chain.after(said).tag}
        if isinstance(first, events.ModelResponse):
            cost = self._prices.cost((first.model, agent.model), first.usage)
            said[0] = with_(said[0], data=replace(first, cost=cost))
            tags |= response_tags(first.response_id)
        if isinstance(said[-1].data, events.ModelFailed):
            tags.add(going.chain.tag)
        kept = {} if going.data else _head(call)
        whole = hashlib.sha256(going.data).hexdigest()
        given = [WireAnswer(ending=call.ending or "lost", hash=whole, **kept), *said]
        spot = Spot(state.notes.stream, version + len(given))
        at_us = call.started_us + round((call.latency_ms or 0) * 1_000) if call.ending else None
        self._append(state, spot, given, going.about, tags, at_us=at_us, key=f"{call.id}.end")
        self.tools.note(spot.stream, said)

    def _lost(self, call_id: str, request: Recorded) -> tuple[ModelCall, _Going]:
        """A call whose process ended before it did, with what had come of its answer."""
        stream, metadata = request.stream, request.metadata
        asked = self._store.event(event_id(stream, request.version + 1)).event
        kept = [*answers_in(self._store, stream, request.version, call_id)]
        head = kept[0] if kept else WireAnswer()
        api = next((one for one in APIS if one.name == asked.api), APIS[0])
        call = ModelCall(call_id, api, "", b"", {}, request.occurred_at_us, attempt=asked.attempt)
        call.status, call.answer_headers = head.status, head.headers
        data = bytearray().join(map(answer_bytes, kept))
        chain = Chain.at(metadata.get("tags", ()))
        return call, _Going(stream, chain, _about(call, metadata["correlation"]), data)

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
            again(work)
        except BaseException:
            self.let_go(call)
            raise


def _about(call: ModelCall, conversation: str) -> dict[str, Any]:
    return {**call.metadata, "correlation": conversation, "origin": "recorded", CALL: call.id}


def _head(call: ModelCall) -> dict[str, Any]:
    return {"status": call.status, "headers": dict(call.answer_headers)}


def _object_in(raw: bytes) -> dict[str, Any]:
    try:
        body = msgspec.json.decode(raw)
    except (ValueError, RecursionError):
        return {}
    return body if isinstance(body, dict) else {}


def _by(name: object, asked: Asked) -> Asked:
    """What is asked, by the agent that the caller names: on the wire none is named."""
    if not isinstance(name, str) or not name:
        return asked
    elements = [
        [
            with_(one, data=replace(one.data, agent=name))
            if isinstance(one.data, events.AgentConfigured)
            else one
            for one in said
        ]
        for said in asked.elements
    ]
    return asked._replace(agent=replace(asked.agent, agent=name), elements=elements)


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
