"""Claude Code's sessions: JSON lines, an entry a line, each with the uuid of the one before it.

The entries are a tree. What a subagent said and did (``isSidechain``) is a branch of its own, and
so is what was left behind when the session went back to an earlier entry; results of parallel
tools, which hang off the calls that they answer, are not. A message of the model is written block
by block, its lines of one ``message.id``; its tokens count once. Entries that are no messages are
kept as they are, as ``claude_code.entry``.
"""

from __future__ import annotations

from collections import Counter
from copy import copy
from dataclasses import replace as with_event
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from refold.conversation import events
from refold.conversation.apis.anthropic_messages import ANTHROPIC_MESSAGES
from refold.conversation.apis.blocks import said_by
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers.base import Conversations, Found, FoundFork, Options
from refold.conversation.importers.session_lines import SessionLine, read_sessions
from refold.conversation.importers.source import ImportSource, named, names
from refold.conversation.openai_chat import pair, text_or_none
from refold.core.event import Event
from refold.errors import InvalidEvent

_KNOWN: Final = names(
    "summary system file-history-snapshot queue-operation progress attachment "
    "custom-title ai-title last-prompt permission-mode agent-name tag pr-link"
)
"""Entries that say something beside the messages."""
Side = tuple[int | None, list[SessionLine]]
"""The line that a chain was left at, None for a side chain, and its entries."""


def read_claude_code(source: ImportSource, options: Options) -> Conversations:
    """Import sessions of Claude Code: the JSON lines in ~/.claude/projects.

    The streams are called CATEGORY-SESSION; the category is by default claude. Side chains and
    what was left behind in going back become branches, called CATEGORY-SESSION~N. A message at
    the end that may still be written is told, and comes in once the file goes on.

        refold import claude-code ~/.claude/projects/-home-me-app/*.jsonl
    """
    return read_sessions(source, partial(_sessions, source.stem), partial(_session, options))


def _sessions(stem: str, entries: list[SessionLine]) -> dict[str, list[SessionLine]]:
    """The sessions; what has no session, or none of its own, goes with the first."""
    sessions: dict[str, list[SessionLine]] = {}
    for entry in entries:
        sessions.setdefault(entry.text("sessionId") or "", []).append(entry)
    first = next(filter(None, sessions), stem)
    whole: dict[str, list[SessionLine]] = {}
    for session, held in sessions.items():
        ids = {entry.text("uuid") for entry in held}
        begins = next((entry.text("parentUuid") for entry in held if _role(entry)), "")
        is_part = not session or (begins is not None and begins not in ids)
        whole.setdefault(first if is_part else session, []).extend(held)
    return {session: sorted(held, key=lambda one: one.line) for session, held in whole.items()}


def _session(options: Options, session: str, entries: list[SessionLine]) -> Found:
    if not any(map(_role, entries)):
        raise InvalidEvent("a session without messages")
    main, sides = _chains(entries)
    says_ends = _says_ends(entries)
    main, held = _settled(main, says_ends)
    # The log of a subagent alone is a conversation beside that of its session.
    agents = {entry.text("agentId") or "" for entry in main if _is_side(entry)}
    name = "-".join([session, *sorted(agents - {""})])
    stream = f"{options.category or 'claude'}-{named(name)}"
    reader = _EntryReader()
    made: list[Event] = []
    versions: dict[int, int] = {}
    # What is said beside a history stays the same however that goes on.
    readers: dict[int, _EntryReader] = {}
    for group in _messages(main):
        made += reader.events(group)
        # The session's start comes before them all.
        versions |= dict.fromkeys((entry.line for entry in group), len(made))
        readers[len(made)] = reader.copy()
    first_us = next((one.occurred_at for one in made if one.occurred_at is not None), None)
    made = [Event.of(events.SessionStarted()), *made]
    made = [with_event(one, occurred_at=one.occurred_at or first_us) for one in made]
    forks: list[FoundFork] = []
    for number, (left, side) in enumerate(sides, 1):
        if held and side[0].line > held[0].line:
            continue  # It left what is not told yet.
        side = _settled(side, says_ends)[0] if _is_side(side[0]) else side
        before = [at for line, at in versions.items() if line < side[0].line]
        at = max(before, default=0) if left is None else versions.get(left, 0)
        reader = readers.get(at, _EntryReader()).copy()
        told = [event for group in _messages(side) for event in reader.events(group)]
        lines = {"lines": [entry.line for entry in side]}
        forks.append(FoundFork(f"{stream}~{number}", stream, at, told, lines))
    return Found(stream, made, forks=forks)


