"""What every request passes before it is looked at: whom it asks for, and from where."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers, MutableHeaders

from refold.errors import UsageError
from refold.hosts import is_origin_of, name_of
from refold.server.problem import answer

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

SAID: Final = {
    "content-security-policy": "default-src 'none'; frame-ancestors 'none'",
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
"""What each answer says to a browser: nothing here is a page, nor for pages of others."""


class HostGuard:
    """Lets requests through that ask for one of the names a server is known by, and for it alone.

    A page elsewhere whose name was made to lead here (DNS rebinding) is refused by the name, and
    one that sends here across origins by what the browser says of it.
    """

    def __init__(self, app: ASGIApp, *, hosts: Iterable[str]) -> None:
        self._app, self._hosts = app, frozenset(host.lower() for host in hosts)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on and say in its answer what a browser may do with it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(SAID)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            self._check(scope)
        except UsageError as error:
            await answer(error)(scope, receive, told)
        else:
            await self._app(scope, receive, told)

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if name_of(host) not in self._hosts:
            raise UsageError(f"nobody here is known as {host!r:.99}", code="misdirected")
        if origin is not None and not is_origin_of(origin, host):
            raise UsageError(f"requests from pages of {origin!r:.99}", code="cross_origin")
        try:
            unquote_to_bytes(scope.get("raw_path", b"")).decode()
        except UnicodeDecodeError:
            raise UsageError("the address is not UTF-8 text") from None
