"""Events that fail: tried again, set aside with their stream, retried, skipped."""

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold import Event, Recorded
from refold.errors import NotFound, RefoldError, Unavailable, UsageError
from refold.projections import Projection, Projector, Rows, Table, retry, runner
from refold.projections.catalog import Catalog, Parked
from tests.projections.sums import failing, folded, folded_without, stored, sums, told
from tests.support.stores import url_of


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """A store of each kind."""
    with refold.open(url_of(request.param, tmp_path), synchronous="NORMAL") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event is tried again at once."""
    monkeypatch.setattr(retry, "BACKOFF_S", 0.0)


def test_a_failing_event_sets_its_stream_aside_and_no_other(store: refold.Store) -> None:
    """The event and what follows it in its stream wait; everything else is in the rows."""
    told(store)
    projector = Projector(store, [sums(fails_on=failing("s-1@3", "s-4@0"))])
    projector.catch_up()
    assert stored(projector) == folded_without(store, parked={"s-1": 3, "s-4": 0})
    (one,) = projector.status()
    found = sorted((parked.id, parked.attempts) for parked in one.parked)
    assert found == [("s-1@3", 3), ("s-4@0", 3)]
    assert "s-1@3 cannot be" in next(p.error for p in one.parked if p.stream == "s-1")
    assert one.lag_events == 0
    told(store)
    projector.catch_up()
    assert stored(projector) == folded_without(store, parked={"s-1": 3, "s-4": 0})


def test_who_wants_to_know_is_told_of_a_stream_that_is_set_aside(store: refold.Store) -> None:
    """Once, with what `status` says; not of one that was set aside before."""
    told(store)
    heard: list[tuple[str, Parked]] = []
    projector = Projector(
        store,
        [sums(fails_on=failing("s-1@3"))],
        on_parked=lambda name, parked: heard.append((name, parked)),
    )
    for _ in range(2):
        projector.catch_up()
        assert heard == [("sums", one) for one in projector.status()[0].parked]
        told(store)
    projector.retry("sums")
    assert len(heard) == 1


def test_a_passing_failure_is_tried_again_and_leaves_no_trace(store: refold.Store) -> None:
    """An event that fails twice and then works is in the rows once, as everything is."""
    left = {"s-2@4": 3}

    def fails(recorded: Recorded) -> bool:
        if left.get(recorded.id):
            left[recorded.id] -= 1
            return True
        return False

    told(store)
    projector = Projector(store, [sums(fails_on=fails)])
    projector.catch_up()
    assert left == {"s-2@4": 0}
    assert projector.status()[0].parked == ()
    assert stored(projector) == folded(store.read_all())


def test_a_retry_takes_the_stream_to_where_the_others_are(store: refold.Store) -> None:
    """With a handler that works now, all that waited is handled; until then it stays aside."""
    told(store)
    broken = {"s-1@3", "s-1@9"}
    projector = Projector(store, [sums(fails_on=lambda e: e.id in broken)])
    projector.catch_up()
    (again,) = projector.retry("sums")
    assert (again.id, again.attempts) == ("s-1@3", 4)
    broken.remove("s-1@3")
    (later,) = projector.retry("sums", "s-1")
    assert (later.id, later.attempts) == ("s-1@9", 1)
    assert stored(projector) == folded_without(store, parked={"s-1": 9})
    broken.clear()
    assert projector.retry("sums") == []
    assert stored(projector) == folded(store.read_all())
    assert projector.status()[0].parked == ()
    told(store)
    projector.catch_up()
    assert stored(projector) == folded(store.read_all())
    with pytest.raises(NotFound):
        projector.retry("sums", "s-1")
    assert projector.retry("sums") == []


def test_a_skipped_event_is_left_out_for_good_and_the_log_says_why(store: refold.Store) -> None:
    """Skipping goes on with the stream; a rebuild leaves the event out too, without a failure."""
    told(store)
    projector = Projector(store, [sums(fails_on=failing("s-1@3", "s-1@9"))])
    projector.catch_up()
    (next_one,) = projector.skip("sums", "s-1@3", reason="a typo")
    assert next_one.id == "s-1@9"
    assert projector.skip("sums", "s-1@9", reason="another") == []
    projector.catch_up()
    expected = folded_without(store, "s-1@3", "s-1@9")
    assert stored(projector) == expected
    said = [(e.type, e.data) for e in store.read("projection-sums")]
    assert said[0] == (
        "projection.skipped",
        {"projection": "sums", "event": "s-1@3", "reason": "a typo"},
    )
    projector.rebuild("sums")
    assert projector.status()[0].parked == ()
    assert stored(projector) == expected
    for wrong in ("s-1@3", "s-1@4", "none@1"):
        with pytest.raises(NotFound):
            projector.skip("sums", wrong, reason="x")
    with pytest.raises(UsageError):
        projector.skip("sums", "s-1@3", reason=" ")


def test_rows_that_sql_refuses_are_traced_to_their_event(store: refold.Store) -> None:
    """A value found wrong only when a batch is written: its event is found by writing at once."""

    class Big(msgspec.Struct):
        stream: str
        n: int

    table = Table("bigs", Big, key=("stream", "n"))
    bigs = Projection("bigs", tables=[table])

    @bigs.on("added")
    def _(rows: Rows, event: dict[str, Any], recorded: Recorded) -> None:
        rows.put(table, Big(recorded.stream, event["n"]))

    for n in range(40):
        value = 2**80 if n in (7, 23) else n
        store.append(f"s-{n % 3}", [Event("added", {"n": value})])
    projector = Projector(store, [bigs])
    projector.catch_up()
    (one,) = projector.status()
    assert [parked.position for parked in one.parked] == [8, 24]
    expected = [(f"s-{n % 3}", n) for n in range(40) if not (n % 3 == 1 and n >= 7)]
    expected = [row for row in expected if not (row[0] == "s-2" and row[1] >= 23)]
    assert sorted(projector.query("SELECT * FROM bigs")) == sorted(expected)
    assert len(projector.retry("bigs")) == 2
    assert projector.skip("bigs", one.parked[0].id, reason="too large") == []
    assert projector.skip("bigs", one.parked[1].id, reason="too large") == []
    assert len(projector.rows(table)) == 38


def test_a_projection_that_always_fails_stops(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With too many streams set aside it is the projection that is wrong: it says so and stops.

    Other handlers than those that set them aside do not take them up: that is a rebuild.
    """
    monkeypatch.setattr(retry, "PARKED_MAX", 3)
    told(store)
    with pytest.raises(RefoldError) as stopped:
        Projector(store, [sums(fails_on=lambda _: True)]).catch_up()
    assert stopped.value.code == "too_many_parked"
    with pytest.raises(UsageError) as refused:
        Projector(store, [sums()]).retry("sums")
    assert refused.value.code == "projection_changed"
    projector = Projector(store, [sums()])
    projector.rebuild("sums")
    assert stored(projector) == folded(store.read_all())