# -- the tree --------------------------------------------------------------------------------------


def _chains(entries: list[SessionLine]) -> tuple[list[SessionLine], list[Side]]:
    """The history that the session ends with, and what is beside it, each in the log's order."""
    own = [entry for entry in entries if not _is_side(entry)]
    if not any(map(_role, own)):
        return entries, []
    by_id = {own_id: entry for entry in reversed(entries) if (own_id := entry.text("uuid"))}
    parents = _parents(own, by_id)
    path = _path(own, parents)
    ids = {_message_id(entry) for entry in own if entry.line in path} - {None}
    sides: dict[Any, Side] = {}
    chains: dict[int | None, Any] = {}  # By line; a chain's key, None for the history.
    for entry in entries:
        left, is_main = parents.get(entry.line), False
        if _is_side(entry):
            before = by_id.get(entry.text("parentUuid") or "", entry)
            key = entry.text("agentId") or chains.get(before.line) or f"side {entry.line}"
        else:
            is_beside = not _role(entry) or _is_result(entry) or _message_id(entry) in ids
            is_main = entry.line in path or (is_beside and not chains.get(left))
            key = chains.get(left) or entry.line
        chains[entry.line] = None if is_main else key
        if not is_main:
            sides.setdefault(key, (left, []))[1].append(entry)
    return [entry for entry in own if not chains[entry.line]], [*sides.values()]


def _parents(own: list[SessionLine], by_id: dict[str, SessionLine]) -> dict[int, int]:
    """For each entry the line of the one before it: by its word, else by the log's order."""
    parents: dict[int, int] = {}
    last: SessionLine | None = None
    for entry in own:
        said = entry.text("parentUuid") or entry.text("logicalParentUuid")
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


def _says_ends(entries: list[SessionLine]) -> bool:
    """Whether the lines of a message say when it ends, as some versions never do."""
    answers = [entry for entry in entries if _role(entry) == "assistant"]
    said = [entry.value["message"].get("stop_reason") for entry in answers]
    return any(said) or len({_message_id(entry) for entry in answers}) < 2


def _settled(
    chain: list[SessionLine], says_ends: bool
) -> tuple[list[SessionLine], list[SessionLine]]:
    """A chain without the message at its end that may still be written, and that with the rest.

    Nothing follows it but results of tools: taken as it is, it would be another message when the
    file has gone on.
    """
    groups = _messages(chain)
    said = [n for n, (one, *_) in enumerate(groups) if _role(one) and not _is_result(one)]
    last = groups[said[-1]][-1] if said else None
    # Where nothing else is said, it is better than nothing.
    if last is None or _role(last) != "assistant" or len(said) == 1:
        return chain, []
    if not _is_open(groups[said[-1]], says_ends):
        return chain, []
    held = [entry for group in groups[said[-1] :] for entry in group]
    why = "a message that is not whole yet, as it says: it comes in when the file has gone on"
    held[0].unread.append(Unread("field", "/message", why))
    return [entry for entry in chain if entry not in held], held


def _is_open(message: list[SessionLine], says_ends: bool) -> bool:
    """Whether a message says that more of it is to come."""
    reason = message[-1].value["message"].get("stop_reason", "end_turn")
    blocks = [block for entry in message for block in _blocks(entry.value["message"]["content"])]
    kinds = [block.get("type") for block in blocks if isinstance(block, dict)]
    is_thinking = bool(kinds) and kinds[-1] in ("thinking", "redacted_thinking")
    lacks_its_call = reason == "tool_use" and "tool_use" not in kinds
    return is_thinking or lacks_its_call or (reason is None and says_ends)


