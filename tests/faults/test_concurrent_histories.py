"""Threads, tasks and processes write and read one log at once; then their histories are checked.

In a file, and on a server behind a pooler.
"""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

import refold
from refold import ANY, NO_STREAM, STREAM_EXISTS
from refold.core.recorded import Recorded
from refold.errors import RefoldError
from refold.ports import Check, StreamInfo
from tests.faults.histories import (
    Seen,
    Told,
    compact,
    read_and_follow,
    write_in_tasks,
    write_in_threads,
)
from tests.faults.judging import judge_places, judge_tags
from tests.support.soak import bound, counted
from tests.support.stores import url_of

ROUNDS = bound(12, 150)
WAIT_S = 300


class History(NamedTuple):
    """What the log holds in the end, and what everybody was told on the way."""

    events: list[Recorded]
    told: list[Told]
    followed: Seen
    looks: list[Seen]
    bad_checks: list[Check]
    streams: list[StreamInfo]

    @property
    def stored(self) -> list[Told]:
        """The appends that were acknowledged."""
        return [one for one in self.told if one.answers]


@pytest.fixture(scope="module", params=["log.db", "pgbouncer:"])
def run(request: pytest.FixtureRequest) -> History:
    """One run: a process of threads, one of tasks, one that reads; in a file one that compacts."""
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as folder:
        path = url_of(request.param, Path(folder))
        refold.open(path).close()
        packs = [compact] if request.param == "log.db" else []
        start, done = context.Barrier(3 + len(packs)), context.Event()
        written, read = context.Queue(), context.Queue()
        processes = [
            context.Process(target=write_in_threads, args=(path, "t", ROUNDS, start, written)),
            context.Process(target=write_in_tasks, args=(path, "a", ROUNDS, start, written)),
            context.Process(target=read_and_follow, args=(path, done, start, read)),
            *(context.Process(target=one, args=(path, done, start)) for one in packs),
        ]
        for process in processes:
            process.start()
        try:
            told = [*written.get(timeout=WAIT_S), *written.get(timeout=WAIT_S)]
            done.set()
            followed, looks = read.get(timeout=WAIT_S)
            for process in processes:
                process.join(WAIT_S)
        finally:
            for process in processes:
                process.kill()
        with refold.open(path) as store:
            events = list(store.read_all())
            bad = [check for check in store.check() if not check.good]
            judge_places(store, events)
            judge_tags(store, events)
            for _ in told:
                counted("calls in concurrent histories")
            return History(events, told, followed, looks, bad, list(store.streams()))


def test_the_run_had_everything_in_it(run: History) -> None:
    """Appends of each sort were stored, and some of each that can be refused were refused."""
    sorts = Counter((one.wish.sort, bool(one.answers)) for one in run.told)
    for sort in ("any", "exists", "new", "race", "key", "together", "seat"):
        assert sorts[sort, True], sort
    for sort in ("new", "race", "seat"):
        assert sorts[sort, False], sort
    assert any(answer.duplicate for one in run.stored for answer in one.answers)
    assert len(run.looks) > 1


def test_places_are_dense_and_the_file_is_sound(run: History) -> None:
    """Positions 1, 2, 3…, versions 0, 1, 2… in each stream, and nothing for doctor to find."""
    events = run.events
    assert [e.position for e in events] == list(range(1, len(events) + 1))
    for info in run.streams:
        versions = [e.version for e in events if e.stream == info.stream]
        assert versions == list(range(info.version + 1)), info
    assert run.bad_checks == []


def test_what_was_acknowledged_is_stored_once_and_whole(run: History) -> None:
    """At the places that were told, side by side; and nothing is there that nobody was told of."""
    found: dict[str, list[Recorded]] = {}
    for event in run.events:
        found.setdefault(event.data["token"], []).append(event)
    for one in run.stored:
        there = found[one.token]
        wanted = [(stream, n) for stream, size in one.wish.parts for n in range(size)]
        assert [(e.stream, e.data["n"]) for e in there] == wanted
        assert there[-1].position - there[0].position == len(there) - 1
        ends = {(e.stream, e.version, e.position, e.recorded_at_us) for e in there}
        for answer in one.answers:
            said = (answer.stream, answer.version, answer.position, answer.recorded_at_us)
            assert said in ends
    assert found.keys() == {one.token for one in run.stored}


