"""Langfuse exports: a trace with its observations, as its API and its export give them.

A document is ``{"trace": …, "observations": […]}``, or a trace that holds its observations
(https://api.reference.langfuse.com/#tag/trace). Inputs and outputs are JSON or text of JSON.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Any, Final

from refold.conversation import events
from refold.conversation.amounts import read_amount
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers import otel_attributes as otel
from refold.conversation.importers.base import (
    FieldReader,
    Found,
    Importer,
    Options,
    Problem,
    read_all,
)
from refold.conversation.importers.chat_files import PARAMS
from refold.conversation.importers.dialects import decoded, is_printed, request_in
from refold.conversation.importers.json_array import Value, checked
from refold.conversation.importers.source import ImportSource
from refold.conversation.importers.spans import Kind, Span, Trace
from refold.conversation.importers.traces import read_traces
from refold.conversation.importers.usage import usage_in
from refold.conversation.importers.when import time_us
from refold.core.event import Event

_KINDS: Final[dict[str, Kind]] = {"GENERATION": "model", "TOOL": "tool", "AGENT": "agent"}


def read_langfuse(source: ImportSource, options: Options) -> Iterator[Found | Problem]:
    """Import traces of Langfuse: each with its observations, one a document, line or element.

    The streams are called CATEGORY-TRACE; the category is by default langfuse. Scores come along.

        refold import langfuse trace.json
    """
    return read_traces(source.name, "langfuse", options, read_all(source, _trace))


def looks_like(values: Sequence[Any], /) -> str:
    """By what the first values are known to be of Langfuse; "" where they are not."""
    is_known = any(isinstance(v, dict) and isinstance(v.get("observations"), list) for v in values)
    return "it has the observations of a trace" if is_known else ""


def _trace(value: Value) -> Iterator[Trace]:
    document = checked(value.read())
    if not isinstance(document, dict) or not isinstance(document.get("observations"), list):
        raise ValueError("an export of Langfuse has a trace with its observations")
    unread: list[Unread] = []
    is_within = isinstance(document.get("trace"), dict)
    trace = FieldReader(document["trace"] if is_within else document, unread, "/trace" * is_within)
    own_id, who = trace.typed("id", str), trace.typed("userId", str)
    session = trace.typed("sessionId", str)
    if not own_id:
        raise ValueError("a trace has an id")
    spans = []
    for number, one in enumerate(document["observations"]):
        at = f"/observations/{number}"
        if isinstance(one, dict):
            spans += _span(FieldReader(one, unread, at))
        else:
            unread.append(Unread("field", at, "it is no observation"))
    beside = {k: v for k, v in trace.holder.items() if k != "observations"}
    metadata = {"subject": who} if who else {}
    metadata |= {"correlation": session} if session else {}
    scores = list(_scores(trace))
    yield Trace(own_id, spans, value.line, {"langfuse": beside}, metadata, scores, unread)


def _span(one: FieldReader) -> list[Span]:
    """The span of an observation; none where it does not say when it was."""
    start_us = one.read("startTime", time_us)
    if start_us is None:
        one.note("startTime", [Unread("field", "", "a step without a time")])
        return []
    given = one.holder
    metadata = decoded(given.get("metadata"))
    attributes = metadata.get("attributes") if isinstance(metadata, dict) else None
    traced = otel.read(attributes if isinstance(attributes, dict) else {}, [])
    asked = given.get("input")
    is_told = request_in(asked) is not None and not is_printed(decoded(asked))
    if not is_told and traced.asked is not None:
        asked = traced.asked
    name, kind = str(given.get("name")), _KINDS.get(str(given.get("type"))) or traced.kind
    said = {k: v for k, v in one.inside("modelParameters").holder.items() if v not in (None, "")}
    params = {key: value for key, value in said.items() if key in PARAMS}
    rest = {key: value for key, value in said.items() if key not in params}
    tools = traced.tools or (metadata.get("tools") if isinstance(metadata, dict) else None)
    first_s = one.typed("timeToFirstToken", float)
    failed = given.get("level") == "ERROR"
    made = Span(
        id=str(given.get("id")),
        parent=str(given.get("parentObservationId")),
        kind=kind,
        name=traced.tool or name.removeprefix("execute_tool ") if kind == "tool" else name,
        at=one.at,
        start_us=start_us,
        end_us=one.read("endTime", time_us),
        asked=asked,
        answered=given.get("output"),
        asked_at=f"{one.at}/input",
        answered_at=f"{one.at}/output",
        model=one.typed("model", str),
        provider=traced.provider,
        agent=traced.agent or (name if kind == "agent" else None),
        params=params,
        tools=tools,
        usage=usage_in(given.get("usageDetails"), f"{one.at}/usageDetails", one.unread),
        cost=read_amount(given.get("totalCost")) or None,
        first_token_ms=None if first_s is None else first_s * 1_000,
        call_id=traced.call_id,
        beside={"modelParameters": rest} if rest else {},
        error=str(given.get("statusMessage") or "failed") if failed else "",
    )
    return [made]


def _scores(trace: FieldReader) -> Iterator[Event]:
    for number, score in enumerate(trace.typed("scores", list[dict[str, Any]]) or []):
        value = score.get("value")
        if not isinstance(value, int | float | Decimal) or score.get("longStringValue"):
            trace.note(f"scores/{number}", [Unread("field", "", "a score that is no number")])
            continue
        rater = score.get("authorUserId") or score.get("source") or "langfuse"
        name, comment = str(score.get("name")), score.get("comment")
        made = events.ScoreRecorded(name, float(value), str(rater), comment)
        at_us = FieldReader(score, trace.unread, f"{trace.at}/scores/{number}").read(
            "timestamp", time_us
        )
        yield Event.of(made, occurred_at=at_us)


LANGFUSE: Final = Importer("langfuse", read_langfuse, looks_like)
