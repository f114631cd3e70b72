"""A history as lines that a person reads: who, when, what, in the order of the log."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any, Final

import msgspec

from refold.conversation import events, voice
from refold.conversation.chat_shapes import with_marks
from refold.conversation.fold import Conversation
from refold.conversation.state import ConversationState, ToolAnswer, ToolUse, Utterance, at
from refold.core.fold import taken
from refold.core.history import SessionForked
from refold.core.jsonvalue import parse_pointer
from refold.core.recorded import Recorded, history_of
from refold.errors import UsageError, refuse_unless

PROMPT_CHARS_MAX: Final = 72
VALUE_CHARS_MAX: Final = 400
"""How much of a tool's arguments, a result or an unknown payload one line shows."""
WHO_CHARS_MAX: Final = 24
REDACTED: Final = "[redacted]"

# What a reader of the words can do without; an answer's tokens and price are in the state.
_LEFT_OUT: Final = frozenset({
    "model.request", "model.response", "speech.started", "speech.stopped", "access.recorded",
    "wire.request", "wire.piece", "wire.answer", "wire.branch", "wire.waiting",
    "openai_agents.item", "claude.entry", "pydantic_ai.entry", "pydantic_ai.record",
})  # fmt: skip
# What a conversation may stop at, and what is missing then; "" where nothing is.
_STOPS: Final = {
    "user.utterance": "nobody answered",
    "model.request": "the model's answer did not come",
    "tool.call": "a call has no result",
    "tool.result": "the agent did not go on",
    "agent.utterance": "",
    "model.failed": "",
    "session.ended": "",
    "call.transferred": "",
}
# C0 and C1 controls but the line feed and tab, line separators, and what sets the direction.
_HARMFUL: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]"
)


def loose_end(history: Sequence[Recorded]) -> str:
    """What a conversation that stops here lacks, in a few words; "" where it lacks nothing."""
    return next((_STOPS[e.type] for e in reversed(history) if e.type in _STOPS), "")


class Line(msgspec.Struct, frozen=True):
    """One event as text: ``at`` is RFC 3339, ``who`` a word or two, ``type`` the event's type."""

    id: str
    at: str
    who: str
    type: str
    text: str


def transcript(history: Iterable[Recorded]) -> list[Line]:
    """The lines of a history: words, tool calls, results, interruptions and the rest.

    Requests and prices of models, the exact bytes of captured calls and messages, speech detection
    and access records are left out; an event of an unknown type is shown as its payload. What was
    redacted is not shown, whether or not its bytes are still stored.
    """
    known = list(history_of(history, call="transcript"))
    state = Conversation.run(known).state
    made = _made(state)
    redacted: defaultdict[str, list[str]] = defaultdict(list)
    for redaction in state.redactions:
        redacted[redaction.event.event].append(redaction.event.pointer)
    lines: list[Line] = []
    for recorded in (part for whole in known for part in whole.parts() or (whole,)):
        if recorded.type not in _LEFT_OUT:
            own = made[recorded.origin_id, recorded.type] or [None]
            who, text = _said(recorded, own.pop(0), redacted[recorded.origin_id])
            lines.append(Line(recorded.origin_id, at(recorded), who, recorded.type, text))
    return lines


def rendered(lines: Iterable[Line]) -> list[str]:
    """Lines as plain text in columns: time of day, who, what; a heading for each new day.

    Characters that could move a terminal's cursor or turn its text around are shown as codes.
    """
    lines = list(lines) if isinstance(lines, Iterable) else [lines]
    for line in lines:
        refuse_unless(isinstance(line, Line), "a line of a transcript", line=line)
    shown = [(line.at, _name(line.who), _harmless(line.text)) for line in lines]
    width = max((len(who) for _, who, _ in shown), default=0)
    texts, day = list[str](), ""
    for moment, who, text in shown:
        date, _, time = moment.partition("T")
        if date != day:
            texts.append(day := date)
        head = f"{time[:8]}  {who:<{width}}  "
        first, *more = text.split("\n")
        texts.append((head + first).rstrip())
        texts += [(" " * len(head) + rest).rstrip() for rest in more]
    return texts


def shortened(text: str, *, chars_max: int = VALUE_CHARS_MAX) -> str:
    """The text, or its beginning with an ellipsis."""
    return text if len(text) <= chars_max else f"{text[: chars_max - 1]}…"


