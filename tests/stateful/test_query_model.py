"""Queries and conditions against a model that is a list of events, on every backend.

A query is asked of the model event by event, in the words of the documentation. After any sequence
of appends, branches and compactions, reading, folding and refusing must say what the list says.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

import refold
from refold.core.event import Event
from refold.core.fold import Fold
from refold.core.registry import Registry
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import Conflict, RefoldError
from tests.engine.conditional import TAGS, TYPES, Wanted, query_of
from tests.support import postgres

REGISTRY = Registry()
NAMES = ("call-1", "call-2", "agent-1")
SOME_TAGS = st.lists(st.sampled_from(TAGS), max_size=3, unique=True)
PAIRS = st.tuples(
    st.lists(st.sampled_from((*TYPES, "test.none")), max_size=2, unique=True).map(tuple),
    SOME_TAGS.map(tuple),
).filter(any)
WANTED: st.SearchStrategy[Wanted] = st.lists(PAIRS, min_size=1, max_size=3).map(tuple)
ONE = st.builds(
    lambda name, schema: Event(name, {}, schema), st.sampled_from(TYPES), st.integers(1, 2)
)
EVENTS = st.lists(ONE, min_size=1, max_size=4)
PARTS = st.tuples(st.sampled_from(NAMES), EVENTS, SOME_TAGS)
AFTER = st.integers(-1, 25) | st.integers(60, 90)

places: Fold[tuple[int, ...]] = Fold("places", tuple, registry=REGISTRY)


@places.on(*TYPES)
def _place(state: tuple[int, ...], event: object, recorded: refold.Recorded) -> tuple[int, ...]:
    return (*state, recorded.position)


class Kept(NamedTuple):
    """An event as the model keeps it, with the last position of its append."""

    stream: str
    type: str
    tags: frozenset[str]
    append_ends: int


@dataclass
class Model:
    """The log."""

    log: list[Kept] = field(default_factory=list)

    def append(self, stream: str, types: list[str], tags: list[str]) -> None:
        """One append to one stream."""
        ends = len(self.log) + len(types)
        self.log += [Kept(stream, name, frozenset(tags), ends) for name in types]

    def found(self, wanted: Wanted, after: int) -> list[int]:
        """The positions of a query's events after a position."""
        return [
            position
            for position, kept in enumerate(self.log, 1)
            if position > after
            and "~" not in kept.stream
            and any(
                (not types or kept.type in types) and kept.tags.issuperset(tags)
                for types, tags in wanted
            )
        ]


class QueryMachine(RuleBasedStateMachine):
    """The rules, over one store; subclasses say which."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.branches = self.keys = 0

    def opened(self) -> Store:
        """The log of this run, opened."""
        raise NotImplementedError

    @initialize()
    def open(self) -> None:
        """Begin with an empty log."""
        self.store = self.opened()

    def teardown(self) -> None:
        """Let go of the log."""
        if hasattr(self, "store"):
            self.store.close()

    @rule(parts=st.lists(PARTS, min_size=1, max_size=3))
    def append(self, parts: list[tuple[str, list[Event], list[str]]]) -> None:
        """To one or several streams, each part with tags of its own, or none."""
        self.store.append_together([Append(s, events, tags=tags) for s, events, tags in parts])
        for stream, events, tags in parts:
            self.model.append(stream, [event.type for event in events], tags)

    @rule(part=PARTS)
    def append_metadata(self, part: tuple[str, list[Event], list[str]]) -> None:
        """Tags that are given in the metadata count as well."""
        stream, events, tags = part
        self.store.append(stream, events, metadata={"tags": tags, "n": 1})
        self.model.append(stream, [event.type for event in events], tags)

    @rule(
        parts=st.lists(PARTS, min_size=1, max_size=2),
        wanted=WANTED,
        after=AFTER.filter(lambda after: after >= 0),  # A condition is from a position on.
        keyed=st.booleans(),
    )
    def append_unless(
        self,
        parts: list[tuple[str, list[Event], list[str]]],
        wanted: Wanted,
        after: int,
        keyed: bool,
    ) -> None:
        """It is stored exactly when no event of the query stands after the position."""
        key = None
        if keyed:
            self.keys += 1
            key = f"key-{self.keys}"
        appends = [Append(stream, events, tags=tags) for stream, events, tags in parts]
        found = self.model.found(wanted, after)
        query = query_of(wanted)
        for _ in range(1 if key is None else 2):  # Again under its key, whatever came of it.
            try:
                stored = self.store.append_together(appends, key=key, unless=query, after=after)
            except Conflict as conflict:
                assert conflict.expected == after
                assert conflict.actual in {self.model.log[p - 1].append_ends for p in found}
                continue
            assert found == []
            if not stored[0].duplicate:
                for stream, events, tags in parts:
                    self.model.append(stream, [event.type for event in events], tags)

    @precondition(lambda self: self.model.log)
    @rule(data=st.data(), events=EVENTS, tags=SOME_TAGS)
    def branch(self, data: st.DataObject, events: list[Event], tags: list[str]) -> None:
        """A branch, with copies and with events of its own: nothing of it ever counts."""
        parent = data.draw(st.sampled_from(sorted({kept.stream for kept in self.model.log})))
        at = data.draw(st.integers(-1, self.store.head(parent)))
        self.branches += 1
        name = f"{NAMES[0]}~{self.branches}"
        history = self.store.branch(parent)
        branch = history.without(history.events[at].id) if at >= 0 else history
        before = self.store.log_head()
        branch.adding(*events).save(name)
        self.model.append(name, ["copied"] * (self.store.log_head() - before), [])
        self.store.append(name, events, tags=tags)
        self.model.append(name, ["copied"] * len(events), tags)

    @rule(wanted=WANTED, after=AFTER, limit=st.none() | st.integers(0, 5))
    def read(self, wanted: Wanted, after: int, limit: int | None) -> None:
        """Reading gives each event of a query once, in order, after any position."""
        found = self.store.read_all(matching=query_of(wanted), after=after, limit=limit)
        assert [e.position for e in found] == self.model.found(wanted, after)[:limit]

    @rule(wanted=WANTED, position=st.none() | st.integers(0, 90))
    def fold(self, wanted: Wanted, position: int | None) -> None:
        """A fold goes over the same events, and says how far it has looked."""
        until = len(self.model.log) if position is None else min(position, len(self.model.log))
        folded = self.store.fold(query_of(wanted), places, position=position)
        assert folded.state == tuple(p for p in self.model.found(wanted, 0) if p <= until)
        assert (folded.version, folded.position) == (-1, until)

    @invariant()
    def the_log_agrees(self) -> None:
        """The model is of this log."""
        if hasattr(self, "store"):
            assert self.store.log_head() == len(self.model.log)


class MemoryMachine(QueryMachine):
    """The rules in memory."""

    def opened(self) -> Store:
        """A log in memory."""
        return refold.open("memory:", registry=REGISTRY)


class SqliteMachine(QueryMachine):
    """The rules on a file, which may be reopened, compacted, or changed by another store."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.other: Store | None = None

    def opened(self) -> Store:
        """The file of this run."""
        return refold.open(
            Path(self.folder.name, "log.db"), registry=REGISTRY, synchronous="NORMAL"
        )

    def teardown(self) -> None:
        """Diagnose the file, and take it away."""
        if hasattr(self, "store"):
            assert [check for check in self.store.check() if not check.good] == []
        super().teardown()
        if self.other is not None:
            self.other.close()
        self.folder.cleanup()

    @rule()
    def reopen(self) -> None:
        """Close the store and open the file again."""
        self.store.close()
        self.store = self.opened()

    @rule()
    def change_stores(self) -> None:
        """Go on with another store that has had the file open all the while."""
        other = self.opened() if self.other is None else self.other
        self.other, self.store = self.store, other

    @rule()
    def compact(self) -> None:
        """Pack everything but the last append."""
        self.store.compact()


