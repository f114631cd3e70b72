"""What is new of a history that was imported before: it may have gone on, and no more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from refold.core.encode import Body, row_of
from refold.core.recorded import UNSAVED_POSITION, Recorded, decode_row
from refold.engine.append import Append, batch_of
from refold.engine.store import Store

_SCORE: Final = "score.recorded"


class Growth(NamedTuple):
    """What a stream does not have yet of an append: ``new``.

    ``changed`` says which event is another than it was, "" where none is, and nothing is new then.
    ``kept`` names those that stay as they were first, though other things stand beside what they
    say now: beside the start what is about the whole, beside an answer its tokens, cost and
    thoughts, which a log may still have lacked.
    """

    new: Sequence[object] = ()
    changed: str = ""
    kept: Sequence[str] = ()


def growth(store: Store, append: Append, *, after: int = -1) -> Growth:
    """What is new of an append to its stream, which has what was imported before.

    The stream is compared from behind version ``after``. Scores may stand anywhere in it.
    """
    given = as_recorded(store, append)
    stored = [*store.read(append.stream, from_version=after + 1)]
    scores = Counter(_said(one) for one in stored if one.type == _SCORE)
    held = (one for one in stored if one.type != _SCORE)
    new: list[object] = []
    kept: list[str] = []
    for event, made in zip(append.events, given, strict=True):
        if made.type == _SCORE:
            scores[_said(made)] -= 1
            new += [event] if scores[_said(made)] < 0 else []
        elif (before := next(held, None)) is None:
            new.append(event)
        elif what := difference(before, made):
            kept.append(f"{before.id} ({before.type})")
            if not _is_beside(before, made, what):
                return Growth(changed=f"{kept[-1]} has another {what}")
    return Growth(new, kept=kept)


def as_recorded(store: Store, append: Append) -> list[Recorded]:
    """The events of an append as they would be read back; 0 is the time of one that has none."""
    (write,) = batch_of(append, store.registry).writes
    return decode_row(
        row_of(
            Body(write.body, write.kinds, write.occurred),
            position=UNSAVED_POSITION,
            stream=append.stream,
            version=0,
            recorded_at=0,
            metadata=write.metadata,
        ),
        store.registry,
    )


def difference(stored: Recorded, made: Recorded) -> str:
    """In what an event differs from the one that is stored; "" where it is the same."""
    if stored.stored_kind != made.stored_kind:
        return "type"
    if stored.raw != made.raw:
        return "payload"
    # Without a time of its own an event occurred when it was recorded.
    if stored.occurred_at_us != (made.occurred_at_us or stored.recorded_at_us):
        return "time"
    return "" if stored.metadata == made.metadata else "metadata"


def _is_beside(before: Recorded, made: Recorded, what: str) -> bool:
    """Whether what differs stands beside what was said: at the start, or of the same answer."""
    if what != "payload" or made.type != "model.response":
        return what == "metadata" and before.version == 0
    own = made.data.get("message_id")
    return own is not None and own == before.data.get("message_id")


def _said(score: Recorded) -> tuple[Any, ...]:
    return score.raw, score.occurred_at_us - score.recorded_at_us and score.occurred_at_us
