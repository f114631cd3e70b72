"""The pages in Chromium by keys, and the slider that goes back in time."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

import refold
from refold.conversation.events import StatePatched
from tests.replay.stories import record
from tests.support.browser import Browser, browser
from tests.ui.serving import served

PAGES = (
    *("/", "/conversations/call-1", "/events/call-1@3", "/projections", "/live", "/nothing"),
    *("/compare?a=call-1&b=call-2",),
)


@pytest.fixture(scope="module")
def client() -> Iterator[httpx2.Client]:
    with refold.open("memory:") as store:
        for number in range(1, 4):
            record(store, f"call-{number}")
        store.append("call-1", [StatePatched([{"op": "add", "path": "/booked", "value": True}])])
        with served(store) as reader:
            yield reader


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as one:
        yield one


def test_the_slider_goes_back_in_time(client: httpx2.Client, tab: Browser) -> None:
    """Moved, it shows the words and the state of then, under an address that can be sent."""
    tab.go(str(client.base_url.join("/conversations/call-1")))
    assert "booked" in tab.value("document.querySelector('aside').innerText")
    tab.value(
        "(at => { at.value = '1'; at.dispatchEvent(new Event('change', {bubbles: true})) })"
        "(document.getElementById('at'))"
    )
    tab.until("location.search === '?at=1'")
    tab.until("!document.body.innerText.includes('At gate 4.')")
    assert "booked" not in tab.value("document.querySelector('aside').innerText")
    assert "Where is booking B1?" in tab.value("document.body.innerText")
    # What was left is kept nowhere in the browser: it is asked for again.
    kept = "JSON.stringify([{...sessionStorage}, {...localStorage}])"
    assert "booking" not in tab.value(kept)
    tab.value("history.back()")
    tab.until("location.search === '' && document.body?.innerText.includes('At gate 4.')")


def test_keys_lead_through_the_list(client: httpx2.Client, tab: Browser) -> None:
    """`j` and `k` go along the list, Enter opens, `/` searches, `?` says which keys there are."""
    tab.go(str(client.base_url.join("/")))
    listed = tab.value("[...document.querySelectorAll('a.open')].map(a => a.textContent)")
    for key, at in (("j", 0), ("j", 1), ("j", 2), ("j", 2), ("k", 1)):
        tab.press(key)
        assert tab.value("document.activeElement.textContent") == listed[at]
    tab.press("?")
    assert tab.value("document.getElementById('keys').open")
    tab.value("document.getElementById('keys').close()")
    tab.press("/")
    assert tab.value("document.activeElement.id") == "q"
    tab.press("j")
    assert tab.value("document.getElementById('q').value") == "j"
    tab.go(str(client.base_url.join("/")))
    tab.press("j")
    tab.press("Enter")
    tab.until(f"document.querySelector('h1').textContent === '{listed[0]}'")