def _name(who: str) -> str:
    return shortened(" ".join(_harmless(who).split()), chars_max=WHO_CHARS_MAX)


def _harmless(text: str) -> str:
    return _HARMFUL.sub(lambda found: f"\\u{ord(found[0]):04x}", text.replace("\r\n", "\n"))


def _made(state: ConversationState) -> defaultdict[tuple[str, str], list[Any]]:
    """What the fold made of events, by id and type: parts of one split event may share both."""
    made: defaultdict[tuple[str, str], list[Any]] = defaultdict(list)
    for turn in state.transcript:
        made[turn.id, f"{turn.role}.utterance"].append(turn)
    for refused in state.refused_patches:
        made[refused.id, "state.patched"].append(refused.reason)
    for answer in state.unmatched_results:
        made[answer.id, "tool.result"].append((answer, f"no open call {answer.event.call_id}"))
    for use in state.tool_calls:
        made[use.id, "tool.call"].append(use)
        if use.answer is not None:
            made[use.answer.id, "tool.result"].append((use.answer, use.event.name))
    return made


# -- who, and the text, by kind of event --------------------------------------------------------

Said = tuple[str, str]


def _said(recorded: Recorded, part: object, redacted: list[str]) -> Said:
    match part:
        case Utterance():
            hidden = _covers(redacted, "text", "parts")
            words = with_marks(part.text, part.attachments) or "(nothing)"
            heard = words if part.heard is None else f"{words} [interrupted]"
            return part.party or part.role, REDACTED if hidden else heard
        case ToolUse(event=call):
            hidden = _covers(redacted, "arguments", "parsed")
            arguments = REDACTED if hidden else shortened(call.arguments)
            waiting = " (no result)" if part.answer is None else ""
            return "tool call", f"{call.name}({arguments}){waiting}"
        case (ToolAnswer(event=result), tool):
            value = REDACTED if _covers(redacted, "result") else _value(result.result)
            who = "tool error" if result.is_error else "tool result"
            return who, f"{result.name or tool}: {value}"
        case str():
            return "state", f"not applied: {part}"
    handler = Conversation.handlers.get(recorded.type)
    typed = None if handler is None else taken(recorded, handler)
    who, text = _told(typed) or (recorded.type, _value(recorded.data))
    return who, REDACTED if redacted else text


def _told(event: object) -> Said | None:
    """Who and the text of an event by itself; None for one that is shown as its payload."""
    match event:
        case voice.DtmfReceived(digits=digits):
            return "user", f"presses {digits}"
        case voice.PlaybackInterrupted(played_text=heard, unplayed_text=unheard):
            more = f", not heard: “{unheard}”" if unheard else ""
            return event.party or "user", f"interrupts; heard: “{heard}”{more}"
        case events.ToolDecided(changed_arguments=changed):
            more = f": {shortened(changed)}" if changed else ""
            return event.approver, f"{event.decision} the call {event.call_id}{more}"
        case events.ModelFailed():
            return "model", f"failed (attempt {event.attempt}): {event.error}"
        case events.SessionStarted():
            people = ", ".join(party.name or party.role for party in event.parties)
            more = f"; {people}" if people else ""
            return "session", f"started: {event.channel}, {event.direction}{more}"
        case events.SessionEnded(error=error):
            return "session", f"ended: {event.reason}" + (f" ({error})" if error else "")
        case SessionForked(variant=changes):
            text = f"branch of {event.from_stream} after version {event.from_version}"
            return "session", text + (f": {_value(changes)}" if changes is not None else "")
        case events.AgentConfigured():
            return event.agent or "agent", f"configured: {_configuration(event) or 'nothing'}"
        case events.StatePatched(patch=operations):
            return "state", shortened("; ".join(map(_operation, operations)))
    return None


def _configuration(agent: events.AgentConfigured) -> str:
    prompt = " ".join(agent.prompt.text.split()) if agent.prompt is not None else ""
    said = {
        "model": agent.model,
        "tools": ", ".join(tool.name for tool in agent.tools),
        "prompt": shortened(prompt, chars_max=PROMPT_CHARS_MAX),
    }
    return "; ".join(f"{name} {value}" for name, value in said.items() if value)


def _operation(operation: dict[str, Any]) -> str:
    target = f"{operation.get('op')} {operation.get('path')}"
    return f"{target} = {_value(operation['value'])}" if "value" in operation else target


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
