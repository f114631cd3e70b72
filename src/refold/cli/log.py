"""`refold log`."""

from __future__ import annotations

from refold.cli import printing, suggest
from refold.cli.options import command, count_option, opened, option


@command("log")
@count_option("--after", default=0, help="Positions over this.")
@option("--category", "categories", multiple=True, metavar="NAME", help="Only these categories.")
@option("--type", "types", multiple=True, metavar="TYPE", help="Only events of these types.")
@count_option("--limit", help="At most this many events.")
def log_command(
    url: str, after: int, categories: tuple[str, ...], types: tuple[str, ...], limit: int | None
) -> None:
    """Print the whole log in order.

    Every event of every stream, by position. --category and --type may be given several times.

        refold log --limit 20
        refold log --type tool.call --json | jq -r .data.name
    """
    with opened(url) as store:
        found = store.read_all(
            after=after, categories=categories or None, types=types or None, limit=limit
        )
        if not printing.print_events(found) and (categories or types or after) and limit != 0:
            suggest.note_nothing(store, categories=categories, types=types)
