"""Stores of tenants: opened when they are asked for, closed for others, none held up by another."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import pytest

import refold
from refold.errors import Unavailable
from refold.server import desk
from refold.server.tokens import Tokens
from tests.server.serving import append, following, served

Headers = dict[str, str]


class Opened:
    """Opens a store a tenant, and knows which are open."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.stores = folder, list[tuple[int, refold.Store]]()
        self.stuck, self.waited_for = threading.Event(), threading.Event()
        self.is_dead = False

    def __call__(self, tenant: int) -> refold.Store:
        """The store; that of tenant 0 waits for a database that does not answer."""
        if tenant == 0:
            self.waited_for.set()
            self.stuck.wait(60)
        if self.is_dead:
            raise Unavailable("there is no database")
        opened = refold.open(self.folder / f"{tenant}.db")
        self.stores.append((tenant, opened))
        return opened

    def order(self) -> list[int]:
        """Whose were opened, in order."""
        return [tenant for tenant, _ in self.stores]


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Opened]:
    """What opens tenants' stores; closed at the end."""
    made = Opened(tmp_path)
    yield made
    made.stuck.set()
    for _, store in made.stores:
        store.close()


@contextmanager
def serving(opened: Opened) -> Iterator[tuple[httpx2.Client, Callable[[int], Headers]]]:
    """A client, and the header of a token of a tenant."""
    tokens = Tokens(opened.folder / "t.tokens")

    def bearing(tenant: int) -> Headers:
        text, _ = tokens.create("t", tenant=tenant)
        return {"authorization": f"Bearer {text}"}

    with refold.open("memory:") as own, served(own, tokens=tokens, tenant=opened) as client:
        yield client, bearing


def note(client: httpx2.Client, headers: Headers, **how: Any) -> httpx2.Response:
    body = {"events": [{"type": "note.taken"}], **how}
    return client.post("/v1/streams/a-1/events", json=body, headers=headers)


def test_the_one_that_was_not_used_for_longest_makes_room(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is closed, and opened again when it is asked for, with all that was in it."""
    monkeypatch.setattr(desk, "TENANTS_MAX", 2)
    with serving(opened) as (client, bearing):
        of = {tenant: bearing(tenant) for tenant in (1, 2, 3)}
        versions = [note(client, of[tenant]).json()["first_version"] for tenant in (1, 2, 1, 3, 2)]
        assert versions == [0, 0, 1, 0, 1]
        assert opened.order() == [1, 2, 3, 2]


def test_one_that_is_in_use_is_not_closed(opened: Opened, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who follows it stays; another is told to come later where no place is free, and may then."""
    monkeypatch.setattr(desk, "TENANTS_MAX", 1)
    with serving(opened) as (client, bearing):
        first, second = bearing(1), bearing(2)
        with following(client, headers=first) as events:
            refused = note(client, second)
            assert (refused.status_code, refused.json()["retry"]) == (503, "later")
            assert "retry-after" in refused.headers
            assert note(client, first).is_success
            assert next(events)["data"]["type"] == "note.taken"
        while (answer := note(client, second)).status_code == 503:
            pass  # The server has not heard yet that the subscriber is gone.
        assert answer.is_success


def test_a_database_that_does_not_answer_holds_up_nobody_else(opened: Opened) -> None:
    """Neither while it is opened, nor those who ask the same."""
    with serving(opened) as (client, bearing), ThreadPoolExecutor(20) as pool:
        dead = bearing(0)
        waiting = [pool.submit(note, client, dead) for _ in range(20)]
        assert opened.waited_for.wait(60)
        for tenant in range(1, 9):
            assert note(client, bearing(tenant)).is_success
        assert not any(one.done() for one in waiting)
        opened.stuck.set()
        assert {one.result().status_code for one in waiting} == {201}
        assert opened.order().count(0) == 1


def test_one_that_cannot_be_opened_is_tried_again(opened: Opened) -> None:
    """By the next request: a database comes back."""
    with serving(opened) as (client, bearing):
        headers = bearing(1)
        opened.is_dead = True
        assert [note(client, headers).status_code for _ in range(2)] == [503, 503]
        opened.is_dead = False
        assert note(client, headers).status_code == 201


def test_threads_that_wait_for_one_store_are_not_those_of_another(opened: Opened) -> None:
    """However many requests read from a database that does not answer."""
    with serving(opened) as (client, bearing), ThreadPoolExecutor(40) as pool:
        slow, quick = bearing(1), bearing(2)
        assert note(client, slow).is_success
        _, store = opened.stores[0]
        began = threading.Event()

        def log_head() -> int:
            began.set()
            opened.stuck.wait(60)
            return 0

        store.log_head = log_head  # type: ignore[method-assign]
        waiting = [pool.submit(client.get, "/v1/events", headers=slow) for _ in range(40)]
        assert began.wait(60)
        assert note(client, quick).is_success
        assert client.get("/v1/events", headers=quick).is_success
        opened.stuck.set()
        assert {one.result().status_code for one in waiting} == {200}


def test_what_is_not_told_keeps_a_store_open(
    opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Spans of a trace that goes on are waited for: who else would tell them?"""
    monkeypatch.setattr(desk, "TENANTS_MAX", 1)
    from tests.server.spans import request_of, turns

    with serving(opened) as (client, bearing):
        first, second = bearing(1), bearing(2)
        json_type = {"content-type": "application/json"}
        body = request_of(*turns()[1:4])
        assert client.post("/v1/traces", content=body, headers={**first, **json_type}).is_success
        assert note(client, second).status_code == 503
        assert append(client, "a-1", 1).status_code == 401
