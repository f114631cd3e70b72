"""LangSmith run records: as its API and its exports give them, or as its SDK sends them.

A run is ``{"id", "trace_id", "run_type", "inputs", "outputs", …}``
(https://docs.langchain.com/langsmith/run-data-format): a line or an element each, or a document of
``runs``. The SDK's batches are ``{"post": […], "patch": […]}``; a patch adds to the run it names.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from refold.conversation import chat_shapes as shapes
from refold.conversation import events
from refold.conversation.amounts import read_amount
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers.base import (
    ODD,
    FieldReader,
    Found,
    Importer,
    Options,
    Problem,
    read_all,
)
from refold.conversation.importers.chat_files import PARAMS
from refold.conversation.importers.json_array import Doubled, Value, checked
from refold.conversation.importers.source import ImportSource
from refold.conversation.importers.spans import Kind, Span, Trace
from refold.conversation.importers.traces import read_traces
from refold.conversation.importers.usage import usage_in
from refold.conversation.importers.when import time_us
from refold.core.event import Event

_KINDS: Final[dict[str, Kind]] = {"llm": "model", "chat_model": "model", "tool": "tool"}
_LISTS: Final = ("post", "patch", "runs")
_THREADS: Final = ("session_id", "conversation_id", "thread_id")


def read_langsmith(source: ImportSource, options: Options) -> Iterator[Found | Problem]:
    """Import runs of LangSmith: lines or elements of runs, documents of "runs", batches of its SDK.

    The streams are called CATEGORY-TRACE; the category is by default langsmith.

        refold import langsmith runs.jsonl
    """
    return read_traces(source.name, "langsmith", options, _traces(source))


def looks_like(values: Sequence[Any], /) -> str:
    """By what the first values are known to be of LangSmith; "" where they are not."""
    for value in values:
        match value:
            case (
                {"run_type": _} | {"post": [{"run_type": _}, *_]} | {"runs": [{"run_type": _}, *_]}
            ):
                return "its runs have a run_type"
    return ""


def _traces(source: ImportSource) -> Iterator[Trace | Problem]:
    traces: dict[str, dict[str, tuple[dict[str, Any], str, int]]] = {}

    def read(value: Value) -> Iterable[Problem]:
        for run, at in list(_runs(value.read())):
            held = traces.setdefault(str(run.get("trace_id") or run["id"]), {})
            before, first_at, line = held.get(str(run["id"]), ({}, at, value.line))
            more = {
                key: v for key, v in run.items() if v not in (None, {}, []) or key not in before
            }
            # What is doubled stays so: the trace is refused for it.
            whole = run if isinstance(run, Doubled) else before | more
            held[str(run["id"])] = (whole, first_at, line)
        return ()

    yield from read_all(source, read)
    for trace_id, held in traces.items():
        try:
            yield _trace(trace_id, checked(list(held.values())))
        except ODD as error:
            yield Problem(source.name, 1, f"trace {trace_id}: {error}")


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
        spans += _span(one)
        stats = one.typed("feedback_stats", dict[str, Any]) or {}
        for name, said in stats.items():
            if isinstance(said, dict) and type(said.get("avg")) in (int, float):
                scores.append(Event.of(events.ScoreRecorded(name, said["avg"], "langsmith")))
        said = one.inside("extra").inside("metadata").holder
        thread = next((said[key] for key in _THREADS if said.get(key)), None)
        metadata |= {"correlation": str(thread)} if thread else {}
    known = ("id", "name", "run_type", "session_name", "session_id", "tags", "extra", "error")
    first = min(
        runs, key=lambda held: str(held[0].get("dotted_order") or held[0].get("start_time"))
    )
    beside = {key: value for key, value in first[0].items() if key in known}
    return Trace(trace_id, spans, runs[0][2], {"langsmith": beside}, metadata, scores, unread)


def _span(one: FieldReader) -> list[Span]:
    start_us = one.read("start_time", time_us)
    if start_us is None:
        one.note("start_time", [Unread("field", "", "a run without a time")])
        return []
    run = one.holder
    said, kind = one.inside("extra").inside("metadata").holder, str(run.get("run_type"))
    given = one.inside("extra").inside("invocation_params").holder
    asked = one.inside("inputs").holder
    outputs = one.inside("outputs").holder
    first_us, name = one.read("first_token_time", time_us), str(run.get("name"))
    params = {key: value for key, value in {**given, **asked}.items() if key in PARAMS}
    made = Span(
        id=str(run["id"]),
        parent=str(run.get("parent_run_id")),
        kind=_KINDS.get(kind, "other"),
        name=name,
        at=one.at,
        start_us=start_us,
        end_us=one.read("end_time", time_us),
        asked=_input(asked) if kind == "tool" else asked or None,
        answered=outputs.get("output", outputs) if kind == "tool" else outputs or None,
        asked_at=f"{one.at}/inputs",
        answered_at=f"{one.at}/outputs",
        model=asked.get("model") or said.get("ls_model_name") or given.get("model"),
        provider=said.get("ls_provider"),
        agent=said.get("lc_agent_name") or said.get("agent_name"),
        params={key: value for key, value in params.items() if value is not None},
        tools=asked.get("tools") or given.get("tools"),
        usage=_usage(outputs, one),
        cost=read_amount(run.get("total_cost")) or None,
        first_token_ms=None if first_us is None else (first_us - start_us) / 1_000,
        error=str(run.get("error") or ""),
        call_id=_call_id(outputs),
    )
    return [made]


def _input(inputs: dict[str, Any]) -> Any:
    """A tool's arguments: LangChain writes them as text, which may be Python's and no JSON."""
    inner = inputs.get("input")
    return inner if inputs.keys() == {"input"} and isinstance(inner, dict) else inputs


def _call_id(outputs: dict[str, Any]) -> str:
    output = outputs.get("output")
    kwargs = output.get("kwargs", output) if isinstance(output, dict) else {}
    return shapes.read_id(kwargs.get("tool_call_id")) if isinstance(kwargs, dict) else ""


def _usage(outputs: dict[str, Any], one: FieldReader) -> events.Usage | None:
    """The tokens in ``usage_metadata``, which stands beside the answer or in its message."""
    given = outputs.get("usage_metadata")
    match outputs:
        case {"generations": [[{"message": {"kwargs": {"usage_metadata": inner}}}, *_], *_]}:
            given = inner
    return usage_in(given, f"{one.at}/outputs", one.unread)


LANGSMITH: Final = Importer("langsmith", read_langsmith, looks_like)
