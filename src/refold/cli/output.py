"""What a command prints: data on stdout, notes and progress on stderr."""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Protocol, TextIO

import click
import msgspec

from refold.cli.errors import OUTPUT_CLOSED, close_output
from refold.cli.text import CONTROL
from refold.errors import Unavailable

SUMMARY_WIDTH: Final = 120
"""How long a line of a summary may be where there is no terminal to ask."""
UNBROKEN: Final = 1_000_000
"""Columns of a pipe: nothing is broken to fit."""
_encode = msgspec.json.Encoder().encode


def line(text: str = "") -> None:
    """One or more lines of data on stdout."""
    try:
        sys.stdout.write(f"{text}\n")
    except BrokenPipeError:
        close_output()
        raise SystemExit(OUTPUT_CLOSED) from None
    except OSError as error:
        raise Unavailable(f"the output cannot be written: {error.strerror}") from error


def json_line(value: object) -> None:
    """One JSON object on one line of stdout."""
    line(compact(value))


def json_block(value: object) -> None:
    """One JSON value on stdout: indented in a terminal, on one line elsewhere."""
    text = compact(value)
    line(msgspec.json.format(text, indent=2) if sys.stdout.isatty() else text)


def note(text: str) -> None:
    """A line for the person at the terminal, on stderr."""
    print(text, file=sys.stderr)


def styled(text: str, **style: Any) -> str:
    """Text in colour or weight (see ``click.style``), where stdout shows it."""
    return click.style(text, **style) if _shows_colour(sys.stdout) else text


def width() -> int:
    """How long a line of a summary may be: the terminal's columns, or 120."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else SUMMARY_WIDTH


def columns() -> int:
    """Where running text is broken: at the terminal's columns, nowhere in a pipe."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else UNBROKEN


def compact(value: object) -> str:
    """A JSON value as text on one line; control characters that JSON allows are escaped too."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", _encode(value).decode())


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
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        Progress,
        TaskProgressColumn,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[detail]}", markup=False),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task(what, total=None, detail="")
        yield lambda done, total, detail="": bar.update(
            task, completed=done, total=total, detail=detail
        )


def _shows_colour(stream: TextIO) -> bool:
    plain = os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb"
    return stream.isatty() and not plain
