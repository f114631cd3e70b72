"""Appending by HTTP: what is stored, what is refused, and how it is said."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest

import refold
from tests.server.serving import append


def test_an_append_says_where_its_events_stand(client: httpx2.Client) -> None:
    """First and last version and position, and that it was not there before."""
    answer = append(client, "where-1", 1, 2, 3)
    said = answer.json()
    assert answer.status_code == 201
    assert (said["first_version"], said["last_version"], said["duplicate"]) == (0, 2, False)
    assert said["last_position"] - said["first_position"] == 2


def test_the_bytes_of_a_payload_are_kept(client: httpx2.Client, store: refold.Store) -> None:
    """Blanks, the order of keys, and every digit: no number goes through a float."""
    data = '{"z": 1.10,  "a":12345678901234567890.123456789, "e":[1e2]}'
    body = f'{{"events":[{{"type":"a.b","data":{data}}}]}}'
    headers = {"content-type": "application/json"}
    assert client.post("/v1/streams/exact-1/events", content=body, headers=headers).is_success
    (stored,) = store.read("exact-1")
    assert stored.raw == data.encode()
    assert data in client.get("/v1/streams/exact-1/events").text


def test_a_key_is_stored_once(client: httpx2.Client) -> None:
    """The second answer is the first one, and says so; other events under the key are refused."""
    first, again = (append(client, "once-1", "a", key="once") for _ in range(2))
    assert again.json() == {**first.json(), "duplicate": True}
    other = append(client, "once-1", "b", key="once")
    assert (other.status_code, other.json()["code"]) == (422, "key_reused")


@pytest.mark.parametrize("expected", ["no_stream", "stream_exists", 0])
def test_what_is_expected_holds(client: httpx2.Client, expected: Any) -> None:
    """Where the stream is elsewhere it is a conflict, which says what is there."""
    name = f"expected-{expected}"
    if expected == "no_stream" or expected == 0:
        append(client, name, 1, 2)
    answer = append(client, name, 3, expected=expected)
    said = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, said["code"], said["retry"]) == (409, "conflict", "redecide")
    assert said["facts"]["actual"] == (-1 if expected == "stream_exists" else 1)


def test_a_condition_holds(client: httpx2.Client) -> None:
    """An event that matches and came after the position refuses the append."""
    seen = append(client, "seats-1", "taken", tags=["seat:4"]).json()["last_position"]
    unless = [{"tags": ["seat:4"]}]
    taken = append(client, "seats-2", "taken", conditions={"unless": unless, "after": seen - 1})
    assert (taken.status_code, taken.json()["code"]) == (409, "conflict")
    free = append(client, "seats-2", "taken", conditions={"unless": unless, "after": seen})
    assert free.status_code == 201


def test_metadata_and_times_are_kept(client: httpx2.Client, store: refold.Store) -> None:
    """What events share, what one says of itself, exact numbers, and when it happened."""
    event = {"type": "a.b", "occurred_at": "2026-01-02T03:04:05Z", "metadata": {"mine": True}}
    body = json.dumps({"events": [event], "metadata": {"shared": 0}})
    body = body.replace('"shared": 0', '"shared": 0.10000000000000000001')
    headers = {"content-type": "application/json"}
    client.post("/v1/streams/told-1/events", content=body, headers=headers)
    (stored,) = store.read("told-1")
    assert {**stored.metadata, "shared": str(stored.metadata["shared"])} == {
        "mine": True,
        "shared": "0.10000000000000000001",
    }
    (shown,) = client.get("/v1/streams/told-1/events").json()["events"]
    assert shown["occurred_at"] == "2026-01-02T03:04:05Z"


def test_what_is_no_text_is_refused(client: httpx2.Client, store: refold.Store) -> None:
    """A payload that is not UTF-8, nor half of a pair; nothing is written."""
    head = store.log_head()
    for text in (b"\xff", b"\\ud800"):
        for field in (b'"data":{"x":"%b"}', b'"metadata":{"x":"%b"}'):
            body = b'{"events":[{"type":"a.b",%b}]}' % (field % text)
            headers = {"content-type": "application/json"}
            answer = client.post("/v1/streams/a-1/events", content=body, headers=headers)
            assert answer.status_code in (400, 422), answer.text
            assert answer.json()["code"] in ("usage", "invalid_event")
    assert store.log_head() == head


@pytest.mark.parametrize(
    ("event", "status", "where"),
    [
        ({"type": "user.utterance", "data": {"text": 5}}, 422, "/text"),
        ({"type": "a b"}, 422, ""),
        ({"type": "a.b", "occurred_at": "yesterday, maybe"}, 422, ""),
        ({"type": "a.b", "dta": {}}, 400, None),
        ({"data": {}}, 400, None),
    ],
)
def test_what_cannot_be_stored_is_refused(
    client: httpx2.Client, store: refold.Store, event: Any, status: int, where: str | None
) -> None:
    """A payload that its type cannot read, and what has no meaning here; nothing is written."""
    head = store.log_head()
    answer = client.post("/v1/streams/bad-1/events", json={"events": [{"type": "a.b"}, event]})
    said = answer.json()
    assert answer.status_code == status, said
    if where is not None:
        assert said["facts"].get("path", "") == where
        assert said["facts"]["index"] == 1
    assert store.log_head() == head
