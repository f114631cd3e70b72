"""Events as messages of Kafka, and back: CloudEvents 1.0 in both of its content modes.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/bindings/kafka-protocol-binding.md

In either mode the headers hold every attribute (``ce_id``, ``ce_source``, ``ce_type``, …), so that
nobody needs the payload to tell, or to leave out, an event. Beside those of the specification there
are ``position`` and ``version``, as digits, ``recordedtime``, and ``metadata``, JSON text, where
there is any.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import lru_cache
from struct import unpack
from typing import Any, Final, Literal, NamedTuple

import msgspec

from refold.core.clock import rfc3339, to_us
from refold.core.event import parse_event_id
from refold.core.recorded import Recorded
from refold.core.stored import Row
from refold.errors import CodecError, RefoldError
from refold.jsontext import exact

Mode = Literal["binary", "structured"]
JSON: Final = "application/json"
STRUCTURED: Final = "application/cloudevents+json"
_encode: Final = msgspec.json.Encoder().encode
_MIX, _BITS = 0x5BD1E995, 0xFFFFFFFF
_members: Final = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode


class Outgoing(NamedTuple):
    """A message: its key is the stream's name."""

    event_id: str
    stream: str
    value: bytes
    headers: list[tuple[str, str]]


@lru_cache(maxsize=65_536)
def partition_of(stream: str, partitions: int) -> int:
    """The partition of a stream: that which Kafka's own producers give to such a key.

    As those of Java do, and librdkafka's with ``partitioner=murmur2``.
    """
    return (murmur2(stream.encode()) & 0x7FFFFFFF) % partitions


def murmur2(data: bytes) -> int:
    """The hash of Kafka's keys, 32 bits: MurmurHash2 by Austin Appleby, with Kafka's seed.

    https://github.com/apache/kafka, ``org.apache.kafka.common.utils.Utils.murmur2``
    """
    whole = len(data) // 4
    found = 0x9747B28C ^ len(data)
    for word in unpack(f"<{whole}I", data[: 4 * whole]):
        word = word * _MIX & _BITS
        word = (word ^ word >> 24) * _MIX & _BITS
        found = found * _MIX & _BITS ^ word
    if rest := data[4 * whole :]:
        found = (found ^ int.from_bytes(rest, "little")) * _MIX & _BITS
    found = (found ^ found >> 13) * _MIX & _BITS
    return found ^ found >> 15


def outgoing(recorded: Recorded, *, source: str, mode: Mode) -> Outgoing:
    """The message of an event."""
    attributes = _attributes(recorded, source)
    content_type, value = JSON, recorded.raw
    if mode == "structured":
        content_type = f"{STRUCTURED}; charset=UTF-8"
        whole = {**attributes, "datacontenttype": JSON, "data": msgspec.Raw(value)}
        value = _encode(whole)
    headers = [("content-type", content_type)]
    headers += [(f"ce_{name}", text) for name, text in attributes.items()]
    return Outgoing(recorded.id, recorded.stream, value, headers)


def incoming(
    value: bytes | None, headers: Iterable[tuple[str, bytes | None]] | None
) -> tuple[str, Row]:
    """Whose the event of a message is (its source), and the event as a log keeps it.

    Raises :class:`~refold.errors.CodecError` where it is none of refold's.
    """
    try:
        said = {name: (text or b"").decode() for name, text in headers or ()}
        attributes, data = _taken_apart(value or b"", said)
        return attributes["source"], _row(attributes, data)
    except (KeyError, ValueError, RefoldError) as error:
        raise CodecError(f"it is no event of refold: {type(error).__name__}: {error}") from error


def _attributes(recorded: Recorded, source: str) -> dict[str, str]:
    found = {
        "specversion": "1.0",
        "id": recorded.id,
        "source": source,
        "type": recorded.stored_kind.tag,
        "subject": recorded.stream,
        "time": rfc3339(recorded.occurred_at_us),
        "recordedtime": rfc3339(recorded.recorded_at_us),
        # As text: an Integer of CloudEvents has 32 bits.
        "position": str(recorded.position),
        "version": str(recorded.version),
    }
    if recorded.metadata:
        found["metadata"] = bytes(exact(recorded.metadata)).decode()
    return found


def _taken_apart(value: bytes, said: Mapping[str, str]) -> tuple[dict[str, str], bytes]:
    if not said.get("content-type", "").startswith(STRUCTURED):
        return {name.removeprefix("ce_"): text for name, text in said.items()}, value
    members: dict[str, Any] = _members(value)
    data = bytes(members.pop("data"))
    return {name: msgspec.json.decode(raw, type=str) for name, raw in members.items()}, data


def _row(attributes: Mapping[str, str], data: bytes) -> Row:
    stream, version = parse_event_id(attributes["id"])
    occurred, recorded_at = to_us(attributes["time"]), to_us(attributes["recordedtime"])
    place = int(attributes["position"]), stream, version
    body = _encode([(attributes["type"], msgspec.Raw(data), occurred)])
    return Row(*place, 1, recorded_at, attributes.get("metadata"), body, occurred, occurred)
