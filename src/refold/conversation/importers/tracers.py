"""Exports of tracers: traces of Langfuse, runs of LangSmith.

Langfuse's is a document ``{"trace": …, "observations": […]}``, or a trace that holds its
observations (https://api.reference.langfuse.com/#tag/trace); inputs and outputs are JSON or text
of JSON. A run of LangSmith is ``{"id", "trace_id", "run_type", "inputs", "outputs", …}``
(https://docs.langchain.com/langsmith/run-data-format): a line or an element each, or a document of
``runs``. Its SDK's batches are ``{"post": […], "patch": […]}``; a patch adds to the run it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any, Final

from refold.conversation import chat_shapes as shapes
from refold.conversation import events
from refold.conversation.apis.openai_chat import OPENAI_CHAT
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers import otel_attributes as otel
from refold.conversation.importers.base import ODD, Conversations, Options, Problem, read_all
from refold.conversation.importers.dialects import decoded, is_printed, request_in
from refold.conversation.importers.fields import FieldReader, reason_of
from refold.conversation.importers.json_array import Doubled, Value, checked
from refold.conversation.importers.source import ImportSource, names
from refold.conversation.importers.spans import Kind, Span, Trace, spans_of
from refold.conversation.importers.telling import read_traces
from refold.core.event import Event

_PARAMS: Final = names(OPENAI_CHAT.asks)

# -- Langfuse --------------------------------------------------------------------------------------

_OBSERVATIONS: Final[dict[str, Kind]] = {"GENERATION": "model", "TOOL": "tool", "AGENT": "agent"}
_OBSERVED: Final = {
    "id": "id", "parent": "parentObservationId", "start_us": "startTime", "end_us": "endTime",
    "asked": "input", "answered": "output", "model": "model", "usage": "usageDetails",
    "cost": "totalCost",
}  # fmt: skip


def read_langfuse(source: ImportSource, options: Options) -> Conversations:
    """Import traces of Langfuse: each with its observations, one a document, line or element.

    The streams are called CATEGORY-TRACE; the category is by default langfuse. Scores come along.

        refold import langfuse trace.json
    """
    return read_traces(source.name, "langfuse", options, read_all(source, _observed))


def _is_trace(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("observations"), list)


def _observed(value: Value) -> Iterator[Trace]:
    document = value.read_whole()
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
            spans += _observation(FieldReader(one, unread, at))
        else:
            unread.append(Unread("field", at, "it is no observation"))
    beside = {k: v for k, v in trace.holder.items() if k != "observations"}
    metadata = {"subject": who} if who else {}
    metadata |= {"correlation": session} if session else {}
    scores = list(_scores(trace))
    yield Trace(own_id, spans, value.line, {"langfuse": beside}, metadata, scores, unread)


def _observation(one: FieldReader) -> list[Span]:
    """The span of an observation, with what OpenTelemetry's attributes say in its metadata."""
    given = one.holder
    metadata = decoded(given.get("metadata"))
    metadata = metadata if isinstance(metadata, dict) else {}
    attributes = metadata.get("attributes")
    traced = otel.read(attributes if isinstance(attributes, dict) else {}, [], [])
    asked = decoded(given.get("input"))
    is_told = request_in(asked) is not None and not is_printed(asked)
    name, kind = str(given.get("name")), _OBSERVATIONS.get(str(given.get("type"))) or traced["kind"]
    said = {k: v for k, v in one.inside("modelParameters").holder.items() if v not in (None, "")}
    rest = {key: value for key, value in said.items() if key not in _PARAMS}
    first_s = one.typed("timeToFirstToken", float)
    failed = given.get("level") == "ERROR"
    at_once = {"end_us": one.time("startTime")} if given.get("type") == "EVENT" else {}
    return spans_of(
        one,
        kind,
        _OBSERVED,
        name=traced["tool"] or name.removeprefix("execute_tool ") if kind == "tool" else name,
        asked=None if is_told else traced["asked"],
        provider=traced["provider"],
        agent=traced["agent"] or (name if kind == "agent" else None),
        params={key: value for key, value in said.items() if key in _PARAMS},
        tools=traced["tools"] or metadata.get("tools"),
        first_token_ms=None if first_s is None else first_s * 1_000,
        call_id=traced["call_id"],
        beside={"modelParameters": rest} if rest else None,
        error=str(given.get("statusMessage") or "failed") if failed else None,
        **at_once,
    )


def _scores(trace: FieldReader) -> Iterator[Event]:
    for one in trace.each("scores"):
        score = one.holder
        value = None if score.get("longStringValue") else one.typed("value", float)
        if value is None:
            one.lose("", "a score that is no number")
            continue
        rater = score.get("authorUserId") or score.get("source") or "langfuse"
        comment = one.typed("comment", str)
        made = events.ScoreRecorded(str(score.get("name")), value, str(rater), comment)
        yield Event.of(made, occurred_at=one.time("timestamp"))


# -- LangSmith -------------------------------------------------------------------------------------

