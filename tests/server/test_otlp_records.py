"""Requests of OTLP as records: protobuf and JSON are the same, and what is none is refused."""

from __future__ import annotations

import gzip
import json
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from refold.conversation.importers.otlp import SPANS
from refold.errors import UsageError
from refold.server import otlp_records
from refold.server.otlp_records import parts_of, refusal, unpacked
from tests.conversation.importers.traces import otlp
from tests.server.spans import request_of, sent, turns


def read(body: bytes, *, is_json: bool) -> list[Any]:
    return parts_of(ExportTraceServiceRequest(), body, places=SPANS, is_json=is_json)


def test_protobuf_and_json_come_to_the_same_records() -> None:
    """So a span that comes by both is one; ids are hexadecimal, numbers of 64 bits are text."""
    odd = {"one": 2**62, "nothing": "", "list": [1.5, True, {"in": "x"}], "inf": float("inf")}
    link = {"traceId": "AB" * 16, "spanId": "cd" * 8}
    document = otlp(sent(9, 9, 0, 1, odd, parent=8), *turns())
    document["resourceSpans"][0]["scopeSpans"][0]["spans"][0]["links"] = [link]
    text = json.dumps(document).replace('"doubleValue": Infinity', '"doubleValue": "Infinity"')
    request = ExportTraceServiceRequest()
    by_json = parts_of(request, text.encode(), places=SPANS, is_json=True)
    assert read(request.SerializeToString(), is_json=False) == by_json
    first = by_json[0]["record"]
    assert (first["traceId"], first["spanId"]) == (f"{9:032x}", f"{9:016x}")
    assert first["links"] == [{"traceId": "ab" * 16, "spanId": "cd" * 8}]
    assert first["attributes"][0] == {"key": "one", "value": {"intValue": str(2**62)}}
    assert first["attributes"][1] == {"key": "nothing", "value": {"stringValue": ""}}


@pytest.mark.parametrize(
    ("body", "is_json"),
    [
        (b"\xff\xff", False),
        (b"{", True),
        (b"[]", True),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": ["x"]}]}]}', True),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": "zz"}]}]}]}', True),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"traceId": 5}]}]}]}', True),
        (b'{"resourceSpans": [{"scopeSpans": [{"spans": [{"name": 5}]}]}]}', True),
        (b'{"resourceSpans": 5}', True),
        (b"[" * 100_000, True),
    ],
)
def test_what_is_no_request_is_refused_whole(body: bytes, is_json: bool) -> None:
    """An exporter does not send it again."""
    with pytest.raises(UsageError, match="no request of OTLP"):
        read(body, is_json=is_json)


def test_fields_that_are_not_known_are_passed() -> None:
    """A newer exporter may say more."""
    document = otlp({**turns()[0], "newer": 1})
    assert read(json.dumps(document).encode(), is_json=True) == read(
        request_of(turns()[0]), is_json=True
    )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({}, ""),
        ({"traceId": ""}, "traceId"),
        ({"traceId": "0" * 32}, "traceId"),
        ({"spanId": "ab"}, "spanId"),
        ({"startTimeUnixNano": "0"}, "no time"),
    ],
)
def test_a_record_without_ids_or_time_is_refused_by_itself(given: dict[str, Any], why: str) -> None:
    """Nothing could be told of it."""
    [part] = read(request_of({**turns()[0], **given}), is_json=True)
    assert why in refusal(part["record"])
    assert bool(why) == bool(refusal(part["record"]))


def test_a_packed_body_is_unpacked_within_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """In one piece or several; a bomb is refused before it goes off."""
    monkeypatch.setattr(otlp_records, "BODY_BYTES_MAX", 1_000)
    assert unpacked(b"x", "identity") == unpacked(gzip.compress(b"x"), "gzip") == b"x"
    assert unpacked(gzip.compress(b"x") + gzip.compress(b"y"), "GZIP") == b"xy"
    assert unpacked(gzip.compress(b"x" * 1_000), "gzip") == b"x" * 1_000
    with pytest.raises(UsageError, match="pieces"):
        unpacked(gzip.compress(b"") * 101, "gzip")
    with pytest.raises(UsageError) as caught:
        unpacked(gzip.compress(bytes(100_000_000), 1), "gzip")
    assert caught.value.code == "too_large"


@pytest.mark.parametrize(
    ("body", "encoding"),
    [(b"x", "gzip"), (gzip.compress(b"x" * 99, mtime=0)[:-9], "gzip"), (b"x", "br")],
)
def test_a_body_that_cannot_be_unpacked_is_refused(body: bytes, encoding: str) -> None:
    """Cut off, no gzip, or packed otherwise."""
    with pytest.raises(UsageError, match="gzip"):
        unpacked(body, encoding)
