"""Who is let in, how much of what, and what is said when the store cannot follow."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import pytest
from starlette.testclient import TestClient

import refold
from refold.errors import OutcomeUnknown, RefoldError, Unavailable
from refold.ports import Batch, Outcome
from refold.server import app, application
from tests.server.serving import append, connected, served

BODY: dict[str, Any] = {"events": [{"type": "a.b"}]}
PLACE = "/v1/streams/a-1/events"


@pytest.fixture(scope="module")
def here() -> Iterator[TestClient]:
    """A client of an application over an empty store."""
    with refold.open("memory:") as store:
        yield TestClient(
            app(store, hosts=["agents.example.com"]), base_url="http://agents.example.com"
        )


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1",
        "agents.example.com.evil",
        "",
        "[",
        "me@agents.example.com",
        "agents.example.com/evil",
        "evil\\@agents.example.com",
    ],
)
def test_another_name_is_refused(here: TestClient, host: str) -> None:
    """A page elsewhere whose name was made to lead here reads nothing and writes nothing."""
    for answer in (
        here.get("/v1/events", headers={"host": host}),
        here.post(PLACE, json=BODY, headers={"host": host}),
    ):
        assert (answer.status_code, answer.json()["code"]) == (421, "misdirected")


def test_its_own_name_is_known_at_any_port(here: TestClient) -> None:
    """Whatever its case."""
    assert here.get("/health", headers={"host": "Agents.Example.com:8713"}).is_success


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "http://agents.example.com:99"])
def test_pages_of_others_are_refused(here: TestClient, origin: str) -> None:
    """A browser says where a request is from; no answer allows another origin anything."""
    answer = here.post(PLACE, json=BODY, headers={"origin": origin})
    assert (answer.status_code, answer.json()["code"]) == (403, "cross_origin")
    assert here.options(PLACE, headers={"origin": origin}).status_code == 403
    names = [name for answer in (answer, here.get("/health")) for name in answer.headers]
    assert not [name for name in names if name.startswith("access-control")]


def test_a_form_of_a_page_cannot_append(here: TestClient) -> None:
    """What a browser sends without asking is of another content type."""
    answer = here.post(PLACE, content='{"events":[]}', headers={"content-type": "text/plain"})
    assert (answer.status_code, answer.json()["code"]) == (415, "media_type")


def test_a_body_has_a_limit(here: TestClient) -> None:
    """By what it says of its length, and by what comes where it says nothing."""
    big = b" " * (application.BODY_BYTES_MAX + 1)
    headers = {"content-type": "application/json"}
    for content in (big, iter([big[: len(big) // 2], big[len(big) // 2 :]])):
        answer = here.post(PLACE, content=content, headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (413, "too_large")


def test_bodies_have_a_limit_together(here: TestClient, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who comes beyond it is told to come later; what was held is given back."""
    limit = len(httpx2.Request("POST", "http://x", json=BODY).content)
    for room, status in ((limit - 1, 429), (limit, 201), (limit, 201), (2 * limit, 201)):
        monkeypatch.setattr(application, "BODIES_BYTES_MAX", room)
        assert here.post(PLACE, json=BODY).status_code == status


@pytest.mark.parametrize(
    "path",
    [
        "/v1/streams/%ff/events",
        "/v1/streams/a%ed%a0%80/events",
        "/v1/events?category=%ff",
        "/v1/conversations?text=%ed%a0%80",
    ],
)
def test_an_address_that_is_no_text_is_refused(client: httpx2.Client, path: str) -> None:
    """It would name another stream or category."""
    answer = client.get(path)
    assert (answer.status_code, answer.json()["code"]) == (400, "usage")


def test_a_head_has_a_limit(here: TestClient, client: httpx2.Client) -> None:
    """Where it comes at once, and in pieces, of which the first may be too much already."""
    for headers in ({"x": "x" * 40_000}, {f"x{n}": "x" * 99 for n in range(400)}):
        answer = here.get("/health", headers=headers)
        assert (answer.status_code, answer.json()["code"]) == (400, "usage")
        assert client.get("/health", headers=headers).status_code == 400
    assert client.get("/health", headers={"x": "x" * 20_000}).is_success


