"""Any sequence of calls against a model of lists and dicts, on every backend.

The model is a few lines of plain Python: a log of events, streams as lists of places in it, the
first answer of each key. After every step the store must say what the model says.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest
from hypothesis import HealthCheck, settings
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
from refold.core.event import Event, Registry, category_of
from refold.core.expected import ANY, NO_STREAM, STREAM_EXISTS, Expected
from refold.core.fold import Fold
from refold.engine.results import Append, Appended
from refold.engine.store import Store
from refold.errors import Conflict, NotFound, RefoldError, UsageError
from refold.testing.conformance import HandClock

REGISTRY = Registry()
NAMES = ("call-1", "call-2", "agent-1")
TYPES = ("test.a", "test.b", "test.c")
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


class Numbers(msgspec.Struct, frozen=True):
    """The state that is folded to: the numbers of two of the three types, in order."""

    numbers: tuple[int, ...] = ()


def _summing() -> Fold[Numbers]:
    fold = Fold("sum", Numbers, registry=REGISTRY)
    fold.on("test.a", "test.b")(lambda state, event: Numbers((*state.numbers, event["n"])))
    return fold


SUM = _summing()


class Kept(NamedTuple):
    """An event as the model keeps it."""

    stream: str
    type: str
    n: int | None
    occurred_at: int
    recorded_at: int


@dataclass
class Model:
    """What the store should say; positions of the log are indexes into ``log`` plus one."""

    log: list[Kept] = field(default_factory=list)
    streams: dict[str, list[int]] = field(default_factory=dict)
    keys: dict[str, tuple[object, list[Appended]]] = field(default_factory=dict)

    def head(self, stream: str) -> int:
        """The last version of a stream."""
        return len(self.streams.get(stream, ())) - 1

    def append(self, parts: Sequence[Append], key: str | None, now: int) -> list[Appended] | str:
        """The answers of an append, or the name of its refusal."""
        content = [(part.stream, [_told(event) for event in part.events]) for part in parts]
        if key in self.keys:
            first_content, answers = self.keys[key]
            same = first_content == content
            return [a._replace(duplicate=True) for a in answers] if same else "key_reused"
        heads: dict[str, int] = {}
        for part in parts:
            head = heads.get(part.stream, self.head(part.stream))
            if not _is_met(part.expected, head):
                return "conflict"
            heads[part.stream] = head + len(part.events)
        recorded_at = max(now, self.log[-1].recorded_at if self.log else now)
        answers = [self._stored(part, recorded_at) for part in parts]
        if key is not None:
            self.keys[key] = (content, answers)
        return answers

    def fork(self, parent: str, shared: int, stream: str, own: list[Kept]) -> None:
        """A new stream that shares the first places of another."""
        self.streams[stream] = self.streams[parent][:shared]
        for kept in own:
            self.log.append(kept)
            self.streams[stream].append(len(self.log))

    def events(self, stream: str) -> list[Kept]:
        """The history of a stream."""
        return [self.log[position - 1] for position in self.streams[stream]]

    def is_within(self, version: int, position: int, moment: dict[str, int]) -> bool:
        """Whether an event counts at a moment."""
        kept = self.log[position - 1]
        said = {
            "version": version,
            "position": position,
            "recorded_until": kept.recorded_at,
            "occurred_until": kept.occurred_at,
        }
        return all(said[measure] <= bound for measure, bound in moment.items())

    def folded(self, stream: str, versions: Sequence[int]) -> tuple[int, ...]:
        """The state after some events of a stream."""
        events = self.events(stream)
        chosen = [events[version] for version in versions]
        return tuple(e.n for e in chosen if e.type in TYPES[:2] and e.n is not None)

    def _stored(self, part: Append, recorded_at: int) -> Appended:
        for name, n, at in map(_told, part.events):
            at_us = recorded_at if at is None else at
            self.log.append(Kept(part.stream, name, n, at_us, recorded_at))
            self.streams.setdefault(part.stream, []).append(len(self.log))
        return Appended(
            part.stream, self.head(part.stream), len(self.log), len(part.events), recorded_at
        )


def _is_met(expected: Expected, head: int) -> bool:
    if expected is NO_STREAM:
        return head == -1
    if expected is STREAM_EXISTS:
        return head >= 0
    return expected is ANY or expected == head


def _told(event: object) -> tuple[Any, ...]:
    """What an event of these tests says."""
    assert isinstance(event, Event)
    return event.type, event.data["n"], event.occurred_at


def _made(events: Sequence[object], at_us: int) -> list[Kept]:
    """Events that a branch made up: without a time of their own they have that of their place."""
    told = [_told(event) for event in events]
    return [Kept("", name, n, at_us if at is None else at, 0) for name, n, at in told]


class StoreMachine(RuleBasedStateMachine):
    """The rules, over one store; subclasses say which."""

    store: Store

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.clock = HandClock(10)
        self.branches = 0

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
            branch, shared, tail = branch.adding(*events), length, _made(events, at_us)
        elif how == "cut":
            shared, tail = length, []
        elif how == "without":
            branch = branch.without(branch.events[place].id)
            shared, tail = place, history[place + 1 :]
        else:
            branch = branch.replacing(branch.events[place].id, *events)
            made = _made(events, history[place].occurred_at)
            shared, tail = place, [*made, *history[place + 1 :]]
        self.branches += 1
        name = f"{NAMES[0]}~{self.branches}"
        recorded_at = max(self.clock.us, self.model.log[-1].recorded_at)
        forked = Kept(name, "session.forked", None, recorded_at, recorded_at)
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
        categories=st.none()
        | st.lists(st.sampled_from(["call", "call~", "agent", "x"]), max_size=2),
        types=st.none() | st.lists(st.sampled_from([*TYPES, "session.forked", "x"]), max_size=2),
        limit=st.none() | st.integers(0, 6),
    )
    def read_all(self, after: int, categories: Any, types: Any, limit: int | None) -> None:
        """The log after any position, narrowed."""
        chosen = [
            position
            for position, kept in enumerate(self.model.log, 1)
            if position > after
            and (categories is None or category_of(kept.stream) in categories)
            and (types is None or kept.type in types)
        ]
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

    def _head_of(self, stream: str) -> Expected:
        head = self.model.head(stream)
        return NO_STREAM if head == -1 else head

    def _answer(self, call: Any) -> Any:
        """The answers of a call, or the code of its refusal."""
        try:
            return call()
        except (Conflict, UsageError) as error:
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

    def opened(self) -> Store:
        """The file of this run."""
        path = Path(self.folder.name, "log.db")
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

    @rule()
    def change_stores(self) -> None:
        """Go on with another store that has had the file open all the while."""
        other = self.opened() if self.other is None else self.other
        self.other, self.store = self.store, other

    @rule(before=st.none() | st.integers(0, 61))
    def compact(self, before: int | None) -> None:
        """Pack what was recorded before any moment: nothing that can be asked changes."""
        self.store.compact(recorded_before=before)


SMALL = {
    "refold.engine.reading.ROWS_PER_PAGE": 2,
    "refold.engine.reader.LOG_ROWS_PER_PAGE": 1,
    "refold.engine.reader.LOG_ROWS_PER_PAGE_MAX": 2,
    "refold.engine.store.STREAMS_PER_PAGE": 2,
    "refold.engine.snapshots.EVENTS_BETWEEN_MIN": 3,
    "refold.core.snapshot.EVENTS_BETWEEN_MIN": 3,
    "refold.backends.sqlite.packer.EVENTS_PER_SEGMENT": 4,
    "refold.backends.sqlite.packer.SEGMENTS_PER_COMMIT": 1,
    "refold.backends.sqlite.packer.ROWS_PER_PAGE": 2,
    "refold.backends.sqlite.backend._WINDOW_POSITIONS_PER_ROW": 1,
    "refold.backends.sqlite.writer.ROWS_PER_STATEMENT_MAX": 2,
    "refold.backends.sqlite.writer.STREAMS_CACHED_MAX": 2,
}
STEPS = settings(
    max_examples=40,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@pytest.mark.parametrize("machine", [MemoryMachine, SqliteMachine])
def test_a_store_is_what_its_model_is(machine: type[StoreMachine]) -> None:
    """Whatever is called in whatever order, the store and the model say the same."""
    run_state_machine_as_test(machine, settings=STEPS)


@pytest.mark.parametrize("machine", [MemoryMachine, SqliteMachine])
def test_small_pages_change_nothing(
    machine: type[StoreMachine], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Pages, segments and snapshots of a few events, so that each run meets all their borders."""
    for limit, size in SMALL.items():
        monkeypatch.setattr(limit, size)
    run_state_machine_as_test(machine, settings=STEPS)


def test_the_model_finds_a_store_that_forgets(monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that drops the last row of every page does not pass: the test can fail."""
    from refold.backends.memory import MemoryBackend

    log = MemoryBackend.log
    monkeypatch.setattr(MemoryBackend, "log", lambda self, **asked: log(self, **asked)[:-1])
    with pytest.raises((AssertionError, RefoldError)):
        run_state_machine_as_test(MemoryMachine, settings=STEPS)
