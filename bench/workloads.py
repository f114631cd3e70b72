"""Every workload, with the targets that it is held to."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from bench.dialogues import EVENTS_A_TURN, REPEAT
from bench.plan import Ask, Entry, Scale, Target, Workload
from bench.workloads_detecting import detecting
from bench.workloads_granting import granting
from bench.workloads_pages import pages
from bench.workloads_postgres import on_postgres
from bench.workloads_protected import encryption
from bench.workloads_sealed import sealing
from bench.workloads_served import served

CONVERSATIONS = "gpt-4o-airline.json"
_RIVALS = ("eventsourcing", "eventsource-py", "langgraph")
_STORES = ("refold", "seed", "eventsourcing", "eventsource-py")


def workloads(scale: Scale, *, conversations: Path, folder: Path) -> list[Workload]:
    """All of them, in the order in which they are run; ``growth`` last, for it takes long."""
    return [
        _disk(scale),
        *_appends(scale),
        *_together(scale),
        *_loads(scale),
        *_moments(scale),
        _intervals(scale),
        _log(scale),
        _projections(scale),
        _long_conversation(scale),
        *_beside(scale),
        _bytes(scale),
        *_captured(scale),
        _steps(scale),
        *_calls(),
        _replayed(scale),
        granting(scale),
        *_real(conversations, folder),
        *sealing(scale),
        detecting(scale),
        pages(scale),
        served(scale),
        *encryption(scale),
        *on_postgres(scale, conversations=conversations, folder=folder),
        _growth(scale),
    ]


def _disk(scale: Scale) -> Workload:
    calls = ("fdatasync", "fsync")
    entries = [_entry(call, "raw", "sync", call=call, seconds=scale.seconds) for call in calls]
    return Workload("disk", "the bare disk: a 4 KiB write and a sync", "/s", entries)


def _appends(scale: Scale) -> Iterator[Workload]:
    """By one caller."""
    best = Target("refold", 2, _RIVALS)
    single = [Target("refold", 0.85, ("raw",)), Target("refold", 6, ("seed",)), best]
    yield _append(scale, "single", "single appends, one caller", 1, single, more=("langgraph",))
    yield _append(scale, "tens", "appends of 10 events", 10)
    hundreds = [
        Target("refold", 1.0, ("raw",)),
        Target("refold", 8, ("seed",)),
        Target("refold", 6, _RIVALS),
    ]
    yield _append(scale, "hundreds", "appends of 100 events", 100, hundreds)
    subjects = (*_STORES, "raw")
    long = _append(scale, "long", "single appends of events of 1.5 KB", 1)
    yield replace(
        long,
        prepare=[Ask(subject, "use", {"text": "long"}) for subject in subjects],
        clear=[Ask(subject, "use") for subject in subjects],
    )


def _append(
    scale: Scale,
    name: str,
    title: str,
    size: int,
    targets: Sequence[Target] = (),
    more: Sequence[str] = (),
) -> Workload:
    subjects = ("refold", "raw", *_STORES[1:], *more)
    asked = {"size": size, "seconds": scale.seconds}
    entries = [_entry(subject, subject, "append", **asked) for subject in subjects]
    return Workload(name, title, "events/s", entries, targets)


def _together(scale: Scale) -> Iterator[Workload]:
    """By many callers at once, one event an append."""
    for callers in (8, 16, 64):
        asked = {"size": 1, "seconds": scale.seconds, "callers": callers}
        subjects = (*_STORES, "langgraph")
        yield Workload(
            f"threads-{callers}",
            f"single appends by {callers} threads",
            "events/s",
            [_entry(subject, subject, "append", **asked) for subject in subjects],
            [Target("refold", 40, ("seed",)), Target("refold", 8, _RIVALS)]
            if callers == 16
            else [],
        )
    for tasks in (64, 256):
        asked = {"size": 1, "seconds": scale.seconds, "tasks": tasks}
        one = {"size": 1, "seconds": scale.seconds}
        entries = [_entry(subject, subject, "append_tasks", **asked) for subject in _STORES]
        yield Workload(
            f"tasks-{tasks}",
            f"single appends by {tasks} tasks of an event loop",
            "events/s",
            [*entries, _entry("raw, one caller", "raw", "append", **one)],
            [Target("refold", 8, ("raw, one caller",)), Target("refold", 20, _RIVALS)]
            if tasks == 64
            else [],
        )


def _loads(scale: Scale) -> Iterator[Workload]:
    """One stream read and folded, without snapshots where nothing else is said."""
    for events, figure in ((1_000, 10), (scale.stream, 15)):
        kept = {"tens": 10, "ones": 1, "packed": 10}
        asks = [Ask("refold", "build", _log_of(name, events, size=s)) for name, s in kept.items()]
        asks.append(Ask("refold", "pack", {"name": "packed"}))
        asks += [Ask(subject, "build", _log_of("tens", events, size=10)) for subject in _STORES[1:]]
        seconds = scale.seconds
        entries = [
            _entry("refold", "refold", "load", name="tens", seconds=seconds),
            _entry("refold, appends of 1", "refold", "load", name="ones", seconds=seconds),
            _entry("refold, packed", "refold", "load", name="packed", seconds=seconds),
        ]
        entries += [_entry(s, s, "load", name="tens", seconds=seconds) for s in _STORES[1:]]
        compared = [entry.label for entry in entries]
        snapshot = {"name": "tens", "seconds": seconds}
        entries.append(_entry("refold, snapshot", "refold", "load_from_snapshot", **snapshot))
        yield Workload(
            f"load-{events}",
            f"load and fold a stream of {events:,} events (appends of 10)",
            "s",
            entries,
            [
                Target("refold", figure, ("seed",)),
                Target("refold", 15, _RIVALS),
                Target("refold, appends of 1", figure, ("seed",)),
                Target("refold, appends of 1", 15, _RIVALS),
                Target("refold, packed", 0.5, ("refold",)),
            ],
            prepare=asks,
            clear=[
                *(Ask("refold", "drop", {"name": name}) for name in kept),
                *(Ask(subject, "drop", {"name": "tens"}) for subject in _STORES[1:]),
            ],
            compared=compared,
        )


def _moments(scale: Scale) -> Iterator[Workload]:
    """A stream as it was."""
    seconds, both = scale.seconds, ("refold", "seed")
    entries = [
        _entry(f"refold, {by}", "refold", "as_of", name="then", by=by, seconds=seconds)
        for by in ("version", "recorded", "occurred")
    ]
    entries += [
        _entry("refold, all folded", "refold", "load", name="then", seconds=seconds),
        _entry("seed", "seed", "as_of", name="then", by="version", seconds=seconds),
    ]
    middle = {"name": "then", "version": scale.stream // 2}
    yield Workload(
        f"as-of-{scale.stream}",
        f"as-of reads in a stream of {scale.stream:,} events, snapshots in place",
        "s",
        entries,
        [Target(entry.label, 1_000, ("seed",)) for entry in entries[:3]],
        prepare=[Ask(s, "build", _log_of("then", scale.stream, size=10)) for s in both],
        clear=[Ask(s, "drop", {"name": "then"}) for s in both],
        checks=[[Ask(s, "state_at", middle) for s in both]],
    )
    huge = scale.huge_stream
    yield Workload(
        f"as-of-{huge}",
        f"as-of reads in a stream of {huge:,} events, snapshots in place",
        "s",
        entries[:4],
        [Target(entry.label, 500, ("refold, all folded",)) for entry in entries[:3]],
        prepare=[Ask("refold", "build", _log_of("then", huge, size=10))],
        clear=[Ask("refold", "drop", {"name": "then"})],
    )


def _intervals(scale: Scale) -> Workload:
    """What the choice of how many events stand between snapshots rests on."""
    asked = {"name": "then", "seconds": scale.seconds}
    return Workload(
        "snapshots",
        f"as-of reads by version in {scale.stream:,} events, by the events between snapshots "
        "(beside: what an event costs in snapshots and in the fold that takes them)",
        "s",
        [
            _entry(f"every {n:,}", "refold", "as_of_every", between=n, **asked)
            for n in (250, 25, 60, 125, 500, 1_000, 2_500)
        ],
        prepare=[Ask("refold", "build", _log_of("then", scale.stream, size=10))],
        clear=[Ask("refold", "drop", {"name": "then"})],
        rounds=3,
    )


def _log(scale: Scale) -> Workload:
    """The whole log, decoded and folded; a rival's is shorter, the rate is what is compared."""
    ours = {"events": scale.log, "streams": scale.log_streams, "size": 10}
    theirs = {"events": scale.rival_log, "streams": scale.log_streams // 10, "size": 10}
    rivals = _STORES[1:]
    entries = [
        _entry("refold, in order", "refold", "feed", name="log", events=scale.log),
        _entry("refold, by stream", "refold", "by_stream", name="log", events=scale.log),
        _entry("refold, packed, in order", "refold", "feed", name="packed", events=scale.log),
        _entry("refold, packed, by stream", "refold", "by_stream", name="packed", events=scale.log),
    ]
    entries += [_entry(s, s, "feed", name="log", events=scale.rival_log) for s in rivals]
    return Workload(
        "log",
        f"the whole log of {scale.log:,} events over {scale.log_streams:,} streams",
        "events/s",
        entries,
        [Target(entry.label, 15, _RIVALS) for entry in entries[:2]],
        prepare=[
            Ask("refold", "build", {"name": "log", **ours}),
            Ask("refold", "build", {"name": "packed", **ours}),
            Ask("refold", "pack", {"name": "packed"}),
            *(Ask(subject, "build", {"name": "log", **theirs}) for subject in rivals),
        ],
        clear=[
            Ask("refold", "drop", {"name": "packed"}),
            *(Ask(subject, "drop", {"name": "log"}) for subject in _STORES),
        ],
        rounds=3,
        compared=("refold, in order", "refold, packed, in order"),
    )


def _projections(scale: Scale) -> Workload:
    """Read models made anew from the whole log; a rival's log is shorter, the rate is compared."""
    rival_log = scale.rival_log // REPEAT * REPEAT
    ours = {"name": "talk", "events": scale.log, "streams": scale.log // 100, "size": 10}
    theirs = {"name": "talk", "events": rival_log, "streams": rival_log // 100, "size": 100}
    both = ("refold", "seed", "eventsourcing")
    models = ("costs", "tool_usage", "customers", "conversations")
    entries = [
        _entry(f"refold, {m}", "refold", "rebuild", name="talk", events=scale.log, projection=m)
        for m in models
    ]
    entries += [
        _entry(f"seed, {m}", "seed", "rebuild", name="talk", events=rival_log, projection=m)
        for m in models
    ]
    cost = _entry("eventsourcing, costs", "eventsourcing", "rebuild", name="talk", events=rival_log)
    return Workload(
        "projections",
        f"projections: rebuilding over {scale.log:,} events (rivals {rival_log:,})",
        "events/s",
        [*entries, cost],
        [Target("refold, costs", 10, ("eventsourcing, costs",))],
        prepare=[
            *(Ask(subject, "use", {"text": "dialogues"}) for subject in both),
            Ask("refold", "build", ours),
            Ask("seed", "build", theirs),
            Ask("eventsourcing", "build", theirs),
        ],
        clear=[
            *(Ask(subject, "drop", {"name": "talk"}) for subject in both),
            *(Ask(subject, "use") for subject in both),
        ],
        rounds=3,
        compared=("refold, costs", "seed, costs", "eventsourcing, costs"),
    )


def _long_conversation(scale: Scale) -> Workload:
    """The state of one conversation, from its first event on and from its newest snapshot."""
    asked = {"name": "talk", "seconds": scale.seconds}
    build = {"name": "talk", "events": scale.turns * EVENTS_A_TURN, "size": EVENTS_A_TURN}
    both = ("refold", "seed")
    entries = [
        *(_entry(subject, subject, "fold_conversations", **asked) for subject in both),
        _entry("refold, snapshot", "refold", "fold_from_snapshot", **asked),
    ]
    return Workload(
        "conversation",
        f"the fold of a conversation of {scale.turns:,} turns",
        "s",
        entries,
        [Target("refold", 8, ("seed",))],
        prepare=[
            *(Ask(subject, "use", {"text": "dialogues"}) for subject in both),
            *(Ask(subject, "build", build) for subject in both),
        ],
        clear=[
            *(Ask(subject, "drop", {"name": "talk"}) for subject in both),
            *(Ask(subject, "use") for subject in both),
        ],
        rounds=3,
        compared=[entry.label for entry in entries],
    )


def _beside(scale: Scale) -> Iterator[Workload]:
    """While another thread of the same process computes in Python without a pause."""
    seconds = max(scale.seconds, 0.4)
    asked = {"size": 1, "seconds": seconds, "busy": 1}
    yield Workload(
        "busy-append",
        "single appends beside one busy Python thread",
        "events/s",
        [_entry(subject, subject, "append", **asked) for subject in _STORES],
        [Target("refold", 8, ("seed",))],
    )
    build = _log_of("tens", 1_000, size=10)
    load = {"name": "tens", "seconds": seconds, "busy": 1}
    ones = {**load, "name": "ones"}
    packed = {**load, "name": "packed"}
    yield Workload(
        "busy-load",
        "load and fold a stream of 1,000 events beside one busy Python thread",
        "s",
        [
            *(_entry(subject, subject, "load", **load) for subject in _STORES),
            _entry("refold, appends of 1", "refold", "load", **ones),
            _entry("refold, packed", "refold", "load", **packed),
        ],
        [Target("refold", 100, ("seed",)), Target("refold, appends of 1", 100, ("seed",))],
        prepare=[
            *(Ask(subject, "build", build) for subject in _STORES),
            Ask("refold", "build", {**build, "name": "ones", "size": 1}),
            Ask("refold", "build", {**build, "name": "packed"}),
            Ask("refold", "pack", {"name": "packed"}),
        ],
        clear=[
            *(Ask(subject, "drop", {"name": "tens"}) for subject in _STORES),
            Ask("refold", "drop", {"name": "ones"}),
            Ask("refold", "drop", {"name": "packed"}),
        ],
    )


def _bytes(scale: Scale) -> Workload:
    """Of events that are all different, in streams of 300."""
    log = {"events": scale.bytes_events, "streams": scale.bytes_events // 300}
    sizes = (1, 10)
    use = {"count": scale.bytes_events}
    prepare = [Ask(subject, "use", use) for subject in _STORES]
    for size in sizes:
        for kind in ("hot", "packed"):
            kept = {"name": f"{kind}-{size}", **log, "size": size}
            prepare.append(Ask("refold", "build", kept))
        prepare.append(Ask("refold", "pack", {"name": f"packed-{size}"}))
    prepare += [Ask(s, "build", {"name": "tens", **log, "size": 10}) for s in _STORES[1:]]
    entries = [
        _entry(
            f"refold, {kind}, appends of {size}",
            "refold",
            "size",
            name=f"{kind}-{size}",
            events=scale.bytes_events,
        )
        for kind in ("hot", "packed")
        for size in sizes
    ]
    for subject in _STORES[1:]:
        size_of = {"name": "tens", "events": scale.bytes_events}
        entries.append(_entry(subject, subject, "size", **size_of))
    figures = (0.65, 0.65, 0.18, 0.18)
    return Workload(
        "bytes",
        "bytes an event on disk, turns of 300 bytes",
        "bytes/event",
        entries,
        [Target(e.label, f, ("seed",)) for e, f in zip(entries, figures, strict=False)],
        prepare=prepare,
        clear=[
            *(
                Ask("refold", "drop", {"name": f"{k}-{s}"})
                for k in ("hot", "packed")
                for s in sizes
            ),
            *(Ask(subject, "drop", {"name": "tens"}) for subject in _STORES[1:]),
            *(Ask(subject, "use") for subject in _STORES),
        ],
        rounds=1,
    )


def _calls() -> Iterator[Workload]:
    """What capture costs the thread that makes a call, beside the bare client."""
    for streamed in (False, True):
        kinds = (("bare client", False), ("captured", True))
        yield Workload(
            "capture-chunk" if streamed else "capture-call",
            "processor time of the caller's thread, "
            + ("a chunk of a streamed answer" if streamed else "a call of 15 KB"),
            "s",
            [
                _entry(label, "refold", "calls", captured=captured, streamed=streamed)
                for label, captured in kinds
            ],
            rounds=3,
        )


def _replayed(scale: Scale) -> Workload:
    """What a decision of a replay costs beside its request; it needs Go, for the server."""
    kinds = (("bare client", True), ("replay", False))
    return Workload(
        "replay-decision",
        "processor time a decision of a replay at 64 workers, the server taking 20 ms "
        "(held to 0.8 ms over the bare client)",
        "s",
        [
            _entry(label, "refold", "replayed", bare=bare, conversations=scale.calls // 5)
            for label, bare in kinds
        ],
        rounds=3,
    )


def _captured(scale: Scale) -> Iterator[Workload]:
    """A conversation as it goes over the wire, the clock in its prompt."""
    build = {"turns": scale.calls}
    made = [
        Ask("refold", "build_captured", {"name": "captured", **build}),
        Ask("refold", "build_captured", {"name": "captured-packed", **build}),
        Ask("refold", "pack", {"name": "captured-packed"}),
        Ask("refold", "build_whole", {"name": "whole", **build}),
        Ask("langgraph", "build_captured", {"name": "captured", **build}),
    ]
    size = {"events": scale.calls}
    yield Workload(
        "capture",
        f"bytes a call on disk, captured: one conversation of {scale.calls:,} calls",
        "bytes/event",
        [
            _entry("refold", "refold", "size", name="captured", **size),
            _entry("refold, packed", "refold", "size", name="captured-packed", **size),
            _entry("each request whole", "refold", "size", name="whole", **size),
            _entry(
                "langgraph, its state at each step", "langgraph", "size", name="captured", **size
            ),
        ],
        [
            Target("refold", 0.5, (other,))
            for other in ("each request whole", "langgraph, its state at each step")
        ],
        prepare=made,
        clear=[
            *(Ask("refold", "drop", {"name": n}) for n in ("captured", "captured-packed", "whole")),
            Ask("langgraph", "drop", {"name": "captured"}),
        ],
        rounds=1,
    )
    yield Workload(
        "capture-apart",
        "taking apart a captured request of 240 KB (to be 5 ms at most)",
        "s",
        [_entry("refold", "refold", "take_apart", seconds=scale.seconds)],
    )


def _steps(scale: Scale) -> Workload:
    """What a checkpointer of LangGraph keeps of a graph whose state is a conversation."""
    turns = scale.calls // 4
    return Workload(
        "steps",
        f"bytes a step on disk, LangGraph's checkpoints: one thread of {2 * turns:,} steps",
        "bytes/event",
        [
            _entry(subject, subject, "size", name="steps", events=2 * turns)
            for subject in ("refold", "langgraph")
        ],
        [Target("refold", 0.2, ("langgraph",))],
        prepare=[
            Ask(subject, "build_steps", {"name": "steps", "turns": turns})
            for subject in ("refold", "langgraph")
        ],
        clear=[Ask(subject, "drop", {"name": "steps"}) for subject in ("refold", "langgraph")],
        rounds=1,
    )


def _real(conversations: Path, folder: Path) -> Iterator[Workload]:
    """The recorded conversations, which the project does not bring."""
    missing = conversations / CONVERSATIONS
    note = "" if missing.exists() else f"skipped: {CONVERSATIONS} is not there"
    asked = {"name": "real", "folder": str(conversations)}
    lines = str(folder / "conversations.jsonl")
    given = [
        Ask("refold", "import_conversations", asked),
        Ask("refold", "write_out", {"name": "real", "path": lines}),
    ]
    dropped = [Ask(subject, "drop", {"name": "real"}) for subject in ("refold", "seed")]
    yield Workload(
        "import",
        "import of 200 recorded conversations (seed: of the same events, read before)",
        "events/s",
        [
            _entry("refold", "refold", "import_conversations", **asked),
            _entry("seed", "seed", "take_in", name="real", path=lines),
        ],
        prepare=given,
        clear=dropped,
        rounds=3,
        note=note,
    )
    fold = {"name": "real", "seconds": 0.3}
    bare = Ask("refold", "import_conversations", {**asked, "tools_file": ""})
    yield Workload(
        "conversations",
        "the fold of 200 recorded conversations (imported without their tools)",
        "s",
        [_entry(subject, subject, "fold_conversations", **fold) for subject in ("refold", "seed")],
        [Target("refold", 4, ("seed",))],
        prepare=[bare, *given[1:], Ask("seed", "take_in", {"name": "real", "path": lines})],
        clear=dropped,
        compared=("refold", "seed"),
        note=note,
    )
    yield Workload(
        "verify",
        "the replay of 200 recorded conversations from their own record",
        "s",
        [_entry(subject, subject, "verify", **fold) for subject in ("refold", "seed")],
        prepare=[bare, *given[1:], Ask("seed", "take_in", {"name": "real", "path": lines})],
        clear=dropped,
        rounds=3,
        compared=("refold", "seed"),
        note=note,
    )
    yield Workload(
        "bytes-real",
        "bytes an event on disk, recorded conversations (an append a conversation)",
        "bytes/event",
        [
            _entry("refold, hot", "refold", "size_kept", name="real"),
            _entry("refold, packed", "refold", "size_kept", name="packed"),
            _entry("seed", "seed", "size_of", path=lines),
        ],
        prepare=[
            Ask("refold", "import_conversations", asked),
            Ask("refold", "import_conversations", {**asked, "name": "packed"}),
            Ask("refold", "pack", {"name": "packed"}),
            Ask("refold", "write_out", {"name": "real", "path": lines}),
        ],
        clear=[Ask("refold", "drop", {"name": name}) for name in ("real", "packed")],
        rounds=1,
        note=note,
    )


def _growth(scale: Scale) -> Workload:
    """Whether appending slows as the log grows."""
    small, large = scale.growth
    entries = [
        _entry(
            f"{events:,} events, appends of {size}",
            "refold",
            "append_on",
            name=f"log-{events}",
            size=size,
            seconds=scale.seconds * 2,
            streams=100,
        )
        for size in (1, 100)
        for events in scale.growth
    ]
    kept = [{"name": f"log-{events}", "events": events} for events in scale.growth]
    return Workload(
        "growth",
        f"appending to a log of {small:,} and of {large:,} events",
        "events/s",
        entries,
        [Target(entries[n + 1].label, 0.8, (entries[n].label,)) for n in (0, 2)],
        prepare=[Ask("refold", "build", {**k, "streams": 100, "size": 10}) for k in kept],
        clear=[Ask("refold", "drop", {"name": k["name"]}) for k in kept],
    )


def _log_of(name: str, events: int, *, size: int) -> dict[str, Any]:
    return {"name": name, "events": events, "size": size}


def _entry(label: str, subject: str, do: str, **arguments: Any) -> Entry:
    return Entry(label, Ask(subject, do, arguments))
