"""The body of an append looked into for personal values, before it is stored. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from refold import jsontext
from refold.core.stored import StoredEvent, decode_body
from refold.privacy.detecting import Detect, looked_into

_SAID: Final = {"mark": "detected", "protect": "detected", "redact": "redacted"}
"""The member of an event's metadata that says how many of which kind were found."""
_decode_events: Final = msgspec.json.Decoder(list[msgspec.Raw]).decode
_encode: Final = msgspec.json.Encoder().encode


class LookedBody(NamedTuple):
    """The body of an append as it is to be stored.

    ``pointers`` lead to the values of each event, by its index, that are to be protected.
    """

    text: str
    pointers: Mapping[int, Sequence[str]] = {}


def looked_body(body: str, detect: Detect) -> LookedBody:
    """Look into the payload of each event, and say in its metadata what was found.

    An event in which nothing is found stays to the byte as it was.
    """
    raw = body.encode()
    texts: list[Any] | None = None
    pointers: dict[int, Sequence[str]] = {}
    for index, event in enumerate(decode_body(raw)):
        looked = looked_into(bytes(event.data), detect)
        if not looked.counts:
            continue
        texts = [*_decode_events(raw)] if texts is None else texts
        texts[index] = _event(event, looked.payload, {_SAID[detect.do]: dict(looked.counts)})
        if looked.pointers:
            pointers[index] = looked.pointers
    if texts is None:
        return LookedBody(body)
    return LookedBody((b"[" + b",".join(texts) + b"]").decode(), pointers)


def _event(event: StoredEvent, payload: bytes, said: Mapping[str, Any]) -> bytes:
    """The text of an event with another payload, and with more in its metadata."""
    before = jsontext.read(bytes(event.metadata)) if event.metadata else {}
    metadata = jsontext.exact({**before, **said})
    return b"[%b,%b,%b,%b]" % (
        _encode(event.tag),
        payload,
        _encode(event.occurred_at),
        bytes(metadata),
    )
