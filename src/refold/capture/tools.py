"""Runs of tools in conversations that are captured: told as the calls that the wire told.

The result of a run is recorded when the tool returns. What a later request says of the call is then
no second result; where the agent was told something else, that is recorded as ``tool.relayed``.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator, Set
from contextlib import suppress
from dataclasses import replace
from functools import partial
from itertools import islice
from typing import Final

import msgspec

from refold.capture.conversations import told
from refold.capture.events import WireWaiting
from refold.capture.exact import CALL
from refold.capture.placing import Places, is_part
from refold.capture.streams import PROCESS, Followed, again, may_run
from refold.conversation import events
from refold.core.event import Event, event_id, parse_event_id
from refold.core.expected import NO_EVENTS, NO_STREAM
from refold.core.recorded import Recorded
from refold.engine.append import STREAMS_PER_APPEND_MAX, Append
from refold.engine.store import Store
from refold.errors import InvalidEvent, NotFound
from refold.process import this_process
from refold.recording.in_force import Telling
from refold.recording.notes import stamped
from refold.recording.tool_run import ToolRun, began, ended, stored, waiting_for

_log: Final = logging.getLogger("refold.capture")
CALLING_MAX: Final = 64
"""How many streams are looked in for the last calls of tools, and how many runs may wait."""


class ToolRuns:
    """Records runs of tools in the streams of a store that calls are captured into.

    ``going`` gives the model calls of a conversation that have not ended yet, by their ids the
    streams that they are recorded in; of all for None.
    """

    def __init__(
        self, store: Store, places: Places, going: Callable[[str | None], dict[str, str]]
    ) -> None:
        self._store, self._places, self._going = store, places, going
        self._calling: dict[str, None] = {}
        self._kept: dict[str, tuple[Set[str], Callable[[], None]]] = {}

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
        :class:`~refold.NotFound` where there is none, or not one. While answers come that may hold
        its call, it waits for their ends: :meth:`tell_due`.
        """
        may_wait = run.call is None and len(self._kept) < CALLING_MAX
        going = self._going(named) if may_wait else {}
        state = self._stream_of(named, run) if named and going else None
        is_asked_for = state is not None and any(waiting_for(state.notes, run, exactly=True))
        if is_asked_for or not going:
            again(lambda: self._tell(named, run, make))
        elif make is not began:
            self._kept[run.id] = going.keys(), lambda: self._tell(named, run, make)
            try:
                again(lambda: self._keep(going, named, run))
            except Exception as error:  # It is not lost: this process tells it.
                _log.warning("a run of a tool waits in memory alone: %s", error)

    def tell_due(self, *, in_any_case: bool = True) -> None:
        """Record the runs that wait for no model call any more, or all that wait."""
        going = {} if in_any_case else self._going(None)
        due = [own for own, (awaited, _) in self._kept.items() if not awaited & going.keys()]
        self._tell_each([self._kept.pop(own)[1] for own in due])

    def tell_left(self, state: Followed, *, now_us: int) -> None:
        """Record the runs noted in a stream whose process ended, once what they await has ended."""
        for run_id, noted in [*state.waiting.items()]:
            waiting = self._whole(noted)
            is_told = self._store.find(_key_of(run_id, ended)) is not None
            if not is_told and noted.noted(PROCESS) != this_process():
                following = self._places.following
                is_open = any(one in following(name).open for one, name in waiting.awaits.items())
                if is_open or may_run(noted, now_us=now_us):
                    continue
                self._calling |= dict.fromkeys(waiting.awaits.values())
                run = msgspec.convert(waiting.run, ToolRun)
                self._tell_each([partial(self._tell, waiting.conversation, run, ended)])
            del state.waiting[run_id]

    def _whole(self, noted: Recorded) -> WireWaiting:
        """What waits, as the first of the streams has it."""
        waiting: WireWaiting = noted.to_class(WireWaiting)
        kept = None if waiting.awaits else self._store.find(_key_of_note(waiting.run["id"]))
        return self._store.event(kept[0].ids[0]).to_class(WireWaiting) if kept else waiting

    def _tell_each(self, tellings: Iterable[Callable[[], None]]) -> None:
        for tell in tellings:
            try:
                again(tell)
            except Exception as error:  # It is no fault of the call's that is recorded now.
                _log.warning("a run of a tool was not recorded: %s", error)

    def _keep(self, going: dict[str, str], named: str | None, run: ToolRun) -> None:
        """Let a run that waits outlast this process."""
        streams = {stream: call for call, stream in going.items()}
        known = msgspec.to_builtins(replace(run, objects={}))
        first = next(iter(streams))
        conversation = named or (None if len(streams) > 1 else first)
        # All of it in each would take the square of their number.
        whole, note = WireWaiting(known, conversation, going), WireWaiting({"id": run.id})
        notes = [
            Append(
                stream,
                [whole if stream == first else note],
                metadata={CALL: call, PROCESS: this_process()},
            )
            for stream, call in islice(streams.items(), STREAMS_PER_APPEND_MAX)
        ]
        with suppress(InvalidEvent):  # Too large; it waits in memory alone.
            self._store.append_together(notes, key=_key_of_note(run.id))

    def _tell(self, named: str | None, run: ToolRun, make: Telling) -> None:
        state = self._stream_of(named, run)
        if state is None and make is began:
            return
        if state is None:
            raise NotFound(
                f"no model was seen to call {run.name!r} so, or more than one: name the "
                "conversation, with refold.capture.conversation('call-42')"
            )
        stream, version = state.notes.stream, state.notes.version
        is_new = version == NO_EVENTS
        says = make(state.notes, run)
        begins = [events.SessionStarted()] if is_new else []
        made, after = stamped(state.notes, [*begins, *says])
        if says:
            expected = NO_STREAM if is_new else version
            about = {"correlation": named or stream.partition("~")[0], "origin": "recorded"}
            key = _key_of(run.id, make)
            self._store.append(stream, made, expected=expected, metadata=about, key=key)
            stored(after, run, event_id(stream, version + 1 + is_new))

    def _stream_of(self, named: str | None, run: ToolRun) -> Followed | None:
        if run.call is not None:
            return self._places.following(parse_event_id(run.call)[0])
        streams = [one for one in reversed(self._calling) if is_part(one, named)]
        names = dict.fromkeys([*streams, *([named] if named else [])])
        states = [self._places.following(name) for name in names]
        for state in states:
            if not state.notes.open_calls:
                self._calling.pop(state.notes.stream, None)
        found = [one for one in states if any(waiting_for(one.notes, run, exactly=named is None))]
        if named is not None:
            return found[0] if found else self._places.following(named)
        return found[0] if len(found) == 1 else None


def _key_of(run_id: str, make: Telling) -> str:
    """The key under which the store has what was told of a run."""
    return f"{run_id}.{make.__name__}"


def _key_of_note(run_id: str) -> str:
    """The key under which the store has that a run waits."""
    return f"{run_id}.waits"


def unsaid(state: Followed, said: Iterable[Event]) -> Iterator[Event]:
    """The events of an element of a request without results that a tool itself has told.

    Of calls that share an id nobody knows which one the agent was told something else of.
    """
    for event in said:
        result = event.data
        if not isinstance(result, events.ToolResult) or result.call_id not in state.ran:
            yield event
        elif len(ran := state.ran[result.call_id]) == 1 and told(result.result) != ran[0]:
            yield Event.of(events.ToolRelayed(result.call_id, result.result))
