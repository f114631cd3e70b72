"""`refold ui --export`: the pages of a store in a folder, of the conversations that are chosen."""

from __future__ import annotations

from typing import Final

import click

import refold
from refold.cli import output
from refold.cli.choosing import Choice, choosing, chosen
from refold.cli.options import no_effect, option, together
from refold.cli.text import clean, counted

static_options: Final = together(
    click.argument("streams", nargs=-1, metavar="[STREAM]..."),
    option("--category", metavar="NAME", help="All streams of this category too."),
    choosing(),
    option("--export", "folder", metavar="DIR", help="Write the pages to a folder instead."),
)
"""Which conversations, and where to; :func:`write_pages` takes them but for the folder."""


def no_selection() -> None:
    """Refuse what says which conversations: pages that are served find them."""
    names = [str(one.name) for one in click.get_current_context().command.params]
    chosen_by = [name for name in names if name.startswith("of_")]
    no_effect("without --export", "streams", "category", *chosen_by)


def selected_for(
    url: str, streams: tuple[str, ...], category: str | None, wanted: Choice | None
) -> dict[str, int | None] | None:
    """The conversations to write, each up to a version or whole; None for all."""
    is_all = not streams and category is None and wanted is None
    return None if is_all else chosen(url, streams, category, wanted)


def write_pages(
    store: refold.Store,
    rows: refold.Store | None,
    folder: str,
    until: dict[str, int | None] | None,
) -> None:
    """Write the folder, and say what pages lead to that is not in it."""
    from refold.ui.export import export

    with output.progress("export") as tell:
        told = export(store, folder, until=until, rows=rows, progress=tell)
    left = (f"{counted(count, 'link')} to {kind}" for kind, count in told.left_out.items())
    output.note(f"not in it: {', '.join(left) or 'nothing that a page leads to'}")
    output.show(told._asdict(), f"{clean(folder)}: {counted(told.pages, 'page')}")