def test_a_length_and_chunks_together_are_refused(client: httpx2.Client) -> None:
    """A proxy may believe the one where the server believes the other."""
    headers = {"content-type": "application/json", "transfer-encoding": "chunked"}
    head = f"POST {PLACE} HTTP/1.1\r\nhost: localhost\r\ncontent-length: 5\r\n"
    head += "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    with connected(client) as proxied:
        proxied.sendall(head.encode() + b"\r\n0\r\n\r\n")
        assert proxied.recv(4_096).startswith(b"HTTP/1.1 400")


def test_a_method_that_is_none_is_told_which_there_are(client: httpx2.Client) -> None:
    """By Allow, as RFC 9110 asks."""
    assert client.options("/v1/events").headers["allow"] == "GET, HEAD"
    assert client.delete(PLACE).headers["allow"] == "GET, HEAD, POST"


def test_the_head_of_a_subscription_ends(client: httpx2.Client) -> None:
    """Its answer has no body, so the connection goes on with the next request."""
    assert client.head("/v1/subscribe").status_code == 200
    assert client.get("/health").is_success


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/streams/a-1", "/docs", "/v1/streams"])
def test_an_address_that_is_none_is_said(here: TestClient, path: str) -> None:
    """As a problem document too; and a method that it does not take."""
    assert here.get(path).json()["code"] == "no_address"
    assert here.delete("/v1/events").json()["code"] == "no_method"


class Stuck:
    """A committer that waits, or fails."""

    def __init__(self, error: RefoldError | None = None) -> None:
        self.error, self.goes_on, self.began = error, threading.Event(), threading.Event()

    def commit(self, batches: Sequence[Batch], *, now: int) -> list[Outcome]:
        """Wait or fail."""
        self.began.set()
        if self.error is not None:
            raise self.error
        self.goes_on.wait()
        raise Unavailable(f"{len(batches)} appends at {now} went nowhere")


@pytest.mark.parametrize(
    ("error", "status", "code", "retry"),
    [
        (Unavailable("the disk is full"), 503, "unavailable", "later"),
        (OutcomeUnknown("the connection broke"), 504, "outcome_unknown", "check"),
        (
            RefoldError("postgresql://me:hidden-1@h/d broke", code="backend"),
            500,
            "backend",
            "never",
        ),
    ],
)
def test_a_store_that_fails_is_told(error: RefoldError, status: int, code: str, retry: str) -> None:
    """With what to do: come later, or send the same again with the same key; without a password."""
    with refold.open("memory:") as store:
        store._committer = Stuck(error)
        answer = TestClient(app(store), base_url="http://localhost").post(PLACE, json=BODY)
    said = answer.json()
    assert (answer.status_code, said["code"], said["retry"]) == (status, code, retry)
    assert ("retry-after" in answer.headers) == (status in (429, 503))
    assert "hidden-1" not in answer.text


def test_a_full_queue_asks_for_patience() -> None:
    """429, and when to come again; nothing was written."""
    with refold.open("memory:") as store, ThreadPoolExecutor(2) as pool:
        store._committer = stuck = Stuck()
        store._writer._waiting_max = 1
        with served(store) as client:
            waiting = [pool.submit(append, client, "a-1", 1)]
            stuck.began.wait()
            waiting.append(pool.submit(append, client, "a-1", 2))
            while not store._writer._waiting:
                threading.Event().wait(0.001)
            answer = append(client, "a-1", 3)
            stuck.goes_on.set()
            assert [one.result().status_code for one in waiting] == [503, 503]
    assert (answer.status_code, answer.json()["code"]) == (429, "overloaded")
    assert int(answer.headers["retry-after"]) >= 1