_RUNS: Final[dict[str, Kind]] = {"llm": "model", "chat_model": "model", "tool": "tool"}
_OF_RUN: Final = {
    "id": "id", "parent": "parent_run_id", "name": "name", "start_us": "start_time",
    "end_us": "end_time", "asked": "inputs", "answered": "outputs", "cost": "total_cost",
    "model": "inputs/model extra/metadata/ls_model_name extra/invocation_params/model",
    "provider": "extra/metadata/ls_provider",
    "agent": "extra/metadata/lc_agent_name extra/metadata/agent_name",
}  # fmt: skip
_CALL_IDS: Final = "outputs/output/kwargs/tool_call_id outputs/output/tool_call_id"
_INNER_USAGE: Final = "outputs/generations/0/0/message/kwargs/usage_metadata"
_LISTS: Final = ("post", "patch", "runs")
_THREADS: Final = ("session_id", "conversation_id", "thread_id")


def read_langsmith(source: ImportSource, options: Options) -> Conversations:
    """Import runs of LangSmith: lines or elements of runs, documents of "runs", batches of its SDK.

    The streams are called CATEGORY-TRACE; the category is by default langsmith.

        refold import langsmith runs.jsonl
    """
    return read_traces(source.name, "langsmith", options, _traces(source))


def _traces(source: ImportSource) -> Iterator[Trace | Problem]:
    traces: dict[str, dict[str, tuple[dict[str, Any], str, int]]] = {}

    def read(value: Value) -> Iterable[Problem]:
        for run, at in list(_runs(value.read())):
            held = traces.setdefault(str(run.get("trace_id") or run["id"]), {})
            before, first_at, line = held.get(str(run["id"]), ({}, at, value.line))
            more = {k: v for k, v in run.items() if v not in (None, {}, []) or k not in before}
            # What is doubled stays so: the trace is refused for it.
            whole = run if isinstance(run, Doubled) else before | more
            held[str(run["id"])] = (whole, first_at, line)
        return ()

    yield from read_all(source, read)
    for trace_id, held in traces.items():
        try:
            yield _trace(trace_id, checked(list(held.values())))
        except ODD as error:
            yield Problem(source.name, 1, f"trace {trace_id}: {reason_of(error)}")


def _runs(document: Any) -> Iterator[tuple[dict[str, Any], str]]:
    given = document if isinstance(document, dict) else {}
    keys = [key for key in _LISTS if isinstance(given.get(key), list)]
    found = [(one, f"/{key}/{n}") for key in keys for n, one in enumerate(given[key])]
    for run, at in found or [(document, "")]:
        if not isinstance(run, dict) or "id" not in run or not run.keys() & {"run_type", "outputs"}:
            raise ValueError(f"a run of LangSmith has an id and a run_type (at {at or '/'})")
        yield run, at


def _trace(trace_id: str, runs: list[tuple[dict[str, Any], str, int]]) -> Trace:
    unread: list[Unread] = []
    spans: list[Span] = []
    scores: list[Event] = []
    metadata: dict[str, Any] = {}
    for run, at, _ in runs:
        one = FieldReader(run, unread, at)
        spans += _run(one)
        stats = one.typed("feedback_stats", dict[str, Any]) or {}
        for name, said in stats.items():
            told = FieldReader(said if isinstance(said, dict) else {}, unread, f"{at}/{name}")
            if (average := told.typed("avg", float)) is not None:
                scores.append(Event.of(events.ScoreRecorded(name, average, "langsmith")))
        said = one.inside("extra").inside("metadata").holder
        thread = next((said[key] for key in _THREADS if said.get(key)), None)
        metadata |= {"correlation": str(thread)} if thread else {}
    known = ("id", "name", "run_type", "session_name", "session_id", "tags", "extra", "error")
    first = min(runs, key=lambda one: str(one[0].get("dotted_order") or one[0].get("start_time")))
    beside = {key: value for key, value in first[0].items() if key in known}
    return Trace(trace_id, spans, runs[0][2], {"langsmith": beside}, metadata, scores, unread)


def _run(one: FieldReader) -> list[Span]:
    run, kind = one.holder, _RUNS.get(str(one.holder.get("run_type")), "other")
    asked, outputs = one.inside("inputs").holder, one.inside("outputs").holder
    given = {**one.inside("extra").inside("invocation_params").holder, **asked}
    # A tool's arguments may stand inside, as its output does.
    inner = asked.get("input") if asked.keys() == {"input"} else None
    own: dict[str, Any] = {}
    if kind == "tool":
        own |= {"asked": inner} if isinstance(inner, dict) else {}
        own |= {"answered": outputs["output"]} if "output" in outputs else {}
    first_us, start_us = one.time("first_token_time"), one.time("start_time") or 0
    spans = spans_of(
        one,
        kind,
        _OF_RUN,
        asked=asked or None,
        answered=outputs or None,
        params={k: v for k, v in given.items() if k in _PARAMS and v is not None},
        tools=given.get("tools"),
        usage=one.usage("outputs/usage_metadata") or one.usage(_INNER_USAGE),
        first_token_ms=None if first_us is None else (first_us - start_us) / 1_000,
        error=str(run.get("error") or ""),
        call_id=one.first(_CALL_IDS, lambda said: shapes.read_id(said) or None),
    )
    return [span._replace(**own) for span in spans]
