"""One run of a tool, told as a call of the vocabulary and its result; pure.

A run that answers a call which the history holds is told as that call's: by its id, else by name
and arguments. Any other is a call of its own.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any, Final
from uuid import UUID, uuid4

import msgspec

from refold.conversation import events
from refold.conversation.chat_shapes import exact_arguments, json_text
from refold.core.event import Event, parse_event_id
from refold.recording.notes import Notes, WaitingCall

SOURCE: Final = "source"
RAN: Final = "tool"
"""The metadata, and its value, that marks what a tool itself told, and not a model's request."""
TEXT_CHARS_MAX: Final = 2_000
"""How much is kept of the text of an exception, and of a value that JSON cannot say."""
_PLAIN: Final = (str, int, float, bytes, Decimal, date, time, timedelta, UUID, Enum)
VALUE_BYTES_MAX: Final = 4 << 20
"""The most of an argument or of a result that is kept; of more, size and SHA-256."""
ARGUMENTS_BYTES_MAX: Final = 3 << 20
"""The most of all arguments as JSON text in JSON; an event has them as values too."""
DEPTH_MAX: Final = 120
"""How deep a value may nest, in an event that may have 128 levels."""


@dataclass(slots=True, eq=False)
class ToolRun:
    """A run of a tool as it is known so far; ``arguments`` and ``result`` are JSON values.

    ``call`` is the event id of the call that it answers, None until that is known;
    ``latency_ms`` is None while it goes on. ``metadata`` is added to that of its events.
    ``objects`` are the arguments that are more than JSON, of which ``arguments`` has the type only:
    what is injected may hold secrets, or all of a conversation. ``is_nested`` says that another run
    of the same conversation goes on around it.
    """

    name: str
    arguments: Mapping[str, Any]
    started_us: int
    effect: events.Effect = "unknown"
    call_id: str | None = None
    schema_hash: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    objects: Mapping[str, Any] = field(default_factory=dict)
    is_nested: bool = False
    result: Any = None
    is_error: bool = False
    latency_ms: float | None = None
    call: str | None = None
    id: str = field(default_factory=lambda: uuid4().hex)


def waiting_for(
    notes: Notes, run: ToolRun, *, exactly: bool = False
) -> Iterator[tuple[str, WaitingCall]]:
    """The calls without a result that a run may answer, with their ids, the likeliest first.

    With a call id, those of that id, the one that has waited longest first. Else those of its name
    whose arguments are among those of the run, of the newest answer first, and of one answer in
    order; where there is none and it need not be ``exactly`` that, the only one of its name: what
    runs a tool may convert arguments. A nested run is mostly no call of a model's, so not by name.
    """
    waiting = [
        (call_id, call)
        for call_id, calls in notes.open_calls.items()
        for call in calls
        if call.id not in notes.taken
    ]
    if run.call_id is not None:
        return (one for one in waiting if one[0] == run.call_id)
    named = [one for one in waiting if one[1].name == run.name]
    # The answers stand in their order in the history; sorting keeps that of the calls in each.
    named.sort(key=lambda one: parse_event_id(one[1].id)[1])
    answers = {one[1].answer: at for at, one in enumerate(named)}
    named.sort(key=lambda one: answers[one[1].answer], reverse=True)
    same = [one for one in named if _agree(one[1].arguments, run)]
    is_enough = len(named) == 1 and not exactly and not run.is_nested
    return iter(same or (named if is_enough else []))


def began(notes: Notes, run: ToolRun) -> list[Event]:
    """The call that a run is; nothing where the history holds it, and the run then has its id."""
    call_id, call = next(waiting_for(notes, run), (run.call_id, None))
    if call is not None:
        run.call_id, run.call = call_id, call.id
        notes.taken.add(call.id)
        return []
    text = json_text(_fitting(run.arguments))
    called = events.ToolCall(
        _id_of(run), run.name, text, schema_hash=run.schema_hash, effect=run.effect
    )
    return [Event.of(called, metadata=_marked(run), occurred_at=run.started_us)]


