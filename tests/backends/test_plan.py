"""The plan: what batches come to, from data alone, beside a model that stores them one by one."""

from __future__ import annotations

from typing import Any, NamedTuple

from hypothesis import given
from hypothesis import strategies as st

from refold.backends.plan import Known, needs, plan
from refold.core.expected import ANY, NO_STREAM, STREAM_EXISTS, Expectation
from refold.core.query import Condition, Query
from refold.errors import Conflict, NotFound, RefoldError, UsageError
from refold.ports import Appended, Batch, Fork, Kept, Write

STREAMS = ["a-1", "b-1", "a-1~x"]
QUERIES = [Query(types=["x"]), Query(types=["y"], tags=["t"]), Query(tags=["t"])]


class Event(NamedTuple):
    """An event of the model's log, in the order of positions."""

    stream: str
    type: str
    tags: tuple[str, ...]
    ends: int


class Model:
    """A log that takes one batch after the other, and looks everything up in what it has."""

    def __init__(self) -> None:
        self.log: list[Event] = []
        self.forks: dict[str, int] = {}
        self.keys: dict[str, Kept] = {}

    def head(self, stream: str) -> int:
        """The last version of a stream; -1 for none."""
        own = sum(event.stream == stream for event in self.log)
        return self.forks.get(stream, -1) + own if own else -1

    def breaks(self, condition: Condition) -> int | None:
        """The end of the first append that holds an event of the query after its position."""
        for position, event in enumerate(self.log, start=1):
            if position > condition.after and "~" not in event.stream:
                for item in condition.query.items:
                    if item.fits([event.type], event.tags):
                        return event.ends
        return None

    def store(self, batch: Batch) -> str | list[Appended]:
        """The answers, or what kind of refusal it is."""
        if batch.key in self.keys:
            kept = self.keys[batch.key]
            same = kept.digest == batch.digest
            return [p._replace(duplicate=True) for p in kept.parts] if same else "UsageError"
        if batch.condition is not None and self.breaks(batch.condition) is not None:
            return "Conflict"
        before, forks = list(self.log), dict(self.forks)
        answers: list[Appended] = []
        for write in batch.writes:
            refusal = self.refusal(write, before)
            if refusal is not None:
                self.log, self.forks = before, forks
                return refusal
            if write.fork is not None and self.head(write.stream) < 0:
                self.forks[write.stream] = write.fork.version
            ends = len(self.log) + len(write.kinds)
            self.log += [
                Event(write.stream, kind.removesuffix(".v2"), write.tags, ends)
                for kind in write.kinds
            ]
            last = self.head(write.stream)
            answers.append(Appended(write.stream, last, ends, len(write.kinds), 7))
        if batch.key is not None:
            self.keys[batch.key] = Kept(answers, batch.digest)
        return answers

    def refusal(self, write: Write, before: list[Event]) -> str | None:
        """Why a write cannot follow what is stored; a fork looks at what was there before."""
        head = self.head(write.stream)
        expected: dict[Expectation | int, bool] = {
            ANY: True,
            NO_STREAM: head < 0,
            STREAM_EXISTS: head >= 0,
        }
        met = expected.get(write.expected, head == write.expected)
        if not met:
            return "Conflict"
        if write.fork is not None and head < 0:
            now, self.log = self.log, before
            parent = self.head(write.fork.parent)
            self.log = now
            if parent < max(write.fork.version, 0):
                return "NotFound"
        return None


expectations: st.SearchStrategy[Expectation | int] = st.sampled_from(
    [ANY, ANY, NO_STREAM, STREAM_EXISTS, 0, 1, 2]
)
kinds = st.lists(st.sampled_from(["x", "y", "y.v2"]), min_size=1, max_size=3).map(tuple)
forks = st.none() | st.builds(Fork, st.sampled_from(STREAMS[:2]), st.integers(-1, 2))


