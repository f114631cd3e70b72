"""A page over a store: which conversations there are, and one of them at any moment.

:func:`app` is an ASGI application that only reads, but for what a
:class:`~refold.ui.writing.Writing` allows. ``refold ui`` serves it on loopback.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from refold import Store
from refold.errors import UsageError
from refold.extras import needs
from refold.hosts import LOOPBACK

if TYPE_CHECKING:
    from starlette.applications import Starlette

    from refold.ui.writing import Writing

__all__ = ["app"]


def app(
    store: Store,
    *,
    hosts: Sequence[str] = LOOPBACK,
    rows: Store | None = None,
    writing: Writing | None = None,
    token: str | None = None,
) -> Starlette:
    """An ASGI application with the pages of a store, to serve or to mount in one's own.

    It answers to the names in ``hosts`` alone, at any port: a page elsewhere that lets a name of
    its own lead here is refused (DNS rebinding). The read model that conversations are found by
    is kept in ``store``, or in ``rows`` where that cannot be written or keeps no tables.
    ``writing`` says what may be changed through the pages, and in whose name; without it they only
    read. With a ``token`` whoever opens an address with ``?token=`` of it is let in, by a cookie
    from then on, and nobody else; without, everybody who reaches it is.
    Raises :class:`~refold.errors.UsageError` where the extra ``ui`` is not installed.
    """
    try:
        from refold.ui.application import application
    except ModuleNotFoundError as error:
        raise UsageError(needs("pages are served by starlette", "ui")) from error
    return application(store, hosts=hosts, rows=rows, writing=writing, token=token)
