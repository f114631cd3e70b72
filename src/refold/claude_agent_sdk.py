"""Sessions of the Claude Agent SDK in a refold store.

::

    import refold
    from refold.claude_agent_sdk import RefoldSessionStore

    sessions = RefoldSessionStore(refold.open("agents.db"))
    options = ClaudeAgentOptions(session_store=sessions)

Needs the extra: ``pip install 'refold[claude-agent-sdk]'``.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Iterator, Mapping
from functools import lru_cache
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import unquote

from msgspec.structs import replace

from refold import verbatim
from refold.conversation.apis.anthropic_messages import ANTHROPIC_MESSAGES
from refold.conversation.events import AgentUtterance, ToolCall
from refold.conversation.openai_chat import text_or_none
from refold.core.event import Event
from refold.core.expected import NO_EVENTS, NO_STREAM
from refold.core.recorded import Recorded
from refold.engine.append import STREAMS_PER_APPEND_MAX, Append
from refold.engine.store import Store
from refold.errors import InvalidEvent, UsageError, shown
from refold.extras import needs
from refold.process import ProcessLock

if find_spec("claude_agent_sdk") is None:
    said = needs("refold.claude_agent_sdk needs the SDK", "claude-agent-sdk")
    raise ModuleNotFoundError(said)

if TYPE_CHECKING:
    from claude_agent_sdk.types import (
        SessionKey,
        SessionListSubkeysKey,
        SessionStoreEntry,
        SessionStoreListEntry,
        SessionSummaryEntry,
    )

__all__ = ["RefoldSessionStore"]

ENTRY: Final = "claude.entry"
DELETED: Final = "claude.deleted"
TRANSCRIPTS_MAX: Final = 64
"""Of how many transcripts it is known which entries they hold; others are read again."""
PROJECT_CHARS_MAX: Final = 100
"""A longer name of a project is cut, and a digest of it added: a stream's name has its limit."""


class RefoldSessionStore:
    """Keeps the sessions of the Claude Agent SDK in a :class:`refold.Store`.

    A transcript is the stream ``claude-PROJECT/SESSION`` (``category`` names another one than
    ``claude``), that of a subagent ``claude-PROJECT/SESSION/SUBPATH``; an entry is an event. An
    entry whose ``uuid`` is there is not added again; where it says something else, that is given
    in its place. What is deleted is not found any more, but stands in the log. Threads, tasks and
    processes may share a store. Raises what reading and appending raise, and
    :class:`~refold.Conflict` where others come first 100 times.
    """

    def __init__(self, store: Store, *, category: str = "claude") -> None:
        verbatim.check_category(category)
        self._store, self._category = store, category
        self._transcript = lru_cache(TRANSCRIPTS_MAX)(lambda stream: Transcript(store, stream))

    @verbatim.awaited
    def append(self, key: SessionKey, entries: list[SessionStoreEntry]) -> None:
        """Add entries to a transcript, all or none."""
        transcript = self._transcript(self._stream(key))
        with transcript.turn():
            verbatim.retried(lambda: transcript.add(key, entries))

    @verbatim.awaited
    def load(self, key: SessionKey) -> list[SessionStoreEntry] | None:
        """The entries of a transcript in order; None where there are none."""
        stream, entries = self._stream(key), dict[object, Any]()
        if self._store.head(stream) == NO_EVENTS:
            return None
        for recorded in self._store.read(stream):
            if recorded.type == DELETED:
                entries.clear()
            elif recorded.type == ENTRY:
                entry = json.loads(verbatim.text_of(self._store, recorded))
                entries[_uuid(entry) or recorded.version] = entry
        return [*entries.values()] or None

    @verbatim.awaited
    def list_sessions(self, project_key: str) -> list[SessionStoreListEntry]:
        """The sessions of a project, and when each was last added to (ms since 1970)."""
        return [{"session_id": own, "mtime": _ms(last)} for own, last in self._of(project_key)]

    @verbatim.awaited
    def list_session_summaries(self, project_key: str) -> list[SessionSummaryEntry]:
        """What the SDK sums up of each session of a project."""
        return [
            {"session_id": own, "mtime": _ms(last), "data": last.noted("summary") or {}}
            for own, last in self._of(project_key)
        ]

    @verbatim.awaited
    def delete(self, key: SessionKey) -> None:
        """Let a transcript be found no more; that of a session with those of its subagents."""
        stream = self._stream(key)
        found = [stream] if self._last(stream) else []
        if key.get("subpath") is None:
            found += [f"{stream}/{rest}" for rest, _ in self._live(f"{stream}/")]
        for at in range(0, len(found), STREAMS_PER_APPEND_MAX):
            names = found[at : at + STREAMS_PER_APPEND_MAX]
            self._store.append_together([Append(name, [Event(DELETED)]) for name in names])

    @verbatim.awaited
    def list_subkeys(self, key: SessionListSubkeysKey) -> list[str]:
        """The subpaths of a session."""
        stream = self._stream({**key})
        return [unquote(rest) for rest, _ in self._live(f"{stream}/")]

    def _stream(self, key: Mapping[str, Any]) -> str:
        project, session, subpath = (key.get(k) for k in ("project_key", "session_id", "subpath"))
        for given in (project, session, "main" if subpath is None else subpath):
            if not isinstance(given, str) or not given:
                advice = "project_key, session_id and, of a subagent, subpath are text, not empty"
                raise UsageError(f"{shown(key)} is no key of a session: {advice}")
        below = (
            ""
            if subpath is None
            else "/" + "/".join(map(verbatim.nameable, str(subpath).split("/")))
        )
        return f"{self._prefix(str(project))}{verbatim.nameable(str(session))}{below}"

    def _prefix(self, project: str) -> str:
        name = verbatim.nameable(project)
        if len(name.encode()) > PROJECT_CHARS_MAX:
            digest = hashlib.sha256(name.encode()).hexdigest()[:16]
            name = f"{name.encode()[:PROJECT_CHARS_MAX].decode(errors='ignore')}.{digest}"
        return f"{self._category}-{name}/"

    def _of(self, project: str) -> Iterator[tuple[str, Recorded]]:
        """The sessions of a project, each with the last entry of its own transcript."""
        for rest, last in self._live(self._prefix(project)):
            if "/" not in rest:
                yield unquote(rest), last

    def _live(self, prefix: str) -> Iterator[tuple[str, Recorded]]:
        """The rest of the name of each transcript that begins so, with its last entry."""
        for info in self._store.streams(category=self._category):
            if info.stream.startswith(prefix) and (last := self._last(info.stream)):
                yield info.stream.removeprefix(prefix), last

    def _last(self, stream: str) -> Recorded | None:
        """The last entry of a transcript; None of one that is deleted, or not there."""
        if self._store.head(stream) == NO_EVENTS:
            return None
        events = self._store.read(stream, direction="backward")
        last = next((each for each in events if each.type in (ENTRY, DELETED)), None)
        return last if last is not None and last.type == ENTRY else None


