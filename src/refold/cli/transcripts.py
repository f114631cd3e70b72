"""A transcript on the screen: version, time, who, what."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from textwrap import wrap
from typing import TYPE_CHECKING, Any, Final

from refold.cli import output
from refold.cli.text import clean

if TYPE_CHECKING:
    from refold.conversation import Line

_STYLES: Final[dict[str, dict[str, Any]]] = {
    "user.utterance": {"fg": "cyan", "bold": True},
    "agent.utterance": {"fg": "green", "bold": True},
    "tool.call": {"fg": "yellow"},
    "tool.result": {"fg": "yellow"},
    "playback.interrupted": {"fg": "red"},
}
_TEXT_WIDTH_MIN: Final = 24


def print_lines(lines: Sequence[Line]) -> None:
    """The lines under the day that they were said on; long text is broken to fit a terminal."""
    who_width = max((len(clean(line.who)) for line in lines), default=0)
    day = ""
    for line in lines:
        date, _, time = line.at.partition("T")
        if date != day:
            day = date
            output.line(output.styled(day, dim=True))
        for row in _rows(line, time[:8], who_width):
            output.line(row)


def _rows(line: Line, time: str, who_width: int) -> Iterator[str]:
    version = line.id.rpartition("@")[2]
    who = clean(line.who)
    margin = " " * (4 + 2 + len(time) + 2 + who_width + 2)
    head = f"{output.styled(f'{version:>4}  {time}', dim=True)}  "
    head += output.styled(f"{who:<{who_width}}", **_STYLES.get(line.type, {"dim": True}))
    first, *more = _broken(clean(line.text), output.columns() - len(margin))
    yield f"{head}  {first}".rstrip()
    yield from (f"{margin}{rest}".rstrip() for rest in more)


def _broken(text: str, room: int) -> list[str]:
    room = max(room, _TEXT_WIDTH_MIN)
    rows = [[one] if len(one) <= room else wrap(one, room) for one in text.split("\n")]
    return [part for row in rows for part in row]
