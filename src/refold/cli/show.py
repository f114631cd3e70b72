"""`refold show`."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

import click

import refold
from refold.cli import events, output
from refold.cli.options import Moment, command, moment_options, opened

if TYPE_CHECKING:
    from refold.conversation.transcript import Line

_STYLES: Final[dict[str, dict[str, Any]]] = {
    "user.utterance": {"fg": "cyan", "bold": True},
    "agent.utterance": {"fg": "green", "bold": True},
    "tool.call": {"fg": "yellow"},
    "tool.result": {"fg": "yellow"},
    "playback.interrupted": {"fg": "red"},
}
_TEXT_WIDTH_MIN: Final = 24


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
def show(url: str, as_json: bool, stream: str, moment: Moment) -> None:
    """Show a stream, now or as it was: a conversation as a transcript, any other as its events.

    T is RFC 3339, a date (its start, UTC) or an age (30m, 2h, 7d). --at asks what had happened by
    then, --known-at what the log knew by then. The number at the left is the event's version.
    """
    with opened(url) as store:
        found = moment.events(store, stream)
    if as_json:
        events.print_json(found)
    elif _is_conversation(found):
        _print_transcript(found)
    else:
        events.print_plain(found)


def _is_conversation(found: Iterable[refold.Recorded]) -> bool:
    from refold.conversation.fold import Conversation

    return any(recorded.type in Conversation.handlers for recorded in found)


def _print_transcript(found: list[refold.Recorded]) -> None:
    from refold.conversation.transcript import transcript

    versions = {recorded.id: recorded.version for recorded in found}
    lines = transcript(found)
    who_width = max((len(output.clean(line.who)) for line in lines), default=0)
    day = ""
    for line in lines:
        date, _, time = line.at.partition("T")
        if date != day:
            day = date
            output.line(output.styled(day, dim=True))
        for text in _rows(line, versions[line.id], time[:8], who_width):
            output.line(text)


def _rows(line: Line, version: int, time: str, who_width: int) -> Iterator[str]:
    """A transcript line as rows of the screen: the text is broken to fit a terminal."""
    who = output.clean(line.who)
    margin = " " * (4 + 2 + len(time) + 2 + who_width + 2)
    head = f"{output.styled(f'{version:>4}  {time}', dim=True)}  "
    head += output.styled(f"{who:<{who_width}}", **_STYLES.get(line.type, {"dim": True}))
    first, *more = _broken(output.clean(line.text), output.columns() - len(margin))
    yield f"{head}  {first}".rstrip()
    yield from (f"{margin}{rest}".rstrip() for rest in more)


def _broken(text: str, room: int) -> list[str]:
    room = max(room, _TEXT_WIDTH_MIN)
    rows = [[one] if len(one) <= room else wrap(one, room) for one in text.split("\n")]
    return [part for row in rows for part in row]
