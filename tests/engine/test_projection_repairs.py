"""Events that fail, generations that are replaced, parts that share the work."""

from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold import Event, Recorded
from refold.engine.projecting import books, parking, runner
from refold.errors import NotFound, RefoldError, Unavailable, UsageError
from refold.projections import Projection, Projector, Rows, Table
from tests.engine.projecting import Found, folded, stored, sums, told


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """A store of each kind."""
    url = "memory:" if request.param == "memory" else tmp_path / "log.db"
    with refold.open(url, synchronous="NORMAL") as opened:
        yield opened


@pytest.fixture(autouse=True)
def _no_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """An event is tried again at once."""
    monkeypatch.setattr(parking, "BACKOFF_S", 0.0)


def failing(*ids: str) -> Callable[[Recorded], bool]:
    """Whether an event is one of those that fail."""
    return lambda recorded: recorded.id in ids


def folded_without(store: refold.Store, *ids: str, parked: dict[str, int] | None = None) -> Found:
    """A fold that leaves out events, and whole streams from a version on."""
    stops = parked or {}
    return folded(
        e for e in store.read_all() if e.id not in ids and e.version < stops.get(e.stream, 1 << 60)
    )


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
    assert later.id == "s-1@9"
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
    """A value found wrong only when a batch is written: its event is found by halving."""

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
    monkeypatch.setattr(parking, "PARKED_MAX", 3)
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


def test_a_rebuild_is_swapped_in_whole_and_can_be_taken_back(store: refold.Store) -> None:
    """Readers see the old rows until the new stand where the log ends; then those; then either."""
    told(store)
    Projector(store, [sums()]).catch_up()
    before = stored(Projector(store, [sums()]))
    told(store, 10)
    seen: list[bool] = []
    changed = Projector(store, [sums(revision=2)])

    def progress(done: int, in_all: int) -> None:
        seen.append(stored(changed) == before)
        assert 0 < done <= in_all == store.log_head()

    assert changed.rebuild("sums", progress=progress) == 2
    assert seen
    assert all(seen)
    after = folded(store.read_all())
    assert stored(changed) == after
    assert changed.status()[0].previous == 1
    assert changed.roll_back("sums") == 1
    assert stored(changed) == before
    old = Projector(store, [sums()])
    old.catch_up()
    assert stored(old) == after
    assert old.roll_back("sums") == 2
    assert old.confirm("sums") == 1
    assert old.confirm("sums") is None
    with pytest.raises(UsageError):
        old.roll_back("sums")
    assert stored(changed) == after


