"""Requests of OTLP as records: protobuf or JSON, packed or not, both to the same.

A record is what the JSON of protobuf says of a span or log record, its ids in hexadecimal.
"""

from __future__ import annotations

import json
import zlib
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final

from google.protobuf.json_format import MessageToDict, ParseDict, ParseError
from google.protobuf.message import DecodeError, Message

from refold.errors import UsageError

BODY_BYTES_MAX: Final = 32 * 1024 * 1024
"""The largest body when it is unpacked."""
PIECES_MAX: Final = 100
"""An exporter packs a body in one piece; for each one more the rest is copied."""
_ODD: Final = (
    ParseError, DecodeError, ValueError, TypeError, AttributeError, RecursionError,
)  # fmt: skip
_DIGITS: Final = {"traceId": 32, "spanId": 16, "parentSpanId": 16}
"""How many hexadecimal digits each id has."""

Row = dict[str, Any]


def unpacked(body: bytes, encoding: str) -> bytes:
    """A body as it was before it was packed, within bounds; UsageError where it cannot be had."""
    if encoding.lower() in ("", "identity"):
        return body
    if encoding.lower() != "gzip":
        raise UsageError(f"the content encoding {encoding!r:.99} is not gzip", code="media_type")
    made = bytearray()
    pieces = 0
    while body:
        if (pieces := pieces + 1) > PIECES_MAX:
            raise UsageError(f"the body is gzip in over {PIECES_MAX} pieces: send one")
        unzip = zlib.decompressobj(wbits=31)
        try:
            made += unzip.decompress(body, BODY_BYTES_MAX + 1 - len(made))
        except zlib.error as error:
            raise UsageError(f"the body is no gzip: {error}") from None
        if len(made) > BODY_BYTES_MAX:
            why = f"the body is over {BODY_BYTES_MAX} bytes: export fewer at a time"
            raise UsageError(why, code="too_large")
        if not unzip.eof:
            raise UsageError("the body is no gzip: it is cut off")
        body = unzip.unused_data
    return bytes(made)


def parts_of(request: Message, body: bytes, *, places: Sequence[str], is_json: bool) -> list[Row]:
    """The records of a request, each with the resource and the scope that it came with.

    ``request`` is an empty message of its class, ``places`` is where such have records. Raises
    :class:`~refold.errors.UsageError` for what is no such request.
    """
    try:
        if is_json:
            document = json.loads(body)
            _recode(document, places, lambda text: b64encode(bytes.fromhex(text)).decode())
            ParseDict(document, request, ignore_unknown_fields=True)
        else:
            request.ParseFromString(body)
        made = MessageToDict(request)
    except (
        ParseError,
        DecodeError,
        ValueError,
        TypeError,
        AttributeError,
        RecursionError,
    ) as error:
        why = str(error)[-300:]  # What holds what is wrong comes first.
        raise UsageError(f"the body is no request of OTLP: {why}") from None
    _recode(made, places, lambda text: b64decode(text).hex())
    return [
        {"record": record, "resource": own.get("resource", {}), "scope": scoped.get("scope", {})}
        for own in made.get(places[0], ())
        for scoped in own.get(places[1], ())
        for record in scoped.get(places[2], ())
    ]


def refusal(record: Row) -> str:
    """Why a record cannot be kept; "" where it can."""
    called = f"{record.get('name', 'a log record')!r:.99}"
    for name in ("traceId", "spanId"):
        if len(said := record.get(name, "")) != _DIGITS[name] or not said.strip("0"):
            return f"{called} has no {name} of {_DIGITS[name]} digits"
    is_timeless = "name" in record and "startTimeUnixNano" not in record
    return f"{called} has no time" if is_timeless else ""


def _recode(document: Row, places: Sequence[str], change: Callable[[str], str]) -> None:
    """Write the ids of a document's records, and of the links of spans, otherwise."""
    for record in _under([document], *places):
        for holder in (record, *_under([record], "links")):
            for name in _DIGITS:
                if name in holder:
                    holder[name] = change(holder[name])


def _under(holders: list[Row], *places: str) -> Iterator[Row]:
    """What stands in the lists of these names, one inside the other."""
    for place in places:
        holders = [one for holder in holders for one in holder.get(place, ())]
    yield from holders
