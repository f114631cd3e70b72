"""What every request to a server passes first: whom it asks for, and how its answer may be used."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from itertools import chain
from typing import TYPE_CHECKING, Final
from urllib.parse import unquote_to_bytes

from starlette.datastructures import Headers, MutableHeaders

from refold.errors import UsageError
from refold.hosts import name_of

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEAD_BYTES_MAX: Final = 32 * 1024
ALWAYS: Final = {
    "cross-origin-resource-policy": "same-origin",
    "x-content-type-options": "nosniff",
}
"""What each answer says to a browser, whatever else a server says."""


class Guard:
    """Lets requests through that ask for one of the names a server is known by.

    A page elsewhere whose name was made to lead here (DNS rebinding) is refused by the name.
    ``check`` raises a :class:`~refold.errors.UsageError` for what is refused beside, ``answer``
    makes the answer of one, and ``said`` are headers of every answer.
    """

    def __init__(
        self,
        app: ASGIApp,
        *,
        hosts: Iterable[str],
        check: Callable[[Scope, Headers], None],
        answer: Callable[[UsageError], ASGIApp],
        said: Mapping[str, str],
    ) -> None:
        self._app, self._hosts = app, frozenset(host.lower() for host in hosts)
        self._check, self._answer = check, answer
        self._said = {**ALWAYS, **said}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request, or pass it on and say in its answer what a browser may do with it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                headers.update(self._said)
                headers.setdefault("cache-control", "no-store")
            await send(message)

        try:
            self._look(scope)
        except UsageError as error:
            await self._answer(error)(scope, receive, told)
        else:
            await self._app(scope, receive, told)

    def _look(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        host = headers.get("host", "")
        if name_of(host) not in self._hosts:
            why = f"nobody here is known as {host!r:.99}: ask by one of this server's own names"
            raise UsageError(why, code="misdirected")
        address: bytes = scope.get("raw_path", b"") + b"?" + scope.get("query_string", b"")
        try:
            unquote_to_bytes(address).decode()
        except UnicodeDecodeError:
            raise UsageError("the address is not UTF-8 text") from None
        if len(address) + sum(map(len, chain(*headers.raw))) > HEAD_BYTES_MAX:
            raise UsageError(f"the head of a request has {HEAD_BYTES_MAX} bytes at most")
        if "transfer-encoding" in headers and "content-length" in headers:
            # Who stands in front may believe the other, and take the rest for another request.
            raise UsageError("a request says its length or comes in chunks, not both")
        self._check(scope, headers)
