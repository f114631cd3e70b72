"""The addresses of the pages, and what each answers. Every address holds its whole question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from hashlib import sha256
from typing import Final

from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, PlainTextResponse, Response
from starlette.routing import Route

from refold import Store
from refold.errors import NotFound, RefoldError, Unavailable, UsageError
from refold.guard import Guard
from refold.ui import (
    compare,
    conversation,
    conversations,
    event,
    live,
    marks,
    money,
    projections,
    prompts,
    proof,
    runs,
    verdict,
)
from refold.ui.entrance import Entrance
from refold.ui.guard import guarding
from refold.ui.making import PATIENCE_S, KeptResults
from refold.ui.pages import ASSETS, asset
from refold.ui.sending import form_page, send
from refold.ui.visit import Visit, rendered
from refold.ui.writing import Forms, Writing

Screen = Callable[[Visit], str]
SCREENS: Final[dict[str, Screen]] = {
    "/": conversations.screen,
    "/conversations/{stream:path}": conversation.screen,
    "/events/{event:path}": event.screen,
    "/prompts": prompts.screen,
    "/money": money.screen,
    "/projections": projections.screen,
    "/proof": proof.screen,
    "/live": live.screen,
    "/write/{form}": form_page,
    "/compare": compare.screen,
    "/marked": marks.screen,
    "/replays": runs.screen,
    "/replays/{name:path}": verdict.screen,
}
"""What each address shows. The first that fits answers."""
_STATUS: Final = {UsageError: 400, NotFound: 404, Unavailable: 503}


def application(
    store: Store,
    *,
    hosts: Sequence[str],
    rows: Store | None,
    writing: Writing | None,
    token: str | None = None,
) -> Starlette:
    """See :func:`refold.ui.app`."""
    routes = [
        Route(address, _told(screen, store, rows), methods=["GET"])
        for address, screen in SCREENS.items()
    ]
    routes += [
        Route("/write/{form}", partial(send, store), methods=["POST"]),
        Route("/static/{name}", _static, methods=["GET"]),
    ]
    passed = [Middleware(Guard, hosts=hosts, **guarding(is_written=writing is not None))]
    passed += [] if token is None else [Middleware(Entrance, token=token)]
    made = Starlette(
        routes=routes,
        middleware=passed,
        exception_handlers={404: _no_page, 500: _broken},
    )
    made.state.kept, made.state.patience_s = KeptResults(), PATIENCE_S
    made.state.forms = None if writing is None else Forms(writing)
    return made


def _told(screen: Screen, store: Store, rows: Store | None) -> Callable[[Request], Response]:
    """The page of a screen, or one that says why it cannot be made."""

    def answer(request: Request) -> Response:
        try:
            return HTMLResponse(screen(Visit(store, rows, request)))
        except RefoldError as error:
            status = next((s for cls, s in _STATUS.items() if isinstance(error, cls)), 500)
            return HTMLResponse(rendered(request, "problem.html", problem=error.message), status)

    return answer


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
    return HTMLResponse(rendered(request, "problem.html", problem=where), 404)


def _broken(_request: Request, _error: object) -> Response:
    return PlainTextResponse("this page could not be made; the terminal says why\n", 500)
