"""Where on the page an event stands, and links to it."""

from __future__ import annotations

from typing import Final, NamedTuple
from urllib.parse import quote

from refold.core.event import parse_event_id
from refold.replay.report.formatting import clean

_KEPT_IN_ANCHORS: Final = "@~:-._"


class Link(NamedTuple):
    """A name, and the anchor that it leads to; None where that is not on the page.

    ``address`` is where it leads instead, "" for nowhere else.
    """

    text: str
    anchor: str | None
    address: str = ""


def anchor(name: str) -> str:
    """An id for a part of the page and, after ``#``, a link to it."""
    return quote(clean(name), safe=_KEPT_IN_ANCHORS)


def event_anchor(stream: str, event_id: str) -> str:
    """The anchor of an event in a conversation."""
    # A branch shows events of its parent, which may be on the page itself.
    is_own = parse_event_id(event_id)[0] == stream
    return anchor(event_id if is_own else f"{stream}:{event_id}")
