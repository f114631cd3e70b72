"""The eventsource-py library: its PostgreSQL event store, called without an aggregate around it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from eventsource import PostgreSQLEventStore
from sqlalchemy.ext.asyncio import create_async_engine

from bench.database import CALLERS_KEPT, OnServer
from bench.subject import serve
from bench.subjects.eventsource_py import EventsourcePy, EventsourcePyStore


class EventsourcePyPostgres(OnServer, EventsourcePy):
    """The same calls, over a pool of connections."""

    def open(self, path: Path) -> EventsourcePyStore:
        url = urlsplit(self.url(path))._replace(scheme="postgresql+asyncpg").geturl()
        engine = create_async_engine(url, pool_size=CALLERS_KEPT, max_overflow=0)
        store = PostgreSQLEventStore(engine, create_schema=True, owns_engine=True)
        return EventsourcePyStore(store, self.events)


if __name__ == "__main__":
    serve(EventsourcePyPostgres)