def test_each_expected_version_has_one_winner(run: History) -> None:
    """Who expected it and was answered stands right after it; nobody else does."""
    wins: Counter[tuple[str, int]] = Counter()
    heads: dict[tuple[str, int], int] = {}
    for event in run.events:
        heads[event.stream, event.version] = event.position
    for one in run.stored:
        if one.wish.sort in ("race", "new"):
            (answer,) = one.answers
            before = -1 if one.expected is NO_STREAM else one.expected
            assert answer.version - answer.event_count == before
            wins[answer.stream, before] += 1
    assert set(wins.values()) == {1}
    raced = [e for e in run.events if e.stream == "race-1"]
    firsts = {e.version - 1 for e in raced if e.data["n"] == 0}
    assert {before for stream, before in wins if stream == "race-1"} == firsts


def test_a_refusal_was_true_when_it_was_made(run: History) -> None:
    """The version that was told instead is one that the stream had, and not the expected one."""
    ends = {(answer.stream, answer.version) for one in run.stored for answer in one.answers}
    for one in run.told:
        if one.answers or one.wish.sort == "seat":
            continue
        stream = one.wish.parts[0][0]
        assert one.expected is not ANY
        if one.expected is STREAM_EXISTS:
            assert one.actual == -1
        else:
            assert (stream, one.actual) in ends
            assert one.actual != (-1 if one.expected is NO_STREAM else one.expected)


def test_what_may_be_once_is_there_once(run: History) -> None:
    """A key, by whomever it was used; a tag that each made its append conditional on."""
    tokens = Counter(e.data["token"] for e in run.events if e.stream == "keyed-1")
    assert set(tokens.values()) == {2}
    by_key: dict[str, list[Told]] = {}
    for one in run.stored:
        if one.wish.key:
            by_key.setdefault(one.wish.key, []).append(one)
    for calls in by_key.values():
        assert len({call.answers[0]._replace(duplicate=True) for call in calls}) == 1
        assert sum(not call.answers[0].duplicate for call in calls) == 1
    seats = Counter(one.wish.seat for one in run.stored if one.wish.seat)
    assert set(seats.values()) == {1}
    wished = {one.wish.seat for one in run.told if one.wish.seat}
    assert seats.keys() == wished


def test_the_log_is_in_the_order_of_the_calls(run: History) -> None:
    """An append that had ended before another began stands before it; no clock goes back."""
    times = [e.recorded_at_us for e in run.events]
    assert times == sorted(times)
    latest = 0
    for moment, position, is_end in sorted(_moments(run.stored)):
        if is_end:
            latest = max(latest, position)
        else:
            assert position > latest, moment


def test_a_reader_never_skips_and_never_sees_a_later_event_first(run: History) -> None:
    """Each look is a whole start of the log or stream, never shorter than the one before it.

    And it holds all that had been acknowledged before it began. Who follows gets all, once.
    """
    followed = run.followed
    assert followed.positions == list(range(1, len(run.events) + 1))
    assert followed.recorded_at == sorted(followed.recorded_at)
    before: Counter[str | None] = Counter()
    acknowledged = sorted((one.ended, answer) for one in run.stored for answer in one.answers)
    for look in run.looks:
        if look.stream is None:
            assert look.positions == list(range(1, len(look.positions) + 1))
        else:
            assert look.versions == list(range(len(look.versions)))
            assert look.positions == sorted(look.positions)
        assert len(look.positions) >= before[look.stream]
        before[look.stream] = len(look.positions)
        due = [a for ended, a in acknowledged if ended < look.began]
        there = set(look.positions)
        assert all(a.position in there for a in due if look.stream in (None, a.stream))


def test_the_checks_find_a_history_that_is_wrong(run: History) -> None:
    """A log without one event, or with two that changed places, does not pass: they can fail."""
    for events in (run.events[:5] + run.events[6:], run.events[1::-1] + run.events[2:]):
        with pytest.raises((AssertionError, RefoldError)):
            test_places_are_dense_and_the_file_is_sound(run._replace(events=events))
    made = [one for one in run.told if one.answers and not one.answers[0].duplicate]
    first = min(made, key=lambda one: one.answers[0].position)
    late = first._replace(began=first.ended + 10**15)
    told = [late, *(one for one in run.told if one is not first)]
    with pytest.raises(AssertionError):
        test_the_log_is_in_the_order_of_the_calls(run._replace(told=told))


def _moments(stored: Sequence[Told]) -> Iterator[tuple[int, int, bool]]:
    """When each append that was made began and ended, and the position of its first event."""
    for one in stored:
        if not one.answers[0].duplicate:
            first = one.answers[0].position - one.answers[0].event_count + 1
            yield one.began, first, False
            yield one.ended, one.answers[-1].position, True
