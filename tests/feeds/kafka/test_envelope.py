"""An event as a message of Kafka and back, in both modes of CloudEvents."""

from __future__ import annotations

import json
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as some

import refold
from refold.core.recorded import decode_row
from refold.core.registry import default_registry
from refold.errors import CodecError
from refold.feeds.kafka.envelope import Mode, incoming, murmur2, outgoing, partition_of

NAMES = some.text(some.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), min_size=1).filter(
    lambda name: len(name.encode()) < 200 and "~" not in name
)
VALUES = some.recursive(
    some.none() | some.booleans() | some.integers(-(2**63), 2**63 - 1) | some.text()
    | some.decimals(allow_nan=False, allow_infinity=False, places=3),
    lambda inner: some.lists(inner, max_size=3) | some.dictionaries(some.text(), inner, max_size=3),
    max_leaves=8,
)  # fmt: skip
OBJECTS = some.dictionaries(some.text(max_size=8), VALUES, max_size=4)
MODES: list[Mode] = ["binary", "structured"]
MOMENT = "2026-03-01T09:00:00.000001Z"


def recorded(
    stream: str = "call-42", data: Any = None, metadata: Any = None, schema: int = 1
) -> refold.Recorded:
    """An event as a store gives it."""
    with refold.open("memory:") as store:
        event = refold.Event("step.taken", data or {}, schema, occurred_at=MOMENT)
        store.append(stream, [event, event], metadata=metadata)
        return list(store.read(stream))[1]


def sent(event: refold.Recorded, mode: Mode = "binary") -> dict[str, str]:
    """The headers of its message."""
    return dict(outgoing(event, source="/shop", mode=mode).headers)


@given(NAMES, OBJECTS, OBJECTS, some.sampled_from(MODES), some.integers(1, 3))
def test_an_event_comes_back_as_it_was(
    stream: str, data: Any, metadata: Any, mode: Mode, schema: int
) -> None:
    """Place, times, type and schema, metadata and the exact bytes of the payload, in any mode."""
    event = recorded(stream, data, metadata, schema)
    message = outgoing(event, source="/shop", mode=mode)
    headers = [(name, text.encode()) for name, text in message.headers]
    source, row = incoming(message.value, headers)
    (back,) = decode_row(row, default_registry)
    assert (source, back) == ("/shop", event)
    assert message.stream == stream


@pytest.mark.parametrize("mode", MODES)
def test_the_headers_are_those_of_the_specification(mode: Mode) -> None:
    """Names begin with ``ce_`` and are lower-case letters and digits; four are required."""
    traced = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    event = recorded(metadata={"traceparent": traced, "price": Decimal("1.10")}, schema=2)
    headers = sent(event, mode)
    content_type = headers.pop("content-type")
    assert (
        content_type.split(";")[0]
        == {
            "binary": "application/json",
            "structured": "application/cloudevents+json",
        }[mode]
    )
    assert all(name.startswith("ce_") and name[3:].isalnum() for name in headers)
    recorded_at = headers.pop("ce_recordedtime")
    assert recorded_at.endswith("Z")
    assert headers == {
        "ce_specversion": "1.0",
        "ce_id": "call-42@1",
        "ce_source": "/shop",
        "ce_type": "step.taken.v2",
        "ce_subject": "call-42",
        "ce_time": MOMENT,
        "ce_position": "2",
        "ce_version": "1",
        "ce_metadata": f'{{"traceparent":"{traced}","price":"1.10"}}',
    }


def test_a_structured_message_is_the_event_whole() -> None:
    """Its value is the JSON of CloudEvents: the attributes, and the payload as ``data``."""
    event = recorded(data={"n": 1})
    whole = json.loads(outgoing(event, source="/shop", mode="structured").value)
    attributes = {f"ce_{name}": text for name, text in whole.items() if isinstance(text, str)}
    assert whole["data"] == {"n": 1}
    assert attributes.pop("ce_datacontenttype") == "application/json"
    said = sent(event, "structured")
    del said["content-type"]
    assert attributes == said


@pytest.mark.parametrize(
    ("value", "headers"),
    [
        (b"{}", None),
        (None, []),
        (b"{}", [("ce_id", b"call-1@0"), ("ce_source", b"/x")]),
        (b"{}", [("ce_id", b"\xff")]),
        (b"[]", [("content-type", b"application/cloudevents+json")]),
        (b'{"id": 7}', [("content-type", b"application/cloudevents+json; charset=UTF-8")]),
    ],
)
def test_what_is_no_event_of_refold_is_refused(value: bytes | None, headers: Any) -> None:
    """Whatever is missing or wrong: never half an event."""
    with pytest.raises(CodecError, match="no event of refold"):
        incoming(value, headers)


@pytest.mark.parametrize(
    ("key", "hashed"),
    [
        ("21", -973932308),
        ("foobar", -790332482),
        ("a-little-bit-long-string", -985981536),
        ("a-little-bit-longer-string", -1486304829),
        ("lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8", -58897971),
        ("abc", 479470107),
    ],
)
def test_a_key_is_hashed_as_java_does(key: str, hashed: int) -> None:
    """By the values of Kafka's own test of ``Utils.murmur2``, as signed numbers of 32 bits."""
    assert murmur2(key.encode()) == hashed % 2**32
    assert partition_of(key, 5) == (hashed & 0x7FFFFFFF) % 5


def test_streams_go_to_all_partitions() -> None:
    """Each to one."""
    assert {partition_of(f"call-{n}", 5) for n in range(100)} == {0, 1, 2, 3, 4}
