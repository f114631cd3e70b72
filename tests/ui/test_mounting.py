"""The pages inside an application of FastAPI, with a login of its own in front, over real HTTP."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator

import httpx2
import pytest
from fastapi import FastAPI, Request, Response

import refold
from refold.ui import app
from refold.ui.writing import Writing
from tests.replay.pages import Page
from tests.replay.stories import record
from tests.ui.serving import serving

ANN = {"x-user": "ann"}


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    """Pages under a path; nobody comes to them without a name."""
    with refold.open("memory:") as store:
        record(store, "call-1")
        outer = FastAPI()

        @outer.middleware("http")
        async def signed_in(
            request: Request, call_next: Callable[[Request], Awaitable[Response]]
        ) -> Response:
            if "x-user" not in request.headers:
                return Response("who are you?", 401)
            request.state.user = request.headers["x-user"]
            return await call_next(request)

        @outer.get("/health")
        def health() -> dict[str, bool]:
            return {"well": True}

        writing = Writing(actor=lambda request: str(request.state.user))
        outer.mount("/tools/agents", app(store, writing=writing))
        with serving(outer) as reader:
            yield reader


def test_the_login_in_front_is_asked_first(client: httpx2.Client) -> None:
    """Of the pages as of the application's own."""
    for address in ("/health", "/tools/agents/", "/tools/agents/static/ui.js"):
        assert client.get(address).status_code == 401
        assert client.get(address, headers=ANN).status_code == 200


def test_its_links_lead_to_where_it_is_mounted(client: httpx2.Client) -> None:
    """And to pages that are there."""
    page = Page(client.get("/tools/agents/", headers=ANN).text)
    links = [one for one in page.links if not one.startswith("#")]
    assert links
    for link in links:
        assert link.startswith("/tools/agents/")
        assert client.get(link, headers=ANN).status_code == 200


def test_what_is_changed_is_of_who_has_logged_in(client: httpx2.Client) -> None:
    """And its page is shown under the same path."""
    address = "/tools/agents/conversations/call-1"
    page = Page(client.get(address, headers=ANN).text)
    fields = {
        e.attributes["name"]: e.attributes.get("value", "")
        for form in page.all("form", "write")
        for e in page.inside(form, "input")
    }
    origin = str(client.base_url).rstrip("/")
    sent = client.post(
        "/tools/agents/write/label",
        data=fields | {"name": "outcome", "value": "misheard"},
        headers={**ANN, "origin": origin},
    )
    assert (sent.status_code, sent.headers["location"]) == (303, address)
    assert "misheard" in client.get(address, headers=ANN).text
    assert "ann" in client.get("/tools/agents/events/call-1%406", headers=ANN).text


def test_a_name_that_is_not_its_own_is_not_answered_to(client: httpx2.Client) -> None:
    """Whatever the application around it allows."""
    headers = {**ANN, "host": "elsewhere.example"}
    assert client.get("/health", headers=headers).status_code == 200
    assert client.get("/tools/agents/", headers=headers).status_code == 421
