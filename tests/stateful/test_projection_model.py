"""Any history, cut into any batches, crashed and rebuilt anywhere: the rows equal a fold.

The model is the log itself: at every moment the rows must be what a plain loop over the events up
to their position gives.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar, cast

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

import refold
from refold import Event
from refold.ports import Begin, TableKeeper, TableTransaction
from refold.projections import Projector, runner
from refold.projections.catalog import CatalogEntry, catalog_of
from tests.projections.sums import folded, stored, sums
from tests.support.soak import bound
from tests.support.stores import url_of

T = TypeVar("T")

STREAMS: Final = ["s-1", "s-2", "s-3"]
NEVER: Final = 1_000_000
CRASHES: Final = st.just(NEVER) | st.integers(1, 50)
"""At which of the things that a process asks of its database it ends."""


class Crash(BaseException):
    """The process ends here."""


class Crashing:
    """A keeper whose process ends at the n-th thing it is asked from now."""

    def __init__(self, keeper: TableKeeper) -> None:
        self._keeper = keeper
        self.sql = getattr(keeper, "sql", "sqlite")
        self.left = NEVER

    def query(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See ``TableKeeper``."""
        self._tick()
        return self._keeper.query(sql, values)

    def write(self, work: Callable[[Begin], T]) -> T:
        """See ``TableKeeper``; it may end before the commit, or right after it."""

        def within(begin: Begin) -> T:
            answer = work(lambda: self._begun(begin))
            self._tick()
            return answer

        answer = self._keeper.write(within)
        self._tick()
        return answer

    def _begun(self, begin: Begin) -> TableTransaction:
        self._tick()
        return _CrashingTransaction(self, begin())

    def _tick(self) -> None:
        self.left -= 1
        if self.left == 0:
            raise Crash


class _CrashingTransaction:
    def __init__(self, keeper: Crashing, transaction: TableTransaction) -> None:
        self._keeper = keeper
        self._transaction = transaction

    def execute(self, sql: str, values: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """See ``Transaction``."""
        self._keeper._tick()
        return self._transaction.execute(sql, values)

    def executemany(self, sql: str, values: Any) -> None:
        """See ``Transaction``."""
        self._keeper._tick()
        self._transaction.executemany(sql, values)


class Store(refold.Store):
    """Where the rows live: a store whose backend crashes."""

    def __init__(self, keeper: Crashing) -> None:
        self._backend = cast(Any, keeper)


class ProjectionMachine(RuleBasedStateMachine):
    """One projection over a growing log, run by processes that die."""

    kind = "memory"

    @initialize()
    def begin(self) -> None:
        """An empty log, a projection that was never started."""
        self.store = refold.open(url_of(self.kind, Path()))
        self.keeper = cast(TableKeeper, self.store._backend)
        self.crashing = Crashing(self.keeper)
        self.projectors: dict[int, Projector] = {}

    @rule(
        stream=st.sampled_from(STREAMS),
        kinds=st.lists(
            st.sampled_from(["added", "added", "other", "removed", "doubled"]),
            min_size=1,
            max_size=4,
        ),
        n=st.integers(0, 99),
    )
    def append(self, stream: str, kinds: list[str], n: int) -> None:
        """The log grows."""
        self.store.append(stream, [Event(kind, {"n": n + i}) for i, kind in enumerate(kinds)])

    @rule(
        who=st.integers(0, 1),
        rows_max=st.integers(1, 4),
        crash=CRASHES,
    )
    def advance(self, who: int, rows_max: int, crash: int) -> None:
        """One of two processes moves the rows on by a few batches, or ends on the way."""
        self._dying(crash, lambda: self._moved(rows_max, who))

    @rule(crash=CRASHES)
    def rebuild(self, crash: int) -> None:
        """A new generation, whole or cut off; the next one goes on with it."""
        self._dying(crash, lambda: self._projector().rebuild("sums"))

    @rule(crash=CRASHES, forward=st.booleans())
    def settle(self, crash: int, forward: bool) -> None:
        """The generation before is dropped, or shown again."""

        def settled() -> None:
            entry = self._entry()
            if entry is not None and entry.previous is not None:
                if forward:
                    self._projector().confirm("sums")
                else:
                    self._projector().roll_back("sums")

        self._dying(crash, settled)

    @invariant()
    def rows_equal_a_fold(self) -> None:
        """What is stored is what the events up to the position come to."""
        entry = self._entry()
        if entry is None:
            return
        position = entry.shown.position
        seen = [event for event in self.store.read_all() if event.position <= position]
        found = stored(Projector(self.store, [sums()]))
        assert found == folded(seen)

    def teardown(self) -> None:
        """In the end everything is caught up, and right."""
        if hasattr(self, "store"):
            self.crashing.left = NEVER
            self.projectors.clear()
            self._projector().catch_up()
            assert stored(Projector(self.store, [sums()])) == folded(self.store.read_all())
            self.store.close()

    def _entry(self) -> CatalogEntry | None:
        return catalog_of(self.keeper).entry("sums")

    def _projector(self, who: int = 0) -> Projector:
        if who not in self.projectors:
            self.projectors[who] = Projector(self.store, [sums()], rows=Store(self.crashing))
        return self.projectors[who]

    def _moved(self, rows_max: int, who: int) -> None:
        with pytest.MonkeyPatch.context() as patched:
            patched.setattr(runner, "ROWS_PER_PAGE", rows_max)
            for _ in range(3):
                self._projector(who)._advanced()

    def _dying(self, crash: int, work: Any) -> None:
        """Do something, and be a new process when it crashed."""
        self.crashing.left = crash
        try:
            work()
        except Crash:
            self.projectors.clear()
        finally:
            self.crashing.left = NEVER


class ProjectionMachineInPostgres(ProjectionMachine):
    """The same with the log and the rows in PostgreSQL."""

    kind = "postgres"


TestProjectionMachine = ProjectionMachine.TestCase
TestProjectionMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)
TestProjectionMachineInPostgres = ProjectionMachineInPostgres.TestCase
TestProjectionMachineInPostgres.settings = settings(
    max_examples=bound(4, 60), stateful_step_count=20, deadline=None
)
