"""Any sequence of calls against a model of lists and dicts, on every backend.

The model is a few lines of plain Python (:mod:`tests.stateful.model`). After every step the store
must say what the model says, and so must whoever follows its log.
"""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

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
from refold.core.event import Event, category_of
from refold.core.expected import ANY, NO_STREAM, STREAM_EXISTS, Expected
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import Conflict, NotFound, RefoldError, Rejected, UsageError
from refold.privacy.keyring import new_keyring
from refold.privacy.privacy import Privacy
from tests.conformance.suites import HandClock
from tests.stateful.model import ONE_OF_EACH, REGISTRY, SUM, TYPES, Kept, Model, made
from tests.support import postgres
from tests.support.soak import bound, counted

NAMES = ("call-1", "call-2", "agent-1")
KEYS = st.none() | st.sampled_from(("tx-1", "tx-2", "tx-3"))
EVENTS = st.lists(
    st.builds(
        lambda name, n, at: Event(name, {"n": n}, occurred_at=at),
        st.sampled_from(TYPES),
        st.integers(0, 99),
        st.none() | st.integers(0, 60),
    ),
    min_size=1,
    max_size=4,
)
EXPECTATIONS: st.SearchStrategy[Any] = st.sampled_from(
    [ANY, ANY, NO_STREAM, STREAM_EXISTS, "head", "head", 0, 1, 5]
)
MOMENTS: st.SearchStrategy[dict[str, int]] = st.fixed_dictionaries(
    {},
    optional={
        "version": st.integers(-1, 12),
        "position": st.integers(0, 20),
        "recorded_until": st.integers(0, 60),
        "occurred_until": st.integers(0, 60),
    },
)
CATEGORIES = st.none() | st.lists(st.sampled_from(["call", "call~", "agent", "x"]), max_size=2)
WANTED_TYPES = st.none() | st.lists(st.sampled_from([*TYPES, "session.forked", "x"]), max_size=2)
FOLLOWERS_MAX = 4


class Follower:
    """Somebody who follows the log, and what he has been given so far."""

    def __init__(self, store: Store, after: int, categories: Any, types: Any) -> None:
        self.after, self.categories, self.types = after, categories, types
        self.positions: list[int] = []
        self._subscription = store.subscribe(after=after, categories=categories, types=types)

    def catch_up(self) -> None:
        """Take what there is."""
        one = self._subscription
        while True:
            while (event := one.take()) is not None:
                self.positions.append(event.position)
            if not one.fill():
                assert not one.closed
                return

    def move_to(self, store: Store) -> None:
        """Go on where it stands, on another store."""
        after = self._subscription.position
        self._subscription.close()
        self._subscription = store.subscribe(
            after=after, categories=self.categories, types=self.types
        )


