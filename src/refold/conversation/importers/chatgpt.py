"""ChatGPT's data export: ``conversations.json``, an array of conversations, each a tree.

``mapping`` holds the nodes by id, each with its ``parent``; ``current_node`` is where the
conversation stands. The path that leads there is the conversation; every other leaf, an answer
made anew or words edited, is a branch that leaves it where the paths part. A message to a
``recipient`` other than all is a call of that tool, and the tool's message below it its result.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, Final

from msgspec.structs import replace

from refold.conversation import events
from refold.conversation.chat_shapes import Unread, as_said, check_json, parsed_arguments
from refold.conversation.importers.base import Conversations, Found, FoundFork, Options, read_each
from refold.conversation.importers.detection import is_node
from refold.conversation.importers.fields import FieldReader
from refold.conversation.importers.json_array import Value
from refold.conversation.importers.source import ImportSource, named, names
from refold.conversation.openai_chat import text_or_none
from refold.core.event import Event
from refold.core.jsonvalue import pointer
from refold.errors import InvalidEvent

_SAID: Final = names("text code execution_output tether_quote system_error tether_browsing_display")
"""Content that is text, in its ``parts``, ``text`` or ``result``."""
_THOUGHTS: Final = frozenset({"thoughts", "reasoning_recap"})
_SHOWN: Final = frozenset({"multimodal_text", "user_editable_context", "model_editable_context"})


def read_chatgpt(source: ImportSource, options: Options) -> Conversations:
    """Import ChatGPT's data export: conversations.json, or one of its conversations.

    The streams are called CATEGORY-ID; the category is by default chatgpt. Answers made anew and
    words edited become branches, called CATEGORY-ID~N.

        refold import chatgpt conversations.json
    """
    return read_each(source, source.values(), partial(_found, options, source.stem))


def _found(options: Options, stem: str, talk: FieldReader, value: Value) -> Found:
    nodes = talk.inside("mapping").holder if isinstance(talk.holder, dict) else {}
    nodes = {
        key: {**node, "parent": text_or_none(node.get("parent"))}
        for key, node in nodes.items()
        if is_node(node)
    }
    if not any(node.get("message") for node in nodes.values()):
        raise InvalidEvent("a conversation has a mapping with messages", path="/mapping")
    own_id = talk.typed("conversation_id", str) or talk.typed("id", str) or f"{stem}-{value.number}"
    stream = f"{options.category or 'chatgpt'}-{named(own_id)}"
    parents = {node["parent"] for node in nodes.values()}
    leaves = [key for key in nodes if key not in parents]
    current = text_or_none(talk.holder.get("current_node"))
    if current not in nodes:
        talk.lose("current_node", "it names no message: the last is taken")
        current = (leaves or list(nodes))[-1]
    beside = {key: told for key, told in talk.holder.items() if key != "mapping"}
    started = Event.of(
        events.SessionStarted(), metadata={"chatgpt": beside}, occurred_at=talk.time("create_time")
    )
    reader = _TreeReader(talk, nodes, options)
    main = reader.read(_path(nodes, current, reader.places), stream, 0)
    forks: list[FoundFork] = []
    for leaf in leaves:
        if path := _path(nodes, leaf, reader.places):
            of, at = reader.places.get(nodes[path[0]]["parent"], (stream, 0))
            name = f"{stream}~{len(forks) + 1}"
            # The branch's own events come after its session.forked.
            if told := reader.read(path, name, at + 1, (of, at)):
                forks.append(FoundFork(name, of, at, told, {"leaf": leaf}))
    return Found(stream, [started, *main], forks=forks)


def _path(nodes: dict[str, Any], leaf: str | None, placed: Mapping[str, Any]) -> list[str]:
    """The nodes that lead to one, from the root, or from the first that is not placed yet."""
    path: dict[str, None] = {}
    while leaf in nodes and leaf not in placed and leaf not in path:
        path[leaf] = None
        leaf = nodes[leaf]["parent"]
    return list(path)[::-1]


class _TreeReader:
    """Reads nodes in their order. ``places`` tells the stream and the version of each."""

    def __init__(self, talk: FieldReader, nodes: dict[str, Any], options: Options) -> None:
        self.talk, self.nodes, self.options = talk, nodes, options
        self.places: dict[Any, tuple[str, int]] = {}
        self._model: str | None = None
        self._answered: frozenset[str] = frozenset()
        # What holds after each node: its model, and the calls that were answered by then.
        self._after: dict[Any, tuple[str | None, frozenset[str]]] = {}

    def read(
        self, path: Sequence[str], stream: str, at: int, left: tuple[str, int] | None = None
    ) -> list[Event]:
        """The events of the nodes of a path, behind version ``at`` of a stream.

        ``left`` is where the path leaves another: the place of what has no events before others.
        """
        made: list[Event] = []
        for key in path:
            above = self.nodes[key]["parent"]
            self._model, self._answered = self._after.get(above, (None, frozenset()))
            message = self.nodes[key].get("message")
            if isinstance(message, dict):
                made += self._message(key, message)
            self.places[key] = (stream, at + len(made)) if made or not left else left
            self._after[key] = self._model, self._answered
        return made

    def _message(self, key: str, message: dict[str, Any]) -> list[Event]:
        at = pointer(["mapping", key, "message"])
        fields = FieldReader(message, self.talk.unread, at)
        check_json(message, ["mapping", key, "message"])
        author, content = fields.inside("author"), fields.inside("content")
        text, parts = _content(content)
        name, to = author.typed("name", str), message.get("recipient", "all")
        role = author.holder.get("role")
        made: list[Any] = []
        match role:
            case "system" | "developer":
                prompt = events.Prompt(text) if text else None
                made = [self._agent(prompt)] if prompt is not None or parts else []
            case "user":
                made = [events.UserUtterance(text, parts, party=name)]
            case "assistant" if to not in ("all", None):
                made = [*self._configured(fields), _call(key, str(to), text)]
            case "assistant" if text_or_none(content.holder.get("content_type")) in _THOUGHTS:
                made = [events.ModelResponse(parts=[_part(content.holder)], message_id=key)]
            case "assistant":
                said = events.AgentUtterance(text, parts, message_id=key, party=name)
                made = [*self._configured(fields), said]
            case "tool":
                made = [self._result(key, fields, name, parts or text)]
            case _:
                raise InvalidEvent(f"there is no event for the role {as_said(role)}", path=at)
        beside = {k: v for k, v in message.items() if k != "content" and v not in (None, {}, [])}
        at_us = fields.time("create_time")
        told = [Event.of(one, occurred_at=at_us) for one in made]
        if told:
            told[-1] = dataclasses.replace(told[-1], metadata={"chatgpt": beside})
        return told

    def _configured(self, message: FieldReader) -> list[events.AgentConfigured]:
        """The agent where another model answers than before."""
        model = message.inside("metadata").typed("model_slug", str)
        if model is None or model == self._model:
            return []
        self._model = model
        return [self._agent(None)]

    def _agent(self, prompt: events.Prompt | None) -> events.AgentConfigured:
        agent = events.AgentConfigured(prompt, self._model, "openai", agent="chatgpt")
        return replace(agent, tools=list(self.options.tools))

    def _result(
        self, key: str, message: FieldReader, name: str | None, said: Any
    ) -> events.ToolResult:
        """A tool's message: the result of the nearest call above it that is not answered yet."""
        for above in reversed(_path(self.nodes, self.nodes[key]["parent"], {})):
            if _is_call(self.nodes[above].get("message")) and above not in self._answered:
                self._answered |= {above}
                return events.ToolResult(above, said, name=name)
        message.lose("author", "a tool's message that answers no call")
        return events.ToolResult(key, said, name=name)


