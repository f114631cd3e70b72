"""What was probably meant, where a name matches nothing in a store."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Final

import click

import refold
from refold.cli import output
from refold.cli.text import clean, suggestion
from refold.errors import NotFound

REPLAY_MARK: Final = "~replay-"
NEAR_MAX: Final = 3
NAMES_MAX: Final = 10_000
"""So many streams or events are looked at for a near name."""


def with_suggestion(store: refold.Store, error: NotFound) -> NotFound:
    """The error with the names nearest to what was not found."""
    near, facts = "", error.facts
    if "category" in facts:
        near = suggestion(str(facts["category"]), _categories(store))
    elif "stream" in facts and store.head(str(facts["stream"])) < 0:
        near = _near(store, str(facts["stream"]))
    return NotFound(f"{error.message}{near}", code=error.code, **error.facts)


def resolved(store: refold.Store, given: str) -> str:
    """The stream of a name, or the only one whose name begins so, replays left out.

    Raises :class:`~refold.errors.NotFound` for none and for several; :func:`with_suggestion`, which
    every command that opens a store puts behind its errors, names what is near.
    """
    if store.head(given) >= 0 or not given:
        return given
    found = _beginning(store, given)
    if len(found) == 1:
        output.note(clean(f"took {found[0]} for {given}"))
        return found[0]
    raise NotFound(f"there is no stream {given!r}", stream=given)


def _near(store: refold.Store, given: str) -> str:
    """How to name what was probably meant by a stream that is not there."""
    stream, _, version = given.rpartition("@")
    if version.isdecimal() and stream and store.head(stream) >= 0:
        command = click.get_current_context().command_path
        return f": for that version of it, `{command} {stream} --version {version}`"
    begun = _beginning(store, given)[:NEAR_MAX]
    if begun:
        return f": did you mean {' or '.join(begun)}?"
    return suggestion(given, _streams(store)) or ": `refold streams` lists those here"


def _beginning(store: refold.Store, given: str) -> list[str]:
    """The streams whose names begin so, replays left out."""
    names = (info.stream for info in store.streams())
    found = (one for one in names if one.startswith(given) and REPLAY_MARK not in one)
    return list(islice(found, NEAR_MAX + 1))


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


def category_of(stream: str) -> str:
    """The text before the first hyphen; branches have a ``~`` behind it."""
    return stream.partition("-")[0].partition("~")[0] + ("~" if "~" in stream else "")


def _categories(store: refold.Store) -> set[str]:
    return set(map(category_of, _streams(store)))


def _types(store: refold.Store) -> set[str]:
    events = list(islice(store.read_all(), NAMES_MAX))
    return {event.type for event in events} | {event.stored_kind.tag for event in events}
