"""What sealing costs and takes: beside appends, on disk, verified, proved."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from bench.plan import Ask, Entry, Scale, Target, Workload

PLAIN, SEALED, FOLLOWED = "refold", "refold-sealed", "refold-followed"


def sealing(scale: Scale) -> Iterator[Workload]:
    """Appends beside a sealer against appends alone; a large log sealed, verified and proved."""
    seconds = 10 * scale.seconds  # The sealer goes on once a second.
    asked: dict[str, Any]
    for name, title, do, asked, figure in (
        ("single", "single appends", "append", {"size": 1}, 0.95),
        ("hundreds", "appends of 100 events", "append", {"size": 100}, 0.7),
        ("threads", "single appends by 16 threads", "append", {"size": 1, "callers": 16}, 0.85),
        ("tasks", "single appends by 64 tasks", "append_tasks", {"size": 1, "tasks": 64}, 0.85),
    ):
        subjects = (PLAIN, SEALED, FOLLOWED)
        entries = [Entry(one, Ask(one, do, {**asked, "seconds": seconds})) for one in subjects]
        targets = [Target(one, figure, (PLAIN,)) for one in subjects[1:]]
        title = f"{title}, sealed within a second by the store, or by another process"
        yield Workload(f"sealing-{name}", title, "events/s", entries, targets, rounds=5)
    yield _bytes(scale)
    yield from _log(scale)


def _bytes(scale: Scale) -> Workload:
    """Of streams of 300 events; 45 bytes more are allowed."""
    log = {"events": scale.bytes_events, "streams": scale.bytes_events // 300, "size": 10}
    prepare: list[Ask] = []
    entries: list[Entry] = []
    for subject in (PLAIN, SEALED):
        prepare.append(Ask(subject, "use", {"count": scale.bytes_events}))
        for kind in ("hot", "packed"):
            prepare.append(Ask(subject, "build", {"name": kind, **log}))
            if subject == SEALED:
                prepare.append(Ask(subject, "seal", {"name": kind, "events": log["events"]}))
            if kind == "packed":
                prepare.append(Ask(subject, "pack", {"name": kind}))
            size = Ask(subject, "size", {"name": kind, "events": scale.bytes_events})
            entries.append(Entry(f"{subject}, {kind}", size))
    clear = [
        Ask(one, "drop", {"name": kind}) for one in (PLAIN, SEALED) for kind in ("hot", "packed")
    ]
    clear += [Ask(one, "use") for one in (PLAIN, SEALED)]
    title = "bytes an event on disk, sealed or not: 45 more at most"
    return Workload("sealing-bytes", title, "bytes/event", entries, [], prepare, clear, rounds=1)


def _log(scale: Scale) -> Iterator[Workload]:
    """A log of a million events; 200,000 a second are to be verified."""
    log = {"name": "log", "events": scale.log, "streams": scale.log_streams // 10, "size": 10}
    named = {"name": "log", "events": scale.log}
    yield Workload(
        "sealing-log",
        f"a log of {scale.log:,} events that was there before is sealed, then verified whole",
        "events/s",
        [
            Entry("sealed", Ask(SEALED, "seal", named)),
            Entry("verified", Ask(SEALED, "verify_deep", named)),
        ],
        prepare=[Ask(SEALED, "build", log)],
        rounds=1,
    )
    yield Workload(
        "sealing-proof",
        f"one event of {scale.log:,} is proved (of ten times as many: one tile more)",
        "s",
        [Entry("proved", Ask(SEALED, "proof", {"name": "log", "seconds": scale.seconds}))],
        clear=[Ask(SEALED, "drop", {"name": "log"})],
    )
