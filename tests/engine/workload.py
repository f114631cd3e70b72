"""Appends of every kind, by several workers at once, and what must hold of the log afterwards."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from refold.core.event import Event
from refold.core.expected import ANY, NO_EVENTS, NO_STREAM, STREAM_EXISTS, Expected
from refold.core.recorded import Recorded
from refold.engine.append import Append
from refold.engine.store import Store
from refold.errors import Conflict
from refold.ports import Appended

ROUNDS = 12


class Acknowledged(NamedTuple):
    """An append that a worker was told of: the answer, and the token its events carry."""

    token: str
    answer: Appended


class Report(NamedTuple):
    """All that one worker was told; ``lost`` are the races for a version that it did not win."""

    acknowledged: list[Acknowledged]
    lost: list[tuple[str, object]]


def work(store: Store, worker: int) -> Report:
    """Append with each kind of expectation, with keys, and to several streams together."""
    report = Report([], [])
    for number in range(ROUNDS):
        token = f"{worker}-{number}"
        events = [Event("test.token", {"token": token, "n": n}) for n in range(1 + number % 3)]
        for stream, expected in (
            ("any-1", ANY),
            ("any-1", STREAM_EXISTS),
            (f"new-{number}", NO_STREAM),
            (f"worker-{worker}", NO_STREAM if number == 0 else store.head(f"worker-{worker}")),
        ):
            _append(store, report, stream, events, expected, token)
        _race(store, report, events, token)
        parts = [Append("both-1", events), Append("both-2", events), Append("both-1", events)]
        report.acknowledged.extend(Acknowledged(token, a) for a in store.append_together(parts))
        shared = [Event("test.token", {"token": f"key-{number}", "n": 0})]
        answer = store.append("keyed-1", shared, key=f"key-{number}")
        report.acknowledged.append(Acknowledged(f"key-{number}", answer))
    return report


def check_history(store: Store, reports: list[Report]) -> None:
    """Places are dense, acknowledged events are where it was said, no race has two winners."""
    events = list(store.read_all())
    assert [e.position for e in events] == list(range(1, len(events) + 1))
    assert [e.recorded_at_us for e in events] == sorted(e.recorded_at_us for e in events)
    for info in store.streams():
        versions = [e.version for e in events if e.stream == info.stream]
        assert versions == list(range(info.version + 1)), info.stream
    told = [ack for report in reports for ack in report.acknowledged]
    for ack in told:
        _check_place(ack, events)
    stored = {(e.stream, e.version) for e in events}
    assert stored == {place for ack in told for place in _places(ack.answer)}
    _check_keys(told)
    _check_races(reports)
    assert [check for check in store.check() if not check.good] == []


def _append(
    store: Store, report: Report, stream: str, events: list[Event], expected: Expected, token: str
) -> None:
    try:
        answer = store.append(stream, events, expected=expected)
    except Conflict as conflict:
        report.lost.append((stream, conflict.expected))
        return
    report.acknowledged.append(Acknowledged(token, answer))


def _race(store: Store, report: Report, events: list[Event], token: str) -> None:
    """Everybody wants the next version of one stream; who loses does not try again."""
    head = store.head("race-1")
    _append(store, report, "race-1", events, NO_STREAM if head == NO_EVENTS else head, token)


def _check_place(ack: Acknowledged, events: list[Recorded]) -> None:
    answer = ack.answer
    first = answer.position - answer.event_count
    for number, event in enumerate(events[first : answer.position]):
        assert event.data == {"token": ack.token, "n": number}
        assert event.stream == answer.stream


def _check_keys(told: list[Acknowledged]) -> None:
    """Each key was stored once; whoever came with it has the same answer, the later ones marked."""
    by_key: dict[str, list[Appended]] = {}
    for ack in told:
        if ack.answer.stream == "keyed-1":
            by_key.setdefault(ack.token, []).append(ack.answer)
    for answers in by_key.values():
        assert len({answer._replace(duplicate=True) for answer in answers}) == 1
        assert sum(not answer.duplicate for answer in answers) == 1


def _check_races(reports: list[Report]) -> None:
    """One winner a stream for NO_STREAM; the winners of the race expected different versions."""
    told = [ack.answer for report in reports for ack in report.acknowledged]
    firsts = Counter(a.stream for a in told if a.stream.startswith("new-"))
    assert set(firsts.values()) == {1}
    starts = Counter(a.version - a.event_count for a in told if a.stream == "race-1")
    assert starts[-1] == 1
    assert set(starts.values()) == {1}


def _places(answer: Appended) -> Iterator[tuple[str, int]]:
    for number in range(answer.event_count):
        yield answer.stream, answer.version - number
