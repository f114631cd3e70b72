"""A feed: read what is new in a store, send it, keep how far that was."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from time import monotonic
from typing import Any, Final, get_args
from uuid import uuid4

import msgspec
from msgspec.structs import replace

from refold.core.event import check_name
from refold.engine.checks import check_names
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.engine.subscription import Subscription
from refold.errors import AWAY, StoreClosed, UsageError, refuse_unless
from refold.feeds.kafka.client import LOGGER, Sender, client, partitions_of, sender_of, settings_of
from refold.feeds.kafka.envelope import Mode, outgoing
from refold.feeds.kafka.replication import why_fragile
from refold.feeds.kafka.standing import (
    FEED,
    FeedStanding,
    keep,
    keeper_of,
    kept,
    observe,
    source_of,
)
from refold.ports import Begin
from refold.privacy.stored import as_stored

LOOK_EVERY_S: Final = 5.0
"""How often it is asked how many partitions the topic has, and kept that nothing was to be sent."""


@dataclass
class KafkaFeed:
    """Writes the events of a store to a topic of Kafka, in order in each stream.

    ``name`` is the feed's for ever (by default the topic's name): under it the store knows how far
    it has come, and one process at a time may run it. ``source`` says whose events they are, so
    that with it the id of an event is unique: by default a ``urn:uuid:…`` that the store is given
    for good, and that a backup of it has too. ``mode`` is that of CloudEvents, ``"binary"`` (the
    payload as it is stored) or ``"structured"``. ``categories`` and ``types`` narrow it; without
    them it sends every event, those of branches too. After a crash some are sent again, in the same
    order, and none is left out; with ``exactly_once`` they are sent in transactions, and who reads
    what is committed sees each once. It waits ``patience_s`` for brokers that do not
    answer. ``settings`` are librdkafka's, such as ``security.protocol``. Where one broker that is
    lost could take events of the topic with it, it warns; with ``require_replication`` it refuses.

    It uses as many partitions as the topic had when it began, so that a stream stays where it is.
    """

    store: Store
    topic: str
    _: KW_ONLY
    bootstrap: str
    name: str = ""
    source: str | None = None
    mode: Mode = "binary"
    categories: Sequence[str] = ()
    types: Sequence[str] = ()
    exactly_once: bool = False
    require_replication: bool = False
    patience_s: float = 60.0
    settings: Mapping[str, Any] = field(default_factory=dict, repr=False)

    def __post_init__(self) -> None:
        check_store(self.store, call="KafkaFeed", instead="give refold.open(…)")
        self.name = self.name or self.topic
        check_names(categories=self.categories, types=self.types)
        refuse_unless(self.mode in get_args(Mode), "binary or structured", mode=self.mode)
        self._settings = settings_of(self.bootstrap, self.settings)
        self._client = client("Producer", self._settings)
        self._keeper = keeper_of(self.store, room=True)
        self._source = source_of(self._keeper) if self.source is None else self.source
        check_name(self._source, what="a feed's source")
        self._stopped = threading.Event()
        self._warned, self._looked_s = set[str](), monotonic()

    def catch_up(self) -> int:
        """Send what the log holds now; how many events were sent.

        Raises :class:`~refold.errors.Unavailable` where the brokers do not answer for too long,
        :class:`~refold.errors.UsageError` where another process has taken the feed up (``fenced``),
        it is not what it was begun as (``feed_changed``) or an event cannot be sent,
        :class:`~refold.errors.NotFound` where there is no such topic, and what the store raises.
        """
        return self._send(until=self.store.log_head())

    def run(self) -> None:
        """Send what the log holds and what comes, until this feed or the store is closed.

        Raises as :meth:`catch_up` does; but where something is unavailable it warns and goes on.
        """
        observe(self.store)
        while not self._stopped.is_set():
            try:
                self._send(until=None)
            except StoreClosed:
                return
            except AWAY as error:
                LOGGER.warning("%s; feed %r begins again", error.message, self.name)
                self._stopped.wait(1)

    def close(self) -> None:
        """End :meth:`run` and :meth:`catch_up` after what is being sent; from any thread."""
        self._stopped.set()
        self.store._bell.ring()

    def _send(self, *, until: int | None) -> int:
        """Take the feed up where it stands, and send up to a position, or all that comes."""
        self._take_up()
        own = f"refold-{self.name}-{self._standing.identity}" if self.exactly_once else None
        how = (self.topic, self._standing.partitions, self.patience_s)
        sender, sent = sender_of(self._settings, own, *how), 0
        try:
            position, head = max(self._standing.position, sender.begin()), self.store.log_head()
            if position > head:
                raise self._changed(f"position {position} was sent, and the log ends at {head}")
            wanted = {"categories": self.categories or None, "types": self.types or None}
            # As they are stored: what leaves the store stays closed.
            log = as_stored(self.store).subscribe(after=position, **wanted)
            while not self._stopped.is_set() and (until is None or log.position < until):
                rung = log.bell.rung
                sent += (page := self._send_page(log, sender))
                if not page and until is None:
                    log.bell.wait(rung)
            self._keep(log.position)
            return sent
        finally:
            sender.close()

    def _send_page(self, log: Subscription, sender: Sender) -> int:
        """Send the next page of the log; how many events that were, 0 where there are none now."""
        log.fill()
        if log.closed:
            raise StoreClosed("the store was closed while its feed was at work")
        found = [outgoing(one, source=self._source, mode=self.mode) for one in iter(log.take, None)]
        if found:
            sender.send(found, log.position)
        is_due = monotonic() - self._looked_s > LOOK_EVERY_S
        if found or is_due:
            self._keep(log.position)
        if is_due:
            self._compare(len(partitions_of(self._client, self.topic)))
        return len(found)

    def _take_up(self) -> None:
        """From now on the feed is this object's; it is begun where it is new."""
        kept_on = partitions_of(self._client, self.topic)
        partitions = len(kept_on)
        if why := why_fragile(self._settings, self.topic, min(kept_on)):
            if self.require_replication:
                raise UsageError(why, code="not_replicated", topic=self.topic)
            self._warn(why)
        target = [self.topic, self._source, sorted(self.categories), sorted(self.types)]
        standing = FeedStanding(uuid4().hex, target, partitions)
        self._text = kept(self._keeper.query, FEED + self.name)
        if self._text is not None:
            standing = msgspec.json.decode(self._text, type=FeedStanding)
            if standing.target != target:
                begun, now = (_told_of(one) for one in (standing.target, target))
                raise self._changed(f"it was begun {begun}, and this is one {now}")
        self._put(replace(standing, run=uuid4().hex))
        self._compare(partitions)

    def _keep(self, position: int) -> None:
        """Keep in the store how far it has come."""
        if position > self._standing.position:
            self._put(replace(self._standing, position=position))

    def _put(self, standing: FeedStanding) -> None:
        text = msgspec.json.encode(standing).decode()

        def within(begin: Begin) -> None:
            execute = begin().execute
            if kept(execute, FEED + self.name) != self._text:
                why = f"another process has taken up the feed {self.name!r}: let one run it"
                raise UsageError(why, code="fenced", feed=self.name)
            keep(execute, FEED + self.name, text)

        self._keeper.write(within)
        self._text, self._standing = text, standing

    def _compare(self, partitions: int) -> None:
        """Tell of partitions that were added; refuse a topic that has lost some."""
        self._looked_s = monotonic()
        own, topic = self._standing.partitions, self.topic
        if partitions < own:
            raise self._changed(f"topic {topic!r} had {own} partitions and now has {partitions}")
        if partitions > own:
            kept_to = f"feed {self.name!r} keeps to the first {own}, in its order"
            self._warn(f"topic {topic!r} has {partitions} partitions now; {kept_to}")

    def _warn(self, said: str) -> None:
        """Say what somebody should know, once."""
        if said not in self._warned:
            self._warned.add(said)
            LOGGER.warning(said)

    def _changed(self, why: str) -> UsageError:
        why = f"feed {self.name!r}: {why}: begin one of another name, into a topic of its own"
        return UsageError(why, code="feed_changed", feed=self.name)


def _told_of(target: Sequence[Any]) -> str:
    """What a feed sends, and where to, in words."""
    topic, source, categories, types = target
    only = [
        f"{what} {', '.join(names)}"
        for what, names in (("categories", categories), ("types", types))
        if names
    ]
    return f"into {topic!r} by {source}, of {' and '.join(only) or 'all events'}"
