"""`refold doctor`."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import refold
from refold.cli import output
from refold.cli.errors import FINDING, FINE
from refold.cli.options import command, opened, option
from refold.cli.text import clean
from refold.errors import Corrupt

HEADER_BYTES: Final = 100


@command(
    "doctor",
    example="""
refold doctor --db agents.db
refold doctor --db agents.db --repair
""",
)
@option(
    "--repair",
    is_flag=True,
    help="First make again what can be made from the log: indexes, snapshots, free pages.",
)
def doctor_command(url: str, as_json: bool, repair: bool) -> int:
    """Check a store from end to end.

    The file, its schema, its positions, versions and bodies are looked at. Reads everything and
    changes nothing; with --repair it says what it does, and still never touches the log. Exits
    with 1 when a check fails.
    """
    try:
        good = _looked_at(url, as_json=as_json, repair=repair)
    except Corrupt as damage:
        _print("readable", False, _without_advice(damage), as_json=as_json)
        good = False
    if not good:
        output.note(
            "what is missing from the log only a backup has: move the file away, and "
            f"`refold restore BACKUP --db {clean(url)}`"
        )
    return FINE if good else FINDING


def _looked_at(url: str, *, as_json: bool, repair: bool) -> bool:
    """Whether every check was good."""
    if repair:
        with refold.open(url, mode="write") as store:
            for done in store.repair():
                _print_done(done, as_json=as_json)
    with opened(url) as store:
        outcomes = []
        for check in store.check():
            _print(check.name, check.good, check.detail, as_json=as_json)
            outcomes.append(check.good)
    return all(outcomes)


def _without_advice(damage: Corrupt) -> str:
    """What is wrong; where the file is shorter than it says itself, that."""
    said = damage.message.partition("; run `refold doctor`")[0]
    size = _sizes(str(damage.facts.get("path", "")))
    if size is None or size[0] >= size[1]:
        return said
    return f"{said}; it is cut short: {size[0]:,} bytes of {size[1]:,}"


def _sizes(path: str) -> tuple[int, int] | None:
    """How long a file is and how long its header says that it is; None where neither is known.

    The page size is at byte 16, the number of pages at byte 28 (https://sqlite.org/fileformat.html).
    """
    try:
        with Path(path).open("rb") as file:
            header = file.read(HEADER_BYTES)
        actual = Path(path).stat().st_size
    except (OSError, ValueError):
        return None
    page, pages = int.from_bytes(header[16:18]), int.from_bytes(header[28:32])
    return actual, (65_536 if page == 1 else page) * pages


def _print_done(done: str, *, as_json: bool) -> None:
    if as_json:
        output.json_line({"repaired": done})
    else:
        output.line(f"did  {done}")


def _print(name: str, good: bool, detail: str, *, as_json: bool) -> None:
    if as_json:
        output.json_line({"check": name, "good": good, "detail": detail})
        return
    word = output.styled("ok  ", fg="green") if good else output.styled("BAD ", fg="red", bold=True)
    output.line(f"{word} {name}: {detail}")