class CrowdedMachine(SqliteMachine):
    """The rules on a file with so many types that those of the rules share a bit of the index."""

    @initialize()
    def open(self) -> None:
        """Begin with an event of each of many types."""
        super().open()
        types = [f"test.other{number}" for number in range(62)]
        self.store.append("crowd-1", [Event(name) for name in types])
        self.model.append("crowd-1", types, [])


SMALL = {
    "refold.engine.reader.LOG_ROWS_PER_PAGE": 1,
    "refold.engine.reader.LOG_ROWS_PER_PAGE_MAX": 2,
    "refold.backends.sqlite.compaction.EVENTS_PER_SEGMENT": 4,
    "refold.backends.sqlite.compaction.SEGMENTS_PER_COMMIT": 1,
    "refold.backends.sqlite.writer.ROWS_PER_STATEMENT_MAX": 2,
    "refold.backends.sqlite.writer.STREAMS_CACHED_MAX": 2,
}
STEPS = settings(
    max_examples=50,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class PostgresMachine(QueryMachine):
    """The rules on a log in PostgreSQL, among others."""

    def opened(self) -> Store:
        """A log of its own."""
        url = postgres.log_of_its_own()
        return refold.open(url, registry=REGISTRY, synchronous="NORMAL")


@pytest.mark.parametrize("machine", [MemoryMachine, SqliteMachine, CrowdedMachine, PostgresMachine])
def test_queries_are_what_their_model_is(machine: type[QueryMachine]) -> None:
    """Whatever was appended in whatever order, queries and conditions say what the list says."""
    run_state_machine_as_test(machine, settings=STEPS)


@pytest.mark.parametrize("machine", [MemoryMachine, SqliteMachine, CrowdedMachine])
def test_small_pages_change_no_answer(
    machine: type[QueryMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages and segments of a few events, so that each run meets all their borders."""
    for limit, size in SMALL.items():
        monkeypatch.setattr(limit, size)
    run_state_machine_as_test(machine, settings=STEPS)


@pytest.mark.parametrize("asks", ["types", "tags"])
def test_the_model_finds_a_store_that_is_lax(asks: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that looks at types alone, or at tags alone, does not pass: the test can fail."""
    from refold.core.query import QueryItem

    lax = {
        "types": lambda item, types, tags: not item.types or not item.types.isdisjoint(types),
        "tags": lambda item, types, tags: set(item.tags).issubset(tags),
    }
    monkeypatch.setattr(QueryItem, "fits", lax[asks])
    found = settings(STEPS, max_examples=500, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises((AssertionError, RefoldError)):
        run_state_machine_as_test(MemoryMachine, settings=found)
