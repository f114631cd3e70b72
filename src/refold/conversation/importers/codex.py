"""Codex sessions: the JSON lines of a rollout, items of the Responses API in what is said of them.

A line is ``{timestamp, type, payload}``; the oldest sessions have the items alone, behind a first
line with the session. The events that only repeat an item are left out; what is neither is kept
as it is, as ``codex.line``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace as with_event
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from refold.conversation import events
from refold.conversation.apis.openai_responses import OPENAI_RESPONSES
from refold.conversation.importers.base import Conversations, Found, Options
from refold.conversation.importers.session_lines import SessionLine, read_sessions
from refold.conversation.importers.source import ImportSource, named, names
from refold.conversation.openai_chat import text_or_none
from refold.core.event import Event
from refold.errors import InvalidEvent

_REPEATS: Final = names("user_message agent_message agent_reasoning agent_reasoning_raw_content")
"""Events that say again what an item says."""
_ITEMS: Final = ("message", "reasoning", "compaction")
_KNOWN: Final = names("event_msg compacted turn_context ghost_snapshot state")


def read_codex(source: ImportSource, options: Options) -> Conversations:
    """Import sessions of Codex: the rollout files in ~/.codex/sessions.

    The streams are called CATEGORY-SESSION; the category is by default codex.

        refold import codex ~/.codex/sessions/2026/03/02/rollout-*.jsonl
    """
    return read_sessions(source, _whole, partial(_found, source, options))


def _whole(entries: list[SessionLine]) -> dict[str, list[SessionLine]]:
    """A rollout is one session."""
    return {"": entries} if entries else {}


def _found(source: ImportSource, options: Options, _name: str, entries: list[SessionLine]) -> Found:
    meta = next((_payload(one) for one in entries if _kind(one) == "session_meta"), {})
    turn = next((_payload(one) for one in entries if _kind(one) == "turn_context"), {})
    items = [one for one in entries if _kind(one) == "response_item"]
    if not items:
        raise InvalidEvent("a session without items")
    prompt = meta.get("base_instructions")
    prompt = prompt.get("text") if isinstance(prompt, dict) else meta.get("instructions")
    request = {"input": list(map(_payload, items)), "instructions": prompt}
    asked = OPENAI_RESPONSES.read_request(request)
    for one in asked.unread:
        index, rest = _place(one.pointer)
        items[index].note("payload", [one._replace(pointer=rest)])
    about = replace(
        asked.agent,
        agent="codex",
        version=text_or_none(meta.get("cli_version")),
        provider=text_or_none(meta.get("model_provider")) or asked.agent.provider,
        tools=list(options.tools),
    )
    reader = _RolloutReader(about, _configured(about, turn))
    begun = [Event.of(events.SessionStarted(), metadata={"codex": meta}), Event.of(reader.agent)]
    elements = dict(zip((one.line for one in items), asked.elements, strict=True))
    made: list[Event] = []
    for number, entry in enumerate(entries):
        told = [] if number else begun
        told = [*told, *reader.events(entry, elements.get(entry.line) or [])]
        at_us = entry.time("timestamp")
        made += [with_event(one, occurred_at=at_us) for one in told]
    session = text_or_none(meta.get("id")) or source.stem
    return Found(f"{options.category or 'codex'}-{named(session)}", made)


class _RolloutReader:
    """Reads lines in their order, with the agent as it runs."""

    def __init__(self, about: events.AgentConfigured, agent: events.AgentConfigured) -> None:
        self.about, self.agent = about, agent
        self._total: Any = None
        self._message_id: str | None = None

    def events(self, entry: SessionLine, element: list[Event]) -> list[Event]:
        """The events of a line; ``element`` are those of its item."""
        payload = _payload(entry)
        match _kind(entry), payload:
            case "response_item", _:
                ids = [getattr(event.data, "message_id", None) for event in element]
                self._message_id = next(filter(None, ids), self._message_id)
                return element
            case "turn_context", _:
                before, self.agent = self.agent, _configured(self.about, payload)
                return [] if self.agent == before else [Event.of(self.agent)]
            case "event_msg", {"type": "token_count"}:
                return self._spent(entry, payload)
            case "event_msg", {"type": "error", "message": message}:
                return [Event.of(events.ModelFailed(str(message)))]
            case ("event_msg", {"type": str(kind)}) if kind in _REPEATS:
                return []
            case "session_meta", _:
                return []
        return [entry.kept("codex.line", _kind(entry) in _KNOWN)]

    def _spent(self, entry: SessionLine, payload: Mapping[str, Any]) -> list[Event]:
        """The tokens of the last answer; the same count is written more than once."""
        info = payload.get("info")
        if not isinstance(info, dict) or info.get("total_token_usage") == self._total:
            return []
        self._total = info.get("total_token_usage")
        usage = entry.usage("payload/info/last_token_usage")
        model, own = self.agent.model, self._message_id
        return [Event.of(events.ModelResponse(model=model, usage=usage, message_id=own))]


def _kind(entry: SessionLine) -> str:
    """What a line is; "" for what is none."""
    match entry.value:
        case {"type": "response_item", "payload": {"type": "ghost_snapshot"}}:
            return "ghost_snapshot"
        case {"type": str(kind), "payload": dict()}:
            return kind
        case {"record_type": str(kind)}:
            return kind
        case {"type": str(kind)} if kind in _ITEMS or kind.endswith(("_call", "_output")):
            return "response_item"
        case {"id": str(), "timestamp": _}:
            return "session_meta"
    return ""


def _payload(entry: SessionLine) -> dict[str, Any]:
    """What a line is about; the line itself in the oldest sessions."""
    payload = entry.holder.get("payload", entry.holder)
    return payload if isinstance(payload, dict) else {}


def _place(at: str) -> tuple[int, str]:
    """The number of the item that a pointer leads into, and the rest of the pointer."""
    number, _, rest = at.removeprefix("/input/").partition("/")
    return (int(number), f"/{rest}" if rest else "") if number.isdecimal() else (0, at)


def _configured(about: events.AgentConfigured, turn: Mapping[str, Any]) -> events.AgentConfigured:
    keys = ("effort", "summary", "approval_policy", "sandbox_policy", "personality")
    params = {key: turn[key] for key in keys if turn.get(key) is not None}
    return replace(about, model=text_or_none(turn.get("model")), params=params)
