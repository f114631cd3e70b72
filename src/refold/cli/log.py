"""`refold log`."""

from __future__ import annotations

from itertools import islice
from typing import Any

from refold.cli import output, printing, suggest
from refold.cli.choosing import Choice, choosing, found, nothing_fits
from refold.cli.options import command, count_option, opened, option
from refold.cli.reading import reading_options


@command("log")
@count_option("--after", default=0, help="Positions over this.")
@option("--category", "categories", multiple=True, metavar="NAME", help="Only these categories.")
@option("--type", "types", multiple=True, metavar="TYPE", help="Only events of these types.")
@choosing()
@count_option("--limit", help="At most this many events.")
@reading_options
def log_command(url: str, after: int, wanted: Choice | None, limit: int | None, **of: Any) -> None:
    """Print the whole log in order.

    Every event of every stream, by position. --category and --type may be given several times. The
    other options choose streams, as those of `refold streams`: of these, the events in the time
    that is asked for, and with --text those that say the words.

        refold log --limit 20
        refold log --last 2h --text "gift card"
        refold log --type tool.call --json | jq -r .data.name
    """
    those = None if wanted is None else found(url, wanted)
    with opened(url) as store:
        narrowed = {name: values for name, values in of.items() if values}
        events = store.read_all(after=after, **narrowed)
        kept = events if those is None else filter(those.has, events)
        if printing.print_events(islice(kept, limit)) or limit == 0:
            return
        if those is not None and not those.streams:
            output.note(nothing_fits(those))
        elif narrowed or after or those is not None:
            suggest.note_nothing(store, **narrowed)
