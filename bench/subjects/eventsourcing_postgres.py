"""The eventsourcing library in its documented way, on PostgreSQL."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from typing import Any, Final
from uuid import UUID

from eventsourcing.persistence import Tracking
from eventsourcing.postgres import PostgresFactory, PostgresTrackingRecorder
from eventsourcing.utils import Environment
from psycopg.sql import SQL

from bench.database import CALLERS_KEPT, OnServer
from bench.dialogues import COSTS
from bench.subject import serve
from bench.subjects.eventsourcing import Eventsourcing, EventsourcingStore

_TABLES: Final = (
    "CREATE TABLE IF NOT EXISTS sessions (id TEXT PRIMARY KEY, agent TEXT, model TEXT)",
    """CREATE TABLE IF NOT EXISTS costs (
        day TEXT, agent TEXT, model TEXT, currency TEXT, answers BIGINT, cost TEXT,
        input_tokens BIGINT, output_tokens BIGINT, PRIMARY KEY (day, agent, model, currency))""",
)
_SESSION: Final = """
INSERT INTO sessions VALUES (%s, %s, %s)
ON CONFLICT (id) DO UPDATE SET agent = excluded.agent, model = excluded.model"""
_SELECT: Final = """
SELECT answers, cost, input_tokens, output_tokens FROM costs
WHERE day = %s AND agent = %s AND model = %s AND currency = %s"""
_COST: Final = """
INSERT INTO costs VALUES (%s, %s, %s, %s, %s, %s, %s, %s)
ON CONFLICT (day, agent, model, currency) DO UPDATE SET answers = excluded.answers,
    cost = excluded.cost, input_tokens = excluded.input_tokens,
    output_tokens = excluded.output_tokens"""


class PostgresCostsView(PostgresTrackingRecorder):
    """Rows and tracking in one transaction an event, as the library shows it."""

    def __init__(self, *given: Any, **more: Any) -> None:
        super().__init__(*given, **more)
        self.sql_create_statements += [SQL(sql) for sql in _TABLES]

    def configured(self, session: UUID, data: dict[str, Any], tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            row = str(session), data["agent"], data["model"]
            cursor.execute(_SESSION, row, prepare=True)

    def answered(self, session: UUID, day: str, data: dict[str, Any], tracking: Tracking) -> None:
        with self.datastore.transaction(commit=True) as cursor:
            self._insert_tracking(cursor, tracking)
            sql = "SELECT agent, model FROM sessions WHERE id = %s"
            found: Any = cursor.execute(sql, (str(session),), prepare=True).fetchone()
            model = data.get("model", found["model"])
            key = day, found["agent"], model, data.get("currency", "USD")
            kept: Any = cursor.execute(_SELECT, key, prepare=True).fetchone()
            answers, cost, read, written = tuple(kept.values()) if kept else (0, "0", 0, 0)
            usage = data["usage"]
            row = (
                *key,
                answers + 1,
                str(Decimal(cost) + Decimal(data["cost"])),
                read + usage["input_tokens"],
                written + usage["output_tokens"],
            )
            cursor.execute(_COST, row, prepare=True)

    def rows(self) -> list[tuple[Any, ...]]:
        with self.datastore.transaction(commit=False) as cursor:
            return [tuple(row.values()) for row in cursor.execute(COSTS).fetchall()]


class PostgresEventsourcingStore(EventsourcingStore):
    """The same calls; nothing stands beside the database."""

    def settle(self) -> None:
        """Nothing is to be moved."""


class EventsourcingPostgres(OnServer, Eventsourcing):
    store = PostgresEventsourcingStore

    def env(self, path: Path) -> dict[str, str]:
        found = {f"POSTGRES_{name.upper()}": part for name, part in self.parts(path).items()}
        pool = {"POSTGRES_POOL_SIZE": str(CALLERS_KEPT)}
        return {"PERSISTENCE_MODULE": "eventsourcing.postgres", **found, **pool}

    def view(self, path: Path) -> Any:
        factory = PostgresFactory(Environment("costs", self.env(path)))
        return factory.tracking_recorder(PostgresCostsView)


if __name__ == "__main__":
    serve(EventsourcingPostgres)
