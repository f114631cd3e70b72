"""The eventsourcing library in its documented way: an application saves aggregates, on SQLite."""

from __future__ import annotations

from decimal import Decimal
from functools import singledispatchmethod
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import Tracking
from eventsourcing.projection import Projection
from eventsourcing.sqlite import SQLiteFactory, SQLiteTrackingRecorder
from eventsourcing.utils import Environment, get_topic

from bench.dialogues import COSTS, spent
from bench.measuring import timed
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


class Dialogue(Aggregate):
    """An aggregate that records the same conversations as refold's vocabulary does."""

    # ruff: noqa: ARG002

    @event("SessionStarted")
    def session_started(self, data: dict[str, Any], metadata: dict[str, str]) -> None:
        pass

    @event("SessionEnded")
    def session_ended(self, data: dict[str, Any], metadata: dict[str, str]) -> None:
        pass

    @event("AgentConfigured")
    def agent_configured(self, data: dict[str, Any], metadata: dict[str, str]) -> None:
        pass

    @event("UserUtterance")
    def user_utterance(self, data: dict[str, Any], metadata: dict[str, str]) -> None:
        pass

    @event("AgentUtterance")
    def agent_utterance(self, data: dict[str, Any], metadata: dict[str, str]) -> None:
        pass

    @event("ModelResponse")
    def model_response(self, data: dict[str, Any], metadata: dict[str, str]) -> None:
        pass

    @event("ToolCall")
    def tool_call(self, data: dict[str, Any], metadata: dict[str, str]) -> None:
        pass

    @event("ToolResult")
    def tool_result(self, data: dict[str, Any], metadata: dict[str, str]) -> None:
        pass


class CostsView(SQLiteTrackingRecorder):
    """Rows and tracking in one transaction an event, as the library shows it."""

    def construct_create_table_statements(self) -> list[str]:
        return [
            *super().construct_create_table_statements(),
            "CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, agent TEXT, model TEXT)",
            """CREATE TABLE IF NOT EXISTS costs (
                day TEXT, agent TEXT, model TEXT, currency TEXT, answers INTEGER, cost TEXT,
                input_tokens INTEGER, output_tokens INTEGER,
                PRIMARY KEY (day, agent, model, currency)) WITHOUT ROWID""",
        ]

    def configured(self, session: UUID, data: dict[str, Any], tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            row = str(session), data["agent"], data["model"]
            cursor.execute("REPLACE INTO sessions VALUES (?, ?, ?)", row)

    def answered(self, session: UUID, day: str, data: dict[str, Any], tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            cursor.execute("SELECT agent, model FROM sessions WHERE id = ?", (str(session),))
            agent, model = tuple(cursor.fetchone())
            key = day, agent, data.get("model", model), data.get("currency", "USD")
            cursor.execute(_SELECT, key)
            answers, cost, read, written = tuple(cursor.fetchone() or (0, "0", 0, 0))
            usage = data["usage"]
            row = (
                *key,
                answers + 1,
                str(Decimal(cost) + Decimal(data["cost"])),
                read + usage["input_tokens"],
                written + usage["output_tokens"],
            )
            cursor.execute("REPLACE INTO costs VALUES (?, ?, ?, ?, ?, ?, ?, ?)", row)

    def rows(self) -> list[tuple[Any, ...]]:
        with self.datastore.transaction(commit=False) as cursor:
            cursor.execute(COSTS)
            return [tuple(row) for row in cursor.fetchall()]


_SELECT: Final = """
SELECT answers, cost, input_tokens, output_tokens FROM costs
WHERE day = ? AND agent = ? AND model = ? AND currency = ?"""


class Costs(Projection[CostsView]):
    """Cost and tokens by agent, model, currency and day."""

    topics = (get_topic(Dialogue.AgentConfigured), get_topic(Dialogue.ModelResponse))

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.insert_tracking(tracking)

    @process_event.register(Dialogue.AgentConfigured)
    def _(self, domain_event: Any, tracking: Tracking) -> None:
        self.view.configured(domain_event.originator_id, domain_event.data, tracking)

    @process_event.register(Dialogue.ModelResponse)
    def _(self, domain_event: Any, tracking: Tracking) -> None:
        day = domain_event.timestamp.date().isoformat()
        self.view.answered(domain_event.originator_id, day, domain_event.data, tracking)


class Sessions(Application[UUID]):
    log_section_size = _NOTIFICATIONS_PER_PAGE


class EventsourcingStore:
    """One application; the aggregates are kept in memory between saves, so nothing is read."""

    def __init__(self, env: dict[str, str], events: list[Made], kind: type[Aggregate]) -> None:
        self._kind = kind
        self._app = Sessions(env=env)
        self._events = events
        self._sessions: dict[int, Aggregate] = {}

    def append(self, stream: int, start: int, size: int) -> None:
        session = self._sessions.get(stream)
        if session is None:
            session = self._sessions[stream] = self._kind()
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

    def project(self, view: Any) -> list[tuple[Any, ...]]:
        """Costs in a new view, from the first event to the last.

        What its ``ProjectionRunner`` does with a subscription, which its SQLite recorder lacks.
        """
        costs: Any = Costs(view)
        start, log = 1, self._app.notification_log
        while page := log.select(start, _NOTIFICATIONS_PER_PAGE, topics=Costs.topics):
            for notification in page:
                recorded = self._app.mapper.to_domain_event(notification)
                costs.process_event(recorded, Tracking(self._app.name, notification.id))
            start = page[-1].id + 1
        rows: list[tuple[Any, ...]] = view.rows()
        view.datastore.close()
        return rows

    def settle(self) -> None:
        with self._app.recorder.datastore.get_connection(commit=True) as connection:
            connection.cursor().execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def close(self) -> None:
        self._app.close()


class Eventsourcing(Subject):
    store: type[EventsourcingStore] = EventsourcingStore

    def open(self, path: Path) -> EventsourcingStore:
        kind = Dialogue if self.text == "dialogues" else Session
        return self.store(self.env(path), self.events, kind)

    def env(self, path: Path) -> dict[str, str]:
        """What the library is told of a place for events."""
        return {"PERSISTENCE_MODULE": "eventsourcing.sqlite", "SQLITE_DBNAME": str(path)}

    def view(self, path: Path) -> Any:
        """An empty view of costs."""
        return SQLiteFactory(Environment("costs", self.env(path))).tracking_recorder(CostsView)

    def rebuild(self, *, name: str, events: int) -> dict[str, object]:
        """Events a second of the log at which the costs are made anew."""
        path = self._path("costs")
        view = self.view(path)
        took_s, rows = timed(lambda: self.kept[name].project(view), seconds=0)
        self._remove(path)
        return {"value": events / took_s, "state": spent(rows, events)}

    def build_size(self, size: int) -> int:
        return max(size, 100)


if __name__ == "__main__":
    serve(Eventsourcing)
