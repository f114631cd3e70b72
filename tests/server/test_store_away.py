"""A database that goes and comes back under a server, and a clock that jumps: nothing is lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest

import refold
from refold.backends.postgres import session
from tests.server.serving import append, following, served
from tests.server.serving import told as told_by
from tests.support import postgres

LIMIT_S = 60
DAY_US = 86_400_000_000
ASKED = ["/v1/events", "/v1/events?type=note.taken", "/v1/streams/note-1/state", "/health"]


class Follower:
    """Who follows a log as the clients do: from the last position it has, again and again."""

    def __init__(self, base_url: httpx2.URL) -> None:
        self._client = httpx2.Client(base_url=base_url, timeout=LIMIT_S)
        self.got, self.statuses, self.problems = list[Any](), set[int](), list[str]()
        self.came, self._over = threading.Condition(), threading.Event()
        self._thread = threading.Thread(target=self._follow)
        self._thread.start()

    def has(self, positions: list[int]) -> bool:
        """Whether it was told these and no others, when it was told so many."""
        with self.came:
            self.came.wait_for(lambda: len(self.got) >= len(positions), LIMIT_S)
            return self.got == positions

    def close(self) -> None:
        """Follow no more: what it is told next is the last."""
        self._over.set()

    def join(self) -> None:
        """Wait until it has ended."""
        self._thread.join(LIMIT_S)
        self._client.close()

    def _follow(self) -> None:
        last = "0"
        while not self._over.is_set():
            headers = {"last-event-id": last}
            with self._client.stream("GET", "/v1/subscribe", headers=headers) as answer:
                self.statuses.add(answer.status_code)
                for one in told_by(answer.iter_lines()) if answer.is_success else ():
                    last = one.get("id", last)
                    self._hear(one)
                    if self._over.is_set():
                        return

    def _hear(self, one: Any) -> None:
        with self.came:
            if one.get("event") == "problem":
                self.problems.append(one["data"]["code"])
            elif "data" in one:
                self.got.append(one["data"]["position"])
                self.came.notify_all()


@pytest.fixture
def server() -> Iterator[postgres.Server]:
    """A server of PostgreSQL that may be killed."""
    with postgres.servers() as made:
        yield made


def test_a_database_that_goes_and_comes_back_loses_and_doubles_nothing(
    server: postgres.Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Meanwhile callers are told when to come again; who follows and who repeats goes on."""
    monkeypatch.setattr(session, "RETRY_S", 0.2)
    with refold.open(postgres.url(server.port)) as store, served(store) as client:
        assert append(client, "note-1", 1, key="k1").is_success
        follower = Follower(client.base_url)
        assert follower.has([1])
        server.kill()
        # Its connection was lost under it: it may be stored, and is sent again with its key.
        assert append(client, "note-1", 2, key="k2").status_code in (503, 504)
        for ask in ASKED:
            answer = client.get(ask)
            assert (answer.status_code, answer.json()["retry"]) == (503, "later"), ask
            assert "retry-after" in answer.headers
        refused = append(client, "note-1", 2, key="k2")
        assert (refused.status_code, "retry-after" in refused.headers) == (503, True)
        server.start()
        for n in (1, 2, 3):
            while not (answer := append(client, "note-1", n, key=f"k{n}")).is_success:
                assert answer.status_code in (503, 504)
            assert answer.json()["duplicate"] or n > 1
        assert all(client.get(ask).is_success for ask in ASKED)
        assert follower.has([1, 2, 3])
        follower.close()
        assert append(client, "note-1", 4).is_success
        follower.join()
        assert follower.got == [1, 2, 3, 4]
        assert follower.statuses <= {200, 503}
        assert {*follower.problems} <= {"unavailable"}
        assert [one.data for one in store.read("note-1")] == [1, 2, 3, 4]


def test_a_clock_that_jumps_stops_nothing() -> None:
    """Ahead, and back behind what is recorded: all is taken, in order, and told at once."""
    now_us = [1_800_000_000_000_000]
    with refold.open("memory:", clock=lambda: now_us[0]) as store, served(store) as client:
        with following(client, params={"after": 0}) as events:
            for n, jump_us in enumerate((0, DAY_US, -2 * DAY_US, DAY_US), 1):
                now_us[0] += jump_us
                assert append(client, "note-1", n).json()["first_position"] == n
                assert next(events)["data"]["data"] == n
        told = client.get("/v1/streams/note-1/events").json()["events"]
        times = [one["recorded_at"] for one in told]
        assert times == sorted(times)
        assert times[0] < times[1] == times[2] == times[3]
