"""The suites, run on every backend, through the store and through its async twin."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self, cast

import pytest

import refold
from refold.backends.journal import JournalBackend
from refold.backends.memory import MemoryBackend
from refold.backends.postgres import PostgresBackend
from refold.backends.sqlite import SqliteBackend
from refold.core.registry import Registry
from refold.engine.aio import AsyncStore
from refold.engine.branch import Branch
from refold.engine.store import Store, system_clock
from refold.ports import Backend, Batch, Beside, Clock, Outcome
from refold.privacy.keyring import new_keyring
from refold.privacy.powers import protected
from refold.privacy.privacy import Privacy
from tests.conformance import sample
from tests.conformance.appending import Appending, Keys
from tests.conformance.durable import Reopening
from tests.conformance.reading import ReadingStreams, ReadingTheLog
from tests.conformance.suites import (
    BackendConformance,
    DurableConformance,
    EraserConformance,
    OpenBackend,
    OpenStore,
    StoreConformance,
)
from tests.conformance.travelling import Travelling
from tests.support import pgbouncer, postgres, roles


class Blocking:
    """An :class:`AsyncStore` with a :class:`Store`'s calls, each on an event loop of its own."""

    def __init__(self, store: AsyncStore) -> None:
        self._store = store

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._store, name)

        def call(*args: Any, **kwargs: Any) -> Any:
            answer = method(*args, **kwargs)
            if inspect.isasyncgen(answer):
                return iter(asyncio.run(self._collected(answer)))
            return self._blocking(asyncio.run(self._awaited(answer)))

        return call

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        asyncio.run(self._store.close())

    async def _collected(self, answers: Any) -> list[Any]:
        return [answer async for answer in answers]

    async def _awaited(self, answer: Any) -> Any:
        return await answer

    def _blocking(self, answer: Any) -> Any:
        if isinstance(answer, Branch):
            return Branch(
                answer.stream,
                answer.events,
                answer.shared,
                answer.registry,
                saver=lambda branch, stream: self.save_branch(branch, stream),
            )
        return answer


class OnBackend:
    """Fixtures of a log that stands in ``backend``, reached by synchronous stores."""

    @pytest.fixture
    def open_store(self, open_backend: OpenBackend) -> Iterator[OpenStore]:
        """Stores over the backend, closed at the end of the test."""
        stores: list[Any] = []

        def open_store(
            *, clock: Clock = system_clock, registry: Registry = sample.registry
        ) -> Store:
            stores.append(self.store(open_backend, clock, registry))
            return cast(Store, stores[-1])

        yield open_store
        for store in stores:
            store.close()

    def store(self, open_backend: OpenBackend, clock: Clock, registry: Registry) -> Any:
        """A store over a newly opened backend."""
        return Store(open_backend(), clock=clock, registry=registry)


class OnAsync(OnBackend):
    """The same, each store reached through an event loop."""

    def store(self, open_backend: OpenBackend, clock: Clock, registry: Registry) -> Any:
        """An async store over a newly opened backend, made to block."""
        return Blocking(AsyncStore(lambda: Store(open_backend(), clock=clock, registry=registry)))


class InMemory:
    """One memory backend a test, the same at every call."""

    @pytest.fixture
    def open_backend(self) -> OpenBackend:
        """A log in memory."""
        backend = MemoryBackend()
        return lambda: backend


class InSqlite:
    """One file a test, opened anew at every call."""

    @pytest.fixture
    def open_backend(self, tmp_path: Path) -> Iterator[OpenBackend]:
        """A log in a SQLite file."""
        backends: list[Backend] = []

        def open_backend() -> Backend:
            backends.append(SqliteBackend(tmp_path / "log.db", synchronous="NORMAL"))
            return backends[-1]

        yield open_backend
        for backend in backends:
            backend.close()


