"""The ways in: one client that records what an SDK sends and gets, or a whole process."""

from __future__ import annotations

import weakref
from collections.abc import Collection, Mapping
from importlib import import_module
from importlib.util import find_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from refold.capture import threads
from refold.capture.prices import Prices
from refold.capture.sending import WATCHED, Named, Taps, standing_in, stood_in
from refold.capture.writer import Address, OnError
from refold.errors import UsageError

if TYPE_CHECKING:
    import httpx2

CONNECT_S: Final = 5.0
ANSWER_S: Final = 600.0
"""Time-outs that the SDKs of models use: a long answer takes minutes."""
LIBRARIES: Final = ("httpx2", "httpx")
_OPTIONS: Final = ("conversation", "on_error", "prices", "metadata")
_installed: list[Taps] = []
"""The taps in force, if any."""
_patched: list[tuple[type, Any, Any]] = []
"""Each class of a library, what it sent by, and what it sends by now."""


def client(store: Address, **options: Any) -> httpx2.Client:
    """A blocking HTTP client that records each model call made with it.

    ::

        openai.OpenAI(http_client=refold.capture.client("agents.db"))

    ``conversation``, ``on_error``, ``prices`` and ``metadata`` as for
    :func:`refold.capture.install`; every host counts. ``library`` is ``httpx`` for an SDK that
    still stands on it (by default ``httpx2``); all other options are those of its ``Client``.
    """
    made: httpx2.Client = _made("Client", store, **options)
    return made


def async_client(store: Address, **options: Any) -> httpx2.AsyncClient:
    """As :func:`client`, for an SDK's async client."""
    made: httpx2.AsyncClient = _made("AsyncClient", store, **options)
    return made


def _made(kind: str, store: Address, library: ModuleType | None = None, **options: Any) -> Any:
    library = library or import_module("httpx2")
    own = {name: options.pop(name) for name in _OPTIONS if name in options}
    timeout = library.Timeout(ANSWER_S, connect=CONNECT_S)
    cls = getattr(library, kind)
    # A class of its own: a client that held itself would be there until cycles are collected.
    send = stood_in(WATCHED[kind](cls.send, library, lambda: taps), library)
    watching = type(kind, (cls,), {"send": send})
    made = watching(**{"timeout": timeout, "follow_redirects": True, **options})
    taps = Taps(store, lambda _: True, **own)
    weakref.finalize(made, taps.writer.stop)
    return made


def install(
    store: Address,
    *,
    hosts: Collection[str] | None = None,
    conversation: Named | str | None = None,
    on_error: OnError = "log",
    prices: Prices | None = None,
    metadata: Mapping[str, Any] | None = None,
) -> None:
    """Record each model call of this process, by whichever client of httpx2 or httpx.

    ``store`` is an open store, or the address of one (see :func:`refold.open`), which each process
    opens for itself, forked ones too. ``hosts`` are the only ones whose calls are recorded; by
    default every model endpoint: a known host, a path that only a model's API has, or a request of
    a model's SDK. Whatever else is sent passes untouched and unread. ``conversation`` is a
    stream, or gives that of a request (an ``httpx2.Request``), or None. ``on_error="raise"`` makes
    a call fail that cannot be recorded; by default that is logged once, to ``refold.capture``, and
    counted.
    ``prices`` has, by model, what a million tokens cost in US dollars (see
    :mod:`refold.capture.prices`); without it, and for other models, the cost is unknown.
    ``metadata`` goes into that of each event; what it has as ``agent`` is the agent's name, which
    no request says.

    Again with the same store it does nothing; :func:`uninstall` undoes it. Raises
    :class:`~refold.errors.UsageError` where another store is in force.
    """
    if _installed:
        if _installed[0].writer.store == store:
            return
        raise UsageError("capture is installed for another store: call uninstall() first")
    watches = None if hosts is None else hosts.__contains__
    recording: Any = {"on_error": on_error, "prices": prices}
    taps = Taps(store, watches, conversation=conversation, metadata=metadata, **recording)
    _installed.append(taps)
    threads.follow()
    for library in libraries():
        for kind, wrap in WATCHED.items():
            cls = getattr(library, kind)
            original, cls.send = cls.send, wrap(cls.send, library, _in_force)
            _patched.append((cls, original, cls.send))


def libraries() -> list[ModuleType]:
    """The HTTP libraries that are there."""
    return [import_module(name) for name in LIBRARIES if find_spec(name)]


def uninstall() -> None:
    """Undo :func:`install` once what was captured is recorded; nothing where none is in force."""
    while _patched:
        cls, original, own = _patched.pop()
        if vars(cls)["send"] is own:  # Else another stands around it, and it passes all on.
            setattr(cls, "send", original)  # noqa: B010
    if _installed:
        writer = _installed.pop().writer
        writer.flush()
        writer.stop()


def _in_force() -> Taps | None:
    return _installed[0] if _installed and standing_in.get() is None else None
