"""Personal values of an append into envelopes: a body to a body.

Pure: keys and random bytes are given. The text is changed where personal values stand, and nowhere
else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from refold.core.stored import decode_body
from refold.errors import InvalidEvent
from refold.privacy.apart import NotedApart, filled, with_holes
from refold.privacy.envelope import DRAWN_BYTES, OPENING, DataKey, holds_envelopes
from refold.privacy.finding import Finder, PersonalValues
from refold.privacy.together import envelopes_of

Draw = Callable[[int], bytes]
"""Gives so many random bytes that nothing else ever gets."""
_RESERVED: Final = (
    'it holds {"refold:personal":[…, which stands for a personal value: only refold makes these'
)


def protected_body(
    body: str,
    kinds: Sequence[str],
    stream: str,
    finder: Finder,
    key_of: Callable[[bytes], DataKey | None],
    draw: Draw,
    more: Mapping[int, Sequence[str]] = {},
) -> str:
    """The body of an append of events of some kinds with its personal values in envelopes.

    ``key_of`` gives the key of an event by its metadata; ``more`` are JSON Pointers to more of
    them, by the event's index. :class:`~refold.errors.InvalidEvent` (code ``reserved``) where an
    event holds what would be read as one.
    """
    if holds_envelopes(body):
        events = decode_body(body.encode())
        index = next((n for n, one in enumerate(events) if OPENING in bytes(one.data)), 0)
        raise InvalidEvent(f"event {index}: {_RESERVED}", index=index, code="reserved")
    found = finder.found(body.encode(), kinds, more)
    if not found.values:
        return body

    def closed(
        key: DataKey | None, values: Sequence[bytes], places: Sequence[bytes]
    ) -> list[bytes]:
        return envelopes_of(stream, key, values, places, draw(DRAWN_BYTES * len(values)))

    if NotedApart not in map(type, found.parts):
        made = closed(key_of(b""), found.values, found.places)
    else:
        made = [b""] * len(found.values)
        for key, numbers in _by_key(found, key_of):
            values = [found.values[number] for number in numbers]
            envelopes = closed(key, values, [found.places[number] for number in numbers])
            for number, envelope in zip(numbers, envelopes, strict=True):
                made[number] = envelope
    return filled(with_holes(found.parts, found.slots), made).decode()


def _by_key(
    found: PersonalValues, key_of: Callable[[bytes], DataKey | None]
) -> Iterable[tuple[DataKey | None, Sequence[int]]]:
    """The numbers of the values under each key, where events have metadata of their own."""
    keys: dict[str, DataKey | None] = {}
    numbers: dict[str, list[int]] = {}
    for number, owner in enumerate(found.owners):
        part = found.parts[owner]
        key = key_of(bytes(part.metadata) if isinstance(part, NotedApart) else b"")
        name = "" if key is None else key.id
        keys[name] = key
        numbers.setdefault(name, []).append(number)
    return [(keys[name], some) for name, some in numbers.items()]
