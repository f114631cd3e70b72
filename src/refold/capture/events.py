"""The events that hold what went over the wire, to the byte.

They stand beside the events of the vocabulary that were read from them; folds and read models
pass over them. The metadata of each names its call (``call``).
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec

from refold.core.registry import event

COUNT_MAX: Final = 10_000_000
"""How many elements and gaps a form may speak of; more would fill the memory of who reads it."""
Count = Annotated[int, msgspec.Meta(ge=0, le=COUNT_MAX)]
Run = Annotated[list[Count], msgspec.Meta(min_length=2, max_length=3)]


class Wire(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """Base of what is here: defaults are not stored."""


@event("wire.request")
class WireRequest(Wire, frozen=True):
    """The body of a request, taken apart; ``hash`` is SHA-256, in hex, of its exact bytes.

    The body is ``gaps`` with elements between them. A gap is text and how often in a row it comes;
    ``runs`` name the elements, in order: ``[first, count]`` of ``new``, or ``[first, count,
    version]`` of those of the ``wire.request`` at an earlier version of the stream. What cannot be
    taken apart is kept whole, as ``text`` or, where it is no UTF-8, in ``base64``. ``pieces``:
    the payload was too large for an event, and is the joined text of so many ``wire.piece`` events
    right before this one.
    """

    hash: str = ""
    gaps: list[tuple[str, Count]] = []
    runs: list[Run] = []
    new: list[msgspec.Raw] = []
    text: str = ""
    base64: str = ""
    pieces: Count = 0


@event("wire.piece")
class WirePiece(Wire, frozen=True):
    """A piece of the JSON text of the ``wire.request`` that follows."""

    text: str


@event("wire.answer")
class WireAnswer(Wire, frozen=True):
    """Bytes of an answer as they came, in order of version: ``lead``, ``text`` and ``rest``.

    ``lead`` and ``rest`` are base64 of what is no UTF-8 by itself: the ends of a character that
    was cut in two, or a compressed answer. The first of a call has the status and the headers that
    are kept; the last, and only that, says how it ended (``ending``) and the SHA-256, in hex, of
    all its bytes (``hash``).
    """

    text: str = ""
    lead: str = ""
    rest: str = ""
    ending: str | None = None
    hash: str | None = None
    status: int | None = None
    headers: dict[str, str] = {}


@event("wire.waiting")
class WireWaiting(Wire, frozen=True):
    """A run of a tool that ended while the answer still came that may hold its call.

    It is told as the model's call, or as its own in the ``conversation``, when all calls that it
    ``awaits`` have ended (the streams that they are recorded in, by their ids); by who goes on with
    such a stream where the process ended before. The first of the streams has the whole event, the
    others one with the ``id`` of the run alone.
    """

    run: dict[str, Any]
    conversation: str | None = None
    awaits: dict[str, str] = {}


@event("wire.branch")
class WireBranch(Wire, frozen=True):
    """The history of its tags stands in a branch, in which tags find nothing."""

    stream: str
    version: int
