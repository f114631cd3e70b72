"""`refold export`."""

from __future__ import annotations

from typing import Any, Final

import click

from refold.cli import output
from refold.cli.choosing import choosing, chosen
from refold.cli.errors import FINDING, FINE
from refold.cli.options import command, group, opened, option
from refold.cli.reading import reading_options, stdout_name
from refold.cli.text import clean
from refold.errors import CodecError

LOSSES_SHOWN_MAX: Final = 10
WITHHELD: Final = click.Choice(["payload", "metadata", "name"])


@group("export")
def export_command() -> None:
    """Print conversations in another format.

    What has no place in it is named on stderr.

        refold export openai-chat call-42 > call-42.json
    """


@command("openai-chat", group=export_command)
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@option("--category", metavar="NAME", help="All streams of this category too.")
@choosing()
@reading_options
def openai_chat(url: str, **which: Any) -> int:
    """Print conversations as OpenAI chat messages: a JSON array each, one a line in a pipe.

    Those named, or those of a category that all other options fit. With --json, an object each:
    "stream", "messages", and "loss", what has no place in messages. Of several, one that cannot be
    read is left out and told, and the exit code is 1.

        refold export openai-chat call-42 | jq length
        refold export openai-chat --category call --json > calls.jsonl
        refold export openai-chat --last 7d --tool refund --with-error > failed.jsonl
    """
    from refold.conversation import to_messages

    those = chosen(url, **which)
    code = FINE
    with opened(url, destination=stdout_name()) as store:
        for stream, version in those.items():
            try:
                messages = to_messages(store.read(stream, to_version=version))
            except CodecError as error:
                if len(those) == 1:
                    raise
                output.note(clean(f"left out {stream}: {error}"))
                code = FINDING
                continue
            if output.as_json():
                loss = [one._asdict() for one in messages.loss]
                output.json_block({"stream": stream, "messages": messages, "loss": loss})
                continue
            output.json_block(messages)
            lost = [
                f"{one.where}: not in messages: {one.what} {one.pointer}" for one in messages.loss
            ]
            more = "more not in messages (--json has them)"
            output.note_some(lost, LOSSES_SHOWN_MAX, more=more)
    return code


@command("vcon", group=export_command)
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@option("--category", metavar="NAME", help="All streams of this category too.")
@choosing()
@reading_options
def vcon(url: str, **which: Any) -> None:
    """Print conversations as vCons of the IETF's draft: a JSON object each, one a line in a pipe.

    Those named, or those of a category that all other options fit. What a vCon has no place for
    stands in an attachment, by which `refold import vcon` makes the same conversation of it.

        refold export vcon call-42 > call-42.vcon
        refold export vcon --category call --last 7d > calls.jsonl
    """
    from refold.conversation.vcon_export import to_vcon

    with opened(url, destination=stdout_name()) as store:
        for stream, version in chosen(url, **which).items():
            made = to_vcon(store.read(stream, to_version=version))
            output.json_block(made)
            lost = [f"{one.where}: not in the vCon: {one.what} {one.pointer}" for one in made.loss]
            output.note_some(lost, LOSSES_SHOWN_MAX, more="more not in the vCons")


@command("sealed", group=export_command)
@option("--withhold", multiple=True, type=WITHHELD, help="Do not disclose this, of every event.")
def sealed(url: str, withhold: tuple[str, ...]) -> None:
    """Print a whole sealed log, so that a stranger can check all of it: JSON, one a line.

    First the newest signed head, then each event in order: its entry, and what that commits to.
    The root of the head can be made again from the entries.

        refold export sealed > agents.sealed.jsonl
    """
    from refold.audit import sealed_export

    with opened(url) as store:
        for value in sealed_export(store, withhold=withhold):
            output.line(output.compact(value))