def _is_side(entry: SessionLine) -> bool:
    return bool(entry.holder.get("isSidechain"))


def _role(entry: SessionLine) -> str | None:
    """Whose message an entry is; None for none."""
    match entry.value:
        case {"type": "user" | "assistant" as role, "message": {"content": str() | list()}}:
            return str(role)
    return None


def _message_id(entry: SessionLine) -> str | None:
    message = entry.holder.get("message")
    return text_or_none(message.get("id")) if isinstance(message, dict) else None


def _is_result(entry: SessionLine) -> bool:
    match entry.value:
        case {"message": {"content": [{"type": "tool_result"}, *_]}}:
            return True
    return False


# -- the entries -----------------------------------------------------------------------------------


class _EntryReader:
    """Reads entries in their order: what stays the same from one to the next is kept once."""

    def __init__(self) -> None:
        self._beside: dict[str, Any] = {}
        self._model: Any = None
        self._now_us: int | None = None
        self._calls: Counter[str] = Counter()

    def copy(self) -> _EntryReader:
        """One that goes on from here by itself."""
        other = copy(self)
        other._beside, other._calls = {**self._beside}, Counter(self._calls)
        return other

    def events(self, group: list[SessionLine]) -> list[Event]:
        """The events of a message, or of an entry that is none."""
        first, role = group[0], _role(group[0])
        self._now_us = first.time("timestamp") or self._now_us
        if role is None:
            made = [first.kept("claude_code.entry", first.text("type") in _KNOWN)]
        else:
            made = self._answer(group) if role == "assistant" else _heard(first)
            pair([event.data for event in made], self._calls, "/message", first.unread)
            metadata = self._left(first.holder)
            if metadata and made:
                made[0] = with_event(made[0], metadata={"claude_code": metadata})
        return [with_event(event, occurred_at=self._now_us) for event in made]

    def _answer(self, group: list[SessionLine]) -> list[Event]:
        said, last = [entry.value["message"] for entry in group], group[-1]
        blocks = [block for one in said for block in _blocks(one["content"])]
        own_id = str(said[-1].get("id") or f"m{group[0].line}")
        cost, ms = last.amount("costUSD"), last.typed("durationMs", float)
        response = events.ModelResponse(cost=cost, latency_ms=ms, message_id=own_id)
        chat = ANTHROPIC_MESSAGES.read_answer({**said[-1], "content": blocks}, response)
        group[0].note("message", chat.unread)
        agent, model = last.typed("agentId", str), said[-1].get("model")
        made = said_by(agent, chat.events)
        if model != self._model and isinstance(model, str) and not model.startswith("<"):
            self._model, version = model, last.typed("version", str)
            about = events.AgentConfigured(None, model, "anthropic", agent=agent or "claude-code")
            made.insert(0, Event.of(replace(about, version=version)))
        return made

    def _left(self, holder: dict[str, Any]) -> dict[str, Any]:
        """What an entry says beside its message, and the one before it did not."""
        left = {k: v for k, v in holder.items() if k not in ("message", "type", "timestamp")}
        new = {k: v for k, v in left.items() if k not in self._beside or self._beside[k] != v}
        self._beside |= new
        return new


def _heard(entry: SessionLine) -> list[Event]:
    """The events of a message of the user: results of tools, and words."""
    message = {"role": "user", **entry.value["message"]}
    asked = ANTHROPIC_MESSAGES.read_request({"messages": [message]})
    for one in asked.unread:
        if one.what != "result":  # Paired with calls of other messages.
            pointer = one.pointer.replace("/messages/0", "/message", 1)
            entry.unread.append(one._replace(pointer=pointer))
    return asked.elements[0]


def _blocks(content: str | list[Any]) -> list[Any]:
    return [{"type": "text", "text": content}] if isinstance(content, str) else content
