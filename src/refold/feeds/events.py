"""What a feed writes in its own stream, ``feed-<name>``: what came, and how far it has read.

Times (``*_us``) are microseconds UTC, by the service's clock unless said otherwise. ``id`` and
``type`` are the service's; ``digest`` is SHA-256 over the transaction as canonical JSON.
"""

from __future__ import annotations

from typing import Any, Final

import msgspec

from refold.core.event import event

RECEIVED: Final = "feed.received"
UNRECOGNIZED: Final = "feed.unrecognized"
RECOGNIZED: Final = "feed.recognized"
CONTRADICTED: Final = "feed.contradicted"
POLLED: Final = "feed.polled"


class Noted(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """Base of what a feed notes: immutable, fields by name, defaults are not stored."""


class Came(Noted, frozen=True, kw_only=True):
    """Base of what tells of a transaction."""

    id: str
    type: str
    digest: str
    at_us: int | None = None


@event(RECEIVED)
class FeedReceived(Came, frozen=True, kw_only=True):
    """A transaction came and was turned into events, in the same append; numbers are text."""

    transaction: dict[str, Any]


@event(UNRECOGNIZED)
class FeedUnrecognized(Came, frozen=True, kw_only=True):
    """A transaction came that means nothing here, or whose events could not be made (``error``).

    ``text`` is the transaction as JSON. When it is reconsidered, it may be recognized.
    """

    text: str
    error: str | None = None


@event(RECOGNIZED)
class FeedRecognized(Noted, frozen=True, kw_only=True):
    """A transaction that was unrecognized has now been turned into events, in the same append."""

    id: str
    type: str


@event(CONTRADICTED)
class FeedContradicted(Came, frozen=True, kw_only=True):
    """A transaction came again with other content. What was made of the first stands.

    ``text`` is the transaction as JSON, as it came now.
    """

    text: str


@event(POLLED)
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
