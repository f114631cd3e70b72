"""Money over time on a page: every point an event, and what could not have been without one."""

from __future__ import annotations

from collections.abc import Iterator
from decimal import Decimal
from typing import Any

import httpx2
import pytest
from hypothesis import given, settings

import refold
from refold.ledger import Portfolio
from refold.ledger.events import (
    BetLost,
    BetPlaced,
    BetWon,
    FundsDeposited,
    FundsWithdrawn,
    UnrecognizedTransaction,
)
from refold.ui import money
from refold.ui.money import EVENTS_A_PAGE, HEIGHT, WIDTH, amount, purses, shown, supposing
from tests.ledger.money import histories, usdc
from tests.replay.stories import record
from tests.replay.test_report import HOSTILE
from tests.support.browser import Browser, browser
from tests.ui.reading import page
from tests.ui.serving import served

START_US = 1_772_000_000_000_000
PLAYED: list[Any] = [
    FundsDeposited(**usdc("10")),
    BetPlaced(bet="b1", **usdc("4")),
    BetLost(bet="b1"),
    BetPlaced(bet="b2", **usdc("5")),
    BetWon(bet="b2", **usdc("9")),
    FundsWithdrawn(**usdc("8.50")),
]


def played(store: refold.Store, stream: str, events: list[Any] = PLAYED) -> None:
    """A second between each."""
    store.append(
        stream,
        [
            refold.Event.of(one, occurred_at=START_US + 1_000_000 * number)
            for number, one in enumerate(events)
        ],
    )


@pytest.fixture(scope="module")
def store() -> Iterator[refold.Store]:
    with refold.open("memory:") as made:
        record(made, "call-1")
        played(made, "agent-1")
        yield made


@pytest.fixture(scope="module")
def client(store: refold.Store) -> Iterator[httpx2.Client]:
    with served(store) as reader:
        yield reader


def test_every_point_is_an_event_and_what_it_left(store: refold.Store) -> None:
    """Balance and profit after each event that moved money, where its time is."""
    made = shown(store, "agent-1")
    held = [
        (one.event.version, amount(one.held.balance), amount(one.held.profit))
        for one in made.points
    ]
    assert held == [
        (0, "10", "0"), (1, "10", "0"), (2, "6", "-4"),
        (3, "6", "-4"), (4, "10", "0"), (5, "1.5", "0"),
    ]  # fmt: skip
    assert [one.x for one in made.points] == [WIDTH * part / 5 for part in range(6)]
    (usdc_,) = made.assets
    balance, profit = usdc_.plots
    assert (balance.low, balance.high, balance.zero) == (Decimal("1.5"), Decimal(10), None)
    assert [one.y for one in profit.marks] == [0, 0, HEIGHT, HEIGHT, 0, 0]


@given(histories())
@settings(max_examples=50)
def test_the_last_point_of_an_asset_is_what_the_ledger_says(events: list[object]) -> None:
    """Whatever happened, and in how many pages it is looked at."""
    with refold.open("memory:") as made:
        made.append("agent-1", [UnrecognizedTransaction(kind="x", text="{}"), *events])
        accounts = made.fold("agent-1", Portfolio).state.assets
        found = {one.asset: one.held for one in shown(made, "agent-1").points}
    moving = {name: one for name, one in accounts.items() if name in found}
    assert {n: (h.available, h.balance, h.profit) for n, h in found.items()} == {
        n: (one.available, one.total, one.profit) for n, one in moving.items()
    }


def test_pages_of_a_long_stream_go_on_from_one_another() -> None:
    """The first point of a page is what the event before it left, and one more."""
    with refold.open("memory:") as made:
        made.append("agent-1", [FundsDeposited(**usdc("1"))] * (EVENTS_A_PAGE + 5))
        last = shown(made, "agent-1")
        before = shown(made, "agent-1", at=last.first - 1)
        with served(made) as client:
            found = page(client, "/money?stream=agent-1")
            earlier = next(e for e in found.all("a") if e.text == "Earlier")
            assert client.get(f"{earlier.attributes['href']}").status_code == 200
    assert (before.first, before.at, last.first, last.at) == (0, 4, 5, EVENTS_A_PAGE + 4)
    assert before.points[-1].held.balance + 1 == last.points[0].held.balance