class InJournal:
    """One file of JSON lines a test; one backend at a time, for it has one writer."""

    @pytest.fixture
    def open_backend(self, tmp_path: Path) -> Iterator[OpenBackend]:
        """A log in a journal."""
        backends: list[JournalBackend] = []

        def open_backend() -> Backend:
            if not backends or backends[-1]._file < 0:
                path = tmp_path / "log.jsonl"
                backends.append(JournalBackend(path, synchronous="NORMAL"))
            return backends[-1]

        yield open_backend
        for backend in backends:
            backend.close()


class InPostgres:
    """One log a test among others in a schema, opened anew at every call."""

    version: str | None = None

    @pytest.fixture
    def open_backend(self) -> Iterator[OpenBackend]:
        """A log in PostgreSQL."""
        backends: list[Backend] = []
        url = self.address()

        def open_backend() -> Backend:
            backends.append(PostgresBackend(url, synchronous="NORMAL"))
            return backends[-1]

        yield open_backend
        for backend in backends:
            backend.close()

    def address(self) -> str:
        """Where a log of its own stands."""
        return postgres.log_of_its_own(self.version)


class InNewestPostgres(InPostgres):
    """The same in the newest version."""

    version = postgres.NEWEST


class InPooledPostgres(InPostgres):
    """The same behind a pooler in transaction mode."""

    def address(self) -> str:
        """See :class:`InPostgres`."""
        return pgbouncer.log_of_its_own()


class ReadByOthers(PostgresBackend):
    """A log that one login reads, and another appends to."""

    def __init__(self, reads: str, writes: str) -> None:
        super().__init__(reads, mode="read")
        self._writes = PostgresBackend(writes, synchronous="NORMAL")

    def commit(
        self, batches: Sequence[Batch], *, now: int, beside: Beside | None = None
    ) -> list[Outcome]:
        """By the login that may."""
        return self._writes.commit(batches, now=now, beside=beside)

    def close(self) -> None:
        """Both."""
        super().close()
        self._writes.close()


class AsWriter:
    """One log a test among others, of a writer who owns nothing and sees no other test's."""

    version: str | None = None

    @pytest.fixture
    def open_backend(self) -> Iterator[OpenBackend]:
        """A log in PostgreSQL whose roles are given."""
        backends: list[Backend] = []
        writes, reads = roles.logs_of_its_own(self.version)

        def open_backend() -> Backend:
            backends.append(self.opened(writes, reads))
            return backends[-1]

        yield open_backend
        for backend in backends:
            backend.close()

    def opened(self, writes: str, reads: str) -> Backend:
        """The log as a writer opens it."""
        return PostgresBackend(writes, synchronous="NORMAL")


class AsNewestWriter(AsWriter):
    """The same in the newest version."""

    version = postgres.NEWEST


class AsReader(AsWriter):
    """The same, read by a reader."""

    def opened(self, writes: str, reads: str) -> Backend:
        """The log as a reader opens it, while a writer fills it."""
        return ReadByOthers(reads, writes)


class AsNewestReader(AsReader):
    """The same in the newest version."""

    version = postgres.NEWEST


class Protecting:
    """Every value of every event is personal: the log holds envelopes, and nothing else."""

    KEYRING = new_keyring()

    @pytest.fixture
    def open_backend(self, open_plain: OpenBackend) -> OpenBackend:
        """The same log, each backend of it behind what protects it."""
        privacy = Privacy(
            self.KEYRING, {"*": [""]}, actor="the suite", journal=refold.open("memory:")
        )
        return lambda: protected(open_plain(), privacy, clock=system_clock, opened=refold.open)


class InProtectedSqlite(Protecting):
    """A file whose values are protected."""

    @pytest.fixture
    def open_plain(self, tmp_path: Path) -> Iterator[OpenBackend]:
        """A log in a SQLite file."""
        backends: list[Backend] = []

        def open_backend() -> Backend:
            backends.append(SqliteBackend(tmp_path / "log.db", synchronous="NORMAL"))
            return backends[-1]

        yield open_backend
        for backend in backends:
            backend.close()


