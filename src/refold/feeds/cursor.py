"""How far a feed has read, what came, and what it has seen lately: pure, all times are arguments.

A feed writes these events in its own stream, ``feed-<name>``. Times (``*_us``) are microseconds
UTC, by the service's clock unless said otherwise. ``id`` and ``type`` are the service's; ``digest``
is SHA-256 over the transaction as canonical JSON.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec
from msgspec.structs import replace

from refold.core.fold import Fold
from refold.core.registry import event

RECENT_MAX: Final = 10_000
"""How many transactions are known without asking the store; it knows all of them, by their keys."""
UNRECOGNIZED: Final = "feed.unrecognized"


class Noted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what a feed notes: immutable, fields by name, defaults are not stored."""


class Came(Noted, frozen=True, kw_only=True):
    """Base of what tells of a transaction."""

    id: str
    type: str
    digest: str
    at_us: int | None = None


@event("feed.received")
class FeedReceived(Came, frozen=True, kw_only=True):
    """A transaction came and was turned into events, in the same append; numbers are text."""

    transaction: dict[str, Any]


@event(UNRECOGNIZED)
class FeedUnrecognized(Came, frozen=True, kw_only=True):
    """A transaction came that means nothing here, or whose events could not be made (``error``).

    ``text`` is the transaction as JSON, "" where it is too long for a store. A part that could not
    be read stands in it as text. When it is reconsidered, it may be recognized.
    """

    text: str
    error: str | None = None


@event("feed.recognized")
class FeedRecognized(Noted, frozen=True, kw_only=True):
    """A transaction that was unrecognized has now been turned into events, in the same append.

    ``other_id``: its id could not be read then. It was received under this one now.
    """

    id: str
    type: str
    other_id: str | None = None


@event("feed.contradicted")
class FeedContradicted(Came, frozen=True, kw_only=True):
    """A transaction came again with other content. What was made of the first stands.

    ``text`` is the transaction as JSON, as it came now.
    """

    text: str


@event("feed.polled")
class FeedPolled(Noted, frozen=True, kw_only=True):
    """How far the feed has read, and what it read since it last said so.

    ``cursor_us``: transactions up to there have been read, but for those that come late. A round
    that is not over goes on with the page ``next`` of what was asked for from ``since_us``, and
    has seen times up to ``highest_us``. ``skew_us``: how far the service's clock is ahead of this
    one, give or take ``skew_error_us``. The service's clock went forward: rounds start no later
    than at ``held_since_us``, to the first that ends after ``held_until_us``.
    """

    cursor_us: int | None = None
    since_us: int | None = None
    next: str | None = None
    highest_us: int | None = None
    skew_us: int | None = None
    skew_error_us: int = 0
    held_since_us: int | None = None
    held_until_us: int | None = None
    received: int = 0
    repeated: int = 0
    unrecognized: int = 0
    contradicted: int = 0


class Seen(msgspec.Struct, array_like=True):
    """The content of a transaction, and its time."""

    digest: str
    at_us: int | None = None


class FeedState(msgspec.Struct):
    """The state of a feed: where it stands, what came lately, and counts.

    ``received`` and ``unrecognized`` count by the service's type; those of the latter that were
    recognized since are counted as received.
    """

    at: FeedPolled = msgspec.field(default_factory=FeedPolled)
    recent: dict[str, Seen] = {}
    received: dict[str, int] = {}
    unrecognized: dict[str, int] = {}
    contradicted: int = 0

    def since_us(self, overlap_us: int) -> int | None:
        """From where the next round reads: before the cursor, for what comes late."""
        if self.at.cursor_us is None:
            return None
        return min(known(self.at.cursor_us - overlap_us, self.at.held_since_us))


Feed: Final[Fold[FeedState]] = Fold("feed", FeedState)
"""How far a feed has been read, and what came: ``store.fold(f"feed-{name}", Feed).state``."""


@Feed.on(FeedReceived, FeedUnrecognized)
def _came(state: FeedState, event: FeedReceived | FeedUnrecognized) -> FeedState:
    counts = state.received if isinstance(event, FeedReceived) else state.unrecognized
    counts[event.type] = counts.get(event.type, 0) + 1
    state.recent[event.id] = Seen(event.digest, event.at_us)
    if len(state.recent) > RECENT_MAX:
        del state.recent[next(iter(state.recent))]
    return state


@Feed.on(FeedRecognized)
def _recognized(state: FeedState, event: FeedRecognized) -> FeedState:
    if event.other_id is None:
        state.received[event.type] = state.received.get(event.type, 0) + 1
    left = state.unrecognized.pop(event.type, 0) - 1
    if left > 0:
        state.unrecognized[event.type] = left
    return state


@Feed.on(FeedContradicted)
def _contradicted(state: FeedState, _event: FeedContradicted) -> FeedState:
    state.contradicted += 1
    return state


@Feed.on(FeedPolled)
def _polled(state: FeedState, event: FeedPolled) -> FeedState:
    state.at = event
    if event.next is None and event.since_us is not None:
        # What is older is read again only on request, and then the keys know it.
        state.recent = {
            id: seen
            for id, seen in state.recent.items()
            if seen.at_us is None or seen.at_us >= event.since_us
        }
    return state


def known(*times_us: int | None) -> list[int]:
    """The times without those that are not known."""
    return [time_us for time_us in times_us if time_us is not None]


def turned(
    at: FeedPolled, skew: tuple[int, int] | None, *, now_us: int, overlap_us: int
) -> FeedPolled:
    """The place in the light of a measured skew (and its error): itself, where that is no news.

    Back went the service's clock: the cursor goes back with it, and the round starts again (what
    is stamped by the clock set back, before the cursor, would else be lost in silence).
    Forward: what was stamped before and comes late is still asked for, for as long as it may.
    """
    if skew is None:
        return at
    skew_us, error_us = skew
    news = replace(at, skew_us=skew_us, skew_error_us=error_us)
    if at.skew_us is None:
        return news
    moved_us, doubt_us = skew_us - at.skew_us, at.skew_error_us + error_us
    if abs(moved_us) <= doubt_us:
        return at
    if moved_us > 0:
        # Nothing read yet: what is to come late was stamped about now, by the clock as it was.
        read_us = now_us + at.skew_us if at.cursor_us is None else at.cursor_us
        return replace(
            news,
            held_since_us=min(known(read_us - overlap_us - doubt_us, at.held_since_us)),
            held_until_us=now_us + skew_us + overlap_us + doubt_us,
        )
    if at.cursor_us is None:
        return news
    back_us = at.cursor_us + moved_us - doubt_us
    return replace(news, cursor_us=back_us, since_us=None, next=None, highest_us=None)


def ended(at: FeedPolled, *, now_us: int) -> FeedPolled:
    """The place at the end of a round: the cursor has come to the latest time seen.

    But not past the service's own now: a transaction from the future must not hide the present.
    """
    service_now_us = now_us + (at.skew_us or 0) + at.skew_error_us
    seen = known(at.cursor_us, at.highest_us)
    cursor_us = min(max(seen), service_now_us) if seen else None
    place = replace(at, cursor_us=cursor_us, next=None, highest_us=None)
    if at.held_until_us is None or service_now_us < at.held_until_us:
        return place
    # The round that comes first after that moment has still been held: it has read what was late.
    return replace(place, held_since_us=None, held_until_us=None)
