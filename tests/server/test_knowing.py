"""States, comparisons and selections by HTTP are those of the library."""

from __future__ import annotations

from typing import Any

import httpx2
import msgspec
import pytest

import refold
from refold.conversation import Conversation
from refold.conversation.events import AgentUtterance, ToolCall, ToolResult, UserUtterance
from tests.server.serving import append


@pytest.fixture(scope="module", autouse=True)
def told(store: refold.Store) -> None:
    """Two calls and a branch of the first."""
    store.append("call-1", [UserUtterance(text="Is my table booked?")])
    store.append("call-1", [ToolCall(call_id="c", name="look_up", arguments="{}")])
    store.append("call-1", [ToolResult(call_id="c", result={"error": "no such table"})])
    store.append("call-1", [AgentUtterance(text="No.")])
    store.append("call-2", [UserUtterance(text="A table for two, please.")])
    branch = store.branch("call-1", at=2)
    store.save_branch(branch.adding(AgentUtterance(text="It is.")), "call-1~b")


def folded(store: refold.Store, **moment: Any) -> Any:
    """The state as JSON values."""
    state = store.fold("call-1", Conversation, **moment).state
    return msgspec.json.decode(msgspec.json.encode(msgspec.to_builtins(state, str_keys=True)))


@pytest.mark.parametrize("moment", [{}, {"version": 1}, {"position": 1}])
def test_a_state_is_that_of_the_fold(
    client: httpx2.Client, store: refold.Store, moment: dict[str, int]
) -> None:
    """Now, or at a version or position."""
    said = client.get("/v1/streams/call-1/state", params=moment).json()
    assert said["state"] == folded(store, **moment)
    assert said["fold"] == "conversation"


@pytest.mark.parametrize("name", ["recorded_until", "occurred_until"])
def test_a_state_of_a_moment(client: httpx2.Client, name: str) -> None:
    """By both clocks, as RFC 3339 or an age."""
    for moment in ("2001-01-01T00:00:00Z", "300d"):
        said = client.get("/v1/streams/call-1/state", params={name: moment}).json()
        assert (said["version"], said["state"]["transcript"]) == (-1, [])
    odd = client.get("/v1/streams/call-1/state", params={name: "soon"})
    assert (odd.status_code, odd.json()["code"]) == (400, "usage")


def test_a_portfolio_is_folded_too(client: httpx2.Client) -> None:
    """The other fold that comes with refold."""
    said = client.get("/v1/streams/call-1/state", params={"fold": "portfolio"})
    assert said.json()["fold"] == "portfolio"
    assert client.get("/v1/streams/call-1/state", params={"fold": "own"}).status_code == 400


def test_two_histories_are_compared(client: httpx2.Client) -> None:
    """What they share, where they differ, and what that changes in the state."""
    said = client.get("/v1/compare", params={"a": "call-1", "b": "call-1~b"}).json()
    assert said["shared"] == 3
    added = [one["after"]["data"] for one in said["changes"] if one["kind"] == "added"]
    assert {"text": "It is."} in added
    assert said["state"]
    same = client.get("/v1/compare", params={"a": "call-1@2", "b": "call-1@2"}).json()
    assert (same["shared"], same["changes"], same["state"]) == (3, [], [])


@pytest.mark.parametrize(
    ("asked", "fit"),
    [
        ({"tool": "look_up"}, {"call-1"}),
        ({"with_error": "true"}, {"call-1"}),
        ({"text": "TABLE two"}, {"call-2"}),
        ({"category": "call", "until": "300d"}, set()),
        ({"category": "call~"}, {"call-1~b"}),
        ({"category": "call"}, {"call-1", "call-2"}),
        ({"category": "call", "sample": "1", "seed": "4"}, None),
    ],
)
def test_conversations_are_found(
    client: httpx2.Client, asked: dict[str, str], fit: set[str] | None
) -> None:
    """By the selection of `refold streams`; the newest first."""
    said = client.get("/v1/conversations", params=asked).json()
    names = [one["stream"] for one in said["conversations"]]
    assert len(names) == 1 if fit is None else set(names) == fit
    times = [one["recorded_at"] for one in said["conversations"]]
    assert times == sorted(times, reverse=True)


def test_the_branch_says_where_it_left(client: httpx2.Client) -> None:
    """With its parent and the version."""
    (said,) = client.get("/v1/conversations", params={"category": "call~"}).json()["conversations"]
    assert said["fork"] == {"parent": "call-1", "version": 2}


def test_pages_of_conversations_go_on(client: httpx2.Client) -> None:
    """`next` is where, and `end` that there are no more."""
    asked: dict[str, Any] = {"category": "call", "limit": 1}
    first = client.get("/v1/conversations", params=asked).json()
    second = client.get("/v1/conversations", params={**asked, "from": first["next"]}).json()
    assert (first["end"], second["end"]) == (False, True)
    assert first["conversations"] != second["conversations"]


@pytest.mark.parametrize("path", ["/v1/streams/no-1/state", "/v1/streams/no-1/events"])
def test_what_is_not_there_is_said(client: httpx2.Client, path: str) -> None:
    """A stream without events."""
    said = client.get(path)
    assert (said.status_code, said.json()["code"]) == (404, "not_found")


def test_pages_of_events_go_on(client: httpx2.Client) -> None:
    """Of a stream by version, of the log by position; the last says how far it looked."""
    append(client, "paged-1", *range(5))
    at, seen = 0, []
    while True:
        page = client.get("/v1/streams/paged-1/events", params={"from": at, "limit": 2}).json()
        seen += [one["data"] for one in page["events"]]
        at = page["next"]
        if page["end"]:
            break
    assert (seen, at) == (list(range(5)), 5)
    log = client.get("/v1/events", params={"category": "paged", "limit": 3}).json()
    rest = client.get("/v1/events", params={"category": "paged", "after": log["next"]}).json()
    assert [one["data"] for one in log["events"] + rest["events"]] == seen
    assert (rest["end"], rest["next"]) == (True, rest["events"][-1]["position"])


def test_a_page_of_large_events_is_cut(client: httpx2.Client) -> None:
    """An answer is not much larger than 4 MiB, however many events are asked for."""
    append(client, "large-1", *("x" * 2_000_000 for _ in range(4)))
    page = client.get("/v1/streams/large-1/events", params={"limit": 1000}).json()
    assert (len(page["events"]), page["next"], page["end"]) == (3, 3, False)


@pytest.mark.parametrize("name", ["a/b-1", "call-1@3", "50%-x", "ä-1~", "a b"])
def test_any_name_of_a_stream_can_be_asked_for(client: httpx2.Client, name: str) -> None:
    """Written in the address as RFC 3986 says."""
    from urllib.parse import quote

    place = f"/v1/streams/{quote(name, safe='')}/events"
    said = client.post(place, json={"events": [{"type": "a.b"}]})
    assert said.json()["stream"] == name
    assert client.get(place).json()["events"][0]["stream"] == name
