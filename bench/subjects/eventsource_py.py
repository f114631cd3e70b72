"""The eventsource-py library: its SQLite event store, called without an aggregate around it.

It is asynchronous throughout and keeps one connection, so its callers are tasks of one loop.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from pathlib import Path
from typing import Any
from uuid import UUID, uuid5

from eventsource import DomainEvent, ExpectedVersion, SQLiteEventStore, StreamId, register_event

from bench.measuring import awaited, busy_threads, timed
from bench.subject import Subject, serve
from bench.workload import Made, State, folded

_NAMESPACE = UUID(int=1)


@register_event
class UserUtterance(DomainEvent):
    event_type: str = "UserUtterance"
    aggregate_type: str = "Session"
    data: dict[str, Any]


@register_event
class ModelRequest(DomainEvent):
    event_type: str = "ModelRequest"
    aggregate_type: str = "Session"
    data: dict[str, Any]


@register_event
class ModelResponse(DomainEvent):
    event_type: str = "ModelResponse"
    aggregate_type: str = "Session"
    data: dict[str, Any]


@register_event
class ToolCall(DomainEvent):
    event_type: str = "ToolCall"
    aggregate_type: str = "Session"
    data: dict[str, Any]


@register_event
class ToolResult(DomainEvent):
    event_type: str = "ToolResult"
    aggregate_type: str = "Session"
    data: dict[str, Any]


@register_event
class TurnEnded(DomainEvent):
    event_type: str = "TurnEnded"
    aggregate_type: str = "Session"
    data: dict[str, Any]


_CLASSES = {
    "user.utterance": UserUtterance,
    "model.request": ModelRequest,
    "model.response": ModelResponse,
    "tool.call": ToolCall,
    "tool.result": ToolResult,
    "turn.ended": TurnEnded,
}
_TYPES = {cls: name for name, cls in _CLASSES.items()}


class EventsourcePyStore:
    """One store; the versions of its streams are the caller's, so nothing is read to append."""

    def __init__(self, store: Any, events: list[Made]) -> None:
        self.store = store
        self._events = events
        self._versions: dict[int, int] = {}

    async def append(self, stream: int, start: int, size: int) -> None:
        version = self._versions.get(stream, 0)
        made = self._events[start : start + size]
        metadata = made[0].metadata
        # An event has an id of its own, so it is made for the append.
        events = [
            _CLASSES[one.type](
                aggregate_id=_stream(stream).aggregate_id,
                aggregate_version=version + n + 1,
                data=one.data,
                metadata=metadata,
            )
            for n, one in enumerate(made)
        ]
        await self.store.append(_stream(stream), events, ExpectedVersion.exact(version))
        self._versions[stream] = version + size

    async def load(self, stream: int) -> State:
        history = self.store.read_stream(_stream(stream))
        events = [envelope.event async for envelope in history]
        return folded((_TYPES[type(event)], event.data) for event in events)

    async def feed(self) -> State:
        events = [envelope.event async for envelope in self.store.read_all()]
        return folded((_TYPES[type(event)], event.data) for event in events)


class EventsourcePy(Subject):
    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._loop = asyncio.new_event_loop()

    def open(self, path: Path) -> EventsourcePyStore:
        return EventsourcePyStore(SQLiteEventStore(str(path)), self.events)

    def append(
        self, *, size: int, seconds: float, callers: int = 1, busy: int = 0
    ) -> dict[str, float]:
        with busy_threads(busy):
            return self.append_tasks(size=size, seconds=seconds, tasks=callers)

    def append_tasks(self, *, size: int, seconds: float, tasks: int) -> dict[str, float]:
        path = self._path("tasks")

        async def measure() -> dict[str, float]:
            store = self.open(path)

            def work(caller: int, n: int) -> Awaitable[object]:
                return store.append(caller, self._start(caller, n, size), size)

            figures = await awaited(work, tasks=tasks, seconds=seconds, spent=self.spent_s)
            await store.store.close()
            return figures

        figures = self._loop.run_until_complete(measure())
        self._remove(path)
        return self._events(figures, size)

    def build(self, *, name: str, events: int, streams: int = 1, size: int = 1) -> None:
        store = self.open(self._path(name))
        size = max(size, 100)

        async def write() -> None:
            for n in range(events // (streams * size)):
                for stream in range(streams):
                    await store.append(stream, self._start(stream, n, size), size)

        self._loop.run_until_complete(write())
        self.kept[name] = store

    def load(
        self, *, name: str, seconds: float, stream: int = 0, busy: int = 0
    ) -> dict[str, object]:
        store = self.kept[name]
        with busy_threads(busy):
            took_s, state = timed(
                lambda: self._loop.run_until_complete(store.load(stream)), seconds=seconds
            )
        return {"value": took_s, "state": list(state)}

    def feed(self, *, name: str, events: int) -> dict[str, object]:
        store = self.kept[name]
        took_s, state = timed(lambda: self._loop.run_until_complete(store.feed()), seconds=0)
        return {"value": events / took_s, "state": list(state)}

    def size(self, *, name: str, events: int) -> dict[str, float]:
        store = self.kept[name]
        self._loop.run_until_complete(store.store.close())
        return {"value": self._size_bytes(self._path(name)) / events}

    def drop(self, *, name: str) -> None:
        store = self.kept.pop(name, None)
        if store is not None:
            self._loop.run_until_complete(store.store.close())
        self._remove(self._path(name))


def _stream(number: int) -> StreamId:
    return StreamId(aggregate_id=uuid5(_NAMESPACE, str(number)), category="Session")


if __name__ == "__main__":
    serve(EventsourcePy)
