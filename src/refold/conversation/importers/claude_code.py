"""Claude Code's sessions: JSON lines, an entry a line, each with the uuid of the one before it.

The entries are a tree. What a subagent said and did (``isSidechain``) is a branch of its own, and
so is what was left behind when the session went back to an earlier entry; results of parallel
tools, which hang off the calls that they answer, are not. A message of the model is written block
by block, its lines of one ``message.id``; its tokens count once. Entries that are no messages are
kept as they are, as ``claude_code.entry``.
"""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Iterator
from typing import Any, Final

from msgspec.structs import replace

from refold.conversation import events
from refold.conversation.apis.anthropic_messages import ANTHROPIC_MESSAGES
from refold.conversation.chat_export import Loss
from refold.conversation.chat_shapes import Unread, check_json
from refold.conversation.importers.base import (
    ODD,
    Found,
    FoundFork,
    Importer,
    Options,
    Problem,
)
from refold.conversation.importers.fields import FieldReader
from refold.conversation.importers.session_lines import SessionLine, read_entries
from refold.conversation.importers.source import ImportSource, named, names
from refold.conversation.openai_chat import pair, text_or_none
from refold.core.event import Event
from refold.errors import InvalidEvent

CATEGORY: Final = "claude"
_KNOWN: Final = names(
    "summary system file-history-snapshot queue-operation progress attachment "
    "custom-title ai-title last-prompt permission-mode agent-name tag pr-link"
)
"""Entries that say something beside the messages."""


def read_claude_code(source: ImportSource, options: Options) -> Iterator[Found | Problem]:
    """Import sessions of Claude Code: the JSON lines in ~/.claude/projects.

    The streams are called CATEGORY-SESSION; the category is by default claude. Side chains and
    what was left behind in going back become branches, called CATEGORY-SESSION~N.

        refold import claude-code ~/.claude/projects/-home-me-app/*.jsonl
    """
    sessions: dict[str, list[SessionLine]] = {}
    for entry in read_entries(source):
        if isinstance(entry, Problem):
            yield entry
        else:
            sessions.setdefault(_field(entry, "sessionId") or "", []).append(entry)
    for session, entries in _whole(sessions, source.stem).items():
        try:
            yield _session(source, options, session, entries)
        except ODD as error:
            yield Problem(source.name, entries[0].begins, str(error))


def _whole(sessions: dict[str, list[SessionLine]], stem: str) -> dict[str, list[SessionLine]]:
    """The sessions; what has no session, or none of its own, goes with the first."""
    first = next(filter(None, sessions), stem)
    whole: dict[str, list[SessionLine]] = {}
    for session, entries in sessions.items():
        ids = {_field(entry, "uuid") for entry in entries}
        begins = next((_field(e, "parentUuid") for e in entries if _role(e)), "")
        is_part = not session or (begins is not None and begins not in ids)
        whole.setdefault(first if is_part else session, []).extend(entries)
    return {
        session: sorted(entries, key=lambda one: one.line) for session, entries in whole.items()
    }


def _session(
    source: ImportSource, options: Options, session: str, entries: list[SessionLine]
) -> Found:
    if not any(map(_role, entries)):
        raise InvalidEvent("a session without messages")
    main, sides = _chains(entries)
    # The log of a subagent alone is a conversation beside that of its session.
    agents = {_field(entry, "agentId") for entry in main if _is_side(entry)}
    name = "-".join([session, *sorted(str(agent) for agent in agents if agent)])
    stream = f"{options.category or CATEGORY}-{named(name)}"
    reader = _EntryReader(source.name)
    made: list[Event] = []
    versions: dict[int, int] = {}
    for group in _messages(main):
        made += reader.events(group)
        # The session's start comes before them all.
        versions |= dict.fromkeys((entry.line for entry in group), len(made))
    times = [event.occurred_at for event in made if event.occurred_at is not None]
    first_us = times[0] if times else None
    started = Event.of(events.SessionStarted(), occurred_at=first_us)
    made = [dataclasses.replace(e, occurred_at=e.occurred_at or first_us) for e in made]
    forks: list[FoundFork] = []
    for number, (left, side) in enumerate(sides, 1):
        before = [at for line, at in versions.items() if line < side[0].line]
        at = max(before, default=0) if left is None else versions.get(left, 0)
        told = [event for group in _messages(side) for event in reader.events(group)]
        lines = {"lines": [entry.line for entry in side]}
        forks.append(FoundFork(f"{stream}~{number}", stream, at, told, lines))
    loss = reader.loss
    return Found(stream, [started, *made], source.name, entries[0].begins, loss=loss, forks=forks)


