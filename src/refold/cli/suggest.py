"""What was probably meant, where a name matches nothing in a store."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

import refold
from refold.cli import output
from refold.cli.text import clean, suggestion
from refold.errors import NotFound

NAMES_MAX: Final = 10_000
"""So many streams or events are looked at for a near name."""


def with_suggestion(store: refold.Store, error: NotFound) -> NotFound:
    """The error with the names nearest to what was not found."""
    near, facts = "", error.facts
    if "category" in facts:
        near = suggestion(str(facts["category"]), _categories(store))
    elif "stream" in facts and store.head(str(facts["stream"])) < 0:
        near = suggestion(str(facts["stream"]), _streams(store))
    return NotFound(f"{error.message}{near}", code=error.code, **error.facts)


def note_nothing(
    store: refold.Store, *, categories: Sequence[str] = (), types: Sequence[str] = ()
) -> None:
    """Say on stderr that nothing matched, and which names are near."""
    looked_for = [("category", categories, _categories), ("event type", types, _types)]
    unknown = []
    for what, wanted, names in looked_for:
        known = names(store) if wanted else set()
        missing = (name for name in wanted if name not in known)
        unknown += [f"nothing of {what} {one!r} is here{suggestion(one, known)}" for one in missing]
    for said in unknown or ["no events match"]:
        output.note(clean(said))


def _streams(store: refold.Store) -> list[str]:
    return [info.stream for info in islice(store.streams(), NAMES_MAX)]


def _categories(store: refold.Store) -> set[str]:
    """The text before the first hyphen; branches have a ``~`` behind it."""
    return {
        stream.partition("-")[0].partition("~")[0] + ("~" if "~" in stream else "")
        for stream in _streams(store)
    }


def _types(store: refold.Store) -> set[str]:
    events = list(islice(store.read_all(), NAMES_MAX))
    return {event.type for event in events} | {event.stored_kind.tag for event in events}
