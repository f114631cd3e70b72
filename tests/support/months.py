"""A store in PostgreSQL with events in three months, and what can be read of one."""

from __future__ import annotations

from typing import Any, Final

import refold
from refold import Append, Event
from refold.core.clock import to_us
from refold.core.fold import Fold
from refold.core.query import Query

JANUARY: Final = to_us("2025-01-10T00:00:00Z")
FEBRUARY: Final = to_us("2025-02-10T00:00:00Z")
MARCH: Final = to_us("2025-03-10T00:00:00Z")
EVENTS: Final = 19
count_of = Fold("count", int)
count_of.on("test.a")(lambda state, event: state + event["n"])


def fill(url: str) -> None:
    """Appends of each sort, in each of three months."""
    clock = [JANUARY]
    with refold.open(url, clock=lambda: clock[0]) as store:
        for month in (JANUARY, FEBRUARY, MARCH):
            clock[0] = month
            for number in range(2):
                event = Event("test.a", {"n": 1, "text": "\0é"}, metadata={"own": number})
                late = Event("test.b.v2", [1, 2], occurred_at=month + 5)
                tags = [f"x:{number}", "all"]
                store.append(f"call-{number}", [event, late], metadata={"by": "me"}, tags=tags)
                clock[0] += 1_000_000
            if month == JANUARY:
                parts = [Append("call-1", [Event("test.c")]), Append("only-1", [Event("test.old")])]
                store.append_together(parts, key="both")
                store.branch("call-1", at=0).adding(Event("test.a", {"n": 5})).save("call-1~b")
            store.append("call-1", [Event("test.d", {"n": 7})], key=f"key-{month}")


def everything(store: refold.Store) -> dict[str, Any]:
    """All that a store tells of its log, in whatever way it is asked."""
    known = "2025-02-10T00:00:01Z"
    streams = [info.stream for info in store.streams()]
    return {
        "log": [(e, e.position, e.recorded_at_us, e.metadata, e.data) for e in store.read_all()],
        "after": [e.id for e in store.read_all(after=3)],
        "types": [e.id for e in store.read_all(types=["test.a", "test.old"])],
        "category": [e.id for e in store.read_all(categories=["only", "call~"])],
        "tags": [e.id for e in store.read_all(matching=Query(tags=["all"]))],
        "streams": list(store.streams()),
        "forward": {name: list(store.read(name)) for name in streams},
        "backward": {name: list(store.read(name, direction="backward")) for name in streams},
        "folded": {name: store.fold(name, count_of) for name in streams},
        "then": store.fold("call-1", count_of, version=3),
        "known": store.fold("call-0", count_of, recorded_until=known),
        "occurred": store.fold("call-0", count_of, occurred_until=known),
        "keys": [store.find("both"), store.find(f"key-{JANUARY}")],
        "head": store.log_head(),
    }
