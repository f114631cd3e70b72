"""Whether a log holds what its application was told, and nothing that it was not."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from refold.core.query import Query
from refold.core.recorded import Recorded
from refold.core.snapshot import EVENTS_BETWEEN_MIN
from refold.engine.store import Store
from refold.ports import Appended
from tests.faults.application import Attempt, tally


def judge(store: Store, attempts: Sequence[Attempt]) -> None:
    """Nothing acknowledged is missing, nothing refused is there, nothing is half there or doubled.

    Then: places are dense, order is kept, folds agree, doctor is content, keys are kept.
    """
    events = list(store.read_all())
    judge_places(store, events)
    judge_attempts(events, attempts)
    judge_filters(store, events)
    judge_tags(store, events)
    judge_folds(store)
    judge_diagnosis(store)
    judge_keys(store, attempts)


def judge_places(store: Store, events: Sequence[Recorded]) -> None:
    """Positions and versions are dense; the clock does not go back; branches are whole."""
    assert [e.position for e in events] == list(range(1, len(events) + 1))
    assert [e.recorded_at_us for e in events] == sorted(e.recorded_at_us for e in events)
    own: dict[str, list[int]] = {}
    for event in events:
        own.setdefault(event.stream, []).append(event.version)
    for info in store.streams():
        first = 0 if info.fork is None else info.fork.version + 1
        assert own.pop(info.stream) == list(range(first, info.version + 1)), info
        read = [e.version for e in store.read(info.stream)]
        assert read == list(range(info.version + 1)), info
    assert own == {}


def judge_attempts(events: Sequence[Recorded], attempts: Sequence[Attempt]) -> None:
    """Each token is there whole, once and where it was said, or not at all where it may not be."""
    found: dict[str, list[Recorded]] = {}
    for event in events:
        found.setdefault(_said(event)[0], []).append(event)
    turns: list[tuple[int, int]] = []
    for token, made in _by_token(attempts).items():
        there = found.pop(token, [])
        fates = {attempt.fate for attempt in made}
        assert there or "stored" not in fates, f"{token} was acknowledged and is missing"
        assert not there or fates != {"refused"}, f"{token} was refused for certain and is there"
        if there:
            _judge_whole(there, made[0])
            turns.append((there[0].position, made[0].turn))
            for attempt in made:
                _judge_answers(there, attempt.answers)
    assert found == {}, "the log holds what nobody appended"
    ordered = [turn for _, turn in sorted(turns)]
    assert ordered == sorted(ordered), "the log is not in the order of the calls"


def judge_filters(store: Store, events: Sequence[Recorded]) -> None:
    """A filter by type finds all of its events: what a row says of its types is true."""
    for name in {event.type for event in events} - {"test.token"}:
        found = [e.position for e in store.read_all(types=[name])]
        assert found == [e.position for e in events if e.type == name], name


def judge_tags(store: Store, events: Sequence[Recorded]) -> None:
    """A tag finds the events of its appends and no others; what may be once is there once."""
    tagged: dict[str, list[int]] = {}
    for event in events:
        if "~" not in event.stream:
            for tag in event.metadata.get("tags", ()):
                tagged.setdefault(tag, []).append(event.position)
    for tag, positions in tagged.items():
        assert [e.position for e in store.read_all(matching=Query(tags=(tag,)))] == positions, tag
        assert len(positions) == 1 or not tag.startswith("seat:"), tag


def judge_folds(store: Store) -> None:
    """Snapshots, where there are any, change no state."""
    for info in store.streams():
        if info.version > EVENTS_BETWEEN_MIN or info.fork is not None:
            folded = store.fold(info.stream, tally)
            assert folded == tally.run(store.read(info.stream)), info.stream


def judge_diagnosis(store: Store) -> None:
    """Doctor finds nothing wrong."""
    assert [check for check in store.check() if not check.good] == []


def judge_keys(store: Store, attempts: Sequence[Attempt]) -> None:
    """A key that was stored gives its first answer; one that was not, stores now, once."""
    for token, made in _by_token(attempts).items():
        if not made[0].again:
            continue
        told = [attempt.answers for attempt in made if attempt.answers]
        before = store.log_head()
        again = tuple(store.append_together(made[0].again, key=token))
        if told:
            assert _places(again) == _places(told[0])
            assert all(answer.duplicate for answer in again)
        once_more = tuple(store.append_together(made[0].again, key=token))
        assert _places(once_more) == _places(again)
        stored = 0 if again[0].duplicate else sum(answer.event_count for answer in again)
        assert store.log_head() == before + stored


def facts(events: Iterable[Recorded]) -> list[tuple[object, ...]]:
    """All that an event says, to compare logs by."""
    return [
        (e.position, e.id, e.kind, e.raw, e.metadata, e.occurred_at_us, e.recorded_at_us)
        for e in events
    ]


def _by_token(attempts: Sequence[Attempt]) -> dict[str, list[Attempt]]:
    grouped: dict[str, list[Attempt]] = {}
    for attempt in attempts:
        grouped.setdefault(attempt.token, []).append(attempt)
    return grouped


def _judge_whole(there: Sequence[Recorded], attempt: Attempt) -> None:
    wanted = [(stream, n) for stream, size in attempt.parts for n in range(size)]
    assert [(e.stream, _said(e)[1]) for e in there] == wanted, attempt
    first = there[0].position
    assert [e.position for e in there] == list(range(first, first + len(there))), attempt


def _judge_answers(there: Sequence[Recorded], answers: Sequence[Appended]) -> None:
    index = -1
    for answer in answers:
        index += answer.event_count
        last = there[index]
        assert (answer.stream, answer.version, answer.position, answer.recorded_at_us) == (
            last.stream,
            last.version,
            last.position,
            last.recorded_at_us,
        )
    assert not answers or index == len(there) - 1


def _places(answers: Sequence[Appended]) -> list[Appended]:
    return [answer._replace(duplicate=True) for answer in answers]


def _said(event: Recorded) -> tuple[str, int]:
    data: Any = event.data
    if event.type == "session.forked":
        data = data["variant"]
    return str(data["token"]), int(data["n"])
