"""A history as lines that a person reads: who, when, what, in the order of the log."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any, Final, NamedTuple

import msgspec

from refold.conversation.fold import Conversation
from refold.conversation.rendering import Line, shortened
from refold.conversation.state import (
    ConversationState,
    RefusedPatch,
    ToolAnswer,
    ToolUse,
    Utterance,
    at,
)
from refold.conversation.voice import DtmfReceived
from refold.core.jsonvalue import parse_pointer
from refold.core.recorded import Recorded, history_of
from refold.errors import UsageError

PROMPT_CHARS_MAX: Final = 72
REDACTED: Final = "[redacted]"

# What a reader of the words can do without; an answer's tokens and price are in the state.
_LEFT_OUT: Final = frozenset(
    {"model.request", "model.response", "speech.started", "speech.stopped", "access.recorded"}
)


def transcript(history: Iterable[Recorded]) -> list[Line]:
    """The lines of a history: words, tool calls, results, interruptions and the rest.

    Requests and prices of models, speech detection and access records are left out; an event of
    an unknown type is shown as its payload. What was redacted is not shown, whether or not its
    bytes are still stored.
    """
    events = list(history_of(history, call="transcript"))
    told = _told(Conversation.run(events).state)
    parts = (part for recorded in events for part in recorded.parts() or (recorded,))
    return [_line(part, told) for part in parts if part.type not in _LEFT_OUT]


def _line(recorded: Recorded, told: _Told) -> Line:
    part = _told_of(recorded, told.parts.get(recorded.origin_id, []))
    who, text = _said(recorded, part, told.redacted.get(recorded.origin_id, []))
    return Line(recorded.origin_id, at(recorded), who, recorded.type, text)


def _told_of(recorded: Recorded, parts: list[Any]) -> Any:
    """What the fold made of an event; the parts of a split one share their id."""
    if recorded.whole is None:
        return parts[-1] if parts else None
    fitting = (part for part in parts if isinstance(part, _MADE.get(recorded.type, ())))
    found = next(fitting, None)
    if found is not None:
        parts.remove(found)
    return found


class _Answered(NamedTuple):
    answer: ToolAnswer
    tool: str


_MADE: Final[dict[str, type]] = {
    "user.utterance": Utterance,
    "agent.utterance": Utterance,
    "tool.call": ToolUse,
    "tool.result": _Answered,
    "state.patched": RefusedPatch,
    "dtmf.received": DtmfReceived,
}
"""What the fold makes of the events of a type."""


class _Told(NamedTuple):
    """What the fold made of each event, and what was redacted of it, by the event's id."""

    parts: dict[str, list[Any]]
    redacted: dict[str, list[str]]


def _told(state: ConversationState) -> _Told:
    made: list[tuple[str, Any]] = [(turn.id, turn) for turn in state.transcript]
    made += [(refused.id, refused) for refused in state.refused_patches]
    made += [(pressed.id, pressed.event) for pressed in state.keys_pressed]
    for answer in state.unmatched_results:
        made.append((answer.id, _Answered(answer, f"no open call {answer.event.call_id}")))
    for use in state.tool_calls:
        made.append((use.id, use))
        if use.answer is not None:
            made.append((use.answer.id, _Answered(use.answer, use.event.name)))
    parts: dict[str, list[Any]] = {}
    for event_id, part in made:
        parts.setdefault(event_id, []).append(part)
    redacted: dict[str, list[str]] = {}
    for redaction in state.redactions:
        redacted.setdefault(redaction.event.event, []).append(redaction.event.pointer)
    return _Told(parts, redacted)


# -- who, and the text, by kind of event --------------------------------------------------------

Said = tuple[str, str]


def _said(recorded: Recorded, part: object, redacted: list[str]) -> Said:
    match part:
        case Utterance():
            return _turn(part, redacted)
        case ToolUse():
            return _call(part, redacted)
        case _Answered():
            return _result(part, redacted)
        case RefusedPatch():
            return "state", f"not applied: {part.reason}"
        case DtmfReceived():
            return "user", REDACTED if redacted else f"presses {part.digits}"
    say = _SAID.get(recorded.type)
    who, text = say(recorded.data) if say else (recorded.type, _value(recorded.data))
    return who, REDACTED if redacted else text


