"""The raw limits of PostgreSQL: the driver and nothing around it, on rows prepared beforehand."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from itertools import count
from typing import Any, Final

import psycopg

import refold
from bench.database import OnServer
from bench.measuring import called, timed
from bench.subject import serve
from bench.workload import TYPES

_SCHEMA: Final = """
CREATE TABLE events (
    position bigint PRIMARY KEY,
    stream integer NOT NULL,
    version integer NOT NULL,
    type integer NOT NULL,
    recorded_at bigint NOT NULL,
    metadata text NOT NULL,
    data text NOT NULL,
    UNIQUE (stream, version)
)"""
_INSERT: Final = "INSERT INTO events VALUES (%b, %b, %b, %b, %b, %b, %b)"
_COPY: Final = "COPY events FROM STDIN"
_ROWS_MAX: Final = 60_000
_ROWS_PER_COMMIT: Final = 256
_ESCAPED: Final = str.maketrans({"\\": r"\\", "\n": r"\n", "\t": r"\t", "\r": r"\r"})


class RawPostgres(OnServer):
    """psycopg on prepared rows, an event each; ``pgbench``, which is C; and COPY."""

    def prepare(self) -> None:
        columns = [
            (TYPES.index(e.type), 1_700_000_000_000_000, _json(e.metadata), _json(e.data))
            for e in self.events
        ]
        size = len(columns)
        self._rows = [(n + 1, 1, n, *columns[n % size]) for n in range(_ROWS_MAX)]

    def append(
        self, *, size: int, seconds: float, callers: int = 1, busy: int = 0
    ) -> dict[str, float]:
        """Commits of ``size`` prepared rows by one caller; several are sent in a pipeline."""
        assert callers == 1 and busy == 0

        def written(connection: psycopg.Connection[Any], first: int) -> None:
            if size == 1:
                connection.execute(_INSERT, self._rows[first], prepare=True)
                return
            with connection.transaction(), connection.cursor() as cursor:
                cursor.executemany(_INSERT, self._rows[first : first + size])

        return self._measured(written, size, seconds)

    def copied(self, *, size: int, seconds: float) -> dict[str, float]:
        """Commits of ``size`` rows by COPY, each a text that was made beforehand."""
        texts = ["\t".join(str(v).translate(_ESCAPED) for v in row) + "\n" for row in self._rows]
        lines = [text.encode() for text in texts]

        def written(connection: psycopg.Connection[Any], first: int) -> None:
            with connection.cursor().copy(_COPY) as copy:
                copy.write(b"".join(lines[first : first + size]))

        return self._measured(written, size, seconds)

    def _measured(
        self, written: Callable[[Any, int], None], size: int, seconds: float
    ) -> dict[str, float]:
        path, numbers = self._path("raw"), count()
        with psycopg.connect(self.url(path), autocommit=True) as connection:
            connection.execute(_SCHEMA)
            work = lambda *_: written(connection, next(numbers) * size)  # noqa: E731
            figures = called(work, callers=1, seconds=seconds, spent=self.spent_s)
        self._remove(path)
        return self._events(figures, size)

    def pgbench(self, *, clients: int) -> dict[str, float]:
        """Inserts a second of a prepared statement by a client in C, a commit each, in a second."""
        path, script = self._path("pgbench"), self.folder / "insert.sql"
        data, metadata = _json(self.events[0].data), _json(self.events[0].metadata)
        texts = ", ".join("'" + text.replace("'", "''") + "'" for text in (metadata, data))
        # Where something looks like a variable of pgbench, it must not.
        texts = re.sub(r":(?=\w)", ": ", texts)
        script.write_text(
            "\\set at random(1, 9000000000000000000)\n\\set version random(1, 2000000000)\n"
            f"INSERT INTO events VALUES (:at, :client_id, :version, 1, :at, {texts});\n"
        )
        parts = self.parts(path)
        with psycopg.connect(self.url(path), autocommit=True) as connection:
            connection.execute(_SCHEMA)
        command = [_pgbench(), "-n", "-M", "prepared", "-T", "1", "-c", str(clients), "-j", "2"]
        place = {f"PG{name.upper()}": parts[name] for name in ("host", "port", "user", "password")}
        before_s = self.spent_s()
        done = subprocess.run(
            [*command, "-f", str(script), parts["dbname"]],
            env={**os.environ, **place},
            capture_output=True,
            text=True,
            check=True,
        )
        spent_s = self.spent_s() - before_s
        self._remove(path)
        found = re.search(r"tps = ([0-9.]+)", done.stdout)
        assert found is not None, done.stdout
        return {"value": float(found[1]), "processor_us": spent_s / float(found[1]) * 1e6}

    def copied_appends(self, *, events: int, size: int) -> dict[str, float]:
        """Events a second of COPY of the rows that refold stores of appends of so many events.

        Into a table with the columns and indexes of its log, as many rows a commit as an import
        of refold has.
        """
        path = self._path("bulk")
        registry = refold.Registry()  # In refold's own vocabulary these names mean other events.
        with refold.open(self.url(path), registry=registry, synchronous="NORMAL") as store:
            for n in range(events // size):
                start = n * size % (len(self.events) - size)
                made = self.events[start : start + size]
                typed = [refold.Event(one.type, one.data) for one in made]
                store.append(f"session-{n % 100}", typed, metadata=made[0].metadata)
        with psycopg.connect(self.url(path), autocommit=True) as connection:
            rows = "SELECT * FROM refold.log ORDER BY position"
            with connection.cursor().copy(f"COPY ({rows}) TO STDOUT") as copy:
                lines = [bytes(line) for line in copy]
            connection.execute("CREATE TABLE copied (LIKE refold.log INCLUDING ALL)")

            def copy_all() -> None:
                for first in range(0, len(lines), _ROWS_PER_COMMIT):
                    with connection.cursor().copy("COPY copied FROM STDIN") as copy:
                        copy.write(b"".join(lines[first : first + _ROWS_PER_COMMIT]))

            before_s = self.spent_s()
            took_s, _ = timed(copy_all, seconds=0)
            spent_s = self.spent_s() - before_s
        self._remove(path)
        return {"value": events / took_s, "processor_us": spent_s / events * 1e6}

    def figure(self, *, value: float) -> float:
        """A figure that was named and not measured."""
        return value


def _pgbench() -> str:
    from tests.support.postgres import program

    return program("pgbench")


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


if __name__ == "__main__":
    serve(RawPostgres)
