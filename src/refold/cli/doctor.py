"""`refold doctor`."""

from __future__ import annotations

import refold
from refold.cli import output
from refold.cli.errors import FINDING, FINE
from refold.cli.options import command, opened, option
from refold.errors import Corrupt


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
def doctor(url: str, as_json: bool, repair: bool) -> int:
    """Check a store from end to end.

    The file, its schema, its positions, versions and bodies are looked at. Reads everything and
    changes nothing; with --repair it says what it does, and still never touches the log. Exits
    with 1 when a check fails.
    """
    outcome = FINE
    if repair:
        with refold.open(url, mode="write") as store:
            for done in store.repair():
                _print_done(done, as_json=as_json)
    with opened(url) as store:
        try:
            for check in store.check():
                _print(check.name, check.good, check.detail, as_json=as_json)
                outcome = outcome if check.good else FINDING
        except Corrupt as damage:
            _print("readable", False, damage.message, as_json=as_json)
            outcome = FINDING
    return outcome


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
