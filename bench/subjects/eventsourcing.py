"""The eventsourcing library in its documented way: an application saves aggregates, on SQLite."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event

from bench.subject import Subject, serve, state_of
from bench.workload import Made, State

_NOTIFICATIONS_PER_PAGE: Final = 1_000


class Session(Aggregate):
    """An aggregate whose methods record the events and fold them.

    A method's arguments are what is stored, used or not.
    """

    # ruff: noqa: ARG002

    def __init__(self) -> None:
        self.turns = 0
        self.tokens = 0
        self.cost = 0.0
        self.tools = 0
        self.errors = 0
        self.last = ""

    @event("UserUtterance")
    def user_utterance(self, data: dict[str, Any], metadata: dict[str, str]) -> None:
        self.last = data["text"]

    @event("ModelRequest")
    def model_request(self, data: dict[str, Any], metadata: dict[str, str]) -> None:
        pass

    @event("ModelResponse")
    def model_response(self, data: dict[str, Any], metadata: dict[str, str]) -> None:
        self.tokens += data["usage"]["output_tokens"]
        self.cost += data["usage"]["cost"]

    @event("ToolCall")
    def tool_call(self, data: dict[str, Any], metadata: dict[str, str]) -> None:
        self.tools += 1

    @event("ToolResult")
    def tool_result(self, data: dict[str, Any], metadata: dict[str, str]) -> None:
        self.errors += not data["ok"]

    @event("TurnEnded")
    def turn_ended(self, data: dict[str, Any], metadata: dict[str, str]) -> None:
        self.turns += 1


class Sessions(Application[UUID]):
    log_section_size = _NOTIFICATIONS_PER_PAGE


class EventsourcingStore:
    """One application; the aggregates are kept in memory between saves, so nothing is read."""

    def __init__(self, path: Path, events: list[Made]) -> None:
        self._app = Sessions(
            env={"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)}
        )
        self._events = events
        self._sessions: dict[int, Session] = {}

    def append(self, stream: int, start: int, size: int) -> None:
        session = self._sessions.get(stream)
        if session is None:
            session = self._sessions[stream] = Session()
        events = self._events[start : start + size]
        metadata = events[0].metadata
        for made in events:
            record = getattr(session, made.type.replace(".", "_"))
            record(data=made.data, metadata=metadata)
        self._app.save(session)

    def load(self, stream: int) -> State:
        return state_of(self._app.repository.get(self._sessions[stream].id))

    def feed(self) -> State:
        session, start = Session(), 1
        while page := self._app.notification_log.select(start, _NOTIFICATIONS_PER_PAGE):
            for notification in page:
                recorded: Any = self._app.mapper.to_domain_event(notification)
                if not isinstance(recorded, Session.Created):
                    recorded.apply(session)
            start = page[-1].id + 1
        return state_of(session)

    def settle(self) -> None:
        with self._app.recorder.datastore.get_connection(commit=True) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self._app.close()


class Eventsourcing(Subject):
    def open(self, path: Path) -> EventsourcingStore:
        return EventsourcingStore(path, self.events)

    def build_size(self, size: int) -> int:
        return max(size, 100)


if __name__ == "__main__":
    serve(Eventsourcing)
