"""The addresses of forms: to be looked at, and sent."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping
from functools import partial
from typing import Final
from urllib.parse import parse_qsl

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, RedirectResponse, Response

from refold import Store
from refold.errors import Conflict, NotFound, Overloaded, RefoldError, Unavailable, UsageError
from refold.ui.forms import FORMS
from refold.ui.visit import Visit, rendered
from refold.ui.writing import NOT_FROM_HERE, Form, Sent, allowed

SENT_BYTES_MAX: Final = 1 << 20
FIELDS_MAX: Final = 32
FORM_TYPE: Final = "application/x-www-form-urlencoded"
_STATUS: Final = {NotFound: 404, Conflict: 409, Overloaded: 503, Unavailable: 503}


def form_page(visit: Visit) -> str:
    """The page of a form, filled in as the address says; a field given twice has a line each.

    What is marked on the list of conversations comes as ``mark``. No page elsewhere leads here:
    it would fill in what is then sent with a click, or have an expression tried that takes hours.
    """
    if visit.request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise UsageError("a form is opened from these pages themselves: go to what it is about")
    given = visit.request.query_params
    fields = {name: "\n".join(given.getlist(name)) for name in given}
    fields["stream"] = fields.get("stream") or fields.get("mark", "")
    return _page(visit.store, visit.request, fields)


async def send(store: Store, request: Request) -> Response:
    """Do what a form asks, and lead to the page that shows it; or the form again, and why not."""
    try:
        fields = _fields_in(request, await _body(request))
    except RefoldError as error:
        return HTMLResponse(rendered(request, "problem.html", problem=error.message), 400)
    return await run_in_threadpool(partial(_done, store, request, fields))


def _done(store: Store, request: Request, fields: Mapping[str, str]) -> Response:
    try:
        (forms, actor), form = allowed(request), _form(request)
        key = forms.key_of(fields.get("token", ""), actor)
        sent = Sent(store, forms, actor, key, fields)
        where = forms.once(key, partial(form.do, sent))
    except RefoldError as error:
        return _again(store, request, fields, error)
    return RedirectResponse(f"{request.scope.get('root_path', '')}{where}", 303)


def _again(
    store: Store, request: Request, fields: Mapping[str, str], error: RefoldError
) -> Response:
    status = next((code for cls, code in _STATUS.items() if isinstance(error, cls)), 400)
    if error.code == NOT_FROM_HERE:
        status = 403
    try:
        page = _page(store, request, fields, problem=error.message)
    except RefoldError:
        page = rendered(request, "problem.html", problem=error.message)
    return HTMLResponse(page, status)


def _page(store: Store, request: Request, fields: Mapping[str, str], *, problem: str = "") -> str:
    writing, form = allowed(request).forms.writing, _form(request)
    name = request.path_params["form"]
    values = {
        "form": form.title,
        "name": name,
        "fields": defaultdict(str, fields),
        "problem": problem,
    }
    return rendered(request, "form.html", **values, **form.shown(store, fields, writing))


def _form(request: Request) -> Form:
    form = FORMS.get(request.path_params["form"])
    if form is None:
        raise NotFound(f"there is no form at {request.url.path}")
    return form


def _fields_in(request: Request, body: bytes) -> dict[str, str]:
    """The fields of a form that was sent, by name; those of one name have a line each."""
    if request.headers.get("content-type", "").partition(";")[0].strip().lower() != FORM_TYPE:
        raise UsageError(f"a form is sent as {FORM_TYPE}")
    try:
        pairs = parse_qsl(
            body.decode("ascii"),
            keep_blank_values=True,
            errors="strict",
            max_num_fields=FIELDS_MAX,
        )
    except ValueError as error:
        raise UsageError(f"this is no form, or it has over {FIELDS_MAX} fields") from error
    fields: dict[str, str] = {}
    for name, value in pairs:
        fields[name] = f"{fields[name]}\n{value}" if name in fields else value
    return fields


async def _body(request: Request) -> bytes:
    body = b""
    async for piece in request.stream():
        body += piece
        if len(body) > SENT_BYTES_MAX:
            raise UsageError(f"this is more than a form holds: {SENT_BYTES_MAX:,} bytes")
    return body
