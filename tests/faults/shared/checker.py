"""The judgement on a run: how often each promise was broken, from what is left of it alone.

Pure. Each finding is a line of text that names the event, so that it can be looked for.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from itertools import pairwise
from typing import NamedTuple

from tests.faults.shared import money
from tests.faults.shared.evidence import (
    Entry,
    Evidence,
    Run,
    Topic,
    by_op,
    sum_of,
    tallied,
)
from tests.faults.shared.journal import Deed, Place

Check = Callable[[Evidence], Iterator[str]]


class Column(NamedTuple):
    """A promise: what of it may not be, and every time that it was."""

    name: str
    found: list[str]


def lost(evidence: Evidence) -> Iterator[str]:
    """Acknowledged, and not in the log as it was told."""
    at = {one.position: one for one in evidence.log}
    for deed in evidence.deeds.values():
        for answer in ([deed.places] if deed.places else []) + deed.answers_again:
            if [(place.stream, place.events) for place in answer] != deed.parts:
                yield f"{deed.op} was of {deed.parts} and was told {answer}"
            for place in answer:
                if not _stands(at, deed, place):
                    yield f"{deed.op}: {place}"


def _stands(at: dict[int, Entry], deed: Deed, place: Place) -> bool:
    """Whether the events that a writer was told of are where it was told."""
    for back in range(place.events):
        one = at.get(place.position - back)
        if one is None or (one.op, one.stream, one.version) != (
            deed.op,
            place.stream,
            place.version - back,
        ):
            return False
    return True


def doubled(evidence: Evidence) -> Iterator[str]:
    """More events of an append than it has, or two at one position or version of a stream."""
    for op, entries in by_op(evidence.log).items():
        deed = evidence.deeds.get(op)
        if deed is not None and len(entries) > sum(count for _, count in deed.parts):
            yield f"{op}: {[one.position for one in entries]}"
    versions = Counter((one.stream, one.version) for one in evidence.log)
    yield from (f"{stream}@{version}" for (stream, version), times in versions.items() if times > 1)
    positions = Counter(one.position for one in evidence.log)
    yield from (f"position {position}" for position, times in positions.items() if times > 1)


def torn(evidence: Evidence) -> Iterator[str]:
    """Some events of an append and not all, or not side by side in its order, or of nobody."""
    for op, entries in by_op(evidence.log).items():
        deed = evidence.deeds.get(op)
        if deed is None:
            yield f"{op} is nobody's, at {entries[0].position}"
            continue
        wanted = [(stream, n) for stream, count in deed.parts for n in range(count)]
        is_beside = entries[-1].position - entries[0].position == len(entries) - 1
        in_order = [one.stream for one in entries] == [stream for stream, _ in wanted]
        if len(entries) <= len(wanted) and not (is_beside and in_order):
            yield f"{op} is of {deed.parts}: {[one[:3] for one in entries]}"


def reordered(evidence: Evidence) -> Iterator[str]:
    """A stream whose versions are not 0, 1, 2… along positions; an append before what preceded it.

    What a writer was told before another began comes before that, in the whole log.
    """
    next_version: Counter[str] = Counter()
    for one in evidence.log:
        if one.version != next_version[one.stream]:
            yield f"{one.stream}@{one.version} at {one.position}, after {next_version[one.stream]}"
        next_version[one.stream] = one.version + 1
    first = {op: entries[0].position for op, entries in by_op(evidence.log).items()}
    told = sorted(
        (deed for deed in evidence.deeds.values() if deed.places), key=lambda d: d.told_ns
    )
    begun = sorted((d for d in evidence.deeds.values() if d.op in first), key=lambda d: d.began_ns)
    before, reached = iter(told), 0
    ended = next(before, None)
    for deed in begun:
        while ended is not None and ended.told_ns < deed.began_ns:
            reached = max(reached, max(place.position for place in ended.places or ()))
            ended = next(before, None)
        if first[deed.op] <= reached:
            yield f"{deed.op} at {first[deed.op]}, begun when {reached} was acknowledged"


def missing(evidence: Evidence) -> Iterator[str]:
    """Positions that nothing stands at: they are 1, 2, 3…."""
    due = 1
    for one in evidence.log:
        if one.position > due:
            yield f"{due}..{one.position - 1}"
        due = one.position + 1


def out_of_order(evidence: Evidence) -> Iterator[str]:
    """A reader was given a position that is not above the one before."""
    for name, runs in evidence.readers.items():
        for before, after in pairwise(runs):
            if after.first <= before.last:
                yield f"{name}: {after.first} after {before.last}"


def skipped(evidence: Evidence) -> Iterator[str]:
    """Positions that a reader was not given, up to the end of the log."""
    head = evidence.log[-1].position if evidence.log else 0
    for name, runs in evidence.readers.items():
        seen = [Run(0, 0, 0), *runs]
        for before, after in pairwise(seen):
            if after.first > before.last + 1:
                yield f"{name}: {before.last + 1}..{after.first - 1}"
        if max(run.last for run in seen) < head:
            yield f"{name} came to {seen[-1].last} of {head}"


def seen_otherwise(evidence: Evidence) -> Iterator[str]:
    """What a reader was given at a position is not what stands there now."""
    at = {one.position: one for one in evidence.log}
    for name, runs in evidence.readers.items():
        for run in runs:
            total = 0
            for position in range(run.first, run.last + 1):
                one = at.get(position)
                stream, version = ("", -1) if one is None else (one.stream, one.version)
                total = sum_of(total, position, stream, version)
            if total != run.sum:
                yield f"{name}: somewhere in {run.first}..{run.last}"


def rejected_yet_there(evidence: Evidence) -> Iterator[str]:
    """Its writer was told in the end that nothing was written."""
    ops = {one.op for one in evidence.log}
    for deed in evidence.deeds.values():
        if deed.refused and deed.places is None and deed.op in ops:
            yield f"{deed.op}: {deed.refused}"


def decided_on_the_past(evidence: Evidence) -> Iterator[str]:
    """A command whose events rest on a state that was none, or that another had ended."""
    seats: set[str] = set()
    for one in evidence.log:
        data = one.data or {}
        if one.type == "test.counted" and data["value"] != one.version + 1:
            yield f"{one.stream}@{one.version} counts {data['value']}"
        if one.type == "test.seated":
            if data["seat"] in seats:
                yield f"{one.stream}@{one.version} takes {data['seat']}"
            seats.add(data["seat"])


def rows_unequal(evidence: Evidence) -> Iterator[str]:
    """A row of a projection that is not what a plain loop over the log gives."""
    due = tallied(evidence.log) if evidence.tallies else {}
    for name, rows in evidence.tallies.items():
        for stream in sorted({*due, *rows}):
            if rows.get(stream) != due.get(stream):
                yield f"{name}: {stream} is {rows.get(stream)}, and should be {due.get(stream)}"


def lost_in_kafka(evidence: Evidence) -> Iterator[str]:
    """Events that are in the log and not in a topic, or there and not in the log."""
    due = {(one.stream, one.version, one.position) for one in evidence.log}
    for name, topic in evidence.topics.items():
        there = {(one.stream, one.version, one.position) for one in topic.messages}
        yield from (f"{name} lacks {stream}@{version}" for stream, version, _ in due - there)
        yield from (f"{name} has {stream}@{version}" for stream, version, _ in there - due)


def doubled_in_kafka(evidence: Evidence) -> Iterator[str]:
    """A message again, though it is further back than a feed that begins again goes."""
    for name, topic in evidence.topics.items():
        reached: Counter[int] = Counter()
        for one in topic.messages:
            at = reached[one.partition]
            if one.position <= at - topic.again_max:
                yield f"{name}/{one.partition}: {one.stream}@{one.version}, {one.position} at {at}"
            reached[one.partition] = max(at, one.position)


def reordered_in_kafka(evidence: Evidence) -> Iterator[str]:
    """An event before an earlier one of its stream, or a stream in two partitions."""
    for name, topic in evidence.topics.items():
        yield from (f"{name}: {what}" for what in _out_of_place(topic))


def _out_of_place(topic: Topic) -> Iterator[str]:
    last: dict[str, int] = {}
    partitions: dict[str, set[int]] = defaultdict(set)
    for one in topic.messages:
        # What comes again comes in the same order: one more than the last, or one seen before.
        if one.version > last.get(one.stream, -1) + 1:
            yield f"{one.stream}@{one.version} after {last.get(one.stream, -1)}"
        last[one.stream] = one.version
        partitions[one.stream].add(one.partition)
    yield from (f"{stream} is in {sorted(at)}" for stream, at in partitions.items() if len(at) > 1)


CHECKS: dict[str, Check] = {
    "acknowledged and lost": lost,
    "doubled": doubled,
    "torn apart": torn,
    "reordered": reordered,
    "positions missing": missing,
    "seen out of order": out_of_order,
    "skipped by a reader": skipped,
    "seen otherwise": seen_otherwise,
    "rejected and in the log": rejected_yet_there,
    "decided on what was past": decided_on_the_past,
    "rows unequal to the fold": rows_unequal,
    "lost on the way to Kafka": lost_in_kafka,
    "doubled in Kafka": doubled_in_kafka,
    "reordered in Kafka": reordered_in_kafka,
    "accounts below zero": lambda evidence: money.overdrawn(evidence.log),
    "sums not kept": lambda evidence: money.not_kept(evidence.log),
    "unexpected errors": lambda evidence: iter(evidence.complaints),
}


def judged(evidence: Evidence) -> list[Column]:
    """Each promise with what broke it: nothing, it is to be hoped."""
    return [Column(name, list(check(evidence))) for name, check in CHECKS.items()]


def figures(evidence: Evidence) -> dict[str, int]:
    """What happened, by count."""
    deeds, ops = evidence.deeds.values(), {one.op for one in evidence.log}
    unknown = [deed for deed in deeds if deed.places is None and not deed.refused]
    return {
        "events in the log": len(evidence.log),
        "acknowledged appends": sum(deed.places is not None for deed in deeds),
        "refused appends": sum(bool(deed.refused) for deed in deeds),
        "unknown outcomes resolved": sum(
            deed.is_doubtful and deed.places is not None for deed in deeds
        ),
        "never told, and stored": sum(deed.op in ops for deed in unknown),
        "never told, and not stored": sum(deed.op not in ops for deed in unknown),
        "answered again by key": sum(len(deed.answers_again) for deed in deeds),
    }
