"""What was probably meant, where a name matches nothing in a store."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
    if "category" in error.facts:
        near = suggestion(str(error.facts["category"]), _categories(store))
    elif "stream" in error.facts and store.head(str(error.facts["stream"])) < 0:
        near = suggestion(str(error.facts["stream"]), _streams(store))
    else:
        near = ""
    return NotFound(f"{error.message}{near}", code=error.code, **error.facts)


def note_nothing(
    store: refold.Store, *, categories: Sequence[str] = (), types: Sequence[str] = ()
) -> None:
    """Say on stderr that nothing matched, and which names are near."""
    unknown = [*_unknown("category", categories, set(_categories(store)) if categories else ())]
    unknown += _unknown("event type", types, _types(store) if types else ())
    for said in unknown or ["no events match"]:
        output.note(clean(said))


def _unknown(what: str, wanted: Sequence[str], known: Iterable[str]) -> Iterable[str]:
    known = set(known)
    for name in wanted:
        if name not in known:
            yield f"nothing of {what} {name!r} is here{suggestion(name, known)}"


def _streams(store: refold.Store) -> list[str]:
    return [info.stream for info in islice(store.streams(), NAMES_MAX)]


def _categories(store: refold.Store) -> list[str]:
    """The text before the first hyphen; branches have a ``~`` behind it."""
    found = {
        stream.partition("-")[0].partition("~")[0] + ("~" if "~" in stream else "")
        for stream in _streams(store)
    }
    return sorted(found)


def _types(store: refold.Store) -> set[str]:
    events = list(islice(store.read_all(), NAMES_MAX))
    return {event.type for event in events} | {event.stored_kind.tag for event in events}
