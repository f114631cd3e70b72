"""The application: each operation of the table at its address."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from typing import Any, Final

import msgspec
from starlette.applications import Starlette
from starlette.convertors import Convertor, register_url_convertor
from starlette.datastructures import Headers
from starlette.middleware import Middleware
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response
from starlette.routing import Match, Route
from starlette.types import Scope

from refold.engine.store import Store
from refold.errors import RefoldError, UsageError
from refold.guard import Guard
from refold.hosts import is_origin_of
from refold.server import problem
from refold.server.access import EVERYTHING, Grant
from refold.server.desk import Desk, Desks, ServedCall
from refold.server.openapi import document
from refold.server.operations import OPERATIONS, OTLP, Endpoint
from refold.server.sending import PatientResponse, Room
from refold.server.telling import telling
from refold.server.tokens import Tokens

BODY_BYTES_MAX: Final = 16 * 1024 * 1024
"""The largest body of a request."""
BODIES_BYTES_MAX: Final = 16 * BODY_BYTES_MAX
"""What the bodies of all requests under way hold together."""
BODY_S_MAX: Final = 30.0
"""A body has come whole after so long, or is not waited for."""

SAID: Final = {"content-security-policy": "default-src 'none'; frame-ancestors 'none'"}
"""What each answer says to a browser: nothing here is a page, nor for pages of others."""

Decoder = msgspec.json.Decoder[Any]
_encode: Final = msgspec.json.Encoder(decimal_format="number").encode


class StreamName(Convertor[str]):
    """Any text, with slashes and line ends: the store says which of it can be a name."""

    regex = r"[\s\S]*"

    def convert(self, value: str) -> str:
        """The name in a path."""
        return value

    def to_string(self, value: str) -> str:
        """The name, to stand in a path."""
        return value


register_url_convertor("stream", StreamName())


def application(
    store: Store,
    *,
    tokens: Tokens | None,
    hosts: Sequence[str],
    rows: Store | None,
    tenant: Callable[[int], Store] | None,
) -> Starlette:
    """See :func:`refold.server.app`."""
    desks = Desks(Desk(store, rows), tenant)
    rooms = Room("the bodies of requests under way"), Room("answers that are not read yet")
    routes = [
        Route(
            one.path.replace("{stream}", "{stream:stream}"),
            _endpoint(one, desks, tokens, *rooms),
            methods=[one.method],
        )
        for one in (*OPERATIONS, *OTLP)
    ]
    said = _encode(document(OPERATIONS))
    routes.append(Route("/openapi.json", lambda _: Response(said, media_type="application/json")))
    made = Starlette(
        routes=routes,
        middleware=[
            Middleware(Guard, hosts=hosts, check=_check_origin, answer=problem.answer, said=SAID)
        ],
        exception_handlers={404: _no_address, 405: _no_method, 500: _broken},
        lifespan=lambda _: _living(desks),
    )
    made.state.end = desks.end
    return made


@asynccontextmanager
async def _living(desks: Desks) -> AsyncIterator[None]:
    async with telling(desks.all):
        yield
    desks.close()


def _endpoint(
    operation: Endpoint, desks: Desks, tokens: Tokens | None, bodies: Room, answers: Room
) -> Callable[[Request], Awaitable[Response]]:
    """The answer of an operation, or the problem that it has."""
    is_raw = operation.body is None or operation.body is bytes
    decoder: Decoder | None = None if is_raw else msgspec.json.Decoder(operation.body)

    async def given(request: Request, take: Callable[[int], None]) -> Any:
        allowed = partial(_grant, request, operation, tokens)
        grant = allowed()
        query = _query(request, operation.query)
        body = None if operation.body is None else await _body(request, operation, take)
        if decoder is not None and body is not None:
            body = _decoded(decoder, body)
        stream = request.path_params.get("stream", "")
        async with desks.at(grant.tenant) as desk:
            told = (grant, request, query, body, stream, allowed, desks.unread)
            call = ServedCall(desk, *told)
            return await operation.handler(call)

    async def endpoint(request: Request) -> Response:
        taken = 0

        def take(count: int) -> None:
            nonlocal taken
            bodies.take(count, most=BODIES_BYTES_MAX)
            taken += count

        try:
            answer = await given(request, take)
            if isinstance(answer, Response):
                return answer
            body = _encode(answer)
            return PatientResponse(body, operation.status, operation.answer_media, answers)
        except RefoldError as error:
            return problem.answer(error)
        finally:
            bodies.give(taken)

    return endpoint


def _grant(request: Request, operation: Endpoint, tokens: Tokens | None) -> Grant:
    if tokens is None or operation.scope is None:
        return EVERYTHING
    grant = tokens.grant(request.headers.get("authorization", ""))
    grant.check(operation.scope)
    return grant


def _query(request: Request, cls: type | None) -> Any:
    given = request.query_params
    if cls is None:
        if given:
            raise UsageError(f"this address takes no {next(iter(given))!r}")
        return None
    fields = {one.encode_name: one for one in msgspec.structs.fields(cls)}
    several = {name for name, one in fields.items() if one.default_factory is list}
    said: dict[str, Any] = {}
    for name in given:
        values = given.getlist(name)
        if name not in several and len(values) > 1:
            raise UsageError(f"{name} is given {len(values)} times", argument=name)
        said[name] = values if name in several else values[0]
    try:
        return msgspec.convert(said, cls, strict=False)
    except msgspec.ValidationError as error:
        raise UsageError(f"the query of the address: {error}") from None


async def _body(request: Request, operation: Endpoint, take: Callable[[int], None]) -> bytes:
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media not in operation.media:
        why = f"{media!r:.99} is none of {', '.join(operation.media)}"
        raise UsageError(f"the content type {why}", code="media_type")
    if int(request.headers.get("content-length", 0)) > BODY_BYTES_MAX:
        raise _too_large()
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S_MAX):
            async for chunk in request.stream():
                take(len(chunk))
                body += chunk
                if len(body) > BODY_BYTES_MAX:
                    raise _too_large()
    except TimeoutError:
        raise UsageError(f"the body took over {BODY_S_MAX:.0f} s", code="too_slow") from None
    except ClientDisconnect:
        raise UsageError("the body was broken off") from None
    return bytes(body)


def _too_large() -> UsageError:
    return UsageError(f"a body over {BODY_BYTES_MAX} bytes: append in parts", code="too_large")


def _decoded(decoder: Decoder, body: bytes) -> Any:
    try:
        return decoder.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"the body: {error}") from None


def _check_origin(_scope: Scope, headers: Headers) -> None:
    """Refuse what a page elsewhere sends across origins, by what the browser says of it."""
    origin = headers.get("origin")
    if origin is not None and not is_origin_of(origin, headers.get("host", "")):
        raise UsageError(f"requests from pages of {origin!r:.99}", code="cross_origin")


def _no_address(request: Request, _error: object) -> Response:
    where = f"there is nothing at {request.url.path!r:.99}"
    return problem.answer(UsageError(where, code="no_address"))


def _no_method(request: Request, _error: object) -> Response:
    why = f"{request.method} is none of the methods of {request.url.path!r:.99}"
    made = problem.answer(UsageError(why, code="no_method"))
    fit = (one for one in request.app.routes if one.matches(request.scope)[0] != Match.NONE)
    made.headers["allow"] = ", ".join(sorted({name for one in fit for name in one.methods}))
    return made


def _broken(_request: Request, _error: object) -> Response:
    return problem.answer(RefoldError("a bug in refold: the server's log says more", code="bug"))
