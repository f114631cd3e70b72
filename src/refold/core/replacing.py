"""Other bytes in the place of what an event said: all else of its append stays, to the byte."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

import msgspec

from refold.core.payload import encode_payload
from refold.core.stored import Row, corrupt
from refold.errors import InvalidEvent, RefoldError

_NULL: Final = b"null"
_parts_of = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Replacement(NamedTuple):
    """What is to stand where something else was stored, by the positions of events.

    ``payloads`` are JSON texts of events, ``metadata`` what events say of their own beside,
    ``shared`` what the append that holds an event says for all of its events. None: nothing.
    """

    payloads: Mapping[int, bytes]
    metadata: Mapping[int, bytes | None]
    shared: Mapping[int, bytes | None]

    def positions(self) -> list[int]:
        """Of the events that it says anything of, in order."""
        return sorted({*self.payloads, *self.metadata, *self.shared})

    def check(self) -> None:
        """Refuse with :class:`~refold.errors.InvalidEvent` what could not have been appended."""
        for position, payload in self.payloads.items():
            _check(position, payload, "payload")
        for said in (self.metadata, self.shared):
            for position, text in said.items():
                if text is not None and not isinstance(_check(position, text, "metadata"), dict):
                    why = f"the metadata for position {position} are no JSON object"
                    raise InvalidEvent(why, position=position)


def replaced(append: Row, new: Replacement) -> Row:
    """A row of one append, its texts as ``str``, with what is new of its events.

    Where several events name other ``shared`` metadata for it, those of the last one count.
    """
    try:
        body = append.body.encode() if isinstance(append.body, str) else append.body
        elements: list[Any] = list(_parts_of(body))
        for index, element in enumerate(elements):
            position = append.position + index
            if position in new.payloads or position in new.metadata:
                elements[index] = _element(element, new, position)
    except (msgspec.DecodeError, ValueError) as error:
        raise corrupt(append, str(error)) from error
    metadata = append.metadata
    for position in range(append.position, append.position + append.event_count):
        metadata = new.shared.get(position, metadata)
    text = metadata.decode() if isinstance(metadata, bytes) else metadata
    return append._replace(body=f"[{b','.join(elements).decode()}]", metadata=text)


def _element(element: msgspec.Raw, new: Replacement, position: int) -> bytes:
    """An event of a body; what it does not say at its end is left out."""
    tag, payload, *rest = map(bytes, _parts_of(element))
    occurred_at, own = (*rest, _NULL, _NULL)[:2]
    own = new.metadata.get(position, own) or _NULL
    parts = [tag, new.payloads.get(position, payload), occurred_at, own]
    while len(parts) > 2 and parts[-1] == _NULL:
        parts.pop()
    return b"[%b]" % b",".join(parts)


def _check(position: int, text: bytes, what: str) -> Any:
    try:
        return msgspec.json.decode(encode_payload(msgspec.Raw(text), what=what))
    except RefoldError as error:
        reason = f"the {what} for position {position} cannot be stored: {error.message}"
        raise InvalidEvent(reason, position=position) from error
