"""How far a feed has read, and what it has seen lately: pure, all times are arguments."""

from __future__ import annotations

from typing import Final

import msgspec

from refold.core.fold import Fold
from refold.feeds.events import (
    Came,
    FeedContradicted,
    FeedPolled,
    FeedReceived,
    FeedRecognized,
    FeedUnrecognized,
)

RECENT_MAX: Final = 10_000
"""How many transactions are known without asking the store; it knows all of them, by their keys."""


class Seen(msgspec.Struct, array_like=True):
    """The content of a transaction, and its time."""

    digest: str
    at_us: int | None = None


class Bookmark(msgspec.Struct):
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
        since_us = self.at.cursor_us - overlap_us
        return min(since_us, since_us if self.at.held_since_us is None else self.at.held_since_us)


Feed: Final[Fold[Bookmark]] = Fold("feed", Bookmark)


@Feed.on(FeedReceived)
def _received(book: Bookmark, event: FeedReceived) -> Bookmark:
    book.received[event.type] = book.received.get(event.type, 0) + 1
    return _seen(book, event)


@Feed.on(FeedUnrecognized)
def _unrecognized(book: Bookmark, event: FeedUnrecognized) -> Bookmark:
    book.unrecognized[event.type] = book.unrecognized.get(event.type, 0) + 1
    return _seen(book, event)


@Feed.on(FeedRecognized)
def _recognized(book: Bookmark, event: FeedRecognized) -> Bookmark:
    book.received[event.type] = book.received.get(event.type, 0) + 1
    left = book.unrecognized.get(event.type, 0) - 1
    if left > 0:
        book.unrecognized[event.type] = left
    else:
        book.unrecognized.pop(event.type, None)
    return book


@Feed.on(FeedContradicted)
def _contradicted(book: Bookmark, _event: FeedContradicted) -> Bookmark:
    book.contradicted += 1
    return book


@Feed.on(FeedPolled)
def _polled(book: Bookmark, event: FeedPolled) -> Bookmark:
    book.at = event
    if event.next is None and event.since_us is not None:
        # What is older is read again only on request, and then the keys know it.
        book.recent = {
            id: seen
            for id, seen in book.recent.items()
            if seen.at_us is None or seen.at_us >= event.since_us
        }
    return book


def _seen(book: Bookmark, came: Came) -> Bookmark:
    book.recent[came.id] = Seen(came.digest, came.at_us)
    if len(book.recent) > RECENT_MAX:
        del book.recent[next(iter(book.recent))]
    return book


def turned(at: FeedPolled, skew: tuple[int, int], *, now_us: int, overlap_us: int) -> FeedPolled:
    """The place in the light of a measured skew (and its error): itself, where that is no news.

    Back went the service's clock: the cursor goes back with it, and the round starts again.
    Forward: what was stamped before and comes late is still asked for, for as long as it may.
    """
    skew_us, error_us = skew
    if at.skew_us is None:
        return msgspec.structs.replace(at, skew_us=skew_us, skew_error_us=error_us)
    moved_us, doubt_us = skew_us - at.skew_us, at.skew_error_us + error_us
    if abs(moved_us) <= doubt_us:
        return at
    news = msgspec.structs.replace(at, skew_us=skew_us, skew_error_us=error_us)
    if moved_us > 0:
        # Nothing read yet: what is to come late was stamped about now, by the clock as it was.
        read_us = now_us + at.skew_us if at.cursor_us is None else at.cursor_us
        since_us = read_us - overlap_us - doubt_us
        return msgspec.structs.replace(
            news,
            held_since_us=min(since_us, since_us if at.held_since_us is None else at.held_since_us),
            held_until_us=now_us + skew_us + overlap_us + doubt_us,
        )
    if at.cursor_us is None:
        return news
    back_us = at.cursor_us + moved_us - doubt_us
    return msgspec.structs.replace(
        news, cursor_us=back_us, since_us=None, next=None, highest_us=None
    )


def ended(at: FeedPolled, *, now_us: int) -> FeedPolled:
    """The place at the end of a round: the cursor has come to the latest time seen.

    But not past the service's own now: a transaction from the future must not hide the present.
    """
    service_now_us = now_us + (at.skew_us or 0) + at.skew_error_us
    seen = [us for us in (at.cursor_us, at.highest_us) if us is not None]
    cursor_us = min(max(seen), service_now_us) if seen else None
    # The round that comes first after that moment has still been held: it has read what was late.
    held = at.held_until_us is not None and service_now_us < at.held_until_us
    return msgspec.structs.replace(
        at,
        cursor_us=cursor_us,
        next=None,
        highest_us=None,
        held_since_us=at.held_since_us if held else None,
        held_until_us=at.held_until_us if held else None,
    )
