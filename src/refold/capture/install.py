"""A whole process: each model call that any of its clients makes is recorded."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from importlib import import_module
from importlib.util import find_spec
from typing import Any, Final

from refold.capture import threads
from refold.capture.prices import Prices
from refold.capture.sending import Named, Taps, watched, watched_async
from refold.capture.writer import CaptureWriter, OnError
from refold.engine.store import Store
from refold.errors import UsageError

LIBRARIES: Final = ("httpx2", "httpx")
_installed: list[Taps] = []
"""The taps in force, if any."""
_own: dict[type, Any] = {}
"""What the patched classes send by. It stays: no conversation's name may ever leave."""


def install(
    store: Store | str | os.PathLike[str],
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
    ``metadata`` goes into that of each event.

    Again with the same store it does nothing; :func:`uninstall` undoes it. Raises
    :class:`~refold.errors.UsageError` where another store is in force.
    """
    if _installed:
        if _installed[0].writer.store == store:
            return
        raise UsageError("capture is installed for another store: call uninstall() first")
    writer = CaptureWriter(store, on_error=on_error, prices=prices)
    _installed.append(Taps(writer, hosts, conversation, metadata))
    threads.follow()
    for library in [import_module(name) for name in LIBRARIES if find_spec(name)]:
        for cls, wrap in ((library.Client, watched), (library.AsyncClient, watched_async)):
            if cls.send is not _own.get(cls):
                _own[cls] = cls.send = wrap(cls.send, library, _in_force)


def uninstall() -> None:
    """Undo :func:`install` once what was captured is recorded; nothing where none is in force.

    What stays in the libraries passes all on; it takes out the header that names a conversation.
    """
    if _installed:
        threads.unfollow()
        writer = _installed.pop().writer
        writer.flush()
        writer.stop()


def _in_force() -> Taps | None:
    return _installed[0] if _installed else None
