"""What is asked of stored events that may not be what was stored, and the fold they go into."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from refold.core.fold import Fold
from refold.core.recorded import Recorded, decode_row
from refold.core.registry import Registry
from refold.core.stored import Row
from refold.errors import RefoldError

REGISTRY = Registry()
BODIES = [
    b'[["a.b",{"n":1,"t":"\xc3\xa9"}],["a.c.v2",[1.5,null],1700000000000000,{"by":"x"}]]',
    b'[["test.noted",{"text":"hi","at":"2026-03-01T09:00:00Z"},-5]]',
    b'[["test.noted",{"text":"hi"},null,{"copied_from":"call-1@0"}]]',
]
FACTS = ("id", "origin_id", "kind", "data", "event", "metadata", "occurred_at", "recorded_at")


@REGISTRY.event("test.noted")
class Noted(msgspec.Struct):
    """An event with a class, which a damaged payload may not fit."""

    text: str
    at: str | None = None


class Counted(msgspec.Struct):
    """A state with most kinds of value in it."""

    notes: int = 0
    texts: list[str] = []
    by_name: dict[str, float | None] = {}


COUNTING: Fold[Counted] = Fold("counting", Counted, registry=REGISTRY)


@COUNTING.on("test.noted", "a.b", "a.c")
def _count(state: Counted, event: object) -> Counted:
    return msgspec.structs.replace(state, notes=state.notes + 1)


def ask_all_of_row(row: Row) -> None:
    """Everything that the events of a row say; errors of refold's are answers."""
    with suppress(RefoldError):
        ask_all(*decode_row(row, REGISTRY))


def ask_all(*events: Recorded) -> None:
    """Everything that events say."""
    for event in events:
        for name in FACTS:
            with suppress(RefoldError):
                getattr(event, name)
        repr(event)
