"""Runs of tools in conversations that are captured: told as the calls that the wire told.

The result of a run is recorded when the tool returns. What a later request says of the call is then
no second result; where the agent was told something else, that is recorded as ``tool.relayed``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final

from refold.capture.conversations import told
from refold.capture.placing import Places, is_part
from refold.capture.streams import Followed
from refold.conversation import events
from refold.core.event import Event, event_id, parse_event_id
from refold.core.expected import NO_EVENTS, NO_STREAM
from refold.engine.store import Store
from refold.errors import NotFound
from refold.recording.in_force import Telling
from refold.recording.notes import stamped
from refold.recording.tool_run import ToolRun, began, stored, waiting_for

CALLING_MAX: Final = 64
"""In how many streams the last calls of tools are looked for."""


class ToolRuns:
    """Records runs of tools in the streams of a store that calls are captured into.

    ``goes_on`` says whether a model call of a conversation has not ended yet.
    """

    def __init__(self, store: Store, places: Places, goes_on: Callable[[str], bool]) -> None:
        self._store, self._places, self._goes_on = store, places, goes_on
        self._calling: dict[str, None] = {}

    def note(self, stream: str, said: Iterable[Event]) -> None:
        """An answer was recorded: a stream whose model has called a tool is one to look in."""
        if any(isinstance(one.data, events.ToolCall) for one in said):
            self._calling.pop(stream, None)
            self._calling[stream] = None
            if len(self._calling) > CALLING_MAX:
                del self._calling[next(iter(self._calling))]

    def tell(self, named: str | None, run: ToolRun, make: Telling) -> None:
        """Record what ``make`` says of a run, in the conversation of that name.

        Without a name, in the one that has the only call that it can be;
        :class:`~refold.NotFound` where there is none, or not one.
        """
        state = self._stream_of(named, run)
        if state is None and make is began:
            return
        if state is None:
            raise NotFound(
                f"no model was seen to call {run.name!r} so, or more than one: name the "
                "conversation, with refold.capture.conversation('call-42')"
            )
        is_waiting = run.call is None and any(waiting_for(state.notes, run))
        if make is began and not is_waiting and self._goes_on(state.notes.stream):
            return  # The answer that may hold its call has not ended; the run's end will tell both.
        stream, version = state.notes.stream, state.notes.version
        is_new = version == NO_EVENTS
        says = make(state.notes, run)
        begins = [events.SessionStarted()] if is_new else []
        made, after = stamped(state.notes, [*begins, *says])
        if says:
            expected = NO_STREAM if is_new else version
            about = {"correlation": named or stream.partition("~")[0], "origin": "recorded"}
            key = f"{run.id}.{make.__name__}"
            self._store.append(stream, made, expected=expected, metadata=about, key=key)
            stored(after, run, event_id(stream, version + 1 + is_new))

    def _stream_of(self, named: str | None, run: ToolRun) -> Followed | None:
        if run.call is not None:
            return self._places.following(parse_event_id(run.call)[0])
        streams = [
            stream for stream in reversed(self._calling) if not named or is_part(stream, named)
        ]
        found = [
            state
            for state in map(
                self._places.following, dict.fromkeys([*streams, *([named] if named else [])])
            )
            if any(waiting_for(state.notes, run, exactly=named is None))
        ]
        if named is not None:
            return found[0] if found else self._places.following(named)
        return found[0] if len(found) == 1 else None


def unsaid(state: Followed, said: Iterable[Event]) -> Iterator[Event]:
    """The events of an element of a request without results that a tool itself has told."""
    for event in said:
        result = event.data
        if not isinstance(result, events.ToolResult) or result.call_id not in state.ran:
            yield event
        elif state.ran[result.call_id] != told(result.result):
            yield Event.of(events.ToolRelayed(result.call_id, result.result))
