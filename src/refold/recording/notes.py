"""What a recorder must remember of its session, and the metadata that follows from it.

Pure: events in, events with their metadata out, and notes that hold once they are stored.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import msgspec

from refold.conversation.chat_shapes import parsed_arguments
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    ModelFailed,
    ModelRequest,
    ModelResponse,
    SessionEnded,
    SessionStarted,
    Tool,
    ToolCall,
    ToolDecided,
    ToolResult,
    UserUtterance,
)
from refold.conversation.voice import DtmfReceived, PlaybackInterrupted
from refold.core.clock import Instant
from refold.core.event import Event, Kind, event_id
from refold.core.expected import NO_EVENTS
from refold.core.recorded import Recorded
from refold.core.registry import default_registry
from refold.errors import InvalidEvent
from refold.recording.answers import check_arguments

USER: Final = "user"
AGENT: Final = "agent"
TOOL: Final = "tool"
SYSTEM: Final = "system"
"""The actor of what neither side and no tool did: how a session starts and ends."""

_READ: Final[dict[str, type]] = {
    default_registry.kind_of_class(cls).type: cls
    for cls in (
        AgentConfigured,
        AgentUtterance,
        DtmfReceived,
        ModelFailed,
        ModelRequest,
        ModelResponse,
        PlaybackInterrupted,
        SessionEnded,
        SessionStarted,
        ToolCall,
        ToolDecided,
        ToolResult,
        UserUtterance,
    )
}


@dataclass(frozen=True)
class Notes:
    """Where a session stands.

    ``version`` is the last version of ``stream``. The ids name the events that the next ones may
    follow from: the last of all, what the model has to answer, its last response, the agent's
    last words. ``open_calls`` has, by call id, the event id and tool of each call without a
    result, oldest first.
    """

    stream: str
    version: int = NO_EVENTS
    is_ended: bool = False
    agent: AgentConfigured | None = None
    last: str | None = None
    asked: str | None = None
    response: tuple[str | None, str] | None = None
    spoken: str | None = None
    open_calls: Mapping[str, tuple[tuple[str, str], ...]] = field(default_factory=dict)

    @property
    def next_id(self) -> str:
        """The id that the next event will have."""
        return event_id(self.stream, self.version + 1)


def stamped(
    notes: Notes, events: Sequence[object], *, occurred_at: Instant | None = None
) -> tuple[list[Event], Notes]:
    """The events with cause and actor in their metadata, and the notes once they are stored.

    What an event says of itself (metadata, time) stays. A tool call gets what is known of its
    tool. Raises :class:`InvalidEvent` for a type of the vocabulary with a payload that is not its.
    """
    made: list[Event] = []
    for event in events:
        whole = _whole(event, notes)
        read = _read(whole)
        own = {"causation": _cause_of(read, notes), "actor": _actor_of(read, notes)}
        known = {name: value for name, value in own.items() if value is not None}
        made.append(
            dataclasses.replace(
                whole,
                metadata={**known, **(whole.metadata or {})},
                occurred_at=occurred_at if whole.occurred_at is None else whole.occurred_at,
            )
        )
        notes = after(notes, read)
    return made, notes


def followed(stream: str, history: Iterable[Recorded]) -> Notes:
    """The notes at the end of a history."""
    notes = Notes(stream)
    for recorded in history:
        read = [part.to_class(_READ[part.type]) for part in recorded.parts(among=_READ)]
        for event in read or [None]:
            # The parts of a split event stand at one version.
            notes = after(dataclasses.replace(notes, version=recorded.version - 1), event)
    return notes


def after(notes: Notes, event: object) -> Notes:
    """The notes after one more event of the stream; None for one that they need not know."""
    here = notes.next_id
    notes = dataclasses.replace(notes, version=notes.version + 1, last=here)
    match event:
        case SessionStarted():
            return dataclasses.replace(notes, is_ended=False)
        case SessionEnded():
            return dataclasses.replace(notes, is_ended=True)
        case AgentConfigured():
            return dataclasses.replace(notes, agent=event)
        case UserUtterance() | DtmfReceived() | ModelRequest() | ModelFailed():
            return dataclasses.replace(notes, asked=here)
        case ModelResponse():
            return dataclasses.replace(notes, response=(event.message_id, here))
        case AgentUtterance():
            return dataclasses.replace(notes, spoken=here)
        case ToolCall():
            waiting = (*notes.open_calls.get(event.call_id, ()), (here, event.name))
            return _with_open(notes, event.call_id, waiting)
        case ToolResult():
            waiting = notes.open_calls.get(event.call_id, ())[1:]
            return dataclasses.replace(_with_open(notes, event.call_id, waiting), asked=here)
    return notes


def _with_open(notes: Notes, call_id: str, waiting: tuple[tuple[str, str], ...]) -> Notes:
    others = {known: calls for known, calls in notes.open_calls.items() if known != call_id}
    return dataclasses.replace(
        notes, open_calls={**others, call_id: waiting} if waiting else others
    )


def _cause_of(event: object, notes: Notes) -> str | None:
    match event:
        case UserUtterance() | PlaybackInterrupted() | DtmfReceived():
            return notes.spoken or notes.last
        case ModelRequest() | ModelResponse() | ModelFailed():
            return notes.asked or notes.last
        case AgentUtterance() | ToolCall():
            if notes.response is not None and notes.response[0] == event.message_id:
                return notes.response[1]
            return notes.asked or notes.last
        case ToolDecided() | ToolResult():
            return next((call for call, _ in notes.open_calls.get(event.call_id, ())), notes.last)
    return notes.last


def _actor_of(event: object, notes: Notes) -> str | None:
    match event:
        case UserUtterance() | PlaybackInterrupted():
            return event.party or USER
        case DtmfReceived():
            return USER
        case AgentUtterance() | ToolCall() | ModelRequest() | ModelResponse() | ModelFailed():
            return (notes.agent and notes.agent.agent) or AGENT
        case ToolDecided():
            return event.approver
        case ToolResult():
            waiting = notes.open_calls.get(event.call_id, ())
            return event.name or next((name for _, name in waiting), TOOL)
    return None


def _whole(event: object, notes: Notes) -> Event:
    """The event as an :class:`Event`; a tool call with what the agent's tools say of it."""
    whole = event if isinstance(event, Event) else Event.of(event)
    if isinstance(whole.data, ToolCall) and not whole.type:
        check_arguments(whole.data, path="/arguments")
        return dataclasses.replace(whole, data=_described(whole.data, notes.agent))
    return whole


def _described(call: ToolCall, agent: AgentConfigured | None) -> ToolCall:
    offered = agent.tools if agent is not None else []
    tool = next((tool for tool in offered if tool.name == call.name), Tool(name=call.name))
    return msgspec.structs.replace(
        call,
        parsed=parsed_arguments(call.arguments) if call.parsed is None else call.parsed,
        schema_hash=call.schema_hash or tool.schema_hash,
        effect=tool.effect if call.effect == "unknown" else call.effect,
    )


def _read(event: Event) -> Any:
    """The typed payload of an event that the notes know; None of any other."""
    if not event.type:
        return event.data
    cls = _READ.get(Kind.parse(event.type).type)
    if cls is None:
        return None
    try:
        return msgspec.convert(event.data, cls)
    except msgspec.ValidationError as error:
        raise InvalidEvent(f"this is no {event.type!r}: {error}", type=event.type) from error
