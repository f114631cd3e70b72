"""A door to a store for programs in any language: HTTP and JSON.

:func:`app` is an ASGI application; ``refold serve`` serves it. What it answers is described by the
document at ``/openapi.json`` and on docs/reference/http.md.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from refold.errors import UsageError
from refold.extras import needs
from refold.hosts import LOOPBACK

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from refold.engine.store import Store
    from refold.server.tokens import Tokens

__all__ = ["app"]


def app(
    store: Store,
    *,
    tokens: Tokens | None = None,
    hosts: Sequence[str] = LOOPBACK,
    rows: Store | None = None,
    tenant: Callable[[int], Store] | None = None,
) -> Starlette:
    """An ASGI application that appends to a store, reads, folds and follows it.

    ``tokens`` (:class:`refold.server.tokens.Tokens`) say who may do what; without them everybody
    may do everything. It answers to the names in ``hosts`` alone, at any port (DNS rebinding). The
    read model that conversations are found by is kept in ``store``, or in ``rows`` where that
    cannot be written or keeps no tables. Both stay open; whoever opened them closes them when
    nobody is served any more. ``tenant`` opens the store of a tenant that a token is for, which is
    closed here: when others need its place, and when the server ends.
    Raises :class:`~refold.errors.UsageError` where the extra ``server`` is not installed.
    """
    try:
        from refold.server.application import application
    except ModuleNotFoundError as error:
        raise UsageError(needs("a store is served by starlette", "server")) from error
    return application(store, tokens=tokens, hosts=hosts, rows=rows, tenant=tenant)
