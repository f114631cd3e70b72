"""`refold export`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import click

from refold.cli import output
from refold.cli.options import command, group, opened, option
from refold.cli.text import clean
from refold.errors import UsageError

if TYPE_CHECKING:
    from refold.conversation.chat_export import Messages

LOSSES_SHOWN_MAX: Final = 10


@group("export", example="refold export openai-chat call-42 > call-42.json")
def export_command() -> None:
    """Print conversations in another format.

    What has no place in it is named on stderr.
    """


@command(
    "openai-chat",
    example="""
refold export openai-chat call-42 | jq length
refold export openai-chat --category call --json > calls.jsonl
""",
    table="export",
)
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@option("--category", metavar="NAME", help="All streams of this category too.")
def openai_chat(url: str, as_json: bool, streams: tuple[str, ...], category: str | None) -> None:
    """Print conversations as OpenAI chat messages: a JSON array each, one a line in a pipe.

    With --json, an object each: "stream", "messages", and "loss", what has no place in messages.
    """
    from refold.conversation import to_messages
    from refold.replay import select

    if not streams and category is None:
        raise UsageError("name the streams to export, or a --category")
    with opened(url) as store:
        for stream in select(store, streams=streams, category=category):
            messages = to_messages(store.read(stream))
            if as_json:
                _print_object(stream, messages)
            else:
                output.json_block(messages)
                _note_loss(messages)


export_command.add_command(openai_chat)


def _print_object(stream: str, messages: Messages) -> None:
    loss = [one._asdict() for one in messages.loss]
    output.json_line({"stream": stream, "messages": messages, "loss": loss})


def _note_loss(messages: Messages) -> None:
    for one in messages.loss[:LOSSES_SHOWN_MAX]:
        output.note(clean(f"{one.where}: not in messages: {one.what} {one.pointer}".rstrip()))
    if len(messages.loss) > LOSSES_SHOWN_MAX:
        more = len(messages.loss) - LOSSES_SHOWN_MAX
        output.note(f"and {more} more not in messages (--json has them)")
