"""Personal values of an append into envelopes: a body to a body.

Pure: keys and random bytes are given. The text is changed where personal values stand, and nowhere
else.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final

from refold.core.stored import decode_body
from refold.errors import InvalidEvent
from refold.privacy.apart import put_together
from refold.privacy.envelope import DRAWN_BYTES, OPENING, DataKey, envelopes_of, holds_envelopes
from refold.privacy.finding import Finder, PersonalValues

_WITH_METADATA: Final = 4
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
    made = [b""] * len(found.values)
    for key, numbers in _by_key(found, key_of):
        values = [found.values[number] for number in numbers]
        places = [found.places[number] for number in numbers]
        envelopes = envelopes_of(stream, key, values, places, draw(DRAWN_BYTES * len(values)))
        for number, envelope in zip(numbers, envelopes, strict=True):
            made[number] = envelope
    return put_together(found.parts, found.slots, made).decode()


def _by_key(
    found: PersonalValues, key_of: Callable[[bytes], DataKey | None]
) -> Iterable[tuple[DataKey | None, Sequence[int]]]:
    """The numbers of the values under each key."""
    if max(map(len, found.parts)) < _WITH_METADATA:
        return [(key_of(b""), range(len(found.values)))]
    keys: dict[str, DataKey | None] = {}
    numbers: dict[str, list[int]] = {}
    for number, owner in enumerate(found.owners):
        _, _, *rest = found.parts[owner]
        key = key_of(bytes(rest[1]) if len(rest) > 1 else b"")
        name = "" if key is None else key.id
        keys[name] = key
        numbers.setdefault(name, []).append(number)
    return [(keys[name], some) for name, some in numbers.items()]