class StoreMachine(RuleBasedStateMachine):
    """The rules, over one store; subclasses say which."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.clock = HandClock(10)
        self.branches = 0
        self.followers: list[Follower] = []

    def opened(self) -> Store:
        """The log of this run, opened."""
        raise NotImplementedError

    @initialize()
    def open(self) -> None:
        """Begin with an empty log."""
        self.store = self.opened()

    def teardown(self) -> None:
        """Let go of the log."""
        counted("histories of a model")
        if hasattr(self, "store"):
            self.store.close()

    # -- changes ------------------------------------------------------------------------------

    @rule(
        parts=st.lists(
            st.tuples(st.sampled_from(NAMES), EVENTS, EXPECTATIONS), min_size=1, max_size=3
        ),
        key=KEYS,
    )
    def append(self, parts: list[tuple[str, list[Event], Any]], key: str | None) -> None:
        """Append to one or several streams, with any expectation, with and without a key."""
        appends = [
            Append(stream, events, self._head_of(stream) if expected == "head" else expected)
            for stream, events, expected in parts
        ]
        expected = self.model.append(appends, key, self.clock.us)
        assert self._answer(lambda: self.store.append_together(appends, key=key)) == expected

    @rule(stream=st.sampled_from(NAMES), events=EVENTS, later_us=st.integers(0, 3))
    def go_on(self, stream: str, events: list[Event], later_us: int) -> None:
        """A stream grows as most do: events of now, a little later each time."""
        self.clock.us += later_us
        now = [Event(e.type, e.data) for e in events]
        answers = self.model.append([Append(stream, now)], None, self.clock.us)
        assert [self.store.append(stream, now)] == answers

    @rule(stream=st.sampled_from(NAMES), events=EVENTS, key=KEYS)
    def append_again(self, stream: str, events: list[Event], key: str | None) -> None:
        """The same append twice: the second is the first's duplicate, or another append."""
        for _ in range(2):
            expected = self.model.append([Append(stream, events)], key, self.clock.us)
            answer = self._answer(lambda: [self.store.append(stream, events, key=key)])
            assert answer == expected

    @rule(
        parts=st.lists(
            st.tuples(st.sampled_from(NAMES), EVENTS, EXPECTATIONS, KEYS), min_size=1, max_size=5
        )
    )
    def append_many(self, parts: list[tuple[str, list[Event], Any, str | None]]) -> None:
        """An import: each append has an outcome of its own, the same key may come twice."""
        appends = [
            Append(name, events, self._head_of(name) if expected == "head" else expected, key=key)
            for name, events, expected, key in parts
        ]
        expected_: list[object] = []
        for append in appends:
            answer = self.model.append([append._replace(key=None)], append.key, self.clock.us)
            expected_.append(answer if isinstance(answer, str) else answer[0])
        outcomes = self.store.append_many(appends)
        found = [o.code if isinstance(o, RefoldError) else o for o in outcomes]
        assert found == expected_

    @precondition(lambda self: self.model.streams)
    @rule(data=st.data(), events=EVENTS)
    def append_to_any(self, data: st.DataObject, events: list[Event]) -> None:
        """Streams go on, and branches too, at the version where they stand."""
        stream = data.draw(st.sampled_from(sorted(self.model.streams)))
        part = Append(stream, events, self.model.head(stream))
        assert [self.store.append(*part[:2], expected=part.expected)] == self.model.append(
            [part], None, self.clock.us
        )

    @rule(data=st.data(), number=st.integers(0, 30))
    def execute(self, data: st.DataObject, number: int) -> None:
        """A command is decided on what the stream says: done, needless, or refused."""
        names = sorted({*self.model.streams, *NAMES})
        stream = data.draw(st.sampled_from(names))
        expected = self.model.execute(stream, number, self.clock.us)
        assert self._answer(lambda: self.store.execute(stream, ONE_OF_EACH, number)) == expected

    @rule(us=st.integers(0, 60))
    def set_clock(self, us: int) -> None:
        """The clock goes anywhere, back too."""
        self.clock.us = us

    @precondition(lambda self: self.model.streams)
    @rule(
        data=st.data(),
        events=EVENTS,
        how=st.sampled_from(["without", "replacing", "adding", "cut"]),
    )
    def save_branch(self, data: st.DataObject, events: list[Event], how: str) -> None:
        """Branch any stream, also a branch, change it, save it."""
        parent = data.draw(st.sampled_from(sorted(self.model.streams)))
        at = data.draw(st.integers(-1, self.model.head(parent) + 1))
        branch = self.store.branch(parent, at=at)
        length = min(at, self.model.head(parent)) + 1
        assert len(branch) == length
        place = data.draw(st.integers(0, length - 1)) if length else 0
        history = self.model.events(parent)[:length]
        if how == "adding" or not length:
            at_us = history[-1].occurred_at if history else 0
            branch, shared, tail = branch.adding(*events), length, made(events, at_us)
        elif how == "cut":
            shared, tail = length, []
        elif how == "without":
            branch = branch.without(branch.events[place].id)
            shared, tail = place, history[place + 1 :]
        else:
            branch = branch.replacing(branch.events[place].id, *events)
            others = made(events, history[place].occurred_at)
            shared, tail = place, [*others, *history[place + 1 :]]
        self.branches += 1
        name = f"{NAMES[0]}~{self.branches}"
        recorded_at = max(self.clock.us, self.model.log[-1].recorded_at)
        forked = Kept(name, "session.forked", None, self.clock.us, recorded_at)
        own = [forked, *(k._replace(stream=name, recorded_at=recorded_at) for k in tail)]
        self.model.fork(parent, shared, name, own)
        answer = branch.save(name)
        assert (answer.event_count, answer.version) == (len(own), self.model.head(name))
        with pytest.raises(Conflict):
            branch.save(name)

    # -- questions ----------------------------------------------------------------------------

    @precondition(lambda self: self.model.streams)
    @rule(
        data=st.data(),
        first=st.integers(-1, 12),
        last=st.none() | st.integers(-1, 12),
        limit=st.none() | st.integers(0, 6),
        direction=st.sampled_from(["forward", "backward"]),
    )
    def read(
        self, data: st.DataObject, first: int, last: int | None, limit: int | None, direction: Any
    ) -> None:
        """Any slice of any stream, both ways."""
        stream = data.draw(st.sampled_from(sorted(self.model.streams)))
        places = list(enumerate(self.model.streams[stream]))
        chosen = [p for v, p in places if first <= v and (last is None or v <= last)]
        if direction == "backward":
            chosen.reverse()
        found = self.store.read(
            stream, from_version=first, to_version=last, direction=direction, limit=limit
        )
        assert [e.position for e in found] == chosen[:limit]

    @rule(
        after=st.integers(-1, 20),
        categories=CATEGORIES,
        types=WANTED_TYPES,
        limit=st.none() | st.integers(0, 6),
    )
    def read_all(self, after: int, categories: Any, types: Any, limit: int | None) -> None:
        """The log after any position, narrowed."""
        chosen = self.model.found(after, categories, types)
        found = self.store.read_all(after=after, categories=categories, types=types, limit=limit)
        assert [e.position for e in found] == chosen[:limit]

    @precondition(lambda self: self.model.streams)
    @rule(moments=st.lists(MOMENTS, min_size=1, max_size=5))
    def fold(self, moments: list[dict[str, int]]) -> None:
        """The state of every stream, now and at any moments, by every measure at once."""
        for stream in self.model.streams:
            for moment in [{}, *moments]:
                self._fold_at(stream, moment)

    def _fold_at(self, stream: str, moment: dict[str, int]) -> None:
        places = self.model.streams[stream]
        versions = [v for v, p in enumerate(places) if self.model.is_within(v, p, moment)]
        folded = self.store.fold(stream, SUM, **moment)
        assert folded.state.numbers == self.model.folded(stream, versions)
        assert folded.version == (versions[-1] if versions else -1)
        assert folded.position == (places[versions[-1]] if versions else 0)

    @precondition(lambda self: len(self.followers) < FOLLOWERS_MAX)
    @rule(after=st.integers(0, 20), categories=CATEGORIES, types=WANTED_TYPES)
    def follow(self, after: int, categories: Any, types: Any) -> None:
        """Somebody more follows the log from now on, from any position."""
        there = min(after, self.store.log_head())  # Beyond it nobody can have come.
        self.followers.append(Follower(self.store, there, categories, types))

    @precondition(lambda self: self.model.streams)
    @rule(data=st.data(), version=st.integers(0, 12), key=st.sampled_from(("tx-1", "tx-2", "x")))
    def look_up(self, data: st.DataObject, version: int, key: str) -> None:
        """An event by its id, an append by its key, streams by their category."""
        stream = data.draw(st.sampled_from(sorted(self.model.streams)))
        places = self.model.streams[stream]
        if version < len(places):
            found = self.store.event(f"{stream}@{version}")
            assert (found.position, found.version) == (places[version], version)
        else:
            with pytest.raises(NotFound):
                self.store.event(f"{stream}@{version}")
        answers = self.model.keys[key][1] if key in self.model.keys else None
        first = answers and [answer._replace(duplicate=True) for answer in answers]
        assert self.store.find(key) == first
        category = category_of(stream)
        there = [name for name in sorted(self.model.streams) if category_of(name) == category]
        assert [info.stream for info in self.store.streams(category=category)] == there

    @rule(stream=st.sampled_from(["call-9", "call-1~none"]))
    def miss(self, stream: str) -> None:
        """What is not there is not there."""
        with pytest.raises(NotFound):
            self.store.read(stream)
        assert self.store.head(stream) == -1

    @invariant()
    def heads_agree(self) -> None:
        """The head of the log and every stream's, after every step."""
        if not hasattr(self, "store"):
            return
        assert self.store.log_head() == len(self.model.log)
        listed = {info.stream: info.version for info in self.store.streams()}
        assert listed == {name: self.model.head(name) for name in self.model.streams}

    @invariant()
    def the_log_agrees(self) -> None:
        """Every event with its place, type, payload and times, after every step."""
        if not hasattr(self, "store"):
            return
        found = [
            Kept(e.stream, e.type, e.data.get("n"), e.occurred_at_us, e.recorded_at_us)
            for e in self.store.read_all()
        ]
        assert found == self.model.log

    @invariant()
    def followers_agree(self) -> None:
        """Whoever follows has been given each event that he wants, once and in order."""
        for follower in self.followers:
            follower.catch_up()
            wanted = self.model.found(follower.after, follower.categories, follower.types)
            assert follower.positions == wanted

    def _head_of(self, stream: str) -> Expected:
        head = self.model.head(stream)
        return NO_STREAM if head == -1 else head

    def _answer(self, call: Any) -> Any:
        """The answers of a call, or the code of its refusal."""
        try:
            return call()
        except (Conflict, Rejected, UsageError) as error:
            return error.code


