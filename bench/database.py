"""A PostgreSQL server for the subjects that want one, and what these have in common there.

Each store is a database of its own, made when it is opened and dropped with it.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from time import process_time
from typing import Any, Final
from urllib.parse import unquote, urlsplit, urlunsplit

from bench.subject import Subject

ADDRESS: Final = "BENCH_POSTGRES"
"""The variable that tells a subject where the server is, as a superuser's URL."""
SETTINGS: Final = (
    "shared_buffers=512MB",
    "max_wal_size=4GB",
    "checkpoint_timeout=30min",
    "max_connections=200",
)
"""The rest is as PostgreSQL comes: an acknowledged commit is on disk."""
CALLERS_KEPT: Final = 16
"""So many connections does a subject keep that calls from threads, as a pool in a server does."""


@contextmanager
def server() -> Iterator[dict[str, str]]:
    """A server that ends with the block: what the environment of a subject says of it."""
    from tests.support import postgres

    with postgres.server(SETTINGS) as port:
        yield {ADDRESS: postgres.url(port).rstrip("?")}


class OnServer(Subject):
    """A subject whose stores are databases; ``_path(name)`` gives one its name, and is no file."""

    threads = CALLERS_KEPT

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self._server = os.environ[ADDRESS]
        ((written,),) = self._admin("SELECT pg_read_file('postmaster.pid')")
        self._parent = int(written.partition("\n")[0])

    def url(self, path: Path) -> str:
        """The address of the database of a path, which is made where it is missing."""
        name = self._name(path)
        if not self._admin("SELECT 1 FROM pg_database WHERE datname = %s", name):
            self._admin(f'CREATE DATABASE "{name}"')
        return urlunsplit(urlsplit(self._server)._replace(path=f"/{name}"))

    def parts(self, path: Path) -> dict[str, str]:
        """The same, taken apart: host, port, user, password, dbname."""
        found = urlsplit(self.url(path))
        return {
            "host": found.hostname or "",
            "port": str(found.port),
            "user": found.username or "",
            "password": unquote(found.password or ""),
            "dbname": found.path[1:],
        }

    def spent_s(self) -> float:
        """Of this process and of all processes of the server."""
        return process_time() + _server_s(self._parent)

    def steps(self, *, turns: int) -> dict[str, object]:
        """Checkpoints a second of a LangGraph graph's steps, with the bytes that one takes."""
        self.drop(name="steps")
        before_s = self.spent_s()
        answer = self.build_steps(name="steps", turns=turns)
        spent_us = (self.spent_s() - before_s) / (2 * turns) * 1e6
        size = self.size(name="steps", events=2 * turns)["value"]
        self.drop(name="steps")
        return {**answer, "processor_us": spent_us, "also": f"{size:,.0f} bytes a step"}

    def _size_bytes(self, path: Path) -> int:
        """Of its tables and indexes; not what every database has."""
        import psycopg

        with psycopg.connect(self.url(path)) as connection:
            sql = """SELECT sum(pg_total_relation_size(c.oid)) FROM pg_class AS c
                JOIN pg_namespace AS n ON n.oid = c.relnamespace
                WHERE c.relkind = 'r' AND n.nspname !~ '^(pg_|information_schema)'"""
            return int((connection.execute(sql).fetchone() or (0,))[0])

    def _remove(self, path: Path) -> None:
        self._admin(f'DROP DATABASE IF EXISTS "{self._name(path)}" WITH (FORCE)')

    def _name(self, path: Path) -> str:
        return f"{self.folder.name}-{path.stem}"

    def _admin(self, sql: str, *values: object) -> list[tuple[Any, ...]]:
        import psycopg

        with psycopg.connect(self._server, autocommit=True) as connection:
            cursor = connection.execute(sql, values or None)
            return cursor.fetchall() if cursor.description else []


def _server_s(parent: int) -> float:
    """Processor seconds of a process and of its children, those that ended included."""
    children = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    ticks = sum(map(int, _stat(parent)[11:15]))
    for child in children:
        try:
            ticks += sum(map(int, _stat(int(child))[11:13]))
        except OSError:
            continue  # It has just ended: its parent counts it the next time.
    return ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: int) -> list[str]:
    """The fields of /proc/PID/stat (proc(5)) from the third on: what is before may hold blanks."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
