"""langgraph-checkpoint-postgres: it saves an agent's state after every step, each message once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import psycopg
from langgraph.checkpoint.postgres import PostgresSaver
from psycopg.rows import dict_row

from bench import steps
from bench.database import OnServer
from bench.measuring import timed
from bench.subject import serve


class PostgresLanggraphStore:
    """One saver over a kept connection, as its documentation makes it."""

    def __init__(self, address: str) -> None:
        self._connection: Any = psycopg.connect(address, autocommit=True, row_factory=dict_row)
        self.saver = PostgresSaver(self._connection)
        self.saver.setup()

    def settle(self) -> None:
        """Nothing stands beside the database."""

    def close(self) -> None:
        self._connection.close()


class LanggraphPostgres(OnServer):
    def open(self, path: Path) -> PostgresLanggraphStore:
        return PostgresLanggraphStore(self.url(path))

    def build_steps(self, *, name: str, turns: int) -> dict[str, float]:
        """Checkpoints a second of a graph's steps; they are kept."""
        store = self.kept[name] = self.open(self._path(name))
        took_s, _ = timed(lambda: steps.save(store.saver, turns), seconds=0)
        return {"value": 2 * turns / took_s}


if __name__ == "__main__":
    serve(LanggraphPostgres)
