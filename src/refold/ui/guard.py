"""What a request to the pages must be, and what an answer allows a browser."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, Final

from starlette.responses import PlainTextResponse

from refold.errors import UsageError
from refold.hosts import is_origin_of

if TYPE_CHECKING:
    from starlette.datastructures import Headers
    from starlette.types import Scope

READING: Final = frozenset({"GET", "HEAD"})
ALLOWED: Final = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "cross-origin-opener-policy": "same-origin",
    # With "no-referrer" a browser would not say where a form of these pages was sent from.
    "referrer-policy": "same-origin",
}
"""Nothing but what the pages themselves have is loaded or run, and nobody else may frame them."""
_STATUS: Final = {"misdirected": 421, "no_method": 405, "cross_origin": 403}


def guarding(*, is_written: bool) -> dict[str, Any]:
    """What lets requests through that read and, where pages can be written, what a form sends."""
    methods = READING | ({"POST"} if is_written else set())
    return {"check": partial(_check, methods), "answer": partial(_answer, methods), "said": ALLOWED}


def _check(methods: frozenset[str], scope: Scope, headers: Headers) -> None:
    if scope["method"] not in methods:
        raise UsageError(f"these pages take {', '.join(sorted(methods))}", code="no_method")
    if scope["method"] not in READING and not _is_from_here(headers):
        why = "only a form of these pages themselves changes anything"
        raise UsageError(why, code="cross_origin")


def _answer(methods: frozenset[str], error: UsageError) -> PlainTextResponse:
    status = _STATUS.get(error.code, 400)
    headers = {"allow": ", ".join(sorted(methods))} if status == 405 else None
    return PlainTextResponse(f"{error.message}\n", status, headers)


def _is_from_here(headers: Headers) -> bool:
    """Whether a browser says that the page which sends this was had from the same server."""
    is_same = is_origin_of(headers.get("origin", ""), headers.get("host", ""))
    return is_same and headers.get("sec-fetch-site", "same-origin") == "same-origin"
