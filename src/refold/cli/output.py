"""What a command prints: data on stdout, notes and progress on stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Final, Protocol

import click
import msgspec

from refold.cli.errors import OUTPUT_CLOSED, Run, close_output
from refold.cli.text import CONTROL, clean, counted
from refold.errors import Unavailable
from refold.secrecy import without_password

SUMMARY_WIDTH: Final = 120
"""How long a line of a summary may be where there is no terminal to ask."""
UNBROKEN: Final = 1_000_000
"""The width of a pipe for running text: nothing is broken to fit."""


def line(text: str = "", end: str = "\n") -> None:
    """One or more lines of data on stdout."""
    try:
        sys.stdout.write(f"{text}{end}")
    except BrokenPipeError:
        close_output()
        raise SystemExit(OUTPUT_CLOSED) from None
    except OSError as error:
        raise Unavailable(f"the output cannot be written: {error.strerror}") from error


def as_json() -> bool:
    """Whether the command was called with ``--json``."""
    return click.get_current_context().ensure_object(Run).as_json


def show(value: object, plain: str | Iterable[str]) -> None:
    """A value as JSON on one line, with ``--json``; these lines for a person without.

    Lines that a generator makes are not made where they are not shown.
    """
    if as_json():
        line(compact(value))
        return
    for text in [plain] if isinstance(plain, str) else plain:
        line(text)


def show_pieces(pieces: Iterable[bytes], plain: Iterable[str]) -> None:
    """Like :func:`show`, where the JSON is too much to be made at once."""
    if not as_json():
        show(None, plain)
        return
    for piece in pieces:
        line(_escaped(piece), end="")
    line()


def json_block(value: object) -> None:
    """One JSON value on stdout: on one line, and indented in a terminal without ``--json``."""
    text = compact(value)
    pretty = sys.stdout.isatty() and not as_json()
    line(msgspec.json.format(text, indent=2) if pretty else text)


def note(text: str) -> None:
    """A line for the person at the terminal, on stderr; without the password of an address."""
    print(without_password(text), file=sys.stderr)


def waits(count: int) -> None:
    """Say that a run waits for what others are asking; of so many conversations."""
    note(f"waits for another run, which is asking about {counted(count, 'conversation')}")


def note_some(texts: Sequence[str], shown_max: int, *, more: str, count: int | None = None) -> None:
    """The first of some lines on stderr, and of how many ``more`` than these there are.

    ``count`` is how many there are in all, where they are not all here.
    """
    for text in texts[:shown_max]:
        note(clean(text.rstrip()))
    count = len(texts) if count is None else count
    if count > shown_max:
        note(f"and {count - shown_max} {more}")


def styled(text: str, **style: Any) -> str:
    """Text in colour or weight (see ``click.style``), where stdout shows it."""
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return click.style(text, **style) if sys.stdout.isatty() and not plain else text


def width(elsewhere: int = SUMMARY_WIDTH) -> int:
    """How long a line may be: the terminal's columns; ``elsewhere`` where there is none."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else elsewhere


_encode: Final = msgspec.json.Encoder().encode


def compact(value: object) -> str:
    """A JSON value as text on one line; control characters that JSON allows are escaped too."""
    return _escaped(_encode(value))


def _escaped(json: bytes) -> str:
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", json.decode())


class Tell(Protocol):
    """How a command says how far it is; ``total`` is None where it is not known."""

    def __call__(self, done: float, total: float | None, detail: str = "") -> None:
        """``done`` of ``total``, and a few words beside the bar."""
        ...


@contextmanager
def progress(what: str) -> Iterator[Tell]:
    """A progress bar on stderr while the block runs; tell it how far things are.

    Nothing is shown, nor ``rich`` imported, where stderr is not a terminal.
    """
    if not sys.stderr.isatty():
        yield lambda _done, _total, _detail="": None
        return
    from rich import progress as bars
    from rich.console import Console

    columns = (
        bars.TextColumn("{task.description}"),
        bars.BarColumn(),
        bars.TaskProgressColumn(),
        bars.TimeRemainingColumn(),
        bars.TextColumn("{task.fields[detail]}", markup=False),
    )
    with bars.Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, detail="")
        yield lambda done, total, detail="": bar.update(
            task, completed=done, total=total, detail=detail
        )
