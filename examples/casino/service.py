"""The casino over HTTP, on 127.0.0.1: an outside service with books of its own.

    GET  /api/transactions?agent_id=&since=&page=   its transactions from a time on
    POST /api/register       {"agent_id", "client_seed"}: a bearer key, and a commitment
    POST /api/claim          the faucet, once a day
    POST /api/bet            {"amount", "asset", "chance"}
    GET  /api/bet?idempotency_key=                  what became of a bet
    POST /api/reveal         {"client_seed"}: the server seed, and the next commitment
    GET  /admin/statement?agent_id=                 the whole books of an account, listed or not
    POST /admin/faults       what to do wrong from now on
    POST /admin/move         {"agent_id", "type", "amount", ...}: a transaction of the house's

A bearer key goes with every request but the registration; the last three want the admin's. The
POSTs to /api want an Idempotency-Key: under the same key, the same answer, refusals included.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable
from decimal import Decimal
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Self
from urllib.parse import parse_qsl, urlsplit

import msgspec

from examples.casino.books import Account, Books, Refused
from examples.casino.faults import Chance, Faults
from refold.errors import UsageError
from refold.times import to_us

REQUEST_BYTES_MAX: Final = 100_000
IDLE_S: Final = 30
ADMIN_KEY: Final = "house"
"""Of a casino that listens on this machine alone."""


class Casino:
    """Serves while its ``with`` block runs; ``url`` is where.

    ``seed`` decides every roll and every fault. ``faults`` may be changed at any time.
    """

    def __init__(self, *, seed: int = 7, faults: Faults | None = None, port: int = 0) -> None:
        self.faults = faults or Faults()
        self.chance = Chance(seed + 1)
        self.books = Books(
            Chance(seed),
            clock=self.now_us,
            steady_s=time.monotonic,
            late_s=lambda: self.chance.up_to(self.faults.late_s),
        )
        self._gate = _Gate()
        self._served = threading.Condition()
        self.requests = 0
        self._http = _Http(("127.0.0.1", port), _Handler)
        self._http.casino = self
        self.closing = threading.Event()
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        self._thread = threading.Thread(target=self._http.serve_forever, args=(0.05,), daemon=True)

    def now_us(self) -> int:
        """The casino's clock."""
        return time.time_ns() // 1_000 + round(self.faults.skew_s * 1_000_000)

    def pause_s(self) -> float | None:
        """How long this request should have waited, had it kept to the limit; None: it did."""
        limit = self.faults.requests_per_second
        if not limit or self._gate.passes(limit, time.monotonic()):
            return None
        return self.faults.retry_after_s

    def count(self) -> None:
        """Another request has come."""
        with self._served:
            self.requests += 1
            self._served.notify_all()

    def wait_for(self, requests: int, *, timeout_s: float) -> bool:
        """Wait until so many requests have come since the doors opened; whether they have."""
        with self._served:
            return self._served.wait_for(lambda: self.requests >= requests, timeout_s)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.closing.set()
        self._http.shutdown()
        self._http.server_close()
        self._thread.join()


class _Gate:
    """A leaky bucket: a tenth of a second's worth of requests may come at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._level = 0.0
        self._at_s = 0.0

    def passes(self, limit: float, now_s: float) -> bool:
        with self._lock:
            self._level = max(0.0, self._level - (now_s - self._at_s) * limit)
            self._at_s = now_s
            if self._level + 1 > max(1.0, limit / 10):
                return False
            self._level += 1
            return True


class _Http(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False
    casino: Casino

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Agents die, and their connections with them."""
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(request, client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wbufsize = -1
    disable_nagle_algorithm = True
    timeout = IDLE_S
    server: _Http

    def do_GET(self) -> None:
        self._answer("GET")

    def do_POST(self) -> None:
        self._answer("POST")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""

    def date_time_string(self, _timestamp: float | None = None) -> str:
        """The ``Date`` header: by the casino's clock, not the machine's."""
        return formatdate(self.server.casino.now_us() / 1e6, usegmt=True)

    def _answer(self, method: str) -> None:
        casino = self.server.casino
        path = urlsplit(self.path).path
        # The admin's requests are the test's own hand: nothing goes wrong with them.
        faults = Faults() if path.startswith("/admin/") else casino.faults
        body = self._body()
        casino.count()
        pause_s = None if path.startswith("/admin/") else casino.pause_s()
        if pause_s is not None:
            self._send(429, _error("slow_down", "too many requests"), str(pause_s))
        elif casino.chance.hits(faults.fail):
            self._send(503, _error("unwell", "nothing was done; try again"))
        else:
            status, value = self._done(method, path, body)
            if casino.chance.hits(faults.lose):
                self._lose(casino, faults)
            else:
                self._send(status, value)

    def _lose(self, casino: Casino, faults: Faults) -> None:
        """It was done, but nobody hears of it."""
        if casino.chance.hits(0.5):
            casino.closing.wait(faults.silence_s)
        self.close_connection = True

    def _done(self, method: str, path: str, body: bytes) -> tuple[int, Any]:
        route = _ROUTES.get((method, path))
        try:
            if route is None:
                raise Refused(404, "not_found", f"nothing at {method} {path}")
            asked = dict(parse_qsl(urlsplit(self.path).query))
            try:
                given = json.loads(body) if body else {}
            except ValueError as error:
                raise Refused(400, "bad_json", str(error)) from None
            if not isinstance(given, dict):
                raise Refused(400, "bad_json", "send an object")
            return 200, route(_Request(self.server.casino, self.headers, asked, given))
        except Refused as refused:
            return refused.status, _error(refused.code, str(refused))

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "0")
        return self.rfile.read(min(int(length) if length.isdigit() else 0, REQUEST_BYTES_MAX))

    def _send(self, status: int, value: object, retry_after: str | None = None) -> None:
        body = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if retry_after is not None:
            self.send_header("Retry-After", retry_after)
        self.end_headers()
        self.wfile.write(body)


