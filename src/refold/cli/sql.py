"""`refold sql`."""

from __future__ import annotations

import click

from refold.cli import output
from refold.cli.options import command, opened
from refold.cli.text import clean
from refold.projections import Projector


@command("sql")
@click.argument("query", metavar="QUERY")
def sql_command(url: str, query: str) -> None:
    """Ask in SQL, of all events and of the read models.

    The view events has a row for each event, packed or not; a read model is a table. Values of a
    row are divided by a bar, with --json they are an array; bytes are base64 in it. It only reads:
    whatever SQLite does not say only reads is refused.

        refold sql "SELECT type, count(*) FROM events GROUP BY type"
        refold sql --json "SELECT id, data FROM events WHERE stream = 'call-1'"
    """
    with opened(url) as store:
        for row in Projector(store, []).query(query):
            values = ["" if value is None else clean(str(value)) for value in row]
            output.show(row, "|".join(values))
