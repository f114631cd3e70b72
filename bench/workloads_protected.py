"""What encrypting personal values costs: appended, read and folded."""

from __future__ import annotations

from collections.abc import Iterator

from bench.plan import Ask, Entry, Scale, Target, Workload

PLAIN, PROTECTED = "refold", "refold-protected"


def encryption(scale: Scale) -> Iterator[Workload]:
    """Under a key a subject, against none of it."""
    for name, size, figures in (("single", 1, []), ("hundreds", 100, [0.5])):
        asked = {"size": size, "seconds": scale.seconds}
        yield Workload(
            f"encryption-{name}",
            f"appends of {size} events, of which five in six hold a value that is encrypted",
            "events/s",
            [Entry(one, Ask(one, "append", asked)) for one in (PLAIN, PROTECTED)],
            [Target(PROTECTED, figure, (PLAIN,)) for figure in figures],
            rounds=5,
        )
    log = {"name": "log", "events": scale.stream, "streams": 1, "size": 10}
    yield Workload(
        "encryption-load",
        f"load and fold a stream of {scale.stream:,} such events, without snapshots",
        "s",
        [
            Entry(one, Ask(one, "load", {"name": "log", "seconds": scale.seconds}))
            for one in (PLAIN, PROTECTED)
        ],
        prepare=[Ask(one, "build", log) for one in (PLAIN, PROTECTED)],
        clear=[Ask(one, "drop", {"name": "log"}) for one in (PLAIN, PROTECTED)],
    )