def _turn(turn: Utterance, redacted: list[str]) -> Said:
    who = turn.party or turn.role
    if _covers(redacted, "text", "parts"):
        return who, REDACTED
    marks = [f"[{kind}]" for kind in turn.attachments]
    text = " ".join([turn.text, *marks] if turn.text else marks) or "(nothing)"
    return who, text if turn.heard is None else f"{text} [interrupted]"


def _call(use: ToolUse, redacted: list[str]) -> Said:
    hidden = _covers(redacted, "arguments", "parsed")
    arguments = REDACTED if hidden else shortened(use.event.arguments)
    waiting = " (no result)" if use.answer is None else ""
    return "tool call", f"{use.event.name}({arguments}){waiting}"


def _result(answered: _Answered, redacted: list[str]) -> Said:
    result = answered.answer.event
    value = REDACTED if _covers(redacted, "result") else _value(result.result)
    who = "tool error" if result.is_error else "tool result"
    return who, f"{result.name or answered.tool}: {value}"


def _interrupted(data: dict[str, Any]) -> Said:
    unheard = data.get("unplayed_text")
    more = f", not heard: “{unheard}”" if unheard else ""
    return data.get("party") or "user", f"interrupts; heard: “{data['played_text']}”{more}"


def _decided(data: dict[str, Any]) -> Said:
    changed = data.get("changed_arguments")
    more = f": {shortened(changed)}" if changed else ""
    return data["approver"], f"{data['decision']} the call {data['call_id']}{more}"


def _failed(data: dict[str, Any]) -> Said:
    return "model", f"failed (attempt {data.get('attempt', 1)}): {data['error']}"


def _started(data: dict[str, Any]) -> Said:
    people = ", ".join(party.get("name") or party["role"] for party in data.get("parties") or ())
    text = f"{data.get('channel', 'chat')}, {data.get('direction', 'inbound')}"
    return "session", f"started: {text}" + (f"; {people}" if people else "")


def _ended(data: dict[str, Any]) -> Said:
    error = data.get("error")
    return "session", f"ended: {data.get('reason', 'completed')}" + (f" ({error})" if error else "")


def _forked(data: dict[str, Any]) -> Said:
    changes = data.get("variant")
    text = f"branch of {data['from_stream']} after version {data['from_version']}"
    return "session", text + (f": {_value(changes)}" if changes is not None else "")


def _configured(data: dict[str, Any]) -> Said:
    prompt = " ".join((data.get("prompt") or {}).get("text", "").split())
    said = {
        "model": data.get("model"),
        "tools": ", ".join(tool["name"] for tool in data.get("tools") or ()),
        "prompt": shortened(prompt, chars_max=PROMPT_CHARS_MAX),
    }
    text = "; ".join(f"{name} {value}" for name, value in said.items() if value)
    return data.get("agent") or "agent", f"configured: {text or 'nothing'}"


def _patched(data: dict[str, Any]) -> Said:
    return "state", shortened("; ".join(_operation(operation) for operation in data["patch"]))


def _operation(operation: dict[str, Any]) -> str:
    target = f"{operation.get('op')} {operation.get('path')}"
    return f"{target} = {_value(operation['value'])}" if "value" in operation else target


_SAID: Final[dict[str, Callable[[Any], Said]]] = {
    "session.started": _started,
    "session.ended": _ended,
    "session.forked": _forked,
    "agent.configured": _configured,
    "playback.interrupted": _interrupted,
    "tool.decided": _decided,
    "model.failed": _failed,
    "state.patched": _patched,
}


# -- text ---------------------------------------------------------------------------------------


def _covers(pointers: Iterable[str], *fields: str) -> bool:
    """Whether one of the redactions touches one of these fields of the payload."""
    return any(_first_key(pointer) in (None, *fields) for pointer in pointers)


def _first_key(pointer: str) -> str | None:
    """The field a pointer leads into; None for the whole, and for what cannot be read."""
    try:
        return next(iter(parse_pointer(pointer)), None)
    except UsageError:
        return None


def _value(value: Any) -> str:
    return shortened(value if isinstance(value, str) else msgspec.json.encode(value).decode())
