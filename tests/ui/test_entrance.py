"""Pages without a login around them: only who was given the address is let in."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from starlette.applications import Starlette
from starlette.testclient import TestClient

import refold
from refold.ui import app
from refold.ui.application import SCREENS
from refold.ui.pages import ASSETS
from refold.ui.writing import Writing
from tests.ui.screens import example

TOKEN = "it-is-not-to-be-guessed"
BASE = "http://localhost:8712"


@pytest.fixture
def pages() -> Iterator[Starlette]:
    with refold.open("memory:") as store:
        store.append("call-1", [refold.Event("user.utterance", {"text": "Is it booked?"})])
        yield app(store, token=TOKEN, writing=Writing(actor="ann"))


def stranger(pages: Starlette) -> TestClient:
    return TestClient(pages, base_url=BASE, follow_redirects=False)


@pytest.mark.parametrize(
    "address",
    [*(one for screen in SCREENS for one in example(screen)[:1]), "/static/ui.css", "/nothing"],
)
def test_a_stranger_is_shown_nothing(pages: Starlette, address: str) -> None:
    """No page, no form, no asset; with a token that is wrong, or the cookie of another port."""
    client = stranger(pages)
    joint = "&" if "?" in address else "?"
    wrong: list[tuple[str, dict[str, str]]] = [
        ("", {}),
        (f"{joint}token=", {}),
        (f"{joint}token=x", {}),
    ]
    wrong += [("", {"cookie": f"refold-ui-8711={TOKEN}"}), ("", {"cookie": "refold-ui-8712=x"})]
    for more, headers in wrong:
        answer = client.get(address + more, headers=headers)
        assert answer.status_code == 403
        assert "printed" in answer.text
        assert "content-security-policy" in answer.headers


def test_a_stranger_changes_nothing(pages: Starlette) -> None:
    """Nor does a form that has the token in its address: only a cookie lets one be sent."""
    for address in ("/write/label", f"/write/label?token={TOKEN}"):
        answer = stranger(pages).post(address, data={"tag": "x"}, headers={"origin": BASE})
        assert answer.status_code == 403


def test_the_address_lets_a_browser_in(pages: Starlette) -> None:
    """What it asks is kept, and the token goes into a cookie that no script reads; names that are
    not its own are still not answered to."""
    client = stranger(pages)
    answer = client.get(f"/?q=booked+%26&token={TOKEN}&page=1")
    assert (answer.status_code, answer.headers["location"]) == (303, "/?q=booked+%26&page=1")
    said = answer.headers["set-cookie"].lower()
    assert "httponly" in said
    assert "samesite=lax" in said
    assert "call-1" in client.get("/").text
    assert all(client.get(f"/static/{name}").status_code == 200 for name in ASSETS)
    assert TOKEN not in client.get("/").text
    assert client.get("/", headers={"host": "elsewhere.example"}).status_code == 421
