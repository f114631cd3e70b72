"""A program run so that its model calls are recorded, without a line of it changed.

Each Python process that it begins finds :mod:`refold.capture.startup` on its path.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import join
from tempfile import TemporaryDirectory
from typing import Any, Final, NamedTuple
from uuid import uuid4

import msgspec

from refold.capture.install import install
from refold.capture.opening import tried, tried_briefly
from refold.capture.writer import LOST, SEEN, writer_in_force
from refold.engine.store import Store
from refold.errors import BackendError, NotFound, UsageError

STARTUP: Final = Path(__file__).with_name("startup")
_URL, _ID, _PRICES = "REFOLD_RUN_URL", "REFOLD_RUN_ID", "REFOLD_RUN_PRICES"
_AGENT: Final = "REFOLD_RUN_NAME"
_TALLY: Final = "REFOLD_RUN_TALLY"


class Ran(NamedTuple):
    """How a program ended, and the model calls of it that are in the store, in which streams.

    ``calls`` is None where the store cannot say, and ``why`` then why not. ``seen`` are the calls
    that were made, ``lost`` those of them that are not recorded, or not to their end.
    """

    exit_code: int
    calls: int | None
    streams: list[str]
    seen: int
    lost: int
    why: str = ""


def run(
    program: Sequence[str],
    url: str,
    *,
    agent: str | None = None,
    prices: Mapping[str, Any] | None = None,
) -> Ran:
    """Run a program with the environment of this one, and wait for its end.

    ``url`` is the address of the store, which must hold in every folder; the first call that is
    recorded makes one that is missing. The calls of this run have its id in their metadata, under
    ``run``, and the name of the ``agent``. ``prices`` is a mapping as
    :func:`refold.capture.install` takes it; processes that begin after the program's end have
    none. A store that is away does not hold the program up. Raises
    :class:`~refold.errors.NotFound` where there is no such program, and the error of
    :func:`refold.open` where no store can be there.
    """
    run_id = uuid4().hex
    since = _log_head(url)
    path = os.pathsep.join(filter(None, (str(STARTUP), os.environ.get("PYTHONPATH"))))
    own = {_URL: url, _ID: run_id, _AGENT: agent or "", _PRICES: "", "PYTHONPATH": path}
    with TemporaryDirectory(prefix="refold-run-") as folder:
        if prices:  # In a file: what an environment holds has an end, at 128 KiB on Linux.
            table = Path(folder, "prices.json")
            table.write_bytes(msgspec.json.encode(prices))
            own[_PRICES] = str(table)
        tally = Path(folder, "calls")
        tally.touch()
        own[_TALLY] = str(tally)
        code = _ended(program, own)
        marks = tally.read_bytes()
    seen, lost = marks.count(SEEN), marks.count(LOST)
    try:
        # Where nothing was to be recorded nobody waits for the store that would say so.
        with _store(url, is_patient=seen > 0) as store:
            log = store.read_all(after=since, types=["wire.request"])
            streams = [one.stream for one in log if one.noted("run") == run_id]
    except BackendError as error:
        return Ran(code, None, [], seen, lost, error.message)
    lost = max(lost, seen - len(streams))  # A process that was killed has told of none.
    return Ran(code, len(streams), sorted({*streams}), seen, lost)


def _log_head(url: str) -> int:
    try:
        with _store(url, is_patient=False) as store:
            return store.log_head()
    except BackendError as error:
        if error.retry != "later":
            raise
        return 0  # Looked through from its start, once it is back.


def _store(url: str, *, is_patient: bool) -> Store:
    """The store at an address; an empty one in memory where none is there yet, but can be.

    One that says nothing is waited for as by anybody, or for a moment only.
    """
    from refold.connect import open as open_store

    try:
        (tried if is_patient else tried_briefly)(url)
        return open_store(url, mode="write")
    except NotFound:
        return open_store("memory:")


def attach() -> None:
    """Record what this process sends; called as it starts."""
    path = os.environ.get(_PRICES)
    prices = path if path and Path(path).exists() else None  # It goes when the program ends.
    agent = {"agent": name} if (name := os.environ.get(_AGENT)) else {}
    install(os.environ[_URL], prices=prices, metadata={"run": os.environ[_ID], **agent})
    if (writer := writer_in_force()) is not None:
        writer.tally = os.environ.get(_TALLY)


def _advice(program: Sequence[str]) -> str:
    """How a script is run that is no program by itself."""
    is_script = program[0].endswith((".py", ".pyw", ".pyz")) or Path(program[0]).is_dir()
    return f"; try: refold run -- python {join(program)}" if is_script else ""


def _ended(program: Sequence[str], own: dict[str, str]) -> int:
    """The exit code of a program, as a shell gives it."""
    try:
        child = subprocess.Popen(program, env={**os.environ, **own})
    except FileNotFoundError as error:
        said = f"there is no program {program[0]!r}{_advice(program)}"
        raise NotFound(said, program=program[0]) from error
    except OSError as error:
        said = f"{program[0]!r} cannot be run: {error.strerror}{_advice(program)}"
        raise UsageError(said) from error

    def forward(number: int, _frame: Any) -> None:
        child.send_signal(number)

    # Ctrl-C reaches the child by its terminal; what ends this process alone is passed on.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, forward)
    code = child.wait()
    return 128 - code if code < 0 else code
