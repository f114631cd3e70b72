"""Langfuse exports: a trace with its observations, as its API and its export give them.

A document is ``{"trace": …, "observations": […]}``, or a trace that holds its observations
(https://api.reference.langfuse.com/#tag/trace). Inputs and outputs are JSON or text of JSON.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from refold.conversation import events
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers import otel_attributes as otel
from refold.conversation.importers.base import Conversations, Options, read_all
from refold.conversation.importers.call_files import PARAMS
from refold.conversation.importers.dialects import decoded, is_printed, request_in
from refold.conversation.importers.fields import FieldReader
from refold.conversation.importers.json_array import Value, checked
from refold.conversation.importers.source import ImportSource
from refold.conversation.importers.spans import Kind, Span, Trace, spans_of
from refold.conversation.importers.telling import read_traces
from refold.core.event import Event

_KINDS: Final[dict[str, Kind]] = {"GENERATION": "model", "TOOL": "tool", "AGENT": "agent"}
_PLACES: Final = {
    "id": "id", "parent": "parentObservationId", "start_us": "startTime", "end_us": "endTime",
    "asked": "input", "answered": "output", "model": "model", "usage": "usageDetails",
    "cost": "totalCost",
}  # fmt: skip


def read_langfuse(source: ImportSource, options: Options) -> Conversations:
    """Import traces of Langfuse: each with its observations, one a document, line or element.

    The streams are called CATEGORY-TRACE; the category is by default langfuse. Scores come along.

        refold import langfuse trace.json
    """
    return read_traces(source.name, "langfuse", options, read_all(source, _trace))


def _is_trace(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("observations"), list)


def _trace(value: Value) -> Iterator[Trace]:
    document = checked(value.read())
    if not _is_trace(document):
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
            spans += _spans(FieldReader(one, unread, at))
        else:
            unread.append(Unread("field", at, "it is no observation"))
    beside = {k: v for k, v in trace.holder.items() if k != "observations"}
    metadata = {"subject": who} if who else {}
    metadata |= {"correlation": session} if session else {}
    scores = list(_scores(trace))
    yield Trace(own_id, spans, value.line, {"langfuse": beside}, metadata, scores, unread)


def _spans(one: FieldReader) -> list[Span]:
    """The span of an observation, with what OpenTelemetry's attributes say in its metadata."""
    given = one.holder
    metadata = decoded(given.get("metadata"))
    metadata = metadata if isinstance(metadata, dict) else {}
    attributes = metadata.get("attributes")
    traced = otel.read(attributes if isinstance(attributes, dict) else {}, [])
    asked = decoded(given.get("input"))
    is_told = request_in(asked) is not None and not is_printed(asked)
    name, kind = str(given.get("name")), _KINDS.get(str(given.get("type"))) or traced["kind"]
    said = {k: v for k, v in one.inside("modelParameters").holder.items() if v not in (None, "")}
    rest = {key: value for key, value in said.items() if key not in PARAMS}
    first_s = one.typed("timeToFirstToken", float)
    failed = given.get("level") == "ERROR"
    return spans_of(
        one,
        kind,
        _PLACES,
        name=traced["tool"] or name.removeprefix("execute_tool ") if kind == "tool" else name,
        asked=None if is_told else traced["asked"],
        provider=traced["provider"],
        agent=traced["agent"] or (name if kind == "agent" else None),
        params={key: value for key, value in said.items() if key in PARAMS},
        tools=traced["tools"] or metadata.get("tools"),
        first_token_ms=None if first_s is None else first_s * 1_000,
        call_id=traced["call_id"],
        beside={"modelParameters": rest} if rest else None,
        error=str(given.get("statusMessage") or "failed") if failed else None,
    )


def _scores(trace: FieldReader) -> Iterator[Event]:
    for number, score in enumerate(trace.typed("scores", list[dict[str, Any]]) or []):
        one = FieldReader(score, trace.unread, f"{trace.at}/scores/{number}")
        value = None if score.get("longStringValue") else one.typed("value", float)
        if value is None:
            one.lose("", "a score that is no number")
            continue
        rater = score.get("authorUserId") or score.get("source") or "langfuse"
        comment = one.typed("comment", str)
        made = events.ScoreRecorded(str(score.get("name")), value, str(rater), comment)
        yield Event.of(made, occurred_at=one.time("timestamp"))
