"""A service on 127.0.0.1 that lists transactions, and does what a test tells it to."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

from refold import Append, Event
from refold.core.clock import rfc3339, to_us
from refold.feeds import JsonService, Transaction
from refold.pacing import Pace

NOON = to_us("2026-03-01T12:00:00Z")
US = 1_000_000


class Reply:
    """An answer as it goes out; without a status, none does until the test ends."""

    def __init__(self, status: int | None, body: bytes = b"{}", **headers: str) -> None:
        self.status, self.body, self.headers = status, body, headers


class Listing:
    """What the service holds and was asked.

    ``transactions`` are listed by ``since`` (an ``at`` that is missing always is) in the order
    they are in, ``per_page`` at a time. ``replies`` come first, one a request. ``now_us`` is its
    clock.
    """

    def __init__(self) -> None:
        self.transactions: list[Any] = []
        self.replies: list[Reply] = []
        self.asked: list[dict[str, str]] = []
        self.headers: list[dict[str, str]] = []
        self.bodies: list[bytes] = []
        self.per_page = 1_000
        self.now_us = NOON
        self.url = ""
        self.ending = threading.Event()
        self.before_reply: Callable[[], object] = lambda: None

    def add(self, id: str, at_s: float = 0, kind: str = "deposit", **more: Any) -> None:
        """A transaction at so many seconds past noon."""
        at = rfc3339(NOON + round(at_s * US))
        self.transactions.append({"id": id, "type": kind, "amount": "1.50", "at": at} | more)

    def reply(self, params: dict[str, str]) -> Reply:
        """What to answer."""
        if self.replies:
            return self.replies.pop(0)
        since_us = to_us(params["since"]) if "since" in params else None
        listed = [t for t in self.transactions if since_us is None or _is_since(t, since_us)]
        start = int(params.get("page", 0))
        end = start + self.per_page
        token = str(end) if end < len(listed) else None
        return Reply(200, json.dumps({"transactions": listed[start:end], "next": token}).encode())


def _is_since(transaction: Any, since_us: int) -> bool:
    return "at" not in transaction or to_us(transaction["at"]) >= since_us


@contextmanager
def serving(given: Listing | None = None) -> Iterator[Listing]:
    """Serve until the block ends."""
    listing = Listing() if given is None else given

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        wbufsize = -1
        disable_nagle_algorithm = True

        def do_GET(self) -> None:
            listing.asked.append(dict(parse_qsl(urlsplit(self.path).query)))
            listing.headers.append({k.lower(): v for k, v in self.headers.items()})
            listing.bodies.append(self.rfile.read(int(self.headers.get("content-length", 0))))
            reply = listing.reply(listing.asked[-1])
            listing.before_reply()
            if reply.status is None:
                listing.ending.wait()
                return
            self.send_response_only(reply.status)
            said = {"date": formatdate(listing.now_us / US, usegmt=True)}
            said |= {"content-length": str(len(reply.body))}
            for name, value in (said | reply.headers).items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            self.wfile.write(reply.body)

        do_POST = do_GET  # noqa: N815

        def log_message(self, format: str, *args: Any) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    listing.url = f"http://127.0.0.1:{server.server_port}"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    try:
        yield listing
    finally:
        listing.ending.set()
        server.shutdown()
        thread.join()
        server.server_close()


class Standing(Pace):
    """A clock that stands still; ``waits`` is what was waited for."""

    def __init__(self, *, roll: float = 1.0) -> None:
        self.waits: list[float] = []
        self._roll = roll

    def now_s(self) -> float:
        """Always the same."""
        return 100.0

    def wait(self, seconds: float) -> None:
        """Note it."""
        self.waits.append(seconds)

    def roll(self) -> float:
        """Always the same."""
        return self._roll


@contextmanager
def asking(listing: Listing, **options: Any) -> Iterator[JsonService]:
    """A client of the service that never waits."""
    defaults: dict[str, Any] = {"pace": Standing(), "clock": lambda: NOON}
    service = JsonService(listing.url, **(defaults | options))
    try:
        yield service
    finally:
        service.close()


def to_appends(transaction: Transaction) -> Sequence[Append] | None:
    """A deposit becomes an event of the account; nothing else has a meaning."""
    if transaction.type != "deposit":
        return None
    said = {"id": transaction.id, "amount": transaction.data["amount"]}
    return [Append("account-1", [Event("test.deposited", said)])]
