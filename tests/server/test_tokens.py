"""Tokens: kept hashed, shown once, and for what they are made for alone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx2
import pytest
from starlette.testclient import TestClient

import refold
from refold.conversation.events import ToolCall, UserUtterance
from refold.errors import NotFound, UsageError
from refold.server import app
from refold.server.tokens import Tokens
from tests.server.serving import following, served

OF_SECRET = ["secret-1", "call-1~of-secret", "secret~x"]
"""Streams that hold what a token for ``call`` must not see, and one that only hides it."""


@pytest.fixture(scope="module")
def tokens(tmp_path_factory: pytest.TempPathFactory) -> Tokens:
    """A file without a token yet."""
    return Tokens(tmp_path_factory.mktemp("tokens") / "agents.db.tokens")


@pytest.fixture(scope="module")
def client(tokens: Tokens) -> Iterator[TestClient]:
    """A store of two categories, behind tokens."""
    with refold.open("memory:") as store:
        store.append("call-1", [UserUtterance(text="A table, please")], key="of call")
        secret = [UserUtterance(text="My number is 4711"), ToolCall("c", "pay", arguments="{}")]
        store.append("secret-1", secret, key="of secret", tags=["seat:1"])
        store.branch("secret-1").save("call-1~of-secret")
        store.branch("call-1").save("call-1~b")
        yield TestClient(app(store, tokens=tokens), base_url="http://127.0.0.1")


def bearing(tokens: Tokens, **what: Any) -> dict[str, str]:
    """The header of a new token."""
    text, _ = tokens.create("test", **what)
    return {"authorization": f"Bearer {text}"}


def test_a_token_is_kept_as_its_hash(tokens: Tokens) -> None:
    """The file has neither its text nor its secret, and its owner alone may read it."""
    text, made = tokens.create("reception", scopes=["read"])
    kept = tokens.path.read_text()
    assert text not in kept
    assert text.split("_", 2)[2] not in kept
    assert made in tokens.all()
    assert tokens.path.stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer x", "Basic {}", "Bearer {}x", "{}"])
def test_nobody_comes_in_without_one(client: TestClient, tokens: Tokens, given: str) -> None:
    """None, half of one, one changed, or by another scheme: 401, and how to ask."""
    text, _ = tokens.create("test")
    answer = client.get("/v1/events", headers={"authorization": given.format(text)})
    assert (answer.status_code, answer.json()["code"]) == (401, "no_token")
    assert answer.headers["www-authenticate"].startswith("Bearer")


def test_another_secret_under_an_id_is_nobodys(client: TestClient, tokens: Tokens) -> None:
    """The id is no secret."""
    text, made = tokens.create("test")
    forged = f"refold_{made.id}_{text[::-1]}"
    answer = client.get("/v1/events", headers={"authorization": f"Bearer {forged}"})
    assert answer.status_code == 401


def test_a_scope_is_what_it_is_for(client: TestClient, tokens: Tokens) -> None:
    """Who may append may not read, and the other way round."""
    body = {"events": [{"type": "a.b"}]}
    place = "/v1/streams/scoped-1/events"
    for scope, asked, other in (("append", "post", "get"), ("read", "get", "post")):
        headers = bearing(tokens, scopes=[scope])
        how: dict[str, Any] = {"post": {"json": body}, "get": {}}
        assert client.request(asked, place, headers=headers, **how[asked]).is_success
        refused = client.request(other, place, headers=headers, **how[other])
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


def test_one_that_is_revoked_counts_no_more(client: TestClient, tokens: Tokens) -> None:
    """From the next request on; the last one that goes lets nobody in."""
    text, made = tokens.create("test")
    headers = {"authorization": f"Bearer {text}"}
    assert client.get("/v1/events", headers=headers).is_success
    tokens.revoke(made.id)
    assert client.get("/v1/events", headers=headers).status_code == 401
    with pytest.raises(NotFound):
        tokens.revoke(made.id)
    gone = tokens.path.rename(f"{tokens.path}.gone")
    assert client.get("/v1/events", headers=headers).status_code == 401
    gone.rename(tokens.path)


def test_a_file_that_others_may_read_is_refused(tmp_path: Path) -> None:
    """With the command that mends it."""
    kept = Tokens(tmp_path / "open.tokens")
    kept.create("test")
    kept.path.chmod(0o644)
    with pytest.raises(UsageError, match="chmod 600"):
        kept.all()


@pytest.mark.parametrize("stream", OF_SECRET)
@pytest.mark.parametrize(
    "asked",
    [
        "/v1/streams/{}/events",
        "/v1/streams/{}/state",
        "/v1/compare?a={}&b=call-1",
        "/v1/compare?a=call-1&b={}@0",
    ],
)
def test_a_category_is_all_that_is_seen(
    client: TestClient, tokens: Tokens, stream: str, asked: str
) -> None:
    """Nor does an answer tell whether what may not be seen is there."""
    headers = bearing(tokens, categories=["call", "call~"])
    there = client.get(asked.format(stream), headers=headers)
    away = stream.replace("1", "9").replace("x", "y")
    not_there = client.get(asked.format(away), headers=headers)
    assert there.status_code in (403, 404)
    assert there.json() == _renamed(not_there.json(), away, stream)


def _renamed(said: Any, old: str, new: str) -> Any:
    text = httpx2.Response(200, json=said).text.replace(old, new)
    return httpx2.Response(200, text=text).json()


@pytest.mark.parametrize(
    "asked",
    [
        "/v1/events",
        "/v1/conversations",
        "/v1/conversations?text=number",
        "/v1/streams/call-1~b/events",
    ],
)
def test_lists_hold_nothing_of_others(client: TestClient, tokens: Tokens, asked: str) -> None:
    """Neither events nor names; a branch of the category is seen where its name is allowed."""
    headers = bearing(tokens, categories=["call", "call~"])
    answer = client.get(asked, headers=headers)
    assert answer.is_success
    assert "secret" not in answer.text
    assert "4711" not in answer.text


def test_a_branch_is_in_a_category_of_its_own(client: TestClient, tokens: Tokens) -> None:
    """Who may read ``call`` reads what happened, and no branch."""
    headers = bearing(tokens, categories=["call"])
    assert client.get("/v1/streams/call-1~b/events", headers=headers).status_code == 403
    assert client.get("/v1/events?category=call~", headers=headers).status_code == 403
    assert "~" not in client.get("/v1/conversations", headers=headers).text


@pytest.mark.parametrize(
    "asked", ["/v1/events?category=secret", "/v1/conversations?category=secret"]
)
def test_another_category_is_refused(client: TestClient, tokens: Tokens, asked: str) -> None:
    """By its name, whether it is there or not."""
    assert client.get(asked, headers=bearing(tokens, categories=["call"])).status_code == 403
    gone = client.get("/v1/subscribe?category=secret", headers=bearing(tokens, categories=["call"]))
    assert gone.status_code == 403


def test_the_beginning_of_anothers_prompt_is_not_told(client: TestClient, tokens: Tokens) -> None:
    """Of two prompts that begin so, one would be named."""
    headers = bearing(tokens, categories=["call"])
    answer = client.get("/v1/conversations?prompt_version=abcd", headers=headers)
    assert answer.status_code == 400
    assert client.get("/v1/conversations?prompt_version=front", headers=headers).is_success


def test_nothing_is_written_elsewhere(client: TestClient, tokens: Tokens) -> None:
    """Nor is a key of another found, nor an event of another by a condition."""
    headers = bearing(tokens, categories=["call"])
    body: dict[str, Any] = {"events": [{"type": "a.b"}]}
    for stream in ("secret-1", "secret-9", "call-1~b"):
        refused = client.post(f"/v1/streams/{stream}/events", json=body, headers=headers)
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")
    place = "/v1/streams/call-2/events"
    keyed = client.post(place, json={**body, "key": "of secret"}, headers=headers)
    assert (keyed.status_code, keyed.json()["duplicate"]) == (201, False)
    again = client.post(place, json={**body, "key": "of secret"}, headers=headers)
    assert again.json()["duplicate"]
    unless = {"unless": [{"tags": ["seat:1"]}]}
    asked = client.post(place, json={**body, "conditions": unless}, headers=headers)
    assert (asked.status_code, asked.json()["code"]) == (403, "forbidden")


def test_keys_of_two_categories_never_meet(client: TestClient, tokens: Tokens) -> None:
    """Whatever their names: what one stored under a key tells another nothing of it."""
    body: dict[str, Any] = {"events": [{"type": "a.b"}]}
    for category, key in (("odd", "b/x"), ("odd/b", "x"), ("odd~", "b/x"), ("odd", "b-x")):
        headers = bearing(tokens, categories=[category])
        place = f"/v1/streams/{quote(category, safe='')}-1/events"
        answer = client.post(place, json={**body, "key": key}, headers=headers)
        assert (answer.status_code, answer.json()["duplicate"]) == (201, False)


def test_a_tenant_has_a_store_of_its_own(tokens: Tokens, tmp_path: Path) -> None:
    """A token of a tenant reaches the log of that tenant, and one of another none."""
    with refold.open(tmp_path / "0.db") as own, refold.open(tmp_path / "7.db") as seventh:
        opened = {7: seventh}
        served_app = app(own, tokens=tokens, tenant=lambda number: opened[number])
        here = TestClient(served_app, base_url="http://127.0.0.1")
        body = {"events": [{"type": "a.b"}]}
        for headers in (bearing(tokens, tenant=7), bearing(tokens)):
            assert here.post("/v1/streams/a-1/events", json=body, headers=headers).is_success
        assert (own.log_head(), seventh.log_head()) == (1, 1)
        plain = TestClient(app(own, tokens=tokens), base_url="http://127.0.0.1")
        refused = plain.get("/v1/events", headers=bearing(tokens, tenant=8))
        assert (refused.status_code, refused.json()["code"]) == (403, "forbidden")


def test_a_subscriber_sees_its_category_alone(tokens: Tokens, tmp_path: Path) -> None:
    """Of what is there and of what comes."""
    headers = bearing(tokens, categories=["call", "call~"])
    with refold.open(tmp_path / "a.db") as store, served(store, tokens=tokens) as client:
        store.append("secret-1", [refold.Event("a.b")])
        store.append("call-1", [refold.Event("a.b", 1)])
        store.branch("secret-1").save("call-1~of-secret")
        store.branch("call-1").save("call-1~b")
        with following(client, headers=headers) as events:
            got = [next(events)["data"]["id"] for _ in range(2)]
            store.append("secret-1", [refold.Event("a.b")])
            store.append("call-1~of-secret", [refold.Event("a.b")])
            store.append("call-1~b", [refold.Event("a.b")])
            store.append("call-1", [refold.Event("a.b", 2)])
            got += [next(events)["data"]["id"] for _ in range(2)]
    assert got == ["call-1@0", "call-1~b@1", "call-1~b@2", "call-1@1"]
