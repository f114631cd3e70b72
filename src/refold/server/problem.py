"""Errors as problem documents (RFC 9457): each with the status, the code and what to do."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any, Final

import msgspec
from starlette.responses import Response

from refold.errors import (
    Conflict,
    InvalidEvent,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    RefoldError,
    Rejected,
    StoreClosed,
    Unavailable,
    UsageError,
)
from refold.secrecy import without_password
from refold.server.wire import ProblemDocument

RETRY_AFTER_S: Final = {429: "1", 503: "2"}
"""What a caller that is told to come later is told to wait."""
STATUS: Final[dict[type[RefoldError], int]] = {
    UsageError: 400,
    InvalidEvent: 422,
    NotFound: 404,
    Conflict: 409,
    Rejected: 422,
    Overloaded: 429,
    StoreClosed: 503,
    Unavailable: 503,
    OutcomeUnknown: 504,
}
"""The status of an error; of any other it is 500."""
STATUS_OF_CODE: Final = {
    "key_reused": 422,
    "log_went_back": 410,
    "no_token": 401,
    "forbidden": 403,
    "cross_origin": 403,
    "no_address": 404,
    "no_method": 405,
    "too_slow": 408,
    "too_large": 413,
    "takes_too_long": 422,
    "media_type": 415,
    "misdirected": 421,
}
"""The status where the code says more than the class."""


def status_of(error: RefoldError) -> int:
    """The status that an error is answered with."""
    found = next((status for cls, status in STATUS.items() if isinstance(error, cls)), 500)
    return STATUS_OF_CODE.get(error.code, found)


def problem(error: RefoldError) -> ProblemDocument:
    """An error as a document; a password that a message holds is left out."""
    status = status_of(error)
    return ProblemDocument(
        type=f"urn:refold:error:{error.code}",
        title=HTTPStatus(status).phrase,
        status=status,
        detail=without_password(error.message),
        code=error.code,
        retry=error.retry,
        facts={name: _told(value) for name, value in error.facts.items()},
    )


def answer(error: RefoldError) -> Response:
    """The answer that says what is wrong."""
    said = problem(error)
    headers = {"cache-control": "no-store"}
    if said.status in RETRY_AFTER_S:
        headers["retry-after"] = RETRY_AFTER_S[said.status]
    if said.status == 401:
        headers["www-authenticate"] = 'Bearer realm="refold"'
    body = msgspec.json.encode(said)
    return Response(body, said.status, headers, media_type="application/problem+json")


def _told(value: Any) -> Any:
    if value is None or isinstance(value, bool | int | float):
        return value
    return without_password(str(value))
