"""A poller is killed at any moment, again and again."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from random import Random
from time import monotonic

import pytest

import refold
from refold.feeds import JsonService, Poller, Source
from tests.feeds.listing import NOON, US, Listing, Reply, serving, to_appends
from tests.feeds.polling_process import OVERLAP_S
from tests.support.soak import bound
from tests.support.stores import KINDS, url_of

KILLS = bound(6, 40)
PER_LIFE = 60
WAIT_S = 60


class Growing(Listing):
    """A listing that grows while it is read, out of order, with repetitions and failures."""

    def __init__(self, random: Random) -> None:
        super().__init__()
        self.random = random
        self.per_page = 7
        self.lock = threading.Lock()
        self.enough = threading.Event()
        self.requests_left = 0
        self.is_over = False
        self.opened_us, self.opened_s = NOON + 1_000_000 * US, monotonic()

    def reply(self, params: dict[str, str]) -> Reply:
        """Another few transactions, and what was asked for, mostly."""
        with self.lock:
            self.now_us = self.opened_us + round((monotonic() - self.opened_s) * US)
            for _ in range(0 if self.is_over else self.random.randint(0, 4)):
                late_s = self.random.choice([0, 0, 0, 30, 200])
                number = len(self.transactions)
                place = self.random.randint(max(0, number - 9), number)
                self.add(f"t{number}", number * 10 - late_s)
                self.transactions.insert(place, self.transactions.pop())
            if not self.is_over and self.random.random() < 0.1:
                self.transactions.append(self.random.choice(self.transactions or [{"id": "t"}]))
            self.requests_left -= 1
            if self.requests_left == 0:
                self.enough.set()
            fails = not self.is_over and self.random.random() < 0.1
            return Reply(503) if fails else super().reply(params)


@pytest.mark.parametrize("kind", KINDS[1:])
def test_a_killed_poller_loses_and_doubles_nothing(kind: str, tmp_path: Path) -> None:
    """Whatever it was at, those after it bring every transaction in, once."""
    random = Random(11)
    path = url_of(kind, tmp_path)
    with serving(Growing(random)) as listing:
        assert isinstance(listing, Growing)
        for _ in range(KILLS):
            listing.enough.clear()
            listing.requests_left = random.randint(1, PER_LIFE)
            process = subprocess.Popen(
                [sys.executable, "-m", "tests.feeds.polling_process", path, listing.url],
                stdout=subprocess.PIPE,
            )
            try:
                assert listing.enough.wait(WAIT_S), "it asks for nothing"
            finally:
                process.kill()
                process.wait(WAIT_S)
                assert process.stdout is not None
                process.stdout.close()
            assert process.returncode == -9, "it had ended before, by itself"
        listing.is_over = True
        wanted = {t["id"] for t in listing.transactions if "type" in t}
        with refold.open(path) as store:
            service = JsonService(listing.url, first_delay_s=0.001)
            poller = Poller(store, service, Source(name="bank"), to_appends, overlap_s=OVERLAP_S)
            for _ in range(2):  # The first may be the end of a round that was cut off.
                while not poller.poll().is_over:
                    pass
            service.close()
            stored = Counter(event.data["id"] for event in store.read("account-1"))
            assert set(stored) == wanted
            assert set(stored.values()) == {1}
            assert poller.status().received == {"deposit": len(wanted)}
            assert all(check.good for check in store.check())
