"""The workloads on PostgreSQL, with the targets that the backend is held to there."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

from bench.dialogues import REPEAT
from bench.plan import Ask, Entry, Scale, Target, Unit, Workload

CONVERSATIONS: Final = "gpt-4o-airline.json"
RIVALS: Final = ("eventsourcing", "eventsource-py")
STORES: Final = ("refold", "seed", *RIVALS)
LOCKED: Final = "a lock an append"
DESIGNED: Final = "1,000 a second, as designed"
ROUNDS: Final = 5


def on_postgres(scale: Scale, *, conversations: Path, folder: Path) -> Iterator[Workload]:
    """All of them: a server, a process a subject, a database a store."""
    for workload in _all(scale, conversations, folder):
        yield replace(workload, rounds=min(workload.rounds, scale.rounds))


def _all(scale: Scale, conversations: Path, folder: Path) -> Iterator[Workload]:
    yield _single(scale)
    yield _hundreds(scale)
    yield _bulk(scale)
    yield from _together(scale)
    yield _load(scale)
    yield _as_of(scale)
    yield _log(scale)
    yield _projections(scale)
    yield _conversations(conversations, folder)
    yield _copy(scale)
    yield _bytes(scale)
    yield _steps(scale)


def _single(scale: Scale) -> Workload:
    asked = {"size": 1, "seconds": scale.seconds}
    entries = [
        *(_entry(one, one, "append", **asked) for one in STORES),
        _entry(LOCKED, "seed", "append_locked", callers=1, **asked),
        _entry("prepared insert", "raw", "append", **asked),
        _entry("pgbench, 1 client", "raw", "pgbench", clients=1),
    ]
    targets = [Target("refold", 1.6, ("seed",)), Target("refold", 1, RIVALS)]
    return _workload("single", "single appends, one caller", "events/s", entries, targets)


def _hundreds(scale: Scale) -> Workload:
    asked = {"size": 100, "seconds": scale.seconds}
    entries = [
        *(_entry(one, one, "append", **asked) for one in STORES),
        _entry("pipelined inserts", "raw", "append", **asked),
        _entry("COPY of events", "raw", "copied", **asked),
        _entry(DESIGNED, "raw", "figure", value=1_000),
    ]
    targets = [Target("refold", 50, (DESIGNED,)), Target("refold", 1, RIVALS)]
    return _workload("hundreds", "appends of 100 events", "events/s", entries, targets)


def _bulk(scale: Scale) -> Workload:
    asked = {"events": scale.server_log // 2, "size": 10}
    entries = [
        _entry("refold", "refold", "bulk", **asked),
        _entry("COPY of the same append rows", "raw", "copied_appends", **asked),
    ]
    title = "an import: appends of 10 events, 256 a commit"
    targets = [Target("refold", 0.7, (entries[1].label,))]
    return _workload("bulk", title, "events/s", entries, targets)


def _together(scale: Scale) -> Iterator[Workload]:
    """By many callers of one process at once, one event an append."""
    one = {"size": 1, "seconds": scale.seconds}
    for callers in (16,):
        asked = {**one, "callers": callers}
        entries = [
            *(_entry(subject, subject, "append", **asked) for subject in STORES),
            _entry(LOCKED, "seed", "append_locked", **asked),
            _entry("pgbench, 16 clients", "raw", "pgbench", clients=16),
        ]
        targets = [Target("refold", 1, ("seed",)), Target("refold", 1, RIVALS)]
        title = f"single appends by {callers} threads, a connection each"
        yield _workload(f"threads-{callers}", title, "events/s", entries, targets)
    for tasks, figure in ((64, 2), (256, 4)):
        asked = {**one, "tasks": tasks}
        entries = [
            *(_entry(subject, subject, "append_tasks", **asked) for subject in STORES),
            _entry(LOCKED, "seed", "append_locked", **asked),
        ]
        targets = [Target("refold", figure, ("seed",)), Target("refold", 1, RIVALS)]
        if tasks == 64:
            targets.append(Target("refold", 8, (LOCKED,)))
        title = f"single appends by {tasks} tasks of an event loop"
        yield _workload(f"tasks-{tasks}", title, "events/s", entries, targets)


def _load(scale: Scale) -> Workload:
    asked = {"name": "tens", "seconds": scale.seconds}
    entries = [_entry(one, one, "load", **asked) for one in STORES]
    return _workload(
        "load",
        "load and fold a stream of 1,000 events (appends of 10)",
        "s",
        entries,
        [Target("refold", 1, ("seed",)), Target("refold", 1, RIVALS)],
        prepare=[_ask(one, "build", name="tens", events=1_000, size=10) for one in STORES],
        clear=[_ask(one, "drop", name="tens") for one in STORES],
        compared=STORES,
    )


def _as_of(scale: Scale) -> Workload:
    events, both = min(scale.stream, 20_000), ("refold", "seed")
    entries = [
        _entry(f"refold, {by}", "refold", "as_of", name="then", by=by, seconds=scale.seconds)
        for by in ("version", "recorded", "occurred")
    ]
    entries.append(_entry("seed", "seed", "as_of", name="then", by="version", seconds=0.1))
    return _workload(
        "as-of",
        f"as-of reads in a stream of {events:,} events, snapshots in place",
        "s",
        entries,
        [Target(entry.label, 1, ("seed",)) for entry in entries[:3]],
        prepare=[_ask(one, "build", name="then", events=events, size=10) for one in both],
        clear=[_ask(one, "drop", name="then") for one in both],
        checks=[[_ask(one, "state_at", name="then", version=events // 2) for one in both]],
        rounds=3,
    )


def _log(scale: Scale) -> Workload:
    """A rival's log is shorter, for it takes long to write: the rate is what is compared."""
    lengths = dict.fromkeys(STORES, scale.server_log) | dict.fromkeys(RIVALS, scale.server_log // 5)
    logs = {one: {"name": "log", "events": events} for one, events in lengths.items()}
    build = {"streams": scale.server_log // 500, "size": 10}
    entries = [
        *(_entry(one, one, "feed", **log) for one, log in logs.items()),
        _entry("refold, by stream", "refold", "by_stream", **logs["refold"]),
    ]
    return _workload(
        "log",
        f"the whole log of {scale.server_log:,} events (rivals {lengths[RIVALS[0]]:,})",
        "events/s",
        entries,
        [Target("refold", 1, ("seed",)), Target("refold", 1, RIVALS)],
        prepare=[_ask(one, "build", **log, **build) for one, log in logs.items()],
        clear=[_ask(one, "drop", name="log") for one in STORES],
        rounds=3,
    )


def _projections(scale: Scale) -> Workload:
    """The rival commits each event, and gets few of them: the rate is what is compared."""
    lengths = {
        "refold": scale.server_log // REPEAT * REPEAT,
        "seed": scale.server_log // REPEAT * REPEAT,
        "eventsourcing": REPEAT,
    }
    entries = [
        _entry(
            f"{one}, {model}",
            one,
            "rebuild",
            name="talk",
            events=lengths[one],
            **({} if one == "eventsourcing" else {"projection": model}),
        )
        for model, of in (("costs", tuple(lengths)), ("conversations", ("refold", "seed")))
        for one in of
    ]
    return _workload(
        "projections",
        f"read models made anew from {lengths['refold']:,} events "
        f"(eventsourcing {lengths['eventsourcing']:,})",
        "events/s",
        entries,
        [Target("refold, costs", 1, ("eventsourcing, costs",))],
        prepare=[
            *(_ask(one, "use", text="dialogues") for one in lengths),
            *(
                _ask(one, "build", name="talk", events=n, streams=n // 100, size=10)
                for one, n in lengths.items()
            ),
        ],
        clear=[
            *(_ask(one, "drop", name="talk") for one in lengths),
            *(_ask(one, "use") for one in lengths),
        ],
        rounds=3,
        compared=tuple(f"{one}, costs" for one in lengths),
    )


def _conversations(conversations: Path, folder: Path) -> Workload:
    missing = conversations / CONVERSATIONS
    asked = {"name": "real", "folder": str(conversations), "tools_file": ""}
    lines = str(folder / "conversations-postgres.jsonl")
    both = ("refold", "seed")
    return _workload(
        "conversations",
        "the fold of 200 recorded conversations (imported without their tools)",
        "s",
        [_entry(one, one, "fold_conversations", name="real", seconds=0.3) for one in both],
        [Target("refold", 1, ("seed",))],
        prepare=[
            _ask("refold", "import_conversations", **asked),
            _ask("refold", "write_out", name="real", path=lines),
            _ask("seed", "take_in", name="real", path=lines),
        ],
        clear=[_ask(one, "drop", name="real") for one in both],
        compared=both,
        note="" if missing.exists() else f"skipped: {CONVERSATIONS} is not there",
    )


def _copy(scale: Scale) -> Workload:
    entries = [
        _entry(f"appends of {size}", "refold", "copy_in", events=scale.server_log // 5, size=size)
        for size in (1, 10)
    ]
    title = "a file copied into PostgreSQL, compared at the end"
    return _workload("copy", title, "events/s", entries, rounds=3)


def _bytes(scale: Scale) -> Workload:
    log = {"events": scale.bytes_events, "streams": scale.bytes_events // 300}
    prepare = [_ask(one, "use", count=scale.bytes_events) for one in STORES]
    sizes = (1, 10, 100)
    prepare += [_ask("refold", "build", name=f"by-{n}", **log, size=n) for n in sizes]
    prepare += [_ask(one, "build", name="by-10", **log, size=10) for one in STORES[1:]]
    events = scale.bytes_events
    entries = [
        _entry(f"refold, appends of {n}", "refold", "size", name=f"by-{n}", events=events)
        for n in sizes
    ]
    entries += [_entry(one, one, "size", name="by-10", events=events) for one in STORES[1:]]
    clear = [_ask("refold", "drop", name=f"by-{n}") for n in sizes]
    clear += [_ask(one, "drop", name="by-10") for one in STORES[1:]]
    clear += [_ask(one, "use") for one in STORES]
    title = "bytes an event in tables and indexes, turns of 300 bytes"
    return _workload("bytes", title, "bytes/event", entries, prepare=prepare, clear=clear, rounds=1)


def _steps(scale: Scale) -> Workload:
    turns = scale.calls // 10
    entries = [_entry(one, one, "steps", turns=turns) for one in ("refold", "langgraph")]
    title = f"LangGraph's checkpoints: one thread of {2 * turns:,} steps"
    return _workload("steps", title, "/s", entries, [Target("refold", 1, ("langgraph",))], rounds=3)


def _workload(
    name: str,
    title: str,
    unit: Unit,
    entries: Sequence[Entry],
    targets: Sequence[Target] = (),
    rounds: int = ROUNDS,
    **more: Any,
) -> Workload:
    named = f"postgres-{name}", f"PostgreSQL: {title}"
    return Workload(*named, unit, entries, targets, rounds=rounds, **more)


def _ask(subject: str, do: str, **arguments: Any) -> Ask:
    return Ask(f"{subject}-postgres", do, arguments)


def _entry(label: str, subject: str, do: str, **arguments: Any) -> Entry:
    return Entry(label, _ask(subject, do, **arguments))