def test_a_rebuild_goes_on_where_it_was_cut_off(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped half-way, by an error or by close; the next one does not begin again."""
    monkeypatch.setattr(runner, "ROWS_PER_PAGE", 7)
    told(store)
    Projector(store, [sums()]).catch_up()
    handled: list[int] = []

    def interrupt(done: int, _in_all: int) -> None:
        handled.append(done)
        if len(handled) == 3:
            raise KeyboardInterrupt

    projector = Projector(store, [sums(revision=2)])
    with pytest.raises(KeyboardInterrupt):
        projector.rebuild("sums", progress=interrupt)
    (one,) = projector.status()
    assert one.filling_position == handled[-1]
    assert one.generation == 1
    handled.append(0)  # so that it is not interrupted again
    again = Projector(store, [sums(revision=2)])
    again.rebuild("sums", progress=interrupt)
    assert handled[4] > handled[2]
    assert stored(again) == folded(store.read_all())
    assert again.status()[0].filling_position is None


def test_a_rebuild_of_other_code_begins_anew(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What one code has begun, another does not go on with; the beginnings are taken away."""
    monkeypatch.setattr(runner, "ROWS_PER_PAGE", 7)
    told(store)

    def interrupt(_done: int, _in_all: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        Projector(store, [sums(revision=2)]).rebuild("sums", progress=interrupt)
    projector = Projector(store, [sums(revision=3)])
    projector.rebuild("sums")
    assert stored(projector) == folded(store.read_all())
    tables = projector.query("SELECT name FROM sqlite_schema WHERE name LIKE 'sums@%'")
    # The empty first generation is kept until it is confirmed; the cut-off one is gone.
    assert len(tables) == 2
    projector.confirm("sums")
    assert len(projector.query("SELECT 1 FROM sqlite_schema WHERE name LIKE 'sums@%'")) == 1


def test_parts_share_the_streams(store: refold.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four parts in turns, small batches: shared rows add up, each stream is in order."""
    monkeypatch.setattr(runner, "ROWS_PER_LOCKED_PAGE", 3)
    told(store)
    parts = [Projector(store, [sums()], partition=(part, 4)) for part in range(4)]
    for projector in parts:
        projector.catch_up()
    assert stored(parts[0]) == folded(store.read_all())
    assert parts[0].status()[0].parts == 4
    for _ in range(2):  # Going on, with rows in memory that the others change.
        told(store)
        while sum(projector._advanced() for projector in parts):
            pass
        assert stored(parts[0]) == folded(store.read_all())
    told(store)
    for projector in parts[:3]:
        projector.catch_up()
    position = store.log_head()
    with pytest.raises(Unavailable):
        store.wait_for("sums", position, timeout_s=0)
    parts[3].catch_up()
    assert store.wait_for("sums", position, timeout_s=0) == position
    assert stored(parts[0]) == folded(store.read_all())


def test_parts_are_cut_anew(store: refold.Store) -> None:
    """From one to three to two to one, parts left behind: those are brought level first."""
    told(store, 20)
    Projector(store, [sums()]).catch_up()
    told(store, 20)
    Projector(store, [sums()], partition=(1, 3)).catch_up()
    left = Projector(store, [sums()], partition=(0, 3))
    told(store, 20)
    Projector(store, [sums()], partition=(0, 2)).catch_up()
    Projector(store, [sums()], partition=(1, 2)).catch_up()
    whole = Projector(store, [sums()])
    whole.catch_up()
    assert stored(whole) == folded(store.read_all())
    left.catch_up()
    told(store, 5)
    with pytest.raises(UsageError) as refused:
        whole._advanced()
    assert refused.value.code == "parts_changed"
    for wrong in ((2, 2), (-1, 2), (0, 0), (0, 1000)):
        with pytest.raises(UsageError):
            Projector(store, [sums()], partition=wrong)


def test_a_failing_event_of_a_part_waits_for_all(store: refold.Store) -> None:
    """Set aside by one part, taken up by a retry, rebuilt: the rows are those of a fold."""
    told(store)
    broken = {"s-1@3"}
    parts = [
        Projector(store, [sums(fails_on=lambda e: e.id in broken)], partition=(part, 2))
        for part in range(2)
    ]
    for projector in parts:
        projector.catch_up()
    assert stored(parts[0]) == folded_without(store, parked={"s-1": 3})
    broken.clear()
    assert parts[0].retry("sums") == []
    assert stored(parts[0]) == folded(store.read_all())
    parts[0].rebuild("sums")
    told(store)
    for projector in parts:
        projector.catch_up()
    assert stored(parts[0]) == folded(store.read_all())


def test_two_runners_of_one_projection_take_turns(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever loses a race throws its batch away: turn by turn, each event counts once."""
    monkeypatch.setattr(runner, "ROWS_PER_PAGE", 5)
    told(store)
    one, two = Projector(store, [sums()]), Projector(store, [sums()])
    while one._advanced() + two._advanced() + two._advanced() + one._advanced():
        pass
    assert stored(one) == folded(store.read_all())
    assert stored(two) == folded(store.read_all())


def test_nobody_reads_older_rows_after_a_swap(store: refold.Store) -> None:
    """A rebuild that is behind what is shown catches up before it is shown."""
    told(store)
    follower = Projector(store, [sums()])
    follower.catch_up()
    positions: list[int] = []

    def progress(_done: int, _in_all: int) -> None:
        if len(positions) < 3:
            told(store, 2)
            follower._advanced()
            positions.append(store.log_head())

    Projector(store, [sums()]).rebuild("sums", progress=progress)
    (one,) = follower.status()
    assert (one.generation, one.position) == (2, positions[-1])
    assert stored(follower) == folded(store.read_all())


def test_a_follower_goes_on_in_the_new_generation_or_says_that_it_cannot(
    store: refold.Store,
) -> None:
    """After a swap a runner of the same code moves over; one of other code stops with advice."""
    told(store)
    follower = Projector(store, [sums()])
    follower.catch_up()
    Projector(store, [sums()]).rebuild("sums")
    told(store)
    assert follower._advanced()
    assert stored(follower) == folded(store.read_all())
    assert follower.status()[0].lag_events == 0
    Projector(store, [sums(revision=2)]).rebuild("sums")
    told(store)
    with pytest.raises(UsageError) as refused:
        follower._advanced()
    assert refused.value.code == "projection_changed"


def test_two_rebuilds_at_once_fill_one_generation(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The second goes on with what the first has begun; both end, the rows count once."""
    monkeypatch.setattr(runner, "ROWS_PER_PAGE", 7)
    told(store)
    Projector(store, [sums()]).catch_up()
    nested: list[int] = []

    def progress(_done: int, _in_all: int) -> None:
        if not nested:
            nested.append(0)
            nested[0] = Projector(store, [sums(revision=2)]).rebuild("sums")

    projector = Projector(store, [sums(revision=2)])
    assert projector.rebuild("sums", progress=progress) == nested[0] == 2
    assert stored(projector) == folded(store.read_all())


def test_a_swap_between_two_looks_at_the_books_is_noticed(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A runner that starts while a rebuild is swapped in does not go on in the old generation."""
    told(store)
    Projector(store, [sums()]).catch_up()
    check = books.check_unchanged

    def swapping(*args: Any) -> None:
        check(*args)
        monkeypatch.setattr(runner, "check_unchanged", check)
        Projector(store, [sums()]).rebuild("sums")

    monkeypatch.setattr(runner, "check_unchanged", swapping)
    late = Projector(store, [sums()])
    for _ in range(3):
        while late._advanced():
            pass
        told(store)
    while late._advanced():
        pass
    assert late.status()[0].generation == 2
    assert late.status()[0].lag_events == 0
    assert stored(late) == folded(store.read_all())


def test_closing_sets_nothing_aside(store: refold.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Closed while an event that failed waits for its next try: it was not tried enough."""
    monkeypatch.setattr(parking, "BACKOFF_S", 0.001)
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


def test_a_batch_that_was_overtaken_accuses_nobody(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its tables were dropped, or its rows changed, while it was handled: it is begun again."""
    monkeypatch.setattr(runner, "ROWS_PER_PAGE", 3)
    overtaken: list[str] = []

    def fails(recorded: Recorded) -> bool:
        if recorded.id == "s-2@5" and not overtaken:
            overtaken.append(recorded.id)
            other = Projector(store, [sums(fails_on=fails)])
            other.rebuild("sums")
            other.confirm("sums")
            return True
        return False

    told(store, 20)
    slow = Projector(store, [sums(fails_on=fails)])
    slow.catch_up()
    assert overtaken
    assert slow.status()[0].parked == ()
    assert slow.status()[0].generation == 2
    assert stored(slow) == folded(store.read_all())