class MemoryMachine(StoreMachine):
    """The rules in memory."""

    def opened(self) -> Store:
        """A log in memory."""
        return refold.open("memory:", registry=REGISTRY, clock=self.clock)


class SqliteMachine(StoreMachine):
    """The rules on a file, which may be reopened, compacted, or changed by another store."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.other: Store | None = None
        self.copies = 0

    def opened(self) -> Store:
        """The file of this run, or the last one that it was restored to."""
        path = Path(self.folder.name, f"{self.copies}.db")
        return refold.open(path, registry=REGISTRY, clock=self.clock, synchronous="NORMAL")

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
        self._move_followers()

    @rule()
    def change_stores(self) -> None:
        """Go on with another store that has had the file open all the while."""
        other = self.opened() if self.other is None else self.other
        self.other, self.store = self.store, other

    @rule()
    def restore(self) -> None:
        """Go on with a backup, in place of the file that it was made of."""
        self.copies += 1
        self.store.backup(Path(self.folder.name, f"{self.copies}.db"))
        self.store.close()
        if self.other is not None:
            self.other.close()
        self.store, self.other = self.opened(), None
        self._move_followers()

    @rule()
    def repair(self) -> None:
        """Make anew what is made from the log, and drop the snapshots: nothing changes."""
        list(self.store.repair())

    def _move_followers(self) -> None:
        for follower in self.followers:
            follower.move_to(self.store)

    @rule(before=st.none() | st.integers(0, 61))
    def compact(self, before: int | None) -> None:
        """Pack what was recorded before any moment: nothing that can be asked changes."""
        self.store.compact(recorded_before=before)


class ProtectedMachine(SqliteMachine):
    """The rules on a file in which every value is protected; who reads is recorded elsewhere."""

    def __init__(self) -> None:
        super().__init__()
        reads = refold.open("memory:")
        self.privacy = Privacy(new_keyring(), {"*": [""]}, actor="the model", journal=reads)

    def opened(self) -> Store:
        """The file of this run, with the keys to it."""
        path = Path(self.folder.name, f"{self.copies}.db")
        return refold.open(
            path,
            registry=REGISTRY,
            clock=self.clock,
            synchronous="NORMAL",
            privacy=self.privacy,
        )


class JournalMachine(StoreMachine):
    """The rules on a file of JSON lines, which may be torn, reopened, or copied to a database."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name, "log.jsonl")

    def opened(self) -> Store:
        """The journal of this run."""
        return refold.open(self.path, registry=REGISTRY, clock=self.clock, synchronous="NORMAL")

    def teardown(self) -> None:
        """Diagnose the file, and take it away."""
        if hasattr(self, "store"):
            assert [check for check in self.store.check() if not check.good] == []
        super().teardown()
        self.folder.cleanup()

    @rule(torn=st.binary(max_size=5))
    def reopen(self, torn: bytes) -> None:
        """Close the store and open the file again, with the beginning of a line at its end."""
        self.store.close()
        with self.path.open("ab") as file:
            file.write(torn.replace(b"\n", b""))
        self.store = self.opened()
        for follower in self.followers:
            follower.move_to(self.store)

    @rule()
    def copy(self) -> None:
        """A copy in a database says what the journal says, its keys included."""
        with (
            refold.open(self.path, mode="read", registry=REGISTRY) as source,
            refold.open("memory:", registry=REGISTRY) as copy,
        ):
            assert source.copy_into(copy) == self.store.log_head()
            mine = [(e, e.recorded_at_us) for e in self.store.read_all()]
            assert [(e, e.recorded_at_us) for e in copy.read_all()] == mine
            assert list(copy.streams()) == list(self.store.streams())
            for key in ("tx-1", "tx-2", "tx-3"):
                assert copy.find(key) == self.store.find(key)