def stored(notes: Notes, run: ToolRun, event_id: str) -> None:
    """The events of a run are stored, the first under this id: no other run is its call."""
    if run.call is None:
        # Not before: where another writer came first, what it stored may be the run's call.
        run.call, run.call_id = event_id, _id_of(run)
        notes.taken |= {event_id} if run.call_id in notes.open_calls else set()


def ended(notes: Notes, run: ToolRun) -> list[Event]:
    """The result of a run, with the call before it where that was not told."""
    called = began(notes, run) if run.call is None else []
    if run.call is not None:
        notes.taken.discard(run.call)
    result = events.ToolResult(_id_of(run), run.result, run.is_error, run.latency_ms)
    at_us = run.started_us + round((run.latency_ms or 0) * 1_000)
    return [*called, Event.of(result, metadata=_marked(run), occurred_at=at_us)]


def json_value(value: Any) -> Any:
    """A value as JSON says it; its text where JSON cannot, its size where it is too large."""
    try:
        made = _listed(msgspec.to_builtins(value, str_keys=True, enc_hook=_shown))
        text = msgspec.json.encode(made)
        if len(text) > VALUE_BYTES_MAX:
            return _size(made)
        return made if msgspec.json.decode(text) == made else _repr(value)
    except Exception:  # Whatever an object of the caller's raises when it is looked at.
        return _repr(value)


def json_arguments(given: Any) -> dict[str, Any]:
    """Arguments by their names, each as :func:`json_value` has it."""
    try:
        return {str(name): json_value(value) for name, value in given.items()}
    except Exception:  # No mapping, or one that cannot be read.
        return {"arguments": json_value(given)}


def is_plain(value: Any) -> bool:
    """Whether a value is one of JSON, or of the library's types that are one text or number."""
    try:
        if isinstance(value, Mapping):
            return all(map(is_plain, value.values()))
        if isinstance(value, list | tuple | set | frozenset):
            return all(map(is_plain, value))
    except Exception:  # As of what holds itself.
        return False
    return value is None or isinstance(value, _PLAIN)


def error_text(error: BaseException) -> str:
    """Type and message; whatever the message is, it must not keep it from being recorded."""
    name = type(error).__qualname__
    try:
        text = str(error)
    except Exception:
        text = "(its text could not be had)"
    kept = f"{name}: {text}"[:TEXT_CHARS_MAX] if text else name
    return kept.encode(errors="replace").decode()


def _id_of(run: ToolRun) -> str:
    return run.call_id or f"run_{run.id[:24]}"


def _fitting(arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that fit into an event: of the largest, where they do not, the size."""
    kept = dict(arguments)
    sizes = {name: len(json_text(json_text(value))) for name, value in kept.items()}
    total = sum(sizes.values())
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        if total <= ARGUMENTS_BYTES_MAX:
            break
        kept[name], total = _size(kept[name]), total - sizes[name]
    return kept


def _size(made: Any) -> str:
    return f"[{len(msgspec.json.encode(made)):,} bytes of SHA-256 {events.sha256_of(made)}]"


def _shown(value: Any) -> Any:
    dump = getattr(value, "model_dump", None)
    return _repr(value) if dump is None else dump(mode="json", by_alias=True)


def _listed(value: Any, depth: int = 0) -> Any:
    if depth > DEPTH_MAX:
        raise ValueError("too deep for an event")
    if isinstance(value, list | tuple):
        return [_listed(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {name: _listed(item, depth + 1) for name, item in value.items()}
    return value


def _repr(value: Any) -> str:
    try:
        text = repr(value)[:TEXT_CHARS_MAX]
    except Exception:
        text = f"<{type(value).__qualname__}>"
    return text.encode(errors="backslashreplace").decode()


def _agree(asked: str, run: ToolRun) -> bool:
    """Whether a run was given all that a model asked for; more may have been filled in."""
    said = exact_arguments(asked)
    if not isinstance(said, dict):
        return False
    named = {name: json_value(value) for name, value in run.objects.items() if name in said}
    ran = exact_arguments(json_text({**run.arguments, **named}))
    return isinstance(ran, dict) and said.items() <= ran.items()


def _marked(run: ToolRun) -> dict[str, Any]:
    return {SOURCE: RAN, **run.metadata}
