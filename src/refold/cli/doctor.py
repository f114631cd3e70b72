"""`refold doctor`."""

from __future__ import annotations

import refold
from refold.capture.exact import check_exact
from refold.cli import output
from refold.cli.errors import FINDING, FINE
from refold.cli.options import command, opened, option
from refold.cli.text import clean
from refold.errors import Corrupt


@command("doctor")
@option(
    "--repair",
    is_flag=True,
    help="First make again what can be made from the log: indexes, views, tags, snapshots.",
)
def doctor_command(url: str, repair: bool) -> int:
    """Check a store from end to end.

    The file, its schema, its positions, versions and bodies are looked at, and whether captured
    calls come back to the byte. Reads everything and
    changes nothing; with --repair it says what it does, and still never touches the log. Exits
    with 1 when a check fails.

        refold doctor --db agents.db
        refold doctor --db agents.db --repair
    """
    try:
        good = _looked_at(url, repair=repair)
    except Corrupt as damage:
        good = _shown("readable", False, damage.message.partition("; run `refold doctor`")[0])
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
        outcomes = [_shown(*check) for check in (*store.check(), *check_exact(store))]
    return all(outcomes)


def _shown(name: str, good: bool, detail: str) -> bool:
    word = output.styled("ok  ", fg="green") if good else output.styled("BAD ", fg="red", bold=True)
    output.show({"check": name, "good": good, "detail": detail}, f"{word} {name}: {detail}")
    return good
