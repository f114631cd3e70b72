"""Whether a store can be at an address, found out as a program begins and without holding it up."""

from __future__ import annotations

import os
import threading
from pathlib import Path
from typing import Final

from refold.errors import NotFound, Unavailable

TRYING_S: Final = 2.0
"""How long a program is held up by a server that takes a connection and says nothing."""


def tried(address: str | os.PathLike[str]) -> None:
    """Refuse what can be no store; one that is missing is not made before there is something in it.

    After this the modules of its backend are there: a process forked in the midst of an import
    would have half of one.
    """
    from refold.connect import open as open_store

    try:
        open_store(address, mode="write").close()
    except NotFound as error:
        path = error.facts.get("path")  # A database has none.
        if path is not None and not os.access(Path(path).parent, os.W_OK):
            open_store(address).close()  # It says why none can be made.


def tried_briefly(address: str | os.PathLike[str]) -> None:
    """As :func:`tried`, but a server that says nothing for a moment is away, and let be.

    Raises :class:`~refold.errors.Unavailable` for it.
    """
    if not os.fspath(address).startswith(("postgresql://", "postgres://")):
        tried(address)  # A file's answer comes at once.
        return
    from refold.connect import setup_of

    # What is no address is refused here, and the driver's modules are there from here on: a process
    # that is forked meanwhile would have half of them.
    setup_of(address)
    failed: list[Exception] = []

    def work() -> None:
        try:
            tried(address)
        except Exception as error:
            failed.append(error)

    thread = threading.Thread(target=work, name="refold-capture-trying", daemon=True)
    thread.start()
    thread.join(TRYING_S)
    if thread.is_alive():
        raise Unavailable(f"its server has not answered within {TRYING_S:.0f} s")
    if failed:
        raise failed[0]
