"""`refold access`: who read protected values."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from refold.cli import output
from refold.cli.options import command, group, opened, option, time_option
from refold.cli.reading import keyring_option
from refold.cli.text import clean
from refold.times import rfc3339

if TYPE_CHECKING:
    from refold.privacy.access_report import Access

_HEAD = ("when", "decision", "actor", "purpose", "about", "streams")
_NONE = "no read of protected values is recorded"
_OTHERS = (
    "no read fits, of {:,} that are recorded; a subject is found by its stream, by the pseudonym "
    "that reads are recorded under, or by its name with the --keyring that it was recorded with"
)


@group("access")
def access_command() -> None:
    """Show who read protected values, and who was not let.

    refold access report --since 7d
    """


@command("report", group=access_command)
@option("--actor", metavar="NAME", help="Of this actor.")
@option(
    "--subject", metavar="NAME", help="About this subject, or its pseudonym, or in this stream."
)
@time_option("--since", "since_us", help="From then on.")
@keyring_option
def report(url: str, actor: str | None, subject: str | None, since_us: int | None) -> None:
    """Show who read protected values: when, why, about whom, and how it was decided.

    Each read is recorded before a key is used, and so is each that was not allowed; within a
    minute the same actor's reads of a stream for a purpose are one. What left the program is
    listed apart, with where it went. Where reads are recorded in a log of their own, --db names
    that. A read names its subject by a pseudonym, which the keyring tells. T is RFC 3339, a date
    (its start, UTC) or an age (30m, 2h, 7d).

        refold access report
        refold access report --actor dr-lee --since 7d
        refold access report --subject call-42 --json | jq .purpose
    """
    from refold.privacy.access_report import accesses

    with opened(url) as store:
        found = list(accesses(store, actor=actor, subject=subject, since_us=since_us or 0))
        others = [] if found else list(accesses(store))
    if output.as_json() and found:
        for one in found:
            output.line(output.compact(_shown(one)))
        return
    if not found:
        output.note(_OTHERS.format(len(others)) if others else _NONE)
        return
    for line in _table([_HEAD, *(_row(one) for one in found if one.destination is None)]):
        output.line(line)
    exports = [one for one in found if one.destination is not None]
    if exports:
        output.line()
        head = (*_HEAD, "went to")
        for line in _table([head, *((*_row(one), one.destination or "") for one in exports)]):
            output.line(line)


def _shown(access: Access) -> dict[str, object]:
    return {"at": rfc3339(access.at_us), **access._asdict()}


def _row(access: Access) -> tuple[str, ...]:
    decision = f"{access.decision}: {access.reason}" if access.reason else access.decision
    streams = ", ".join(access.streams)
    at = rfc3339(access.at_us)[:19]
    return (at, decision, access.actor or "-", access.purpose or "-", access.subject, streams)


def _table(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Rows with their columns aligned; the last is as long as it is."""
    rows = [[clean(cell) for cell in row] for row in rows]
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]) - 1)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=False)]
        yield "  ".join([*cells, row[-1]]).rstrip()
