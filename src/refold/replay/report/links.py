"""Where on the page an event stands, and links to it."""

from __future__ import annotations

from collections.abc import Iterable

from refold.core.event import parse_event_id
from refold.replay.report.markup import Html, anchor, el


class Places:
    """The conversations that the page shows; only what is shown can be linked to."""

    def __init__(self, streams: Iterable[str]) -> None:
        self._shown = frozenset(streams)

    def link(self, stream: str, event_id: str) -> Html:
        """An event's id, as a link where its conversation is on the page."""
        if stream not in self._shown:
            return el("code", event_id)
        return el("a", event_id, href=f"#{_place(stream, event_id)}", cls="id")

    def link_stream(self, stream: str) -> Html:
        """A conversation's name, as a link where it is on the page."""
        if stream not in self._shown:
            return el("code", stream)
        return el("a", stream, href=f"#{stream_anchor(stream)}", cls="id")

    def meta(self, stream: str, event_id: str, clock: str, level: str | None = None) -> Html:
        """The margin of a row: its event's id, when it happened, how the answers compare."""
        place = _place(stream, event_id)
        name = el("a", event_id, href=f"#{place}", cls="id")
        time = el("span", clock, cls="clock") if clock else None
        badge = el("span", level, cls=f"badge {level}") if level else None
        return el("div", name, time, badge, cls="meta", id=place)


def stream_anchor(stream: str) -> str:
    """The anchor of a whole conversation."""
    return anchor(f"conversation:{stream}")


def _place(stream: str, event_id: str) -> str:
    # A branch shows events of its parent, which may be on the page itself.
    is_own = parse_event_id(event_id)[0] == stream
    return anchor(event_id if is_own else f"{stream}:{event_id}")