# -- the tree --------------------------------------------------------------------------------------

Side = tuple[int | None, list[SessionLine]]
"""The line that a chain was left at, None for a side chain, and its entries."""


def _chains(entries: list[SessionLine]) -> tuple[list[SessionLine], list[Side]]:
    """The history that the session ends with, and what is beside it, each in the log's order."""
    own = [entry for entry in entries if not _is_side(entry)]
    if not any(map(_role, own)):
        return entries, []
    sides: dict[Any, Side] = {}
    of_entry: dict[int, Any] = {}
    by_id: dict[str, SessionLine] = {}
    for entry in entries:
        if own_id := _field(entry, "uuid"):
            by_id.setdefault(own_id, entry)
    for entry in entries:
        if _is_side(entry):
            parent = by_id.get(str(_field(entry, "parentUuid")), entry)
            key = _field(entry, "agentId") or of_entry.get(parent.line, f"side {entry.line}")
            of_entry[entry.line] = key
            sides.setdefault(key, (None, []))[1].append(entry)
    parents = _parents(own, by_id)
    path = _path(own, parents)
    ids = {_message_id(entry) for entry in own if entry.line in path and _message_id(entry)}
    for entry in own:
        parent_line = parents.get(entry.line)
        if entry.line in path:
            continue
        if parent_line in of_entry:
            key = of_entry[parent_line]
        elif not _role(entry) or _is_result(entry) or _message_id(entry) in ids:
            continue
        else:
            key = entry.line
        of_entry[entry.line] = key
        sides.setdefault(key, (parent_line, []))[1].append(entry)
    return [entry for entry in own if entry.line not in of_entry], list(sides.values())


def _parents(own: list[SessionLine], by_id: dict[str, SessionLine]) -> dict[int, int]:
    """For each entry the line of the one before it: by its word, else by the log's order."""
    parents: dict[int, int] = {}
    last: SessionLine | None = None
    for entry in own:
        said = _field(entry, "parentUuid") or _field(entry, "logicalParentUuid")
        parent = by_id.get(str(said), last)
        parent = last if parent is None or parent.line >= entry.line else parent
        if parent is not None:
            parents[entry.line] = parent.line
        if _role(entry):
            last = entry
    return parents


def _path(own: list[SessionLine], parents: dict[int, int]) -> set[int]:
    """The lines that lead to the last message."""
    line: int | None = next(entry.line for entry in reversed(own) if _role(entry))
    path: set[int] = set()
    while line is not None:
        path.add(line)
        line = parents.get(line)  # It is always an earlier one.
    return path


def _messages(chain: list[SessionLine]) -> list[list[SessionLine]]:
    """The entries by message: those of one answer together."""
    groups: dict[Any, list[SessionLine]] = {}
    for entry in chain:
        key = _message_id(entry) if _role(entry) == "assistant" else None
        groups.setdefault(key or entry.line, []).append(entry)
    return list(groups.values())


def _field(entry: SessionLine, key: str) -> str | None:
    """A text of an entry; None where it has none."""
    return text_or_none(entry.value.get(key)) if isinstance(entry.value, dict) else None


def _is_side(entry: SessionLine) -> bool:
    return isinstance(entry.value, dict) and bool(entry.value.get("isSidechain"))


def _role(entry: SessionLine) -> str | None:
    """Whose message an entry is; None for none."""
    match entry.value:
        case {"type": "user" | "assistant" as role, "message": {"content": str() | list()}}:
            return str(role)
    return None


def _message_id(entry: SessionLine) -> str | None:
    message = entry.value.get("message") if isinstance(entry.value, dict) else None
    return text_or_none(message.get("id")) if isinstance(message, dict) else None


