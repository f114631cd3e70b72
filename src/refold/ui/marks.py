"""What can be done with the conversations that are marked in a list."""

from __future__ import annotations

from refold.errors import NotFound
from refold.ui.next_steps import of_marked
from refold.ui.visit import Visit


def screen(visit: Visit) -> str:
    """The page of those that an address marks: what to do with them, as commands to copy."""
    streams = list(dict.fromkeys(visit.request.query_params.getlist("mark")))
    for stream in streams:
        if visit.store.head(stream) < 0:
            raise NotFound(f"there is no stream {stream!r}", stream=stream)
    steps = of_marked(streams, visit.db) if streams else []
    return visit.page("marked.html", streams=streams, steps=steps, q=visit.text("q"))