class InProtectedPostgres(Protecting):
    """A log in PostgreSQL whose values are protected."""

    @pytest.fixture
    def open_plain(self) -> Iterator[OpenBackend]:
        """A log in PostgreSQL."""
        backends: list[Backend] = []
        url = postgres.log_of_its_own()

        def open_backend() -> Backend:
            backends.append(PostgresBackend(url, synchronous="NORMAL"))
            return backends[-1]

        yield open_backend
        for backend in backends:
            backend.close()


class TestMemoryBackend(InMemory, BackendConformance, EraserConformance):
    """The port, in memory."""


class TestSqliteBackend(InSqlite, BackendConformance, EraserConformance):
    """The port, on SQLite."""


class TestJournalBackend(InJournal, BackendConformance):
    """The port, on a journal."""


class TestPostgresBackend(InPostgres, BackendConformance, EraserConformance):
    """The port, on PostgreSQL."""


class TestNewestPostgresBackend(InNewestPostgres, BackendConformance, EraserConformance):
    """The port, on the newest PostgreSQL."""


class TestPooledPostgresBackend(InPooledPostgres, BackendConformance, EraserConformance):
    """The port, on PostgreSQL behind a pooler."""


class TestMemoryStore(InMemory, OnBackend, StoreConformance):
    """The verbs, in memory."""


class TestSqliteStore(InSqlite, OnBackend, StoreConformance, DurableConformance):
    """The verbs, on SQLite."""


class TestPostgresStore(InPostgres, OnBackend, StoreConformance, DurableConformance):
    """The verbs, on PostgreSQL."""


class TestNewestPostgresStore(InNewestPostgres, OnBackend, StoreConformance, DurableConformance):
    """The verbs, on the newest PostgreSQL."""


class TestPooledPostgresStore(InPooledPostgres, OnBackend, StoreConformance, DurableConformance):
    """The verbs, on PostgreSQL behind a pooler."""


class TestPostgresWriterBackend(AsWriter, BackendConformance):
    """The port, by a writer of a shared PostgreSQL."""


class TestPostgresWriterStore(AsWriter, OnBackend, StoreConformance, DurableConformance):
    """The verbs, by a writer of a shared PostgreSQL."""


class TestNewestPostgresWriterStore(
    AsNewestWriter, OnBackend, StoreConformance, DurableConformance
):
    """The verbs, by a writer of the newest PostgreSQL."""


class TestPostgresReaderStore(AsReader, OnBackend, ReadingStreams, ReadingTheLog, Travelling):
    """Whatever is read, by a reader of a shared PostgreSQL."""


class TestNewestPostgresReaderStore(AsNewestReader, OnBackend, ReadingStreams, ReadingTheLog):
    """Whatever is read, by a reader of the newest PostgreSQL."""


class TestMemoryAsyncStore(InMemory, OnAsync, StoreConformance):
    """The verbs from an event loop, in memory."""


class TestSqliteAsyncStore(InSqlite, OnAsync, StoreConformance, DurableConformance):
    """The verbs from an event loop, on SQLite."""


class TestPostgresAsyncStore(InPostgres, OnAsync, StoreConformance, DurableConformance):
    """The verbs from an event loop, on PostgreSQL."""


class TestJournalStore(InJournal, OnBackend, StoreConformance, Reopening):
    """The verbs, on a journal."""


class TestJournalAsyncStore(InJournal, OnAsync, StoreConformance, Reopening):
    """The verbs from an event loop, on a journal."""


class TestProtectedSqliteBackend(InProtectedSqlite, BackendConformance):
    """The port, on SQLite with all values protected."""


class TestProtectedSqliteStore(InProtectedSqlite, OnBackend, StoreConformance, DurableConformance):
    """The verbs, on SQLite with all values protected."""


class TestProtectedPostgresBackend(InProtectedPostgres, BackendConformance):
    """The port, on PostgreSQL with all values protected."""


class TestProtectedPostgresStore(InProtectedPostgres, OnBackend, Appending, Keys, ReadingStreams):
    """Appends, keys and streams, on PostgreSQL with all values protected."""
