"""Who is let in to pages that have no login around them: whoever was given the address.

Other users of a machine reach a server on loopback as its owner does. So the address that is
opened first has a token in it, which the browser keeps as a cookie and sends with every request.
"""

from __future__ import annotations

from hmac import compare_digest
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl, urlencode

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

TOKEN: Final = "token"
REFUSED: Final = """These pages are for whoever started them. Open the address that was printed
where `refold ui` runs: it has a token in it, and lets this browser in from then on.
"""


class Entrance:
    """Lets requests through that have the ``token``, in their address or in a cookie from here.

    The cookie is named by the port, for a browser sends those of a machine to all of its ports. It
    goes to no script, and with nothing that a page elsewhere sends but a link that is followed.
    """

    def __init__(self, app: ASGIApp, *, token: str) -> None:
        self._app, self._token = app, token

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, refuse it, or lead to the same address without the token."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        request = Request(scope)
        cookie = f"refold-ui-{request.url.port or ''}"
        if self._is_right(request.query_params.get(TOKEN)) and scope["method"] in ("GET", "HEAD"):
            kept = parse_qsl(request.url.query, keep_blank_values=True)
            query = urlencode([one for one in kept if one[0] != TOKEN])
            there = RedirectResponse(f"{request.url.path}{'?' * bool(query)}{query}", 303)
            there.set_cookie(cookie, self._token, httponly=True, samesite="lax")
            await there(scope, receive, send)
        elif self._is_right(request.cookies.get(cookie)):
            await self._app(scope, receive, send)
        else:
            await PlainTextResponse(REFUSED, 403)(scope, receive, send)

    def _is_right(self, given: str | None) -> bool:
        return compare_digest((given or "").encode(), self._token.encode())
