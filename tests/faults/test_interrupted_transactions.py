"""An interrupt at any step of anything that writes: the write lock is free, and nothing is half.

Found by Ctrl-C in the midst of real programs: a transaction whose beginning was interrupted stood
open in a connection that nobody used, and no process could write any more.

Python looks for signals, and for what another thread has raised in it, where a function of its own
begins and where one in C has returned (and at the end of a loop). A profile function is called at
these places, and what it raises is raised there.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from random import Random
from types import FrameType
from typing import Any, Final

import apsw
import msgspec
import pytest

import refold
from refold import Append, Event, Fold
from refold.projections import Projection, Projector, Table
from tests.support.soak import bound

PLACES_MAX: Final = bound(100, 5_000)
"""In how many places of each operation an interrupt comes, spread over all of them."""


class Row(msgspec.Struct):
    """How many events a stream has."""

    stream: str
    events: int


def counting(name: str = "counts") -> Projection:
    """A projection that counts."""
    table = Table(name, Row, key="stream")
    projection = Projection(name, tables=[table])

    @projection.on_every
    def add(rows: Any, recorded: refold.Recorded) -> None:
        row = rows.get(table, recorded.stream) or Row(recorded.stream, 0)
        row.events += 1
        rows.put(table, row)

    return projection


def is_freeing(frame: FrameType | None) -> bool:
    """Whether a function runs because something is freed."""
    while frame is not None and frame.f_code.co_name != "__del__":
        frame = frame.f_back
    return frame is not None


class Interrupt:
    """Raises KeyboardInterrupt in the n-th place where one can come; counts them."""

    def __init__(self, at: int = 0) -> None:
        self.at = at
        self.passed = 0

    def __call__(self, frame: FrameType, event: str, _argument: object) -> None:
        # What is raised while something is freed, Python prints and forgets.
        if event in ("call", "c_return") and not is_freeing(frame):
            self.passed += 1
            if self.passed == self.at:
                raise KeyboardInterrupt

    def during(self, call: Callable[[], object]) -> KeyboardInterrupt | None:
        """Make a call; the interrupt, with all that its traceback keeps alive."""
        before = sys.getprofile()
        gc.disable()
        sys.setprofile(self)
        try:
            call()
        except KeyboardInterrupt as interrupt:
            return interrupt
        finally:
            sys.setprofile(before)
            gc.enable()
        return None


class Log:
    """A log with everything in it that can be written, and what its callers were told."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.numbers = count()
        self.projection = counting()
        self.store = refold.open(path)
        self.inline = refold.open(path, inline=[counting("inline")])
        self.projector = Projector(self.store, [self.projection])
        self.told: list[int] = []
        for _ in range(300):
            self.append()

    def append(self, **options: Any) -> None:
        """Append one event, noting what is told of it."""
        self._append(lambda event: self.store.append("call-1", [event], **options))

    def append_inline(self) -> None:
        """The same with a projection in its transaction."""
        self._append(lambda event: self.inline.append("call-1", [event]))

    def append_keyed(self) -> None:
        """The same under a key, to a stream that is new."""
        key = str(next(self.numbers))
        self._append(lambda event: self.store.append(f"call-{key}", [event], key=key))

    def append_parts(self) -> None:
        """As many streams at once as take several statements."""

        def together(event: Event) -> None:
            parts = [Append(f"part-{n}", [Event("part.said", {})]) for n in range(300)]
            self.store.append_together([Append("call-1", [event]), *parts])

        self._append(together)

    def fold(self) -> None:
        """Fold anew, so that snapshots are left."""
        fold: Fold[int] = Fold(f"fold-{next(self.numbers)}", int)
        fold.on("said")(lambda state, _: state + 1)
        self.store.fold("call-1", fold)

    def compact(self) -> None:
        """Pack something."""
        self.append()
        self.store.compact()

    def check(self) -> None:
        """Look at everything."""
        assert all(check.good for check in self.store.check())

    def repair(self) -> None:
        """Make the indexes again."""
        list(self.store.repair())

    def read(self) -> None:
        """Read both ways."""
        list(self.store.read("call-1", direction="backward"))
        list(self.store.read_all(types=["said"]))

    def back_up(self) -> None:
        """Copy the log."""
        self.store.backup(self.path.with_name(f"copy-{next(self.numbers)}.db"))

    def catch_up(self) -> None:
        """Bring a projection to the end of the log."""
        self.append()
        self.projector.catch_up()

    def rebuild(self) -> None:
        """Fill a projection anew."""
        self.projector.catch_up()
        self.projector.rebuild("counts")
        self.projector.confirm("counts")

    def _append(self, append: Callable[[Event], object]) -> None:
        number = next(self.numbers)
        append(Event("said", {"n": number}))
        self.told.append(number)

    def close(self) -> None:
        """Close what is open."""
        self.inline.close()
        self.store.close()

    def stored(self) -> list[int]:
        """What was said, in its order, read by nobody who was interrupted."""
        with refold.open(self.path, mode="read") as store:
            return [e.data["n"] for e in store.read_all(types=["said"])]


@pytest.fixture
def log(tmp_path: Path) -> Iterator[Log]:
    """A log to be interrupted."""
    log = Log(tmp_path / "log.db")
    yield log
    log.close()


def write_lock_is_free(path: Path) -> bool:
    """Whether anybody can write at once: another connection is as good as another process."""
    other = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
    try:
        other.execute("BEGIN IMMEDIATE")
    except apsw.BusyError:
        return False
    finally:
        other.close(True)
    return True


OPERATIONS: Final = {
    "append": Log.append,
    "append to many": Log.append_parts,
    "append under a key": Log.append_keyed,
    "append with an inline projection": Log.append_inline,
    "read": Log.read,
    "fold": Log.fold,
    "compact": Log.compact,
    "check": Log.check,
    "repair": Log.repair,
    "back up": Log.back_up,
    "catch up": Log.catch_up,
    "rebuild": Log.rebuild,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_interrupt_leaves_no_transaction(log: Log, name: str) -> None:
    """Nobody waits for what was interrupted, also while its traceback is kept, as a notebook does.

    What was told to be stored is, once and in order; what was interrupted is there whole or not.
    """
    operation = OPERATIONS[name]
    operation(log)
    places = Interrupt()
    assert places.during(lambda: operation(log)) is None
    chosen = Random(name).sample(range(1, places.passed + 1), min(places.passed, PLACES_MAX))
    interrupts = 0
    for place in chosen:
        interrupt = Interrupt(place).during(lambda: operation(log))
        assert write_lock_is_free(log.path), f"the write lock is held after place {place}"
        log.append()
        interrupts += interrupt is not None
    assert interrupts > 0
    stored = log.stored()
    assert len(set(stored)) == len(stored)
    told = set(log.told)
    assert [number for number in stored if number in told] == log.told
    operation(log)
    assert all(check.good for check in log.store.check())
    log.projector.catch_up()
    counted = {
        row.stream: row.events for row in log.projector.rows(log.projection.tables["counts"])
    }
    assert sum(counted.values()) == log.store.log_head()
