"""The addresses of the pages, and what each answers. Every address holds its whole question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from hashlib import sha256
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from refold import Store
from refold.capture import answer_of, request_of
from refold.errors import Corrupt, NotFound, RefoldError, Unavailable, UsageError
from refold.readmodels import Wanted
from refold.ui import asked, conversation, conversations
from refold.ui.guard import Guard
from refold.ui.pages import ASSETS, asset, page

EXACT_BYTES_MAX: Final = 1 << 20
"""So much of an exact request or answer is shown."""
_STATUS: Final = {UsageError: 400, NotFound: 404, Unavailable: 503}


def application(store: Store, *, hosts: Sequence[str], rows: Store | None) -> Starlette:
    """See :func:`refold.ui.app`."""
    pages = PagesOf(store, rows)
    routes = [
        Route("/", _told(pages.conversations), methods=["GET"]),
        Route("/conversations/{stream:path}", _told(pages.conversation), methods=["GET"]),
        Route("/events/{event:path}", _told(pages.event), methods=["GET"]),
        Route("/static/{name}", _static, methods=["GET"]),
    ]
    handlers = {404: _no_page, 500: _broken}
    return Starlette(
        routes=routes,
        middleware=[Middleware(Guard, hosts=hosts)],
        exception_handlers=handlers,
    )


class PagesOf:
    """What each address answers, from a store."""

    def __init__(self, store: Store, rows: Store | None) -> None:
        self._store, self._rows = store, rows

    def conversations(self, request: Request) -> str:
        """The list of conversations that fit what was asked."""
        text = request.query_params.get("q", "").strip()
        problem = ""
        try:
            wanted = asked.asked(text)
        except UsageError as error:
            wanted, problem = Wanted(), error.message
        number = _number(request, "page") or 1
        listing = conversations.listing(self._store, wanted, page=number, rows=self._rows)
        values = {"listing": listing, "asking": asked.asking, "names": asked.NAMES}
        return _page(request, "conversations.html", **values, q=text, problem=problem)

    def conversation(self, request: Request) -> str:
        """One conversation, up to a version."""
        stream = request.path_params["stream"]
        one = conversation.shown(self._store, stream, at=_number(request, "at"))
        outline = conversation.outline(one.state)
        return _page(request, "conversation.html", one=one, outline=outline)

    def event(self, request: Request) -> str:
        """All that is kept of one event, and the exact bytes of the call that it is part of."""
        recorded = self._store.event(request.path_params["event"])
        exact: dict[str, str] = {}
        for name, read in (("request", request_of), ("answer", answer_of)):
            with suppress(NotFound, Corrupt):
                held = read(self._store, recorded.stream, recorded.version)
                exact[name] = held[:EXACT_BYTES_MAX].decode(errors="replace")
        return _page(request, "event.html", event=recorded, exact=exact)


def _told(made: Callable[[Request], str]) -> Callable[[Request], Response]:
    """The page that is made, or one that says why it cannot be."""

    def answer(request: Request) -> Response:
        try:
            return HTMLResponse(made(request))
        except RefoldError as error:
            status = next((s for cls, s in _STATUS.items() if isinstance(error, cls)), 500)
            return HTMLResponse(_page(request, "problem.html", problem=error.message), status)

    return answer


def _page(request: Request, template: str, **values: object) -> str:
    """A page whose links lead to where the application is mounted."""
    return page(template, **{"q": "", "root": request.scope.get("root_path", ""), **values})


def _static(request: Request) -> Response:
    name = request.path_params["name"]
    if name not in ASSETS:
        return _no_page(request, None)
    content = asset(name)
    tag = f'"{sha256(content).hexdigest()[:16]}"'
    headers = {"etag": tag, "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == tag:
        return Response(status_code=304, headers=headers)
    return Response(content, media_type=ASSETS[name], headers=headers)


def _no_page(request: Request, _error: object) -> Response:
    where = f"there is no page at {request.url.path}"
    return HTMLResponse(_page(request, "problem.html", problem=where), 404)


def _broken(_request: Request, _error: object) -> Response:
    return PlainTextResponse("this page could not be made; the terminal says why\n", 500)


def _number(request: Request, name: str) -> int | None:
    """A whole number of the query; :class:`~refold.errors.UsageError` for anything else."""
    given = request.query_params.get(name)
    if given is None:
        return None
    if not given.isascii() or not given.isdigit() or len(given) > 18:
        raise UsageError(f"{name}={given!r} is no whole number")
    return int(given)
