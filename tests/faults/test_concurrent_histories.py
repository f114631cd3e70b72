"""Threads, tasks and processes write and read one log at once; then their histories are checked."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import cache
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


@cache
def history() -> History:
    """One run: a process of threads, one of tasks, one that reads, one that compacts."""
    context = multiprocessing.get_context("spawn")
    with TemporaryDirectory() as folder:
        path = str(Path(folder, "log.db"))
        refold.open(path).close()
        start, done = context.Barrier(4), context.Event()
        written, read = context.Queue(), context.Queue()
        processes = [
            context.Process(target=write_in_threads, args=(path, "t", ROUNDS, start, written)),
            context.Process(target=write_in_tasks, args=(path, "a", ROUNDS, start, written)),
            context.Process(target=read_and_follow, args=(path, done, start, read)),
            context.Process(target=compact, args=(path, done, start)),
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


def test_the_run_had_everything_in_it() -> None:
    """Appends of each sort were stored, and some of each that can be refused were refused."""
    sorts = Counter((one.wish.sort, bool(one.answers)) for one in history().told)
    for sort in ("any", "exists", "new", "race", "key", "together", "seat"):
        assert sorts[sort, True], sort
    for sort in ("new", "race", "seat"):
        assert sorts[sort, False], sort
    assert any(answer.duplicate for one in history().stored for answer in one.answers)
    assert len(history().looks) > 1


def test_places_are_dense_and_the_file_is_sound() -> None:
    """Positions 1, 2, 3…, versions 0, 1, 2… in each stream, and nothing for doctor to find."""
    events = history().events
    assert [e.position for e in events] == list(range(1, len(events) + 1))
    for info in history().streams:
        versions = [e.version for e in events if e.stream == info.stream]
        assert versions == list(range(info.version + 1)), info
    assert history().bad_checks == []


def test_what_was_acknowledged_is_stored_once_and_whole() -> None:
    """At the places that were told, side by side; and nothing is there that nobody was told of."""
    found: dict[str, list[Recorded]] = {}
    for event in history().events:
        found.setdefault(event.data["token"], []).append(event)
    for one in history().stored:
        there = found[one.token]
        wanted = [(stream, n) for stream, size in one.wish.parts for n in range(size)]
        assert [(e.stream, e.data["n"]) for e in there] == wanted
        assert there[-1].position - there[0].position == len(there) - 1
        ends = {(e.stream, e.version, e.position, e.recorded_at_us) for e in there}
        for answer in one.answers:
            said = (answer.stream, answer.version, answer.position, answer.recorded_at_us)
            assert said in ends
    assert found.keys() == {one.token for one in history().stored}


def test_each_expected_version_has_one_winner() -> None:
    """Who expected it and was answered stands right after it; nobody else does."""
    wins: Counter[tuple[str, int]] = Counter()
    heads: dict[tuple[str, int], int] = {}
    for event in history().events:
        heads[event.stream, event.version] = event.position
    for one in history().stored:
        if one.wish.sort in ("race", "new"):
            (answer,) = one.answers
            before = -1 if one.expected is NO_STREAM else one.expected
            assert answer.version - answer.event_count == before
            wins[answer.stream, before] += 1
    assert set(wins.values()) == {1}
    raced = [e for e in history().events if e.stream == "race-1"]
    firsts = {e.version - 1 for e in raced if e.data["n"] == 0}
    assert {before for stream, before in wins if stream == "race-1"} == firsts


def test_a_refusal_was_true_when_it_was_made() -> None:
    """The version that was told instead is one that the stream had, and not the expected one."""
    ends = {(answer.stream, answer.version) for one in history().stored for answer in one.answers}
    for one in history().told:
        if one.answers or one.wish.sort == "seat":
            continue
        stream = one.wish.parts[0][0]
        assert one.expected is not ANY
        if one.expected is STREAM_EXISTS:
            assert one.actual == -1
        else:
            assert (stream, one.actual) in ends
            assert one.actual != (-1 if one.expected is NO_STREAM else one.expected)


def test_what_may_be_once_is_there_once() -> None:
    """A key, by whomever it was used; a tag that each made its append conditional on."""
    tokens = Counter(e.data["token"] for e in history().events if e.stream == "keyed-1")
    assert set(tokens.values()) == {2}
    by_key: dict[str, list[Told]] = {}
    for one in history().stored:
        if one.wish.key:
            by_key.setdefault(one.wish.key, []).append(one)
    for calls in by_key.values():
        assert len({call.answers[0]._replace(duplicate=True) for call in calls}) == 1
        assert sum(not call.answers[0].duplicate for call in calls) == 1
    seats = Counter(one.wish.seat for one in history().stored if one.wish.seat)
    assert set(seats.values()) == {1}
    wished = {one.wish.seat for one in history().told if one.wish.seat}
    assert seats.keys() == wished


def test_the_log_is_in_the_order_of_the_calls() -> None:
    """An append that had ended before another began stands before it; no clock goes back."""
    times = [e.recorded_at_us for e in history().events]
    assert times == sorted(times)
    latest = 0
    for moment, position, is_end in sorted(_moments(history().stored)):
        if is_end:
            latest = max(latest, position)
        else:
            assert position > latest, moment


def test_a_reader_never_skips_and_never_sees_a_later_event_first() -> None:
    """Each look is a whole start of the log or stream, never shorter than the one before it.

    And it holds all that had been acknowledged before it began. Who follows gets all, once.
    """
    followed = history().followed
    assert followed.positions == list(range(1, len(history().events) + 1))
    assert followed.recorded_at == sorted(followed.recorded_at)
    before: Counter[str | None] = Counter()
    acknowledged = sorted((one.ended, answer) for one in history().stored for answer in one.answers)
    for look in history().looks:
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


def test_the_checks_find_a_history_that_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """A log without one event, or with two that changed places, does not pass: they can fail."""
    whole = history()
    for events in (whole.events[:5] + whole.events[6:], whole.events[1::-1] + whole.events[2:]):
        wrong = whole._replace(events=events)
        monkeypatch.setitem(globals(), "history", lambda wrong=wrong: wrong)
        with pytest.raises((AssertionError, RefoldError)):
            test_places_are_dense_and_the_file_is_sound()
    made = [one for one in whole.told if one.answers and not one.answers[0].duplicate]
    first = min(made, key=lambda one: one.answers[0].position)
    late = first._replace(began=first.ended + 10**15)
    told = [late, *(one for one in whole.told if one is not first)]
    monkeypatch.setitem(globals(), "history", lambda: whole._replace(told=told))
    with pytest.raises(AssertionError):
        test_the_log_is_in_the_order_of_the_calls()


def _moments(stored: Sequence[Told]) -> Iterator[tuple[int, int, bool]]:
    """When each append that was made began and ended, and the position of its first event."""
    for one in stored:
        if not one.answers[0].duplicate:
            first = one.answers[0].position - one.answers[0].event_count + 1
            yield one.began, first, False
            yield one.ended, one.answers[-1].position, True
