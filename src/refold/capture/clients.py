"""One client: what an SDK takes as its ``http_client``, recording what it sends and gets."""

from __future__ import annotations

import os
import weakref
from collections.abc import Callable, Mapping
from functools import partial
from importlib import import_module
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from refold.capture.prices import Prices
from refold.capture.sending import Named, Send, Taps, watched, watched_async
from refold.capture.writer import CaptureWriter, OnError
from refold.engine.store import Store

if TYPE_CHECKING:
    import httpx2

Address = Store | str | os.PathLike[str]
CONNECT_S: Final = 5.0
ANSWER_S: Final = 600.0
"""Time-outs that the SDKs of models use: a long answer takes minutes."""


def client(store: Address, **options: Any) -> httpx2.Client:
    """A blocking HTTP client that records each model call made with it.

    ::

        openai.OpenAI(http_client=refold.capture.client("agents.db"))

    ``conversation``, ``on_error``, ``prices`` and ``metadata`` as for
    :func:`refold.capture.install`; every host counts. ``library`` is ``httpx`` for an SDK that
    still stands on it (by default ``httpx2``); all other options are those of its ``Client``.
    """
    made: httpx2.Client = _made("Client", watched, store, **options)
    return made


def async_client(store: Address, **options: Any) -> httpx2.AsyncClient:
    """As :func:`client`, for an SDK's async client."""
    made: httpx2.AsyncClient = _made("AsyncClient", watched_async, store, **options)
    return made


def _made(
    kind: str,
    wrap: Callable[[Send, ModuleType, Callable[[], Taps]], Send],
    store: Address,
    *,
    library: ModuleType | None = None,
    conversation: Named | str | None = None,
    on_error: OnError = "log",
    prices: Prices | None = None,
    metadata: Mapping[str, Any] | None = None,
    **options: Any,
) -> Any:
    library = library or import_module("httpx2")
    cls = getattr(library, kind)
    options.setdefault("timeout", library.Timeout(ANSWER_S, connect=CONNECT_S))
    options.setdefault("follow_redirects", True)
    made = cls(**options)
    writer = CaptureWriter(store, on_error=on_error, prices=prices)
    taps = Taps(writer, _EveryHost(), conversation, metadata)
    made.send = partial(wrap(cls.send, library, lambda: taps), made)
    weakref.finalize(made, writer.stop)
    return made


class _EveryHost:
    """Holds every host."""

    def __contains__(self, host: object) -> bool:
        return True
