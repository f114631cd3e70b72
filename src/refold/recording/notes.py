"""What a recorder must remember of its session, and the metadata that follows from it.

Pure: events in, events with their metadata out, and notes that hold once they are stored.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final, NamedTuple

import msgspec

from refold.conversation import events, voice
from refold.conversation.chat_shapes import described, parsed_arguments
from refold.core.clock import Instant
from refold.core.event import Event, Kind, event_id
from refold.core.expected import NO_EVENTS
from refold.core.recorded import Recorded
from refold.core.registry import default_registry
from refold.errors import InvalidEvent
from refold.recording.answers import check_arguments
from refold.recording.declared import effect_of

USER: Final = "user"
SYSTEM: Final = "system"
"""The actor of what neither side and no tool did: how a session starts and ends."""

_VOCABULARY: Final[dict[str, type]] = {
    kind.type: cls
    for kind in default_registry.kinds()
    if (cls := default_registry.class_of(kind)).__module__ in (events.__name__, voice.__name__)
}


class WaitingCall(NamedTuple):
    """A tool call without a result: its event id, its tool, its arguments as they were given.

    ``answer`` is the message id that the calls of one answer share; a call without one has its own.
    """

    id: str
    name: str
    arguments: str
    answer: str


@dataclass
class Notes:
    """Where a session stands.

    ``version`` is the last version of ``stream``. The ids name the events that the next ones may
    follow from: the last of all, what the model has to answer, its last response and the message
    id of that, the agent's last words. ``open_calls`` has, by call id, each call without a result,
    oldest first; ``taken`` the event ids of those that a run of the tool is about to answer.
    """

    stream: str
    version: int = NO_EVENTS
    is_ended: bool = False
    agent: events.AgentConfigured | None = None
    last: str | None = None
    asked: str | None = None
    response: tuple[str | None, str | None] = (None, None)
    spoken: str | None = None
    open_calls: dict[str, tuple[WaitingCall, ...]] = field(default_factory=dict)
    taken: set[str] = field(default_factory=set)

    def take(self, event: object) -> None:
        """Note one more event of the stream; None is one that nothing follows from."""
        self.version += 1
        self.last = here = event_id(self.stream, self.version)
        match event:
            case events.SessionStarted() | events.SessionEnded():
                self.is_ended = isinstance(event, events.SessionEnded)
            case events.AgentConfigured():
                self.agent = event
            case events.UserUtterance() | voice.DtmfReceived():
                self.asked = here
            case events.ModelRequest() | events.ModelFailed():
                self.asked = here
            case events.ModelResponse():
                self.response = (event.message_id, here)
            case events.AgentUtterance():
                self.spoken = here
            case events.ToolCall():
                waiting = self.open_calls.get(event.call_id, ())
                call = WaitingCall(here, event.name, event.arguments, event.message_id or here)
                self.open_calls[event.call_id] = (*waiting, call)
            case events.ToolResult():
                self.asked = here
                if waiting := self.open_calls.pop(event.call_id, ())[1:]:
                    self.open_calls[event.call_id] = waiting

    def cause_and_actor(self, event: object) -> tuple[str | None, str | None]:
        """The id of the event that led to this one, and who did it; None where neither is known."""
        agent = (self.agent and self.agent.agent) or "agent"
        match event:
            case events.UserUtterance() | voice.PlaybackInterrupted():
                return self.spoken or self.last, event.party or USER
            case voice.DtmfReceived():
                return self.spoken or self.last, USER
            case events.ModelRequest() | events.ModelResponse() | events.ModelFailed():
                return self.asked or self.last, agent
            case events.AgentUtterance() | events.ToolCall():
                message_id, response = self.response
                is_of_it = response is not None and message_id == event.message_id
                return response if is_of_it else self.asked or self.last, agent
            case events.ToolDecided():
                return self._call(event.call_id)[0], event.approver
            case events.ToolResult():
                call, tool = self._call(event.call_id)
                return call, event.name or tool
        return self.last, None

    def _call(self, call_id: str) -> tuple[str | None, str]:
        """The event and tool of the call of an id that has waited longest."""
        for call in self.open_calls.get(call_id, ()):
            return call.id, call.name
        return self.last, "tool"


def stamped(
    notes: Notes, given: Sequence[object], *, occurred_at: Instant | None = None
) -> tuple[list[Event], Notes]:
    """The events with cause and actor in their metadata, and the notes once they are stored.

    What an event says of itself (metadata, time) stays. A tool call gets what is known of its
    tool. Raises :class:`InvalidEvent` for a type of the vocabulary with a payload that is not its.
    """
    made: list[Event] = []
    # A copy: should the append fail, the notes are those of before.
    notes = replace(notes, open_calls=dict(notes.open_calls))
    for one in given:
        event = _whole(one, notes)
        typed = _typed(event)
        known = zip(("causation", "actor"), notes.cause_and_actor(typed), strict=True)
        own = {name: value for name, value in known if value is not None}
        at = occurred_at if event.occurred_at is None else event.occurred_at
        made.append(replace(event, metadata={**own, **(event.metadata or {})}, occurred_at=at))
        notes.take(typed)
    return made, notes


def followed(stream: str, history: Iterable[Recorded]) -> Notes:
    """The notes at the end of a history."""
    notes = Notes(stream)
    for recorded in history:
        follow(notes, recorded)
    return notes


def follow(notes: Notes, recorded: Recorded) -> None:
    """Note the next event of the history that was read so far."""
    parts = recorded.parts(among=_VOCABULARY)
    for event in [part.to_class(_VOCABULARY[part.type]) for part in parts] or [None]:
        # The parts of a split event stand at one version.
        notes.version = recorded.version - 1
        notes.take(event)


def _whole(event: object, notes: Notes) -> Event:
    """The event as an :class:`Event`; a tool call with what the agent's tools say of it."""
    whole = event if isinstance(event, Event) else Event.of(event)
    if isinstance(whole.data, events.ToolCall) and not whole.type:
        check_arguments(whole.data, path="/arguments")
        call = described(whole.data, notes.agent.tools if notes.agent is not None else [])
        if call.effect == "unknown":
            call = msgspec.structs.replace(call, effect=effect_of(call.name))
        if call.parsed is None and call.kind == "function":
            call = msgspec.structs.replace(call, parsed=parsed_arguments(call.arguments))
        return replace(whole, data=call)
    return whole


def _typed(event: Event) -> Any:
    """The typed payload of an event of the vocabulary; None of any other that is untyped."""
    if not event.type:
        return event.data
    cls = _VOCABULARY.get(Kind.parse(event.type).type)
    if cls is None:
        return None
    try:
        return msgspec.convert(event.data, cls)
    except msgspec.ValidationError as error:
        raise InvalidEvent(f"this is no {event.type!r}: {error}", type=event.type) from error
