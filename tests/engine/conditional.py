"""Conditional appends by several workers at once, and what must hold of the log afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from random import Random
from typing import NamedTuple

from refold.core.event import Event
from refold.core.query import Query
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import Conflict
from refold.ports import Appended

ROUNDS = 15
ATTEMPTS_MAX = 500
TYPES = ("test.a", "test.b", "test.c")
TAGS = ("x:1", "x:2", "y:1")

Wanted = tuple[tuple[tuple[str, ...], tuple[str, ...]], ...]
"""A query as data: pairs of types and tags, either of which will do."""


class Taken(NamedTuple):
    """A conditional append that was stored: its condition and its answer."""

    wanted: Wanted
    after: int
    answer: Appended


class Refused(NamedTuple):
    """One that was not, and the position that it was told."""

    wanted: Wanted
    after: int
    actual: int


class Seen(NamedTuple):
    """A query that was read, the head of the log before, and the positions that came."""

    wanted: Wanted
    head: int
    positions: list[int]


class Report(NamedTuple):
    """All that one worker was told."""

    taken: list[Taken]
    refused: list[Refused]
    seen: list[Seen]


def query_of(wanted: Wanted) -> Query:
    """The query that the store is asked."""
    first, *others = (Query(types=types, tags=tags) for types, tags in wanted)
    for other in others:
        first = first | other
    return first


def is_wanted(wanted: Wanted, event: Recorded) -> bool:
    """The same by the words of the documentation, event by event."""
    tags = set(event.metadata.get("tags", ()))
    return "~" not in event.stream and any(
        (not types or event.type in types) and tags.issuperset(of_all) for types, of_all in wanted
    )


def random_wanted(random: Random) -> Wanted:
    """One to three pairs, each with types, tags or both."""
    pairs = []
    for _ in range(random.choice((1, 1, 2, 3))):
        types = tuple(random.sample(TYPES, random.randint(0, 2)))
        tags = tuple(random.sample(TAGS, random.randint(0 if types else 1, 2)))
        pairs.append((types, tags))
    return tuple(pairs)


def events_of(random: Random) -> list[Event]:
    """One to three events of any of the types."""
    return [Event(random.choice(TYPES), {"n": n}) for n in range(random.randint(1, 3))]


def work(store: Store, worker: int, *, rounds: int = ROUNDS) -> Report:
    """Append on conditions until so many were accepted, with others that have none between."""
    random, report = Random(worker), Report([], [], [])
    for _ in range(rounds):
        wanted = random_wanted(random)
        head = store.log_head()
        found = [event.position for event in store.read_all(matching=query_of(wanted))]
        report.seen.append(Seen(wanted, head, found))
        for _attempt in range(ATTEMPTS_MAX):
            after = store.log_head()
            if random.random() < 0.3:
                store.append(f"free-{worker}", events_of(random), tags=random.sample(TAGS, 1))
            events, tags = events_of(random), random.sample(TAGS, random.randint(0, 2))
            stream = random.choice((f"worker-{worker}", "shared-1"))
            try:
                answer = store.append(
                    stream, events, tags=tags, unless=query_of(wanted), after=after
                )
            except Conflict as conflict:
                report.refused.append(Refused(wanted, after, conflict.actual))
                continue
            report.taken.append(Taken(wanted, after, answer))
            break
    return report


def check_conditions(store: Store, reports: Sequence[Report], *, rounds: int = ROUNDS) -> None:
    """Each accepted append held at its place; to each refused one an event was in the way.

    Whoever tries again in good faith comes through. Each reading is a whole start of the truth.
    """
    log = list(store.read_all())
    assert [event.position for event in log] == list(range(1, len(log) + 1))
    for report in reports:
        assert len(report.taken) == rounds
        for wanted, after, answer in report.taken:
            between = log[after : answer.position - answer.event_count]
            assert [event.id for event in between if is_wanted(wanted, event)] == []
        for refused in report.refused:
            assert refused.actual > refused.after
            between = log[refused.after : refused.actual]
            assert any(is_wanted(refused.wanted, event) for event in between), refused
    for seen in (seen for report in reports for seen in report.seen):
        truth = [event.position for event in log if is_wanted(seen.wanted, event)]
        assert seen.positions == truth[: len(seen.positions)]
        assert [
            position for position in truth[len(seen.positions) :] if position <= seen.head
        ] == []
    told = [taken.answer for report in reports for taken in report.taken]
    conditional = Counter(place for answer in told for place in answer.ids)
    assert set(conditional.values()) == {1}
    assert all(log[a.position - 1].id == a.ids[-1] for a in told)
    assert [check for check in store.check() if not check.good] == []
