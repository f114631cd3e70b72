"""Following by server-sent events: what is there, then what comes, from anywhere on."""

from __future__ import annotations

import httpx2
import pytest

import refold
from tests.server.serving import append, following


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