def _is_call(message: Any) -> bool:
    match message:
        case {"author": {"role": "assistant"}, "recipient": to}:
            return to not in ("all", None)
    return False


def _content(content: FieldReader) -> tuple[str, list[dict[str, Any]] | None]:
    """The words of a message, and its parts where it is more than words."""
    said, kind = content.holder, text_or_none(content.holder.get("content_type"))
    given = said.get("parts")
    parts = given if isinstance(given, list) else []
    texts = [one if isinstance(one, str) else _heard(one) for one in parts]
    text = "\n".join(filter(None, texts))
    if kind in _SAID and all(isinstance(one, str) for one in parts):
        texts = [said.get(key) for key in ("text", "result")]
        return text or next((one for one in texts if isinstance(one, str)), ""), None
    if kind not in _SHOWN | _THOUGHTS | _SAID:
        content.note("content_type", [Unread("words", "", f"{as_said(kind)} is not known")])
    if not parts:
        return text, [_part(said)]
    blocks = [{"type": "text", "text": one} if isinstance(one, str) else one for one in parts]
    return text, [
        _part(one) if isinstance(one, dict) else {"type": "part", "part": one} for one in blocks
    ]


def _heard(part: Any) -> str:
    """What was said in a recording."""
    is_heard = isinstance(part, dict) and part.get("content_type") == "audio_transcription"
    return str(part.get("text") or "") if is_heard else ""


def _part(content: dict[str, Any]) -> dict[str, Any]:
    return {"type": str(content.get("content_type", "part")), **content}


def _call(key: str, tool: str, text: str) -> events.ToolCall:
    parsed = parsed_arguments(text)
    kind: events.ToolKind = "function" if parsed is not None else "custom"
    return events.ToolCall(key, tool, text, parsed, message_id=key, kind=kind)
