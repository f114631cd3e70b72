"""Sessions of the OpenAI Agents SDK in a refold store.

::

    import refold
    from refold.openai_agents import RefoldSession

    session = RefoldSession(refold.open("agents.db"), "42")
    await Runner.run(agent, "Is nine still free?", session=session)

Needs the extra: ``pip install 'refold[openai-agents]'``.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import msgspec

from refold import verbatim
from refold.conversation.apis.openai_responses import OPENAI_RESPONSES
from refold.core.event import Event, check_name
from refold.core.expected import NO_EVENTS
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import InvalidEvent
from refold.extras import needs
from refold.process import ProcessLock

if find_spec("agents") is None:
    said = needs("refold.openai_agents needs the OpenAI Agents SDK", "openai-agents")
    raise ModuleNotFoundError(said)

if TYPE_CHECKING:
    from agents.items import TResponseInputItem as Item
    from agents.memory import SessionSettings

__all__ = ["RefoldSession"]

ITEM: Final = "openai_agents.item"
POPPED: Final = "openai_agents.popped"
CLEARED: Final = "openai_agents.cleared"


class RefoldSession:
    """A session of the OpenAI Agents SDK that is a stream of a :class:`refold.Store`.

    Session ``42`` is the stream ``session-42`` (``category`` names another one than ``session``),
    an item an event. What is popped or cleared is an event too: it is given no more, but stands in
    the log. Threads, tasks and processes may share a session. ``session_settings``: the SDK's, of
    which ``limit`` is how many items ``get_items`` gives where it is not asked for a number.
    Raises what reading and appending raise, and :class:`~refold.Conflict` where others come first
    100 times.
    """

    def __init__(
        self,
        store: Store,
        session_id: str,
        *,
        category: str = "session",
        session_settings: SessionSettings | None = None,
    ) -> None:
        verbatim.check_category(category)
        verbatim.check_id(session_id, what="a session's id")
        self.session_id, self.session_settings = session_id, session_settings
        self._store, self._stream = store, f"{category}-{session_id}"
        check_name(self._stream, what="a session's stream")
        self._turn = ProcessLock()
        self._head, self._live = NO_EVENTS, dict[int, str]()

    @verbatim.awaited
    def get_items(self, limit: int | None = None, *, version: int | None = None) -> list[Item]:
        """The items there are, the oldest first, or the last ``limit`` of them.

        ``version``: as they were when this was the last version of the stream.
        """
        if limit is None and self.session_settings is not None:
            limit = self.session_settings.limit
        with self._turn():
            texts = self._at(version) if version is not None else self._now()
            found = [*texts.values()]
        if limit is not None and limit >= 0:
            found = found[max(len(found) - limit, 0) :]
        return [json.loads(text) for text in found]

    @verbatim.awaited
    def add_items(self, items: list[Item]) -> None:
        """Append items, all or none."""
        events: list[Event] = []
        texts = [verbatim.json_text(item) for item in items]
        for text, said in zip(texts, _said(texts), strict=True):
            events += [*verbatim.told(self._stream, said), *verbatim.kept(ITEM, text)]
        if events:
            self._store.append_together(verbatim.appends_of(self._stream, events))

    @verbatim.awaited
    def pop_item(self) -> Item | None:
        """Take the last item away; None where there is none."""
        with self._turn():
            text = verbatim.retried(self._popped)
        item: Item | None = None if text is None else json.loads(text)
        return item

    @verbatim.awaited
    def clear_session(self) -> None:
        """Take all items away, those that others add meanwhile too."""
        with self._turn():
            if self._now():
                self._store.append(self._stream, [Event(CLEARED)])

    def _popped(self) -> str | None:
        live = self._now()
        if not live:
            return None
        last = max(live)
        event = Event(POPPED, {"version": last})
        self._store.append(self._stream, [event], expected=self._head)
        return live[last]

    def _now(self) -> dict[int, str]:
        """The texts of the items by their versions, with what was appended since."""
        if self._store.head(self._stream) > self._head:
            for recorded in self._store.read(self._stream, from_version=self._head + 1):
                self._take(self._live, recorded)
                self._head = recorded.version
        return self._live

    def _at(self, version: int) -> dict[int, str]:
        live: dict[int, str] = {}
        is_there = self._store.head(self._stream) != NO_EVENTS
        for recorded in self._store.read(self._stream, to_version=version) if is_there else ():
            self._take(live, recorded)
        return live

    def _take(self, live: dict[int, str], recorded: Recorded) -> None:
        if recorded.type == ITEM:
            live[recorded.version] = verbatim.text_of(self._store, recorded)
        elif recorded.type == POPPED:
            live.pop(recorded.data["version"], None)
        elif recorded.type == CLEARED:
            live.clear()


def _said(texts: list[str]) -> Iterable[list[Event]]:
    """What each of some items says; what an agent says without a pause is one message."""
    items = [verbatim.readable(text) for text in texts]
    try:
        elements = OPENAI_RESPONSES.read_request({"input": items}).elements
    except InvalidEvent:  # One is no object.
        return [[] for _ in items]
    batch = uuid4().hex[:12]
    return [[_named(event, batch) for event in element] for element in elements]


def _named(event: Event, batch: str) -> Event:
    """An event whose message is known by an id of its own in the stream."""
    own = getattr(event.data, "message_id", None)
    if own is None:
        return event
    return Event.of(msgspec.structs.replace(event.data, message_id=f"{batch}.{own}"))
