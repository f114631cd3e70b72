"""`refold show`."""

from __future__ import annotations

from typing import Any, Final

import click

from refold.cli import output, printing
from refold.cli.options import command, events_until, moment_options, opened
from refold.cli.reading import reading_options
from refold.cli.suggest import resolved
from refold.cli.text import clean

_WITHHELD: Final = (
    "[withheld] is what only they read who say who they are, by the keys of this store: "
    "--actor NAME --keyring FILE (or [privacy] of refold.toml)"
)


@command("show")
@click.argument("stream")
@moment_options
@reading_options
def show_command(url: str, stream: str, **moment: Any) -> None:
    """Show a stream, now or as it was.

    A conversation is shown as a transcript, any other stream as its events. T is RFC 3339, a date
    (its start, UTC) or an age (30m, 2h, 7d). --at asks what had happened by then, --known-at what
    the log knew by then. The number at the left is the event's version. What stops half-way, such
    as a call without a result, is marked as unfinished at its end.

        refold show call-42
        refold show call-42 --version 7
        refold show call-42 --known-at 2026-03-01T09:30:00Z --json | jq .data
    """
    from refold.privacy.envelope import WITHHELD
    from refold.privacy.stored import has_keys, stored_backend

    with opened(url) as store:
        stream = resolved(store, stream)
        found = events_until(store, stream, **moment)
        is_closed = has_keys(stored_backend(store))
    if not found:
        output.note(f"{clean(stream)} had no events then")
    if output.as_json():
        printing.print_events(found)
        return
    from refold.conversation import Conversation, transcript
    from refold.conversation.transcript import loose_end

    if any(recorded.parts(among=Conversation.handlers) for recorded in found):
        lines = printing.transcript_lines(transcript(found))
    else:
        lines = printing.event_lines(found)
    withheld = False
    for line in lines:
        output.line(line)
        withheld = withheld or WITHHELD in line
    if withheld and is_closed:
        output.note(_WITHHELD)
    if (lacks := loose_end(found)) and set(moment.values()) == {None}:
        output.line(output.styled(f"unfinished: {lacks}", dim=True))
