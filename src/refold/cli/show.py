"""`refold show`."""

from __future__ import annotations

from collections.abc import Iterable

import click

import refold
from refold.cli import printing
from refold.cli.options import Moment, command, moment_options, opened


@command(
    "show",
    example="""
refold show call-42
refold show call-42 --version 7
refold show call-42 --known-at 2026-03-01T09:30:00Z --json | jq .data
""",
)
@click.argument("stream")
@moment_options
def show_command(url: str, as_json: bool, stream: str, moment: Moment) -> None:
    """Show a stream, now or as it was.

    A conversation is shown as a transcript, any other stream as its events. T is RFC 3339, a date
    (its start, UTC) or an age (30m, 2h, 7d). --at asks what had happened by then, --known-at what
    the log knew by then. The number at the left is the event's version.
    """
    with opened(url) as store:
        found = moment.events(store, stream)
    if as_json:
        printing.print_json(found)
    elif _is_conversation(found):
        _print_transcript(found)
    else:
        printing.print_plain(found)


def _is_conversation(found: Iterable[refold.Recorded]) -> bool:
    from refold.conversation import Conversation

    return any(recorded.parts(among=Conversation.handlers) for recorded in found)


def _print_transcript(found: Iterable[refold.Recorded]) -> None:
    from refold.conversation import transcript

    printing.print_transcript(transcript(found))
