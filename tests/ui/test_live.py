"""What is being recorded now: the end of the log, told without the rest."""

from __future__ import annotations

from collections.abc import Iterator

import httpx2
import pytest

import refold
from refold.conversation import ToolCall, ToolResult
from refold.conversation.events import UserUtterance
from refold.ui.live import CHARS_MAX, EVENTS_SHOWN, log_end
from tests.replay.test_report import HOSTILE
from tests.support.browser import Browser, browser
from tests.ui.reading import page
from tests.ui.serving import served


@pytest.fixture(scope="module")
def store() -> Iterator[refold.Store]:
    with refold.open("memory:") as made:
        yield made


@pytest.fixture(scope="module")
def client(store: refold.Store) -> Iterator[httpx2.Client]:
    with served(store) as reader:
        yield reader


def test_a_log_without_events_says_so(client: httpx2.Client) -> None:
    """There is no table, and no error."""
    found = page(client, "/live")
    assert "Nothing is recorded yet" in found.text
    assert not found.all("table")


def test_calls_of_two_conversations_are_not_confused() -> None:
    """A result is that of the call in its own stream, whatever ids others use."""
    with refold.open("memory:") as made:
        for stream, tool in (("call-1", "refund"), ("call-2", "lookup")):
            made.append(stream, [ToolCall("c1", tool, "{}")])
        for stream in ("call-1", "call-2"):
            made.append(stream, [ToolResult("c1", "done")])
        told = [(one.event.id, one.lines[0].text) for one in log_end(made).rows]
    assert told == [
        ("call-2@1", "lookup: done"),
        ("call-1@1", "refund: done"),
        ("call-2@0", "lookup({})"),
        ("call-1@0", "refund({})"),
    ]


def test_the_newest_events_are_shown_and_what_is_left_out_is_said(
    store: refold.Store, client: httpx2.Client
) -> None:
    """The newest first, each with its own page; long words are cut."""
    words = [UserUtterance(text=f"word {number}") for number in range(EVENTS_SHOWN)]
    store.append(
        "call-1", [*words, UserUtterance(text="x" * (CHARS_MAX + 9)), *map(hostile, HOSTILE)]
    )
    found = page(client, "/live")
    opened = found.all("a", "open")
    assert len(opened) == EVENTS_SHOWN
    last = store.head("call-1")
    assert [e.attributes["href"] for e in opened[:2]] == [
        f"/events/call-1%40{last}",
        f"/events/call-1%40{last - 1}",
    ]
    assert f"The last {EVENTS_SHOWN} of {store.log_head()} events" in found.text
    assert "x" * CHARS_MAX + "…" in found.text
    assert "x" * (CHARS_MAX + 1) not in found.text
    for text in HOSTILE:
        assert text in found.text
    assert not {"img", "iframe", "b"} & {e.tag for e in found.elements}


def hostile(text: str) -> UserUtterance:
    return UserUtterance(text=text)


def test_a_paused_page_asks_for_nothing(client: httpx2.Client) -> None:
    """It stays as it is until somebody goes on."""
    going, paused = page(client, "/live"), page(client, "/live?paused=yes")
    assert "hx-trigger" in going.by_id("live").attributes
    assert "hx-trigger" not in paused.by_id("live").attributes


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as one:
        yield one


def test_what_is_recorded_comes_without_loading_the_page_again(
    store: refold.Store, client: httpx2.Client, tab: Browser
) -> None:
    """The page stays, and the focus where it was; a new event stands first."""
    tab.go(str(client.base_url.join("/live")))
    tab.value("window.kept = true")
    tab.value("document.getElementById('pause').focus()")
    store.append("call-9", [UserUtterance(text="just now")])
    tab.until("document.querySelector('#live tbody tr').innerText.includes('just now')")
    assert tab.value("window.kept")
    assert tab.value("document.activeElement.id") == "pause"
    assert not [one for one in tab.said if "exception" in one]


def test_a_server_that_has_ended_is_said(tab: Browser) -> None:
    """What stands there may be old: the page does not go on as if it were not."""
    with refold.open("memory:") as made:
        made.append("call-1", [UserUtterance(text="Hello")])
        with served(made) as reader:
            tab.go(str(reader.base_url.join("/live")))
            tab.until("document.getElementById('stale').hidden")
    tab.until("!document.getElementById('stale').hidden")
    assert "may be old" in tab.value("document.getElementById('stale').innerText")
