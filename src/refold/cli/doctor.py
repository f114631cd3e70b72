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


@command("doctor")
@option(
    "--repair",
    is_flag=True,
    help="First make again what can be made from the log: indexes, snapshots, free pages.",
)
def doctor_command(url: str, repair: bool) -> int:
    """Check a store from end to end.

    The file, its schema, its positions, versions and bodies are looked at. Reads everything and
    changes nothing; with --repair it says what it does, and still never touches the log. Exits
    with 1 when a check fails.

        refold doctor --db agents.db
        refold doctor --db agents.db --repair
    """
    try:
        good = _looked_at(url, repair=repair)
    except Corrupt as damage:
        _show("readable", False, _without_advice(damage))
        good = False
    if not good:
        output.note(
            "what is missing from the log only a backup has: move the file away, and "
            f"`refold restore BACKUP --db {clean(url)}`"
        )
    return FINE if good else FINDING


def _looked_at(url: str, *, repair: bool) -> bool:
    """Whether every check was good."""
    if repair:
        with refold.open(url, mode="write") as store:
            for done in store.repair():
                output.show({"repaired": done}, f"did  {done}")
    with opened(url) as store:
        outcomes = []
        for check in store.check():
            _show(*check)
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


def _show(name: str, good: bool, detail: str) -> None:
    word = output.styled("ok  ", fg="green") if good else output.styled("BAD ", fg="red", bold=True)
    output.show({"check": name, "good": good, "detail": detail}, f"{word} {name}: {detail}")
