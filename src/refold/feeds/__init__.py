"""Outside services as sources of events: each transaction once, none lost.

::

    from refold.feeds import JsonService, Poller, Source

    bank = JsonService("https://example.org/api", headers={"authorization": "Bearer ..."})
    poller = Poller(store, bank, Source(name="bank", path="/transactions"), to_appends)
    poller.poll()  # to_appends(transaction) gives [Append(...), ...]

What came and how far it was read are events of the stream ``feed-bank``.
"""

from refold.feeds.bookmark import Bookmark, Feed, Seen
from refold.feeds.events import (
    FeedContradicted,
    FeedPolled,
    FeedReceived,
    FeedRecognized,
    FeedUnrecognized,
)
from refold.feeds.http import Answer, JsonService
from refold.feeds.intake import ToAppends
from refold.feeds.poller import FeedStatus, Polled, Poller
from refold.feeds.source import Page, Source, Transaction, read_page, read_transaction

__all__ = [
    "Answer",
    "Bookmark",
    "Feed",
    "FeedContradicted",
    "FeedPolled",
    "FeedReceived",
    "FeedRecognized",
    "FeedStatus",
    "FeedUnrecognized",
    "JsonService",
    "Page",
    "Polled",
    "Poller",
    "Seen",
    "Source",
    "ToAppends",
    "Transaction",
    "read_page",
    "read_transaction",
]
