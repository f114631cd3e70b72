"""`refold diff`."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import click

import refold
from refold.cli import output, printing
from refold.cli.errors import FINDING, FINE
from refold.cli.loading import fold_for, fold_option
from refold.cli.options import command, opened
from refold.cli.reading import reading_options
from refold.cli.suggest import resolved
from refold.cli.text import counted
from refold.errors import UsageError
from refold.times import not_reached


@command("diff")
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@fold_option
@reading_options
def diff_command(url: str, before: str, after: str, fold_name: str | None) -> int:
    """Show how one stream differs from another.

    Event by event, then in the state that they fold to. Either may be a branch, or a stream up to a
    version (call-42@7). Events are compared by type and payload. Exits with 1 when there is a
    difference.

        refold diff call-42 call-42~b
        refold diff call-42@7 call-42 --fold conversation
    """
    with opened(url) as store:
        first, second = _point(store, before), _point(store, after)
        fold = fold_for(fold_name, [*first, *second])
        found = refold.diff(first, second)
        operations = refold.diff_states(first.fold(fold).state, second.fold(fold).state)
    said = {
        "a": before,
        "b": after,
        "shared": found.shared,
        "changes": [printing.change_json(change) for change in found.changes],
        "fold": fold.name,
        "state": operations,
    }
    output.show(said, _lines(found.shared, found.changes, fold.name, operations))
    return FINDING if found or operations else FINE


def _lines(
    shared: int, changes: Sequence[refold.Change], fold: str, operations: Sequence[Any]
) -> Iterator[str]:
    yield f"{counted(shared, 'event')} shared at the start, {counted(len(changes), 'change')}"
    yield from printing.change_lines(changes)
    yield f"state ({fold}): {counted(len(operations), 'change')}"
    yield from printing.operation_lines(operations)


def _point(store: refold.Store, text: str) -> refold.Branch[refold.Appended]:
    """A stream, or a stream up to a version where no stream has that very name."""
    stream, _, version = text.rpartition("@")
    if stream and version.isascii() and version.isdigit() and store.head(text) < 0:
        stream = resolved(store, stream)
        if said := not_reached(store, stream, version=int(version)):
            raise UsageError(f"{text}: {said}")
        return store.branch(stream, at=int(version))
    return store.branch(resolved(store, text))
