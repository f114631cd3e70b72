"""What takes longer than a page may: made beside it, once, and shown when it is there."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import refold
from refold.conversation import UserUtterance
from refold.errors import NotFound, Unavailable
from refold.replay import Variant, replay
from refold.ui import compare, verdict
from refold.ui.making import KEPT_MAX, UNDER_WAY_MAX, KeptResults, LookedAt
from tests.replay.pages import Page
from tests.replay.stories import record
from tests.replay.test_report import answer
from tests.support.browser import browser
from tests.ui.serving import LIMIT_S, served


@contextmanager
def stopped() -> Iterator[tuple[threading.Event, Any]]:
    """Something to make that goes on until the block ends, and says when it has begun."""
    begun, until = threading.Event(), threading.Event()

    def make(tell: Any) -> str:
        tell(3, 4)
        begun.set()
        assert until.wait(LIMIT_S)
        return "made"

    try:
        yield begun, make
    finally:
        until.set()


def test_it_is_made_once_for_what_it_is_of() -> None:
    """Asked again it is there; of something else it is made anew."""
    kept, made = KeptResults(), list[int]()

    def make(_: object) -> int:
        made.append(len(made))
        return made[-1]

    of = [kept.look("one", of, make, None) for of in ("a", "a", "b", "b", "a")]
    assert of == [LookedAt(n, True) for n in (0, 0, 1, 1, 2)]


def test_until_it_is_there_how_far_it_is_and_what_was_before_are_told() -> None:
    """Nobody waits for it longer than they are willing to, and nothing old passes for new."""
    kept = KeptResults()
    with stopped() as (begun, make):
        assert kept.look("new", 1, make, 0).value is None
        assert begun.wait(LIMIT_S)
        assert kept.look("new", 1, make, 0) == LookedAt(None, False, 3, 4)
    assert kept.look("new", 1, make, LIMIT_S) == LookedAt("made", True, 3, 4)
    with stopped() as (begun, again):
        kept.look("new", 2, again, 0)
        assert begun.wait(LIMIT_S)
        assert kept.look("new", 2, again, 0) == LookedAt("made", False, 3, 4)
        assert kept.look("new", 3, again, 0) == LookedAt("made", False, 3, 4)


def test_what_failed_is_told_and_tried_again() -> None:
    """An error is no answer that is kept."""

    def fail(_: object) -> None:
        raise NotFound("it is not there")

    kept = KeptResults()
    with pytest.raises(NotFound):
        kept.look("one", 1, fail, None)
    assert kept.look("one", 1, lambda _: "there", None).value == "there"


def test_what_no_thread_begins_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine may have none left; who asks again has it made."""

    def start(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    kept = KeptResults()
    with monkeypatch.context() as full, pytest.raises(RuntimeError):
        full.setattr(threading.Thread, "start", start)
        kept.look("one", 1, lambda _: "there", 0)
    assert kept.look("one", 1, lambda _: "there", LIMIT_S).value == "there"


def test_there_is_a_limit_to_what_is_made_and_kept() -> None:
    """Whoever asks for ever more is refused, and what was made long ago is let go."""
    kept = KeptResults()
    with stopped() as (_, make):
        for name in range(UNDER_WAY_MAX):
            kept.look(name, 1, make, 0)
        with pytest.raises(Unavailable):
            kept.look("one more", 1, make, 0)
        assert kept.look(0, 1, make, 0).value is None
    for name in range(UNDER_WAY_MAX):
        kept.look(name, 1, make, None)
    made = list[str]()
    for name in range(UNDER_WAY_MAX):
        kept.look(name, 1, lambda _: made.append("again"), None)
    assert len(made) == UNDER_WAY_MAX
    newest = range(UNDER_WAY_MAX - KEPT_MAX, UNDER_WAY_MAX)
    assert {kept.look(name, 1, lambda _: made.append("more"), None).value for name in newest} == {
        None
    }
    assert "more" not in made


def test_a_figure_that_there_is_not_has_nothing_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked for by an address, a replay is judged once, and once a figure of it."""
    monkeypatch.setattr(verdict, "SMALL_MAX", 0)
    judged, real = list[object](), verdict.judge

    def counted(*of: Any) -> Any:
        judged.append(of[2])
        return real(*of)

    monkeypatch.setattr(verdict, "judge", counted)
    with refold.open("memory:") as made:
        replay(made, [record(made, "call-1")], variant := Variant(prompt="Be brief."), answer)
        with served(made) as client:
            for behind in ("none", "levels", "<b>", "levels", "run:candidate:7", "change:99"):
                told = client.get(f"/replays/{variant.id}", params={"behind": behind})
                assert told.status_code == (200 if behind == "levels" else 404)
    assert judged == ["", "levels"]


def test_a_comparison_that_takes_long_becomes_the_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """Until then the page says so and asks again; what went on since is not passed over."""
    real, waits = compare.compared, threading.Event()

    def slow(*of: Any) -> Any:
        assert waits.wait(LIMIT_S)
        return real(*of)

    monkeypatch.setattr(compare, "compared", slow)
    address = "/compare?a=call-1&b=call-2&only=differences"
    with refold.open("memory:") as made:
        record(made, "call-1")
        record(made, "call-2")
        with served(made, patience_s=0) as client:
            first = Page(client.get(address).text)
            waits.set()
            told = next(t for _ in range(10_000) if "Fact" in (t := client.get(address).text))
            waits.clear()
            record(made, "call-2")
            old = client.get(address).text
            waits.set()
    assert "They are being compared" in first.text
    assert first.by_id("compare").attributes["hx-get"] == address
    assert "hx-trigger" not in told
    assert "before one of them went on" in old


def test_what_the_address_leads_to_is_gone_to_when_it_is_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """In Chromium: the turn of a comparison that was not made yet when it was opened."""
    real, waits = compare.compared, threading.Event()

    def slow(*of: Any) -> Any:
        assert waits.wait(LIMIT_S)
        return real(*of)

    monkeypatch.setattr(compare, "compared", slow)
    with refold.open("memory:") as made:
        for name in ("call-1", "call-2"):
            made.append(name, [UserUtterance(text=f"Line {n}.\n" * 9) for n in range(40)])
        with served(made, patience_s=0) as client, browser() as tab:
            address = client.base_url.join("/compare?a=call-1&b=call-2")
            tab.go(f"{address}#call-1%4030")
            assert "They are being compared" in tab.value("document.body.innerText")
            waits.set()
            tab.until("document.querySelector(':target') !== null")
            tab.until("Math.abs(document.querySelector(':target').getBoundingClientRect().y) < 300")
            assert tab.value("scrollY") > 1_000
