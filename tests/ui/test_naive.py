"""Pages are made from tables, windows and snapshots: they say what a reading of all events says."""

from __future__ import annotations

import random
import threading
from collections.abc import Iterator, Sequence
from contextlib import closing
from decimal import Decimal
from itertools import pairwise
from pathlib import Path

import apsw
import pytest

import refold
from refold import Event, Recorded
from refold.conversation import Conversation
from refold.conversation.events import (
    ModelResponse,
    ScoreRecorded,
    SessionEnded,
    StatePatched,
    ToolCall,
    ToolResult,
    UserUtterance,
)
from refold.core.snapshot import snapshotter_of
from refold.ports import SnapshotKeeper
from refold.readmodels import Wanted, find
from refold.ui import conversations, current
from refold.ui.branching import BranchNode
from refold.ui.conversation import shown
from refold.ui.conversations import ListedConversation, listing
from refold.ui.current import RowsBehind
from refold.ui.glance import EDGES_MAX, Glance, outline

AT_US = 1_772_000_000_000_000
WAITED_FOR = {"model.response": "model", "tool.result": "tools", "user.utterance": "caller"}
LONG = 700
LIMIT_S = 30


def said(chance: random.Random, count: int, *, late_us: int) -> Iterator[Event]:
    """Events of every kind that pages add up, some of them late in the log."""
    for number in range(count):
        at_us = AT_US + number * 1_000_000 - chance.choice((0, 0, 0, late_us))
        call_id = str(chance.randrange(4))
        patch = {"op": "add", "path": f"/k{chance.randrange(3)}", "value": number}
        is_priced, currency = chance.random() < 0.9, chance.choice(("USD", "EUR"))
        cost = Decimal(chance.randrange(900)) / 10_000 if is_priced else None
        event = chance.choice(
            (
                UserUtterance(text=f"word{chance.randrange(5)}"),
                ModelResponse(model="m", cost=cost, currency=currency),
                ToolCall(call_id=call_id, name=chance.choice(("lookup", "refund"))),
                ToolResult(call_id=call_id, result=number, is_error=chance.random() < 0.2),
                StatePatched([patch]),
            )
        )
        yield Event("", event, occurred_at=at_us)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[refold.Store]:
    """Forty short conversations, a long one that has snapshots, and branches of branches."""
    chance = random.Random(7)
    folder: Path = tmp_path_factory.mktemp("naive")
    with refold.open(folder / "log.db", synchronous="NORMAL") as made:
        for number in range(40):
            events = list(said(chance, chance.randrange(1, 30), late_us=2_500_000))
            name = chance.choice(("call", "chat"))
            made.append(f"{name}-{number}", events)
            if chance.random() < 0.5:
                made.append(f"{name}-{number}", [SessionEnded(reason="completed")])
        made.append("long-1", list(said(chance, LONG, late_us=1_500_000)))
        score = ScoreRecorded(name="polite", value=1.0, rater="check")
        made.append("long-1", [Event("", score, occurred_at=AT_US + 10**12)])
        for name, parent in (("long-1~b", "long-1"), ("long-1~a", "long-1"), ("x~c", "long-1~a")):
            made.branch(parent, at=40).adding(UserUtterance(text="No")).save(name)
        yield made


WANTED = (
    Wanted(),
    Wanted(category="call"),
    Wanted(category="long~"),
    Wanted(category="a-b"),
    Wanted(tool="refund", with_error=True),
    Wanted(cost_over="0.2"),
    Wanted(outcome="open", text="word3"),
    Wanted(outcome="completed", cost_over="0.1"),
    Wanted(tool="nothing"),
)