def _is_result(entry: SessionLine) -> bool:
    match entry.value:
        case {"message": {"content": [{"type": "tool_result"}, *_]}}:
            return True
    return False


# -- the entries -----------------------------------------------------------------------------------


class _EntryReader:
    """Reads entries in their order: what stays the same from one to the next is kept once."""

    def __init__(self, file: str) -> None:
        self.file = file
        self.loss: list[Loss] = []
        self._beside: dict[str, Any] = {}
        self._model: Any = None
        self._now_us: int | None = None
        self._calls: Counter[str] = Counter()

    def events(self, group: list[SessionLine]) -> list[Event]:
        """The events of a message, or of an entry that is none."""
        first = group[0]
        unread: list[Unread] = []
        holder = first.value if isinstance(first.value, dict) else {}
        self._now_us = FieldReader(holder, unread).time("timestamp") or self._now_us
        if role := _role(first):
            made = self._answer(group, unread) if role == "assistant" else _heard(first, unread)
            pair([event.data for event in made], self._calls, "/message", unread)
            metadata = self._left(holder)
        else:
            made, metadata = [_kept(first, unread)], {}
        where = f"{self.file}:{first.line}"
        self.loss += [Loss(where, one.reason or one.what, one.pointer) for one in unread]
        told = [dataclasses.replace(event, occurred_at=self._now_us) for event in made]
        if metadata and told:
            told[0] = dataclasses.replace(told[0], metadata={"claude_code": metadata})
        return told

    def _answer(self, group: list[SessionLine], unread: list[Unread]) -> list[Event]:
        said = [entry.value["message"] for entry in group]
        blocks = [block for one in said for block in _blocks(one["content"])]
        message = {**said[-1], "content": blocks}
        fields = FieldReader(group[-1].value, unread)
        cost, ms = fields.amount("costUSD"), fields.typed("durationMs", float)
        own_id = str(message.get("id") or f"m{group[0].line}")
        response = events.ModelResponse(cost=cost, latency_ms=ms, message_id=own_id)
        chat = ANTHROPIC_MESSAGES.read_answer(message, response)
        unread += [one._replace(pointer=f"/message{one.pointer}") for one in chat.unread]
        made = chat.events
        if agent := fields.typed("agentId", str):
            made = [_by(agent, event) for event in made]
        model = message.get("model")
        if model != self._model and isinstance(model, str) and not model.startswith("<"):
            self._model, version = model, fields.typed("version", str)
            about = events.AgentConfigured(None, model, "anthropic", agent=agent or "claude-code")
            made.insert(0, Event.of(replace(about, version=version)))
        return made

    def _left(self, holder: dict[str, Any]) -> dict[str, Any]:
        """What an entry says beside its message, and the one before it did not."""
        left = {k: v for k, v in holder.items() if k not in ("message", "type", "timestamp")}
        new = {k: v for k, v in left.items() if k not in self._beside or self._beside[k] != v}
        self._beside |= new
        return new


def _heard(entry: SessionLine, unread: list[Unread]) -> list[Event]:
    """The events of a message of the user: results of tools, and words."""
    asked = ANTHROPIC_MESSAGES.read_request(
        {"messages": [{"role": "user", **entry.value["message"]}]}
    )
    for one in asked.unread:
        if one.what != "result":  # Paired with calls of other messages.
            unread.append(one._replace(pointer=one.pointer.replace("/messages/0", "/message", 1)))
    return asked.elements[0]


def _kept(entry: SessionLine, unread: list[Unread]) -> Event:
    """An entry as it is."""
    value = entry.value if isinstance(entry.value, dict) else {"value": entry.value}
    check_json(value, [])
    if text_or_none(value.get("type")) not in _KNOWN:
        unread.append(Unread("field", "", "an entry that is not understood, kept as it is"))
    return Event("claude_code.entry", value)


def _blocks(content: str | list[Any]) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content


def _by(agent: str, event: Event) -> Event:
    """An agent's words with which of the agents it was."""
    is_said = isinstance(event.data, events.AgentUtterance)
    return Event.of(replace(event.data, party=agent)) if is_said else event


CLAUDE_CODE: Final = Importer("claude-code", read_claude_code)