class Transcript:
    """What is known of one transcript, so that entries are added once; used in its ``turn``."""

    def __init__(self, store: Store, stream: str) -> None:
        self.turn = ProcessLock()
        self._store, self._stream = store, stream
        self._head = NO_EVENTS
        self._known: dict[object, int] = {}
        self._summary: dict[str, Any] | None = None

    def add(self, key: SessionKey, entries: list[SessionStoreEntry]) -> None:
        """Append those that are new; :class:`~refold.Conflict` where another came first."""
        self._catch_up()
        events: list[Event] = []
        new: list[SessionStoreEntry] = []
        # Of several states of one entry in a batch the last counts, in the place of the first.
        last = {_uuid(entry) or place: entry for place, entry in enumerate(entries)}
        for own, entry in last.items():
            if not isinstance(entry, dict):
                raise InvalidEvent(f"{shown(entry)} is no entry of a transcript: give an object")
            text = verbatim.json_text(entry)
            if self._known.get(own) != hash(text):
                new.append(entry)
                events += _events(self._stream, text)
        if new:
            expected = NO_STREAM if self._head == NO_EVENTS else self._head
            summed = None if key.get("subpath") else {"summary": self._summed(key, new)}
            parts = verbatim.appends_of(self._stream, events, expected=expected, metadata=summed)
            self._store.append_together(parts)

    def _summed(self, key: SessionKey, new: list[SessionStoreEntry]) -> Any:
        """What the SDK sums up of the session, these entries included; it is the SDK's own."""
        from claude_agent_sdk import fold_session_summary  # Late: it takes its time.

        before: SessionSummaryEntry | None = None
        if self._summary is not None:
            before = {"session_id": key["session_id"], "mtime": 0, "data": self._summary}
        return verbatim.readable(verbatim.json_text(fold_session_summary(before, key, new)["data"]))

    def _catch_up(self) -> None:
        if self._store.head(self._stream) == self._head:
            return
        for recorded in self._store.read(self._stream, from_version=self._head + 1):
            if recorded.type == DELETED:
                self._known.clear()
                self._summary = None
            elif recorded.type == ENTRY:
                text = verbatim.text_of(self._store, recorded)
                if (own := _uuid(json.loads(text))) is not None:
                    self._known[own] = hash(text)
                self._summary = recorded.noted("summary")
            self._head = recorded.version


def _events(stream: str, text: str) -> list[Event]:
    """The events of an entry, at the time that it says."""
    entry = verbatim.readable(text)
    events = [*verbatim.told(stream, _said(entry)), *verbatim.kept(ENTRY, text)]
    at_us = verbatim.time_us(entry.get("timestamp")) if isinstance(entry, dict) else None
    return [dataclasses.replace(event, occurred_at=at_us) for event in events]


def _said(entry: Any) -> list[Event]:
    """What an entry says; nothing where the SDK put words into the user's mouth."""
    match entry:
        case {"isMeta": True} | {"isCompactSummary": True}:
            return []
        case {"type": "user" | "assistant" as role, "message": {"content": content} as message}:
            body = {"messages": [{"role": role, "content": content}]}
        case _:
            return []
    try:
        (said,) = ANTHROPIC_MESSAGES.read_request(body).elements
    except InvalidEvent:
        return []
    own = text_or_none(message.get("id")) or _uuid(entry)
    return [_by(event, own, text_or_none(entry.get("agentId"))) for event in said]


def _by(event: Event, message_id: str | None, agent: str | None) -> Event:
    """An event of a message, which has an id, and of an agent, where it is a subagent."""
    match event.data:
        case AgentUtterance() as words:
            return Event.of(replace(words, message_id=message_id, party=agent))
        case ToolCall() as call:
            return Event.of(replace(call, message_id=message_id))
    return event


def _uuid(entry: Any) -> str | None:
    return text_or_none(entry.get("uuid")) if isinstance(entry, dict) else None


def _ms(recorded: Recorded) -> int:
    return recorded.recorded_at_us // 1000
