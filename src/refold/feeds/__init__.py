"""Outside services as sources of events: each transaction once, none lost.

::

    from refold.feeds import JsonService, Poller, Source

    bank = JsonService("https://example.org/api", headers={"authorization": "Bearer ..."})
    poller = Poller(store, bank, Source(name="bank", path="/transactions"), to_appends)
    poller.poll()  # to_appends(transaction) gives [Append(...), ...]

What came and how far it was read are events of the stream ``feed-bank``.
"""

from refold.feeds.cursor import Feed
from refold.feeds.http import JsonService
from refold.feeds.poller import Polled, Poller
from refold.feeds.source import Page, Source, Transaction

__all__ = ["Feed", "JsonService", "Page", "Polled", "Poller", "Source", "Transaction"]
