"""Spans that real frameworks made, by the attributes that Langfuse kept of them."""

from __future__ import annotations

import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation.importers import import_files
from refold.conversation.importers.fields import time_us
from refold.server.received import SETTLED_S, Teller, take
from tests.conversation.importers.inputs import real
from tests.conversation.importers.traces import attributes, otlp
from tests.server.spans import parts, told

RECORDED = (
    "agno-2025-06-11", "crewai-2025-07-11", "google-adk-2025-08-28", "llamaindex-2025-06-05",
    "openai-agents-2025-09-30", "pydantic-ai-2025-06-06", "vercel-aisdk-2025-11-17",
)  # fmt: skip


def hexadecimal(name: str, digits: int) -> str:
    return sha256(name.encode()).hexdigest()[:digits]


def spans_of(trace: dict[str, Any]) -> list[Any]:
    """The observations of a trace that were spans, as their exporter sent them."""
    made = []
    for one in trace["observations"]:
        kept = json.loads(one["metadata"])
        times = {
            f"{key}UnixNano": str(time_us(one[key]) * 1_000) for key in ("startTime", "endTime")
        }
        parent = one.get("parentObservationId")
        made.append(
            {
                "traceId": hexadecimal(one["traceId"], 32),
                "spanId": hexadecimal(one["id"], 16),
                "name": one["name"],
                "attributes": attributes(kept.get("attributes", {})),
                **times,
                **({"parentSpanId": hexadecimal(parent, 16)} if parent else {}),
            }
        )
    return made


@pytest.mark.parametrize("name", RECORDED)
def test_what_frameworks_sent_is_told_as_it_is_imported(name: str, tmp_path: Path) -> None:
    """One span a request, the last first, each twice: as the whole in a file."""
    source = real("formats", "langfuse", f"{name}.trace.json")
    spans = spans_of(json.loads(source.read_text()))
    (tmp_path / "whole.json").write_text(json.dumps(otlp(*spans)))
    with refold.open("memory:") as whole, refold.open("memory:") as store:
        import_files(whole, "otlp", [tmp_path / "whole.json"])
        for one in spans[::-1]:
            for _ in range(2):
                assert take(store, parts(otlp(one))) == []
        teller = Teller(store)
        teller.tell(now_s=0)
        teller.tell(now_s=SETTLED_S)
        assert told(store) == told(whole) != []
