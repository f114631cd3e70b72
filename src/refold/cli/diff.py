"""`refold diff`."""

from __future__ import annotations

import click

import refold
from refold.cli import output, printing
from refold.cli.errors import FINDING, FINE
from refold.cli.loading import fold_for, fold_option
from refold.cli.options import command, opened
from refold.cli.text import counted


@command(
    "diff",
    example="""
refold diff call-42 call-42~b
refold diff call-42@7 call-42 --fold conversation
""",
)
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@fold_option
def diff_command(url: str, as_json: bool, before: str, after: str, fold_name: str | None) -> int:
    """Show how one stream differs from another.

    Event by event, then in the state that they fold to. Either may be a branch, or a stream up to a
    version (call-42@7). Events are compared by type and payload. Exits with 1 when there is a
    difference.
    """
    with opened(url) as store:
        first, second = _point(store, before), _point(store, after)
        fold = fold_for(fold_name, [*first, *second])
        found = refold.diff(first, second)
        operations = refold.diff_states(first.fold(fold).state, second.fold(fold).state)
    if as_json:
        output.json_line(
            {
                "a": before,
                "b": after,
                "shared": found.shared,
                "changes": [printing.change_json(change) for change in found.changes],
                "fold": fold.name,
                "state": operations,
            }
        )
    else:
        shared, changed = counted(found.shared, "event"), counted(len(found.changes), "change")
        output.line(f"{shared} shared at the start, {changed}")
        printing.print_changes(found.changes)
        output.line(f"state ({fold.name}): {counted(len(operations), 'change')}")
        printing.print_operations(operations)
    return FINDING if found or operations else FINE


def _point(store: refold.Store, text: str) -> refold.Branch[refold.Appended]:
    """A stream, or a stream up to a version where no stream has that very name."""
    stream, _, version = text.rpartition("@")
    if stream and version.isascii() and version.isdigit() and store.head(text) < 0:
        return store.branch(stream, at=int(version))
    return store.branch(text)
