"""Following by server-sent events: what is there, then what comes, from anywhere on."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx2
import pytest

import refold
from refold.engine.aio import AsyncStore
from refold.server import sending, tail
from refold.server.access import EVERYTHING
from refold.server.desk import Desk, ServedCall
from refold.server.following import EventStream
from refold.server.sending import Room
from refold.server.tail import Tail
from tests.server.serving import append, following

LIMIT_S = 60


def test_what_is_there_comes_first_then_what_is_appended(client: httpx2.Client) -> None:
    """In the order of positions, none twice, with the payload as it is stored."""
    first = append(client, "follow-1", 1, 2).json()["first_position"]
    with following(client, params={"after": first - 1}) as events:
        assert [next(events)["data"]["data"] for _ in range(2)] == [1, 2]
        append(client, "follow-1", {"n": 3})
        third = next(events)
    assert third["data"]["data"] == {"n": 3}
    assert int(third["id"]) == third["data"]["position"] == first + 2


def test_the_last_id_stands_above_after(client: httpx2.Client) -> None:
    """A reader that was broken off asks as it did at first, and goes on where it was."""
    said = append(client, "follow-2", *range(5)).json()
    headers = {"last-event-id": str(said["last_position"] - 1)}
    with following(client, params={"after": 0}, headers=headers) as events:
        assert next(events)["data"]["data"] == 4


@pytest.mark.parametrize(
    "params", [{"category": "wanted"}, {"type": "a.wanted"}, {"type": ["a.wanted", "b.b"]}]
)
def test_only_what_is_asked_for_comes(client: httpx2.Client, params: dict[str, str]) -> None:
    """By category and type, of what is there and of what comes."""
    wanted = {"events": [{"type": "a.wanted"}]}
    before = client.post("/v1/streams/wanted-1/events", json=wanted).json()["last_position"]
    append(client, "other-1", "not this")
    with following(client, params={"after": before - 1, **params}) as events:
        assert next(events)["data"]["position"] == before
        append(client, "other-1", "nor this")
        came = client.post("/v1/streams/wanted-1/events", json=wanted).json()["last_position"]
        assert next(events)["data"]["position"] == came


def test_more_than_is_kept_comes_whole(client: httpx2.Client, store: refold.Store) -> None:
    """A subscriber that is further behind than the newest events reads on in the log."""
    after = store.log_head()
    for _ in range(3):
        store.append("much-1", [refold.Event("note.taken", {"n": n}) for n in range(700)])
    with following(client, params={"after": after}) as events:
        got = [next(events)["data"]["position"] for _ in range(2_100)]
    assert got == list(range(after + 1, after + 2_101))


def test_a_position_that_is_not_there_yet_is_said(client: httpx2.Client) -> None:
    """The log is not the one that was followed: it went back."""
    answer = client.get("/v1/subscribe", params={"after": 10**12})
    assert (answer.status_code, answer.json()["code"]) == (410, "log_went_back")
    odd = client.get("/v1/subscribe", headers={"last-event-id": "none"})
    assert odd.status_code == 400


def test_what_was_kept_for_others_before_counts_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """However often all who follow go and others come, these are told what comes."""
    monkeypatch.setattr(tail, "KEPT_BYTES_MAX", 1_000)

    async def follow(store: refold.Store) -> None:
        newest = Tail(AsyncStore(lambda: store))
        for number in range(5):
            newest.join()
            while newest.since(number) is None:
                await asyncio.wait_for(newest.moved(), LIMIT_S)
            store.append("a-1", [refold.Event("a.b", "x" * 600)])
            while newest.position == number:
                await asyncio.wait_for(newest.moved(), LIMIT_S)
            assert [one.recorded.position for one in newest.since(number) or ()] == [number + 1]
            newest.leave()

    with refold.open("memory:") as store:
        asyncio.run(follow(store))


def test_who_follows_is_told_of_an_error_that_nobody_foresaw() -> None:
    """Silence would pass for nothing that came."""

    class Odd(AsyncStore):
        async def log_head(self) -> int:
            raise OSError("no file is left")

    async def follow() -> None:
        newest = Tail(Odd(lambda: refold.open("memory:")))
        newest.join()
        await asyncio.wait_for(newest.moved(), LIMIT_S)
        assert newest.over is not None
        assert (newest.over.retry, "no file is left" in newest.over.message) == ("later", True)

    asyncio.run(follow())


class Subscriber:
    """Who follows a store; it reads what is larger than a piece when it is told to."""

    def __init__(self, desk: Desk, unread: Room, *, after: int) -> None:
        call = ServedCall(
            desk, EVERYTHING, None, None, None, "", lambda: EVERYTHING, unread  # type: ignore[arg-type]
        )  # fmt: skip
        self.got, self.reads, self.came = b"", asyncio.Event(), asyncio.Event()
        stream = EventStream(call, after, None, [])
        scope = {"type": "http", "method": "GET"}
        self.task = asyncio.ensure_future(stream(scope, self._receive, self._send))

    async def _receive(self) -> Any:
        await asyncio.Event().wait()

    async def _send(self, message: Any) -> None:
        piece = message.get("body", b"")
        if b"data:" in piece:
            self.came.set()
        if len(piece) > sending.PIECE_BYTES:
            await self.reads.wait()
        self.got += piece

    async def has(self, text: bytes) -> None:
        """Wait until it was told something."""
        while text not in self.got:
            await asyncio.sleep(0)

    async def leave(self) -> None:
        """Go, in the middle of whatever is sent."""
        self.task.cancel()
        await asyncio.wait({self.task})


def test_what_subscribers_do_not_read_has_a_limit_together(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Who would go over it is told to come later; small events go on, and then large ones."""
    monkeypatch.setattr(sending, "FOLLOWED_BYTES_MAX", 300_000)

    async def follow(store: refold.Store) -> None:
        desk, unread = Desk(store), Room("what is not read")
        slow = Subscriber(desk, unread, after=0)
        await slow.came.wait()
        second = Subscriber(desk, unread, after=0)
        await second.task
        assert b"event: problem" in second.got
        assert b'"code":"overloaded","retry":"later"' in second.got
        assert b"xxx" not in second.got
        small = Subscriber(desk, unread, after=1)
        await small.has(b'"small"')
        await small.leave()
        await slow.leave()
        third = Subscriber(desk, unread, after=0)
        third.reads.set()
        await third.has(b'"small"')
        assert b"xxx" in third.got
        await third.leave()
        unread.take(300_000, most=300_000)  # All was given back.

    with refold.open("memory:") as store:
        store.append("a-1", [refold.Event("a.b", "x" * 300_000)])
        store.append("a-1", [refold.Event("a.b", "small")])
        asyncio.run(asyncio.wait_for(follow(store), LIMIT_S))