@pytest.mark.parametrize("wanted", WANTED)
def test_the_list_says_what_all_events_say(
    store: refold.Store, wanted: Wanted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Page by page, newest first; the totals are those of all that fit, to the last digit."""
    monkeypatch.setattr(conversations, "ROWS_A_PAGE", 7)
    streams = find(store, wanted).streams
    naive = sorted((own(store, name) for name in streams), key=lambda of: of[0].stream)
    naive.sort(key=lambda of: max(one.occurred_at_us for one in of if is_during(one)), reverse=True)
    pages = [listing(store, wanted, page=1 + number) for number in range(7)]
    pages = pages[: pages[0].pages]
    rows = [row for page in pages for row in page.rows]
    assert [row.stream for row in rows] == [events[0].stream for events in naive]
    for row, events in zip(rows, naive, strict=True):
        check_row(row, events)
    costs = [costs_of(events) for events in naive]
    currencies = {currency for one in costs for currency in one}
    for page in pages:
        assert page.conversations == len(naive)
        assert page.events == sum(map(len, naive))
        assert page.errors == sum(map(errors_in, naive))
        assert (page.answers, page.priced) == priced_in([one for of in naive for one in of])
        assert page.cost == {c: sum(one.get(c, Decimal()) for one in costs) for c in currencies}


def own(store: refold.Store, stream: str) -> list[Recorded]:
    """What a stream holds itself."""
    events = (one for one in store.read(stream) if one.stream == stream)
    return [one for one in events if one.type != "session.forked"]


def is_during(one: Recorded) -> bool:
    return one.type != "score.recorded"


def check_row(row: ListedConversation, events: Sequence[Recorded]) -> None:
    tools = [one.data["name"] for one in events if one.type.startswith("tool.call")]
    assert (row.events, row.errors) == (len(events), errors_in(events))
    assert row.cost == costs_of(events)
    assert (row.answers, row.priced) == priced_in(events)
    assert list(row.tools) == list(dict.fromkeys(tools))


def errors_in(events: Sequence[Recorded]) -> int:
    return sum(bool(one.data.get("is_error")) for one in events)


def priced_in(events: Sequence[Recorded]) -> tuple[int, int]:
    answers = [one for one in events if one.type == "model.response"]
    return len(answers), sum("cost" in one.data for one in answers)


def costs_of(events: Sequence[Recorded]) -> dict[str, Decimal]:
    found: dict[str, Decimal] = {}
    for one in events:
        if one.type == "model.response" and "cost" in one.data:
            currency = one.data.get("currency", "USD")
            found[currency] = found.get(currency, Decimal()) + Decimal(one.data["cost"])
    return found


@pytest.mark.parametrize("at", [0, 1, 2, 17, 249, 250, EDGES_MAX - 1, 500, LONG - 1, LONG])
def test_a_moment_says_what_all_events_until_then_say(store: refold.Store, at: int) -> None:
    """The state at a version, what its event changed, and where the time went, snapshots or not."""
    made = shown(store, "long-1", at=at)
    history = list(store.read("long-1", to_version=at))
    after = Conversation.run(history).state
    before = Conversation.run(history[:-1]).state
    assert outline(made.state) == outline(after)
    assert made.changes == refold.diff_states(outline(before), outline(after))[:50]
    cards = sorted((card for step in made.steps for card in step.every()), key=lambda c: c.version)
    shown_versions = [one.version for one in history if one.version >= made.first]
    assert [card.version for card in cards] == shown_versions
    assert [card.version for card in cards if card.is_error][:9] == [c.version for c in made.errors]
    assert made.turns == len(after.transcript)
    naive = spent_in(history)
    assert {who: ms for who, ms in made.spent_ms.items() if ms} == naive
    if at < EDGES_MAX:
        drawn = dict.fromkeys(naive, 0.0)
        for part in made.spent:
            drawn[part.who] += part.ms
        assert drawn == pytest.approx(naive)
    assert len(made.spent) <= EDGES_MAX
    assert sum(part.width for part in made.spent) == pytest.approx(1 if naive else 0)


def spent_in(history: Sequence[Recorded]) -> dict[str, float]:
    """Milliseconds by who was waited for, of what happened in the conversation itself."""
    times = sorted(filter(is_during, history), key=lambda one: one.occurred_at_us)
    spent: dict[str, float] = {}
    for before, after in pairwise(times):
        who = WAITED_FOR.get(after.type, "other")
        spent[who] = spent.get(who, 0) + (after.occurred_at_us - before.occurred_at_us) / 1_000
    return {who: ms for who, ms in spent.items() if ms}


@pytest.mark.parametrize("stream", ["long-1", "long-1~a", "x~c"])
def test_branches_are_those_that_name_their_parent(store: refold.Store, stream: str) -> None:
    """From the root on, branches of branches too, whatever they are called."""
    forks = {info.stream: info.fork for info in store.streams() if info.fork is not None}

    def naive(name: str, parent: str | None, after: int) -> BranchNode:
        own = [(fork.version, one) for one, fork in forks.items() if fork.parent == name]
        return BranchNode(
            name, parent, after, None, tuple(naive(one, name, at) for at, one in sorted(own))
        )

    assert shown(store, stream).branches == naive("long-1", None, -1)


def test_a_page_does_not_wait_for_a_long_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Rows that take longer are made beside; until then it shows what there is, and how far."""
    monkeypatch.setattr(current, "AT_ONCE_EVENTS_MAX", 0)
    monkeypatch.setattr(current, "WAIT_S", 0.01)
    path = tmp_path / "log.db"
    with refold.open(path) as made, closing(apsw.Connection(str(path))) as other:
        seen = []
        for stream in ("call-1", "call-2"):
            made.append(stream, [UserUtterance(text="Hi")])
            other.execute("BEGIN IMMEDIATE")  # Nobody writes: the rows stay where they are.
            while_read = listing(made, Wanted())
            other.execute("ROLLBACK")
            for thread in threading.enumerate():
                if thread.name == "refold-ui-rows":
                    thread.join(LIMIT_S)
            whole = listing(made, Wanted())
            seen.append((while_read.behind, len(while_read.rows), whole.behind, len(whole.rows)))
    assert seen == [(RowsBehind(0, 1), 0, None, 1), (RowsBehind(1, 2), 1, None, 2)]


def test_there_is_a_snapshot_near_any_version(tmp_path: Path) -> None:
    """A look at a long conversation folds few events, because its state stays small."""
    chance = random.Random(3)
    with refold.open(tmp_path / "log.db") as made:
        for _ in range(4):
            made.append("long-1", list(said(chance, 1_500, late_us=1_000)))
        shown(made, "long-1")
        snapshotter, keeper = snapshotter_of(Glance), made._backend
        assert snapshotter is not None
        assert isinstance(keeper, SnapshotKeeper)
        wanted = {"fold": Glance.name, "fingerprint": snapshotter.fingerprint}
        for version in range(1_000, made.head("long-1"), 700):
            newest = keeper.snapshot("long-1", last=version, **wanted)
            assert newest is not None
            assert version - newest.version < 1_000
            assert len(newest.state) < 20_000
