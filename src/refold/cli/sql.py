"""`refold sql`."""

from __future__ import annotations

from collections.abc import Sequence
from math import isfinite
from typing import Any

import click

from refold.cli import output
from refold.cli.options import command, named_store, opened
from refold.cli.text import clean
from refold.errors import UsageError
from refold.projections import Projector
from refold.readmodels import built_in


@command("sql")
@click.argument("query", metavar="QUERY")
def sql_command(url: str, query: str) -> None:
    """Ask in SQL, of all events and of the read models.

    The view events has a row for each event, packed or not; a read model is a table, which
    `refold projections run` fills. First come the names of the columns, then the rows, values
    divided by a bar; with --json a row is an object, and bytes are base64 in it. It only reads:
    whatever SQLite does not say only reads is refused.

        refold sql "SELECT type, count(*) FROM events GROUP BY type"
        refold sql --json "SELECT id, data FROM events WHERE stream = 'call-1'" | jq .data
    """
    with opened(url) as store:
        try:
            rows = Projector(store, []).query(query)
        except UsageError as error:
            error.message += _advice(url, error.message)
            raise
    if not output.as_json():
        output.line(output.styled("|".join(map(clean, rows.columns)), bold=True))
    for row in rows:
        values = ["" if value is None else clean(str(value)) for value in row]
        output.show(_named(rows.columns, row), "|".join(values))


def _named(columns: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    """A row as an object; where columns share a name, the later ones have their place behind it.

    A number without an end is text: as JSON has none, it would be null, as if nothing were there.
    """
    named: dict[str, Any] = {}
    for place, (name, value) in enumerate(zip(columns, row, strict=True), 1):
        if isinstance(value, float) and not isfinite(value):
            value = str(value)
        named[f"{name}:{place}" if name in named else name] = value
    return named


def _advice(url: str, message: str) -> str:
    """What makes a table that SQLite does not know, where refold would."""
    table = message.rpartition("no such table: ")[2]
    if table != message and url.endswith(".jsonl"):
        return f": a journal has none; `refold copy {url} --db agents.db` makes a database of it"
    made = {name for one in built_in() for name in (*one.tables, *one.views)}
    return f": `refold projections run --once{named_store()}` fills it" if table in made else ""