class PostgresMachine(StoreMachine):
    """The rules on a log in PostgreSQL, among others; several stores have it open at once."""

    def __init__(self) -> None:
        super().__init__()
        self.url = postgres.log_of_its_own()
        self.other: Store | None = None

    def opened(self) -> Store:
        """The log of this run."""
        return refold.open(self.url, registry=REGISTRY, clock=self.clock, synchronous="NORMAL")

    def teardown(self) -> None:
        """Diagnose the log, and let go of it."""
        if hasattr(self, "store"):
            assert [check for check in self.store.check() if not check.good] == []
        super().teardown()
        if self.other is not None:
            self.other.close()

    @rule()
    def reopen(self) -> None:
        """Close the store and open the log again."""
        self.store.close()
        self.store = self.opened()
        for follower in self.followers:
            follower.move_to(self.store)

    @rule()
    def change_stores(self) -> None:
        """Go on with another store that has had the log open all the while."""
        other = self.opened() if self.other is None else self.other
        self.other, self.store = self.store, other


SMALL = {
    "refold.engine.lineage.EVENTS_PER_PAGE": 2,
    "refold.engine.reader.LOG_ROWS_PER_PAGE": 1,
    "refold.engine.reader.LOG_ROWS_PER_PAGE_MAX": 2,
    "refold.engine.store.STREAMS_PER_PAGE": 2,
    "refold.engine.snapshots.EVENTS_BETWEEN_MIN": 3,
    "refold.core.snapshot.EVENTS_BETWEEN_MIN": 3,
    "refold.backends.sqlite.compaction.EVENTS_PER_SEGMENT": 4,
    "refold.backends.sqlite.compaction.SEGMENTS_PER_COMMIT": 1,
    "refold.backends.sqlite.compaction.ROWS_PER_PAGE": 2,
    "refold.backends.sqlite.queries._WINDOW_POSITIONS_PER_ROW": 1,
    "refold.backends.sqlite.writer.ROWS_PER_STATEMENT_MAX": 2,
    "refold.backends.sqlite.writer.STREAMS_CACHED_MAX": 2,
    "refold.backends.postgres.queries.PAGE_BYTES_MAX": 60,
    "refold.backends.postgres.writer.STREAMS_CACHED_MAX": 2,
    "refold.backends.postgres.queries.POSITIONS_PER_LOOK": 3,
    "refold.backends.postgres.writer.LOOK_AHEAD": 1,
    "refold.backends.postgres.writer.FORGET_EVERY": 1,
}
STEPS = settings(
    max_examples=bound(40, 100),
    stateful_step_count=bound(25, 40),
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


# Each step takes a dozen round trips there.
FEWER_STEPS = settings(STEPS, max_examples=bound(12, 60))
ON_POSTGRES = (PostgresMachine, FEWER_STEPS)


@pytest.mark.parametrize(
    ("machine", "steps"),
    [
        (MemoryMachine, STEPS),
        (SqliteMachine, STEPS),
        (ProtectedMachine, FEWER_STEPS),
        (JournalMachine, STEPS),
        ON_POSTGRES,
    ],
)
def test_a_store_is_what_its_model_is(machine: type[StoreMachine], steps: settings) -> None:
    """Whatever is called in whatever order, the store and the model say the same."""
    run_state_machine_as_test(machine, settings=steps)


@pytest.mark.parametrize(
    ("machine", "steps"),
    [(MemoryMachine, STEPS), (SqliteMachine, STEPS), (ProtectedMachine, FEWER_STEPS), ON_POSTGRES],
)
def test_small_pages_change_nothing(
    machine: type[StoreMachine], steps: settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages, segments and snapshots of a few events, so that each run meets all their borders."""
    for limit, size in SMALL.items():
        monkeypatch.setattr(limit, size)
    run_state_machine_as_test(machine, settings=steps)


def test_the_model_finds_a_store_that_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that drops the last row of every page does not pass: the test can fail."""
    from refold.backends.memory import MemoryBackend

    log = MemoryBackend.log
    monkeypatch.setattr(MemoryBackend, "log", lambda self, **asked: log(self, **asked)[:-1])
    # Any failure will do: it is neither made smaller nor looked for again.
    first = settings(STEPS, phases=[Phase.generate], report_multiple_bugs=False)
    with pytest.raises((AssertionError, RefoldError)):
        run_state_machine_as_test(MemoryMachine, settings=first)