@st.composite
def writes(draw: st.DrawFn) -> Write:
    """A write that may or may not be taken."""
    stream = draw(st.sampled_from(STREAMS))
    fork = draw(forks) if "~" in stream else None
    tags = draw(st.sampled_from([(), ("t",)]))
    return Write(stream, draw(expectations), draw(kinds), None, "[]", fork, None, tags)


conditions = st.none() | st.builds(Condition, st.sampled_from(QUERIES), st.integers(0, 8))
batches = st.builds(
    Batch,
    st.lists(writes(), min_size=1, max_size=3),
    st.none() | st.sampled_from(["k1", "k2"]),
    st.sampled_from([b"one", b"other"]),
    conditions,
)
groups = st.lists(st.lists(batches, min_size=1, max_size=4), min_size=1, max_size=4)


def fetched(model: Model, group: list[Batch]) -> Known:
    """What a backend would fetch for a group, and nothing beside."""
    wanted = needs(group)
    heads = {stream: model.head(stream) for stream in wanted.streams}
    found = {one: model.breaks(one) for one in wanted.conditions}
    return Known(
        len(model.log),
        {stream: head for stream, head in heads.items() if head >= 0},
        {key: model.keys[key] for key in wanted.keys & model.keys.keys()},
        {one: position for one, position in found.items() if position is not None},
    )


def told(outcome: Any) -> str | list[Appended]:
    """An outcome as the model gives it."""
    return type(outcome).__name__ if isinstance(outcome, RefoldError) else outcome


@given(groups)
def test_a_group_comes_to_what_its_batches_come_to_one_by_one(group_list: Any) -> None:
    """Heads, forks, keys and conditions: within a group as from one commit to the next."""
    model = Model()
    for group in group_list:
        known, first = fetched(model, group), len(model.log) + 1
        planned = plan(group, known)
        assert list(map(told, planned.outcomes(first, 7))) == list(map(model.store, group))
        assert planned.event_count == len(model.log) + 1 - first
        assert all(head == model.head(stream) for stream, head in planned.heads.items())
        rows = [place.row(first, 7, None) for place in planned.places]
        assert [row.position for row in rows] == sorted(row.position for row in rows)
        assert sum(row.event_count for row in rows) == planned.event_count


@given(st.lists(batches, min_size=1, max_size=4))
def test_a_plan_is_made_of_its_arguments_alone(group: list[Batch]) -> None:
    """Planned again from the same data it is the same, and the data are as they were."""
    known = Known(3, {"a-1": 2}, {"k1": Kept([Appended("a-1", 0, 1, 1, 5)], b"one")}, {})
    before = (dict(known.heads), dict(known.kept), dict(known.found))
    once, again = plan(group, known), plan(group, known)
    assert list(map(told, once.outcomes(4, 7))) == list(map(told, again.outcomes(4, 7)))
    assert (known.heads, known.kept, known.found) == before


def test_refusals_say_what_they_are_of() -> None:
    """A conflict has both versions, a reused key its first event, a fork its parent."""
    known = Known(2, {"a-1": 1}, {"k1": Kept([Appended("a-1", 1, 2, 2, 5)], b"one")}, {})
    conflict, reused, orphan = plan(
        [
            Batch([Write("a-1", 0, ("x",), None, "[]")]),
            Batch([Write("a-1", ANY, ("x",), None, "[]")], "k1", b"other"),
            Batch([Write("a-1~x", NO_STREAM, ("x",), None, "[]", Fork("a-1", 5))]),
        ],
        known,
    ).outcomes(3, 7)
    assert isinstance(conflict, Conflict)
    assert (conflict.expected, conflict.actual) == (0, 1)
    assert isinstance(reused, UsageError)
    assert (reused.stream, reused.version, reused.key) == ("a-1", 0, "k1")
    assert isinstance(orphan, NotFound)
    assert (orphan.stream, orphan.version) == ("a-1", 5)
