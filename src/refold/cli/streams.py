"""`refold streams`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import Any

from refold.cli import output, suggest
from refold.cli.options import command, count_option, opened, option
from refold.cli.text import clean
from refold.times import rfc3339


@command("streams")
@option("--category", metavar="NAME", help="Only this category: the text before the first hyphen.")
@count_option("--limit", help="At most this many.")
def streams_command(url: str, category: str | None, limit: int | None) -> None:
    """List the streams of a store.

    By name, with their last version and when it was written. A branch (a ~ in its name) is listed
    with the stream and version that it left, and is in a category of its own: the branches of
    call-42 are in call~.

        refold streams
        refold streams --category call --json | jq -r .stream
    """
    with opened(url) as store:
        if category is not None and not any(islice(store.streams(category=category), 1)):
            suggest.note_nothing(store, categories=[category])
        for info in islice(store.streams(category=category), limit):
            one = {
                "stream": info.stream,
                "version": info.version,
                "recorded_at": rfc3339(info.recorded_at_us),
                "fork": None if info.fork is None else info.fork._asdict(),
            }
            output.show(one, _line(one))


def _line(one: Mapping[str, Any]) -> str:
    fork = one["fork"]
    left = "" if fork is None else f"  from {clean(fork['parent'])}@{fork['version']}"
    name = output.styled(f"{clean(one['stream']):<32}", bold=True)
    return f"{name} {one['version']:>6}  {one['recorded_at'][:19]}{left}"
