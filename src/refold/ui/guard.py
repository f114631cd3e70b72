"""What every request to the pages passes: who is asked for, and what an answer allows a browser."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse

from refold.hosts import is_origin_of, name_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

READING: Final = frozenset({"GET", "HEAD"})
ALLOWED: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
    # With "no-referrer" a browser would not say where a form of these pages was sent from.
    "referrer-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
"""Nothing but what the pages themselves have is loaded or run, and nobody else may frame them."""


class Guard:
    """Lets requests through that read, and that ask for one of the names a server is known by.

    Where pages can be written (``is_written``), also what a form of these pages sends.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str], is_written: bool) -> None:
        self._app, self._hosts = app, frozenset(host.lower() for host in hosts)
        self._methods = READING | ({"POST"} if is_written else set())

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on and say in its answer what a browser may do with it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(ALLOWED)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        refused = self._refused(scope)
        await (self._app if refused is None else refused)(scope, receive, told)

    def _refused(self, scope: Scope) -> PlainTextResponse | None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if name_of(host) not in self._hosts:
            why = f"these pages are not known as {host!r}: open them by one of their own names\n"
            return PlainTextResponse(why, 421)
        if scope["method"] not in self._methods:
            allowed = ", ".join(sorted(self._methods))
            why = f"these pages take {allowed}\n"
            return PlainTextResponse(why, 405, {"allow": allowed})
        if scope["method"] not in READING and not _is_from_here(headers, host):
            return PlainTextResponse(
                "only a form of these pages themselves changes anything\n", 403
            )
        return None


def _is_from_here(headers: Headers, host: str) -> bool:
    """Whether a browser says that the page which sends this was had from the same server."""
    is_same = is_origin_of(headers.get("origin", ""), host)
    return is_same and headers.get("sec-fetch-site", "same-origin") == "same-origin"
