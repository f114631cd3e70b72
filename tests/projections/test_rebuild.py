"""Generations that are replaced, runners that meet."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

import refold
from refold import Recorded
from refold.errors import BackendError, UsageError
from refold.ports import TableKeeper
from refold.projections import Projector, catalog, retry, runner
from refold.projections.postgres_dialect import dialect_of
from tests.projections.sums import folded, stored, sums, told
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


def test_rows_beyond_the_end_of_the_log_are_told_and_made_anew(
    store: refold.Store, tmp_path: Path
) -> None:
    """As where a log went back under them: what they hold is not what the log says."""
    with refold.open(tmp_path / "longer.db") as longer, refold.open("memory:") as rows:
        told(longer)
        told(longer, 10)
        Projector(longer, [sums()], rows=rows).catch_up()
        told(store)
        projector = Projector(store, [sums()], rows=rows)
        for move in (projector.catch_up, projector.run):
            with pytest.raises(BackendError) as caught:
                move()
            assert caught.value.code == "log_went_back"
            assert caught.value.position == longer.log_head()
            assert caught.value.head == store.log_head()
        assert projector.rebuild("sums") == 2
        assert stored(projector) == folded(store.read_all())
        projector.catch_up()


def test_rows_of_a_log_that_went_back_and_grew_again_are_refused(tmp_path: Path) -> None:
    """It goes further than they do, and holds other events where they stand."""
    with refold.open(tmp_path / "before.db") as before, refold.open(tmp_path / "after.db") as after:
        told(before)
        for _ in range(3):
            told(after)
        assert after.log_head() > before.log_head()
        with refold.open(tmp_path / "rows.db") as rows:
            for _ in range(2):
                Projector(before, [sums()], rows=rows).catch_up()
            projector = Projector(after, [sums()], rows=rows)
            for move in (projector.catch_up, projector.catch_up, projector.run):
                with pytest.raises(BackendError) as caught:
                    move()
                assert caught.value.code == "log_went_back"
                assert caught.value.position == before.log_head()
            assert projector.rebuild("sums") == 2
            assert stored(projector) == folded(after.read_all())
            after.append("call-1", [refold.Event("added", {"n": 1})])
            projector.catch_up()
            after.compact()
            Projector(after, [sums()], rows=rows).catch_up()
            assert stored(projector) == folded(after.read_all())


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
    exists = dialect_of(cast(TableKeeper, store._backend)).exists
    # The empty first generation is kept until it is confirmed; the cut-off one is gone.
    assert [n for n in range(5) if projector.query(exists, (f"sums@{n}",))] == [1, 3]
    projector.confirm("sums")
    assert [n for n in range(5) if projector.query(exists, (f"sums@{n}",))] == [3]


def test_what_an_older_refold_filled_in_parts_is_filled_anew(store: refold.Store) -> None:
    """Parts that stand apart say where all of it stands; nobody goes on with them but a rebuild."""
    told(store)
    projector = Projector(store, [sums()])
    projector.catch_up()
    keeper = store._backend
    assert isinstance(keeper, TableKeeper)
    part = "INSERT INTO refold_progress VALUES ('sums', 1, 1, 7, 0, 0, 0)"
    keeper.write(lambda begin: begin().execute(part))
    (one,) = projector.status()
    assert (one.state, one.position) == ("changed", 7)
    assert store.wait_for("sums", 7, timeout_s=0) == 7
    told(store, 2)
    with pytest.raises(UsageError) as refused:
        projector.catch_up()
    assert refused.value.code == "projection_changed"
    projector.rebuild("sums")
    assert stored(projector) == folded(store.read_all())
    assert projector.status()[0].state == "current"


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
    check = catalog.check_unchanged

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