class _Request:
    """A request as the routes see it."""

    def __init__(
        self, casino: Casino, headers: Any, asked: dict[str, str], given: dict[str, Any]
    ) -> None:
        self.casino, self.asked, self.given = casino, asked, given
        self.key = headers.get("Idempotency-Key") or ""
        self._bearer = (headers.get("Authorization") or "").removeprefix("Bearer ")

    def account(self) -> Account:
        """Of the bearer of the key."""
        return self.casino.books.account_of(self._bearer)

    def admin(self, agent_id: str | None) -> Account:
        """The account that the admin asks for."""
        self.check_admin()
        account = self.casino.books.accounts.get(agent_id or "")
        if account is None:
            raise Refused(404, "not_found", f"no agent {agent_id!r}")
        return account

    def check_admin(self) -> None:
        """Refuse everybody else."""
        if self._bearer != ADMIN_KEY:
            raise Refused(401, "unauthorized", "this is the admin's")

    def text(self, name: str) -> str:
        """A text of the body."""
        value = self.given.get(name)
        if not isinstance(value, str) or not value:
            raise Refused(422, f"bad_{name}", f"{name} must be text")
        return value

    def needed_key(self) -> str:
        """The idempotency key, which must be there."""
        if not self.key:
            raise Refused(400, "no_key", "send an Idempotency-Key")
        return self.key


def _register(request: _Request) -> Any:
    books, key = request.casino.books, request.needed_key()
    return books.register(request.text("agent_id"), key, request.text("client_seed"))


def _claim(request: _Request) -> Any:
    return request.casino.books.claim(request.account(), request.needed_key())


def _bet(request: _Request) -> Any:
    casino, account = request.casino, request.account()
    answer = casino.books.bet(account, request.needed_key(), request.given)
    if casino.chance.hits(casino.faults.unknown):
        casino.books.move(account, "badge", Decimal(0), bet_id=answer["bet_id"])
    return answer


def _find_bet(request: _Request) -> Any:
    return request.casino.books.find_bet(
        request.account(), request.asked.get("idempotency_key", "")
    )


def _reveal(request: _Request) -> Any:
    books, key = request.casino.books, request.needed_key()
    return books.reveal(request.account(), key, request.text("client_seed"))


def _transactions(request: _Request) -> Any:
    casino, account, asked = request.casino, request.account(), request.asked
    if asked.get("agent_id") != account.agent_id:
        raise Refused(403, "forbidden", "the key is another agent's")
    try:
        since_us = to_us(asked["since"]) if "since" in asked else None
        page = int(asked.get("page", "0"))
    except (UsageError, ValueError) as error:
        raise Refused(422, "bad_query", str(error)) from None
    listed, following = casino.books.transactions(account, since_us=since_us, page=page)
    listed = [one for t in listed for one in [t] * (1 + casino.chance.hits(casino.faults.repeat))]
    if casino.chance.hits(casino.faults.reorder):
        listed = casino.chance.shuffled(listed)
    return {"transactions": listed, "next": None if following is None else str(following)}


def _statement(request: _Request) -> Any:
    return request.casino.books.statement(request.admin(request.asked.get("agent_id")))


def _faults(request: _Request) -> Any:
    request.check_admin()
    try:
        request.casino.faults = msgspec.convert(request.given, Faults)
    except msgspec.ValidationError as error:
        raise Refused(422, "bad_faults", str(error)) from None
    return request.given


def _move(request: _Request) -> Any:
    account = request.admin(request.text("agent_id"))
    more = {name: request.given.get(name) for name in ("escrow", "to")}
    try:
        amount = Decimal(request.text("amount"))
        return request.casino.books.move(account, request.text("type"), amount, **more)
    except ArithmeticError as error:
        raise Refused(422, "bad_amount", str(error)) from None


def _error(code: str, message: str) -> dict[str, Any]:
    return {"error": {"code": code, "message": message}}


_ROUTES: Final[dict[tuple[str, str], Callable[[_Request], Any]]] = {
    ("POST", "/api/register"): _register,
    ("POST", "/api/claim"): _claim,
    ("POST", "/api/bet"): _bet,
    ("GET", "/api/bet"): _find_bet,
    ("POST", "/api/reveal"): _reveal,
    ("GET", "/api/transactions"): _transactions,
    ("GET", "/admin/statement"): _statement,
    ("POST", "/admin/faults"): _faults,
    ("POST", "/admin/move"): _move,
}
