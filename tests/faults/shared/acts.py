"""The harm that is done to a server, to brokers, to connections and to processes."""

from __future__ import annotations

from contextlib import suppress
from random import Random
from threading import Event, Lock

import psycopg

from tests.faults.shared.cast import Cast
from tests.faults.shared.cutting import Wire
from tests.faults.shared.harm import Act
from tests.support import postgres
from tests.support.kafka import BROKERS, Cluster
from tests.support.postgres import Server

STARTS_MAX = 5
WRITERS = ("threads", "tasks")
FOLLOWERS = ("projecting", "feeding", "consuming")


class Acts:
    """Each leaves what it broke whole again, but for what it was there to break."""

    def __init__(self, server: Server, brokers: Cluster, wire: Wire, cast: Cast) -> None:
        self._server, self._brokers, self._wire, self._cast = server, brokers, wire, cast
        self._restart = Lock()
        self.over = Event()

    def all(self) -> dict[str, Act]:
        """Each by what is said of it."""
        return {
            "kill -9 of the server": self.kill_server,
            "kill -9 of a broker": self.kill_broker,
            "kill -9 of writers": lambda lot: self._cast.kill_one(lot, *WRITERS),
            "kill -9 of who follows": lambda lot: self._cast.kill_one(lot, *FOLLOWERS),
            "backends ended": self.end_backends,
            "connections cut": self.cut_connections,
            "transactions held open": self.hold_transaction,
            "turns of all writers held": self.hold_turn,
        }

    def kill_server(self, lot: Random) -> bool:
        """All of its processes; it is started again after a while."""
        with self._restart:
            self._server.kill()
            self.over.wait(lot.uniform(0, 2))
            for tried in range(STARTS_MAX):
                try:
                    self._server.start()
                except AssertionError:  # One of the killed still holds its memory.
                    if tried == STARTS_MAX - 1:
                        raise
                    self.over.wait(0.5)
                else:
                    break
        return True

    def kill_broker(self, lot: Random) -> bool:
        """One of them; the others go on, and it is started again."""
        self._brokers.kill(lot.randint(1, BROKERS))
        self.over.wait(lot.uniform(0, 5))
        self._brokers.start_all()
        return True

    def end_backends(self, lot: Random) -> bool:
        """Some of the sessions of refold, as an administrator ends them."""
        with suppress(psycopg.Error), postgres.connect(self._server.port) as admin:
            found = admin.execute(
                "SELECT pid FROM pg_stat_activity WHERE application_name = 'refold'"
            ).fetchall()
            chosen = [pid for (pid,) in found if lot.random() < 0.5]
            admin.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s) AS pid", [chosen])
            return bool(chosen)
        return False

    def cut_connections(self, _lot: Random) -> bool:
        """Those that go through the wire, with what is under way on them."""
        return self._wire.cut() > 0

    def hold_transaction(self, lot: Random) -> bool:
        """A snapshot, and a number of a transaction that is not over, for some seconds."""
        with suppress(psycopg.Error), postgres.connect(self._server.port) as other:
            other.execute("BEGIN ISOLATION LEVEL REPEATABLE READ")
            other.execute("SELECT count(*), pg_current_xact_id() FROM refold.streams")
            self.over.wait(lot.uniform(2, 15))
            other.execute("ROLLBACK")
            return True
        return False

    def hold_turn(self, lot: Random) -> bool:
        """What every append waits for, as one that takes its time and is undone."""
        with suppress(psycopg.Error), postgres.connect(self._server.port) as other:
            other.execute("BEGIN")
            other.execute("SELECT refold.take_turn(0, 'refold.log'::regclass)")
            self.over.wait(lot.uniform(0.2, 2))
            other.execute("ROLLBACK")
            return True
        return False