def test_closing_sets_nothing_aside(store: refold.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed while an event that failed waits for its next try: it was not tried enough."""
    monkeypatch.setattr(retry, "BACKOFF_S", 0.001)
    told(store)
    calls: list[str] = []

    def fails(recorded: Recorded) -> bool:
        if recorded.id == "s-1@3":
            calls.append(recorded.id)
            if len(calls) == 2:
                projector.close()
            return True
        return False

    projector = Projector(store, [sums(fails_on=fails)])
    projector.run()
    assert len(calls) == 2
    assert projector.status()[0].parked == ()
    assert 0 < projector.status()[0].position < store.log_head()
    with pytest.raises(Unavailable):
        projector.rebuild("sums")


def test_what_is_set_aside_stays_so_where_it_could_not_be_looked_up(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The storage fails while a runner learns what waits: it learns that before it goes on."""
    failing_sums = sums(fails_on=failing("s-1@3"))
    told(store)
    Projector(store, [failing_sums]).catch_up()
    told(store)
    fresh, look_up = Projector(store, [failing_sums]), Catalog.parked

    def unavailable(*_: object) -> dict[str, Parked]:
        monkeypatch.setattr(Catalog, "parked", look_up)
        raise Unavailable("not now")

    monkeypatch.setattr(Catalog, "parked", unavailable)
    with pytest.raises(Unavailable):
        fresh._advanced()
    while fresh._advanced():
        pass
    assert stored(fresh) == folded_without(store, parked={"s-1": 3})


def test_a_handler_that_swallows_errors_does_no_harm(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What SQL refuses, or that another came first, may be swallowed: rows still count once."""
    monkeypatch.setattr(runner, "ROWS_PER_PAGE", 3)

    class Count(msgspec.Struct):
        name: str
        n: int

    table = Table("counts", Count, key="name")

    def counting() -> Projection:
        counts = Projection("counts", tables=[table])

        @counts.on("added")
        def _(rows: Rows, _event: object) -> None:
            with suppress(Exception):
                rows.execute("UPDATE {counts} SET n = n + 1 WHERE name = 'all'")
            with suppress(Exception):
                rows.execute("UPDATE nothing SET n = 1")
            row = rows.get(table, "all") or Count("all", 1)
            rows.put(table, row)

        return counts

    told(store)
    one, two = Projector(store, [counting()]), Projector(store, [counting()])
    while one._advanced() + two._advanced():
        pass
    added = sum(e.type == "added" for e in store.read_all())
    assert one.rows(table) == [Count("all", added)]
