"""Whatever the verbs of the packages are given, what leaves them is refold's own, at the door."""

from __future__ import annotations

import datetime
from collections.abc import Callable, Iterator
from decimal import Decimal
from itertools import count
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold import ledger, recording, replay
from refold.errors import RefoldError
from refold.feeds import JsonService, Poller, Source
from refold.outbox import Outbox
from refold.projections import Projection, Projector, Table
from refold.replay import Action, ChatEndpoint, Variant
from tests.engine.test_odd_arguments import EVENTS, ODD

URL = "http://127.0.0.1:1"
NUMBERS = count()


class Counted(msgspec.Struct):
    """A row."""

    name: str
    n: int = 0


TABLE = Table("odd_rows", Counted, key="name")


def projection(**given: Any) -> Projection:
    """One that says what is given, and handles an event."""
    made = Projection(**{"name": "odd", "tables": [TABLE], **given})
    made.on("e")(lambda rows, event: None)
    return made


def answered(request: object) -> Action:
    """What a candidate says."""
    return Action(text="Hello")


def service(**given: Any) -> None:
    """A service of what is given."""
    JsonService(**{"url": URL, **given}).close()


def replayed(store: Any, variant: Any = None, candidate: Any = answered, **given: Any) -> None:
    """A replay of one conversation."""
    streams = given.pop("streams", ["conv-1"])
    replay.replay(store, streams, variant or Variant(label="x"), candidate, **given)


def stored(store: Any, variant: Variant) -> None:
    """A replay by a variant that reaches the store, which can tell of it again."""
    replayed(store, variant)
    assert replay.replays(store)


def session(store: Any, **given: Any) -> Any:
    """A new session."""
    return recording.record(store, f"session-{next(NUMBERS)}", **given)


CALLS: dict[str, Callable[[Any, Any], Any]] = {
    "Projection.tables": lambda s, v: projection(tables=v),
    "Projection.table": lambda s, v: projection(tables=[v]),
    "Projection.views": lambda s, v: projection(views=v),
    "Projection.registry": lambda s, v: projection(registry=v),
    "Projection.categories": lambda s, v: projection(categories=v),
    "Table.key": lambda s, v: Table("odd", Counted, key=v),
    "Table.indexes": lambda s, v: Table("odd", Counted, key="name", indexes=v),
    "Projector.store": lambda s, v: Projector(v, [projection()]),
    "Projector.projections": lambda s, v: Projector(s, v),
    "Projector.rows": lambda s, v: Projector(s, [projection()], rows=v),
    "Projector.retry": lambda s, v: Projector(s, [projection()]).retry(v),
    "Projector.skip": lambda s, v: Projector(s, [projection()]).skip("odd", "a@0", reason=v),
    "Projector.rebuild": lambda s, v: Projector(s, [projection()]).rebuild(v),
    "open.inline": lambda s, v: refold.open("memory:", inline=v).close(),
    "JsonService.tries_max": lambda s, v: service(tries_max=v),
    "Poller.store": lambda s, v: Poller(v, JsonService(URL), Source(name="f"), lambda t: []),
    "Poller.service": lambda s, v: Poller(s, v, Source(name="f"), lambda t: []),
    "Poller.overlap": lambda s, v: Poller(
        s, JsonService(URL), Source(name="f"), lambda t: [], overlap_s=v
    ),
    "Source.params": lambda s, v: Source(name="f", params=v),
    "Outbox.store": lambda s, v: Outbox(v, {"a": print}),
    "Outbox.handlers": lambda s, v: Outbox(s, v),
    "Outbox.workers": lambda s, v: Outbox(s, {"a": print}, workers=v),
    "Outbox.attempts": lambda s, v: Outbox(s, {"a": print}, attempts_max=v),
    "Outbox.status": lambda s, v: Outbox(s, {"a": print}).status(limit=v),
    "record.store": lambda s, v: recording.record(v, "session-x"),
    "record.parties": lambda s, v: session(s, parties=v),
    "record.state": lambda s, v: session(s, initial_state=v),
    "replay.streams": lambda s, v: replayed(s, streams=v),
    "replay.stream": lambda s, v: replayed(s, streams=[v]),
    "replay.sample": lambda s, v: replayed(s, sample=v),
    "replay.workers": lambda s, v: replayed(s, workers=v),
    "replay.attempts_max": lambda s, v: replayed(s, attempts_max=v),
    "replay.mode": lambda s, v: replayed(s, mode=v),
    "replay.candidate": lambda s, v: replayed(s, candidate=v),
    "Variant.prompt": lambda s, v: stored(s, Variant(prompt=v)),
    "Variant.label": lambda s, v: stored(s, Variant(label=v)),
    "Variant.tools": lambda s, v: stored(s, Variant(tools=v)),
    "Variant.params": lambda s, v: Variant(params=v),
    "compare.control": lambda s, v: replay.compare(s, ["conv-1"], Variant(label="x"), control=v),
    "branch_name": lambda s, v: replay.branch_name(v, Variant(), v),
    "replays": lambda s, v: replay.replays(v),
    "verify.streams": lambda s, v: replay.verify(s, v),
    "ChatEndpoint.key": lambda s, v: ChatEndpoint(URL, api_key=v).close(),
    "balances_at.store": lambda s, v: ledger.balances_at(v, "call-1", 0),
    "bets_per": lambda s, v: ledger.bets_per(v, v),
    "loss_up_to": lambda s, v: ledger.loss_up_to(v, "USD"),
    "stake_per": lambda s, v: ledger.stake_per(v, Decimal(1), "USD"),
    "wallet_with": lambda s, v: ledger.wallet_with(v),
    "local_day": lambda s, v: ledger.local_day(v, datetime.UTC),
    "local_day.zone": lambda s, v: ledger.local_day(datetime.date.min, v),
    "what_if.without": lambda s, v: ledger.what_if(s, "call-1", v),
}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[refold.Store]:
    """A store with a conversation."""
    path: Path = tmp_path_factory.mktemp("odd") / "a.db"
    with refold.open(path, synchronous="NORMAL") as opened:
        opened.append("call-1", EVENTS * 3)
        with recording.record(opened, "conv-1") as recorder:
            recorder.user_said("Hi")
            recorder.model_answered("Hello")
        yield opened


@pytest.mark.parametrize("name", CALLS)
def test_what_leaves_a_verb_of_a_package_is_ours(store: refold.Store, name: str) -> None:
    """And says in words what was wrong."""
    for given in ODD:
        try:
            CALLS[name](store, given)
        except RefoldError as error:
            assert error.message