def test_what_could_not_have_followed_is_told(store: refold.Store, client: httpx2.Client) -> None:
    """Without what was won, the money that was paid out was not there."""
    told = supposing(store, "agent-1", "agent-1@4")
    assert [(event.id, why.split(":")[0]) for event, why in told.impossible] == [
        ("agent-1@5", "insufficient_funds")
    ]
    ((asset, was, word, rest),) = told.accounts
    assert asset == "USDC"
    assert [amount(one.total) for one in (was, word, rest)] == ["1.5", "-2.5", "6"]
    found = page(client, "/money?stream=agent-1&without=agent-1@4")
    assert "1 later event could not have happened then" in found.text
    assert "all the same" in page(client, "/money?stream=agent-1&without=agent-1@2").text


def test_a_stream_too_long_to_suppose_says_what_tells(
    store: refold.Store, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is not looked at, and not passed over in silence."""
    monkeypatch.setattr(money, "WHAT_IF_EVENTS_MAX", 3)
    assert "refold what-if" in page(client, "/money?stream=agent-1&without=agent-1@4").text


def test_streams_with_money_are_found_and_others_are_not(
    store: refold.Store, client: httpx2.Client, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Within the last positions of the log; from where on is said."""
    found, after = purses(store)
    assert [(one.stream, one.events) for one in found] == [("agent-1", len(PLAYED))]
    assert after == 0
    monkeypatch.setattr(money, "POSITIONS_LOOKED_AT", 2)
    assert [one.events for one in purses(store)[0]] == [2]
    assert f"after position {store.log_head() - 2}" in page(client, "/money").text
    assert "No money moved in these events" in page(client, "/money?stream=call-1").text


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("stream=nobody-1", 404),
        ("stream=agent-1&without=agent-1@99", 404),
        ("stream=agent-1&without=x", 400),
        ("stream=agent-1&at=99", 200),
        ("stream=agent-1&at=x", 400),
    ],
)
def test_what_is_not_there_is_said(client: httpx2.Client, query: str, code: int) -> None:
    """With a page that leads back."""
    assert client.get(f"/money?{query}").status_code == code


@pytest.mark.parametrize("text", HOSTILE[:4])
def test_what_others_wrote_is_only_text(text: str) -> None:
    """The names of assets, bets and streams."""
    asset = "".join(text.split())
    stream = f"agent-{asset}".replace("@", "")
    with refold.open("memory:") as made:
        made.append(stream, [FundsDeposited(amount=Decimal(1), asset=asset)])
        with served(made) as client:
            (link,) = page(client, "/money").all("a", "open")
            found = page(client, link.attributes["href"])
    assert asset in found.text
    assert not {"img", "iframe", "b"} & {e.tag for e in found.elements}
    assert not [n for e in found.elements for n in e.attributes if n.startswith("on")]


@pytest.fixture(scope="module")
def tab() -> Iterator[Browser]:
    with browser() as one:
        yield one


@pytest.mark.parametrize("width", [400, 1280])
def test_a_point_of_a_plot_leads_to_its_event(
    client: httpx2.Client, tab: Browser, width: int
) -> None:
    """Clicked where it stands; the page is no wider than its window."""
    tab.said.clear()
    tab.go(str(client.base_url.join("/money?stream=agent-1")), width=width)
    assert tab.value("document.documentElement.scrollWidth") <= width
    tab.value("document.querySelector('.plot').scrollIntoView()")
    box = "document.querySelectorAll('.plot.profit .mark')[2].getBoundingClientRect()"
    x, y = tab.value(f"(b => [b.x + b.width / 2, b.y + b.height / 2])({box})")
    for kind in ("mousePressed", "mouseReleased"):
        tab.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)
    tab.until("document.querySelector('h1').textContent === 'agent-1@2'")
    assert [one for one in tab.said if "404" not in one] == []
