"""`refold label`."""

from __future__ import annotations

from typing import Any

import click

from refold.cli import output
from refold.cli.options import command, count_option, opened, option
from refold.cli.suggest import resolved
from refold.cli.text import clean, counted
from refold.errors import UsageError


@command("label")
@click.argument("stream")
@click.argument("said", nargs=-1, metavar="[NAME=VALUE]...")
@option("--tag", "tags", multiple=True, metavar="NAME", help="One tag more. Several times.")
@option("--rater", required=True, metavar="NAME", help="Who says so.")
@option("--comment", metavar="TEXT", help="Why.")
@count_option("--version", help="Of this event alone.")
def label_command(
    url: str,
    stream: str,
    said: tuple[str, ...],
    tags: tuple[str, ...],
    rater: str,
    comment: str | None,
    version: int | None,
) -> None:
    """Label or score a conversation.

    A VALUE that is a number is a score, another a label; the label outcome says how a conversation
    came out. They are events of the conversation, and saying the same again adds none.
    Conversations are found by them: --outcome, --tag.

        refold label call-42 outcome=refunded helpful=4 --rater ann
        refold label call-42 --tag odd --comment "asked twice" --rater ann
    """
    from refold.replay.labels import label, score_in

    labels, scores = dict[str, str](), dict[str, float]()
    for one in said:
        name, equals, value = one.partition("=")
        if not name or not equals or not value:
            raise UsageError(f"{one!r} is not NAME=VALUE, such as outcome=refunded")
        number = score_in(value)
        if number is None:
            labels[name] = value
        else:
            scores[name] = number
    if not said and not tags:
        raise UsageError("say what it is: NAME=VALUE, or --tag NAME")
    with opened(url, mode="write") as store:
        stream = resolved(store, stream)
        at = None if version is None else store.event(f"{stream}@{version}").id
        of: Any = {"labels": labels, "scores": scores, "tags": tags, "comment": comment, "at": at}
        count = label(store, stream, rater=rater, **of)
    output.show({"stream": stream, "recorded": count}, f"{clean(stream)}: {recorded(count)}")


def recorded(count: int) -> str:
    """How many labels and scores were recorded, for a person."""
    return f"{counted(count, 'label')} recorded, scores included"
