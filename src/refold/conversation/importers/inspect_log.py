"""Inspect eval logs: a log with its samples as JSON, or a sample by itself.

``{"eval": …, "samples": […]}`` is what ``inspect log dump`` writes
(https://inspect.aisi.org.uk/eval-logs.html). A sample's calls of models and tools are steps of a
trace; without them its ``messages`` are all that is known. Texts that a log keeps once, as
``attachment://…``, are put where they belong.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

from refold.conversation import events
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers.base import Conversations, Options, Problem, read_all, read_parts
from refold.conversation.importers.fields import FieldReader
from refold.conversation.importers.json_array import Value, checked
from refold.conversation.importers.source import ImportSource, named
from refold.conversation.importers.spans import Span, Trace, spans_of
from refold.conversation.importers.telling import read_traces
from refold.core.event import Event
from refold.errors import InvalidEvent

_GRADES: Final = {"C": 1.0, "I": 0.0, "P": 0.5, "N": 0.0}
"""What Inspect's own metrics take its grades for: correct, incorrect, partial, no answer."""
_ATTACHED: Final = "attachment://"
_STEP: Final = {
    "id": "uuid", "start_us": "timestamp", "end_us": "completed", "error": "error/message error",
}  # fmt: skip
_MODEL: Final = {
    **_STEP, "name": "model", "model": "model", "agent": "role", "asked": "input",
    "answered": "output", "tools": "tools", "usage": "output/usage",
}  # fmt: skip
_TOOL: Final = {
    **_STEP,
    "name": "function",
    "asked": "arguments",
    "answered": "result",
    "call_id": "id",
}
_TOLD: Final = ("messages", "events", "attachments", "output")


def read_inspect(source: ImportSource, options: Options) -> Conversations:
    """Import eval logs of Inspect as JSON: each sample with its scores.

    The streams are called CATEGORY-SAMPLE-EPOCH; the category is by default the task. A .eval
    file is a zip of such samples: `inspect log dump` gives the JSON.

        refold import inspect popularity.json
    """
    return read_traces(source.name, "inspect", options, read_all(source, partial(_samples, source)))


def _samples(source: ImportSource, value: Value) -> Iterator[Trace | Problem]:
    log = value.read()
    given = log.get("eval") if isinstance(log, dict) else None
    if isinstance(given, dict) and isinstance(log.get("samples"), list):
        checked(given)
        read = partial(_trace, log=given, line=value.line)
        yield from read_parts(source, value, log["samples"], "/samples", read)
    elif isinstance(log, dict) and "epoch" in log:
        yield _trace(checked(log), "", {}, value.line)
    else:
        raise ValueError("a log of Inspect has eval and samples (a header alone has none)")


def _trace(given: Any, at: str, log: Mapping[str, Any], line: int) -> Trace:
    if not isinstance(given, dict):
        raise InvalidEvent("a sample is an object", path=at)
    unread: list[Unread] = []
    sample = FieldReader(_attached(given, given.get("attachments") or {}), unread, at)
    spans = [span for one in sample.each("events") for span in _spans(one)]
    if not any(span.kind == "model" for span in spans):
        spans = [_words(sample, str(log.get("created") or ""))]
    beside = {key: value for key, value in sample.holder.items() if key not in _TOLD}
    end_us = max((span.end_us or span.start_us or 0 for span in spans), default=0) or None
    ended = [Event.of(one, occurred_at=end_us) for one in [*_scores(sample), _end(sample.holder)]]
    task, run = str(log.get("task") or "inspect"), str(log.get("run_id") or "")
    own_id = f"{named(str(given.get('id')))}-{given.get('epoch')}"
    return Trace(
        own_id, spans, line, {"inspect": {"sample": beside, "eval": log}}, {}, ended, unread,
        run=run, category=named(task).replace("-", "_"),
    )  # fmt: skip


def _spans(one: FieldReader) -> list[Span]:
    """The step that an event is, if it is one: what else a log tells of is no conversation."""
    match one.holder.get("event"):
        case "model":
            output, config = one.inside("output").holder, one.inside("config").holder
            params = {key: value for key, value in config.items() if value is not None}
            return spans_of(one, "model", _MODEL, answered=output or None, params=params)
        case "tool":
            return spans_of(one, "tool", _TOOL)
    return []


def _words(sample: FieldReader, created: str) -> Span:
    """The messages of a sample whose steps are not in the log."""
    start_us = FieldReader({"created": created or None}, []).time("created")
    messages, at = sample.holder.get("messages"), f"{sample.at}/messages"
    return Span(sample.at, "words", at, start_us, asked=messages, asked_at=at)


def _scores(sample: FieldReader) -> Iterator[events.ScoreRecorded]:
    for name, score in sample.inside("scores").holder.items():
        given = score if isinstance(score, dict) else {"value": score}
        value = given.get("value")
        parts = value.items() if isinstance(value, dict) else [("", value)]
        for part, one in parts:
            number = _GRADES.get(one) if isinstance(one, str) else one
            if not isinstance(number, int | float):
                sample.lose(f"scores/{name}", f"{one!s:.50} is no number and no grade of Inspect")
                continue
            comment = given.get("explanation")
            told = f"{name}.{part}" if part else name
            yield events.ScoreRecorded(told, float(number), f"inspect:{name}", comment)


def _end(sample: Mapping[str, Any]) -> events.SessionEnded:
    match sample:
        case {"error": {"message": why}}:
            return events.SessionEnded("error", str(why))
        case {"limit": {"type": kind}}:
            return events.SessionEnded(f"{kind} limit")
    return events.SessionEnded()


def _attached(value: Any, texts: Mapping[str, Any]) -> Any:
    """A value with the texts that it only refers to."""
    match value:
        case str() if value.startswith(_ATTACHED):
            return texts.get(value.removeprefix(_ATTACHED), value)
        case list():
            return list(map(partial(_attached, texts=texts), value))
        case dict():
            return {
                key: _attached(one, texts) for key, one in value.items() if key != "attachments"
            }
    return value
