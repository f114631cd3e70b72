"""Conversations of pydantic-ai in a refold store.

::

    import refold
    from refold.pydantic_ai import RefoldConversationStore

    conversations = RefoldConversationStore(refold.open("agents.db"))
    conversation = await conversations.load("42") or Conversation(conversation_id="42")
    result = await agent.run("Is nine still free?", conversation=conversation)
    await conversations.save(result)

Needs the extra: ``pip install 'refold[pydantic-ai]'``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence
from importlib.util import find_spec
from itertools import chain, count, takewhile
from typing import Any, Final, NamedTuple

from refold.extras import needs

if not find_spec("pydantic_ai") or not find_spec("pydantic_ai.conversation_store"):
    raise ModuleNotFoundError(needs("refold.pydantic_ai needs it", "pydantic-ai"))

import msgspec
from pydantic import TypeAdapter
from pydantic_ai import conversation_store as framework
from pydantic_ai.conversation_store import ConversationEntry, ConversationRecord
from pydantic_ai.messages import ModelMessagesTypeAdapter

from refold import verbatim
from refold.conversation.apis import blocks
from refold.conversation.apis.blocks import Piece
from refold.conversation.events import ToolResult
from refold.core.event import Event, event_id
from refold.core.expected import NO_EVENTS, NO_STREAM
from refold.core.recorded import Recorded
from refold.engine.store import Store

__all__ = ["RefoldConversationStore"]

ENTRY: Final = "pydantic_ai.entry"
RECORD: Final = "pydantic_ai.record"
DELETED: Final = "pydantic_ai.deleted"
HOMES_MAX: Final = 10_000
"""Of how many entries it is known which conversation has them; for others the log is searched."""

_records: Final = TypeAdapter(ConversationRecord)

Entries = Sequence[ConversationEntry]
Place = tuple[str, int]
"""A stream, and the version of an event in its history."""


class EntryLink(msgspec.Struct):
    """What an entry's event says beside the message, and, in ``stream``, a record's where it is."""

    id: str = ""
    parent: str | None = None
    stream: str = ""


_link: Final = msgspec.json.Decoder(EntryLink).decode


class StoredConversation(NamedTuple):
    """The record of a conversation, None where there is none, and the stream of its history.

    ``version`` is the last of the conversation's own stream, in which its records are.
    """

    record: ConversationRecord | None
    stream: str
    version: int


class RefoldConversationStore(framework.ConversationStore):
    """Keeps the conversations of pydantic-ai in a :class:`refold.Store`.

    Conversation ``42`` is the stream ``conversation-42`` (``category`` names another one than
    ``conversation``), an entry an event. What leaves a history at an earlier message goes on in a
    branch: ``conversation-42~1``; so does a fork, ``conversation-43~1``. What is deleted is not
    found any more, but stands in the log. Threads, tasks and processes may share a store. Beside
    what pydantic-ai's stores raise, it raises what reading and appending raise.
    """

    def __init__(self, store: Store, *, category: str = "conversation") -> None:
        verbatim.check_category(category)
        self._store, self._category = store, category
        self._homes: dict[str, str] = {}

    @verbatim.awaited
    def read_record(self, conversation_id: str) -> ConversationRecord | None:
        """The record of a conversation; None where the store has none."""
        return self._stored(self._own(conversation_id)).record

    @verbatim.awaited
    def read_records(
        self, *, scope: str | None = None, limit: int | None = None
    ) -> Sequence[ConversationRecord]:
        """The records of a scope, or all, the last saved first."""
        infos = [*self._store.streams(category=self._category)]
        records = (self._stored(info.stream).record for info in infos)
        found = [each for each in records if each and scope in (None, each.scope)]
        return sorted(found, key=lambda each: each.updated_at, reverse=True)[:limit]

    @verbatim.awaited
    def write_record(
        self,
        record: ConversationRecord,
        *,
        new_entries: Entries = (),
        expected_revision: str | None,
    ) -> None:
        """Append the new entries and the record, all or none."""
        verbatim.retried(lambda: self._written(record, new_entries, expected_revision))

    @verbatim.awaited
    def delete_record(self, conversation_id: str, *, expected_revision: str) -> None:
        """Let a conversation be found no more; its entries stay."""

        def deleted() -> None:
            stored = self._checked(conversation_id, expected_revision)
            own = self._own(conversation_id)
            self._store.append(own, [Event(DELETED)], expected=stored.version)

        verbatim.retried(deleted)

    @verbatim.awaited
    def read_entry(self, entry_id: str) -> ConversationEntry:
        """The entry with this id; KeyError where there is none."""
        stream, version = self._found(entry_id)
        return self._entry(self._store.event(event_id(stream, version)))

    @verbatim.awaited
    def read_history(
        self, head_id: str | None, *, limit: int | None = None
    ) -> list[ConversationEntry]:
        """The entries up to one, or the last of them; KeyError where there is no such entry."""
        if head_id is None or limit == 0:
            return []
        stream, last = self._found(head_id)
        entries, wanted = list[ConversationEntry](), head_id
        for recorded in self._store.read(stream, to_version=last, direction="backward"):
            if recorded.type == ENTRY and _link(recorded.raw).id == wanted:
                entries.append(self._entry(recorded))
                parent = entries[-1].parent_id
                if parent is None or len(entries) == limit:
                    return entries[::-1]
                wanted = parent
        raise KeyError(wanted)

    # -- write --------------------------------------------------------------------------------

    def _written(self, record: ConversationRecord, entries: Entries, revision: str | None) -> None:
        """Append to the history where it ends, else to a new branch from where the entries go on.

        All records of a conversation are in its own stream: of two writers one comes first there.
        """
        stored = self._checked(record.conversation_id, revision)
        own = self._own(record.conversation_id)
        end = stored.record.head_id if stored.record else None
        follows = entries[0].parent_id if entries else record.head_id
        homes = [own, self._own(record.forked_from)] if record.forked_from else [own]
        wanted = {follows, record.head_id} - {None, end, *(entry.id for entry in entries)}
        found = {entry_id: self._place(entry_id, homes) for entry_id in wanted}
        if None in found.values():
            raise framework.ConversationConflict(record.conversation_id)
        stream = stored.stream
        if follows != end:
            stream = self._branched(own, found.get(follows) or (own, NO_EVENTS))
        events = [event for entry in entries for event in _events(stream, entry)]
        said = verbatim.kept(RECORD, verbatim.json_text(record, _records), stream=stream)
        apart, said = ([], [*events, *said]) if stream == own else (events, said)
        expected = NO_STREAM if stored.version == NO_EVENTS else stored.version
        parts = verbatim.appends_of(own, said, expected=expected)
        self._store.append_together([*verbatim.appends_of(stream, apart), *parts])

    def _checked(self, conversation_id: str, revision: str | None) -> StoredConversation:
        """What is stored of a conversation, where it has this revision."""
        stored = self._stored(self._own(conversation_id))
        if (stored.record.revision if stored.record else None) != revision:
            raise framework.ConversationConflict(conversation_id)
        return stored

    def _branched(self, own: str, place: Place) -> str:
        """The name of a new branch from a place on."""
        names = (f"{own}~{number}" for number in count(1))
        name = next(name for name in names if self._store.head(name) == NO_EVENTS)
        self._store.branch(place[0], at=place[1]).save(name)
        return name

    # -- read ---------------------------------------------------------------------------------

    def _own(self, conversation_id: str) -> str:
        """The stream of a conversation's own, in which its records are."""
        verbatim.check_id(conversation_id, what="a conversation's id")
        return f"{self._category}-{verbatim.nameable(conversation_id)}"

    def _stored(self, own: str) -> StoredConversation:
        version = self._store.head(own)
        if version == NO_EVENTS:
            return StoredConversation(None, own, version)
        for recorded in self._store.read(own, to_version=version, direction="backward"):
            if recorded.type == RECORD:
                record = _records.validate_json(verbatim.text_of(self._store, recorded))
                self._remember(record, own)
                return StoredConversation(record, _link(recorded.raw).stream, version)
            if recorded.type == DELETED:
                break
        return StoredConversation(None, own, version)

    def _remember(self, record: ConversationRecord, own: str) -> None:
        if len(self._homes) > HOMES_MAX:
            self._homes.clear()
        ends = (record.head_id, *record.branches)
        self._homes.update((entry_id, own) for entry_id in ends if entry_id is not None)

    def _streams(self, own: str) -> list[str]:
        """The streams that a conversation has been in, the oldest first."""
        names = chain([own], (f"{own}~{number}" for number in count(1)))
        return [*takewhile(lambda name: self._store.head(name) != NO_EVENTS, names)]

    def _place(self, entry_id: str | None, homes: Iterable[str]) -> Place | None:
        """Where an entry is in the histories of conversations, the last branches first."""
        for stream in (stream for own in homes for stream in reversed(self._streams(own))):
            for recorded in self._store.read(stream, direction="backward"):
                if recorded.type == ENTRY and _link(recorded.raw).id == entry_id:
                    return stream, recorded.version
        return None

    def _found(self, entry_id: str) -> Place:
        """Where an entry is, in whatever conversation; KeyError where it is in none."""
        home = self._homes.get(entry_id)
        if home is not None and (place := self._place(entry_id, [home])):
            return place
        categories = [self._category, f"{self._category}~"]
        for recorded in self._store.read_all(categories=categories, types=[ENTRY]):
            if _link(recorded.raw).id == entry_id:
                return recorded.stream, recorded.version
        raise KeyError(entry_id)

    def _entry(self, recorded: Recorded) -> ConversationEntry:
        link, text = _link(recorded.raw), verbatim.text_of(self._store, recorded)
        (message,) = ModelMessagesTypeAdapter.validate_json(f"[{text}]")
        return ConversationEntry(id=link.id, parent_id=link.parent, message=message)


def _events(stream: str, entry: ConversationEntry) -> list[Event]:
    """The events of an entry, at the time that its message says."""
    text = verbatim.json_text([entry.message], ModelMessagesTypeAdapter)[1:-1]
    message = verbatim.readable(text)
    said = verbatim.told(stream, _said(message, entry.id))
    events = [*said, *verbatim.kept(ENTRY, text, id=entry.id, parent=entry.parent_id)]
    times = [message.get("timestamp"), *(part.get("timestamp") for part in message["parts"])]
    at_us = next(filter(None, map(verbatim.time_us, times)), None)
    return [dataclasses.replace(event, occurred_at=at_us) for event in events]


def _said(message: Any, message_id: str) -> list[Event]:
    """What a message says; each prompt in a request by itself."""
    told = [pieces for part in message["parts"] if (pieces := _pieces(part))]
    if message["kind"] == "response":
        return blocks.spoken([*chain(*told)], message_id, ()) if told else []
    return [*chain(*map(blocks.heard, told))]


def _pieces(part: Any) -> list[Piece]:
    """What a part says, as the readers of model APIs have it; nothing of what only configures."""
    match part:
        case {"part_kind": "user-prompt", "content": content}:
            return _shown([content] if isinstance(content, str) else content)
        case {"part_kind": "text", "content": text} | {"transcript": str(text)}:
            return _shown([text])
        case {"part_kind": "tool-call", "tool_name": name, "args": args, "tool_call_id": call_id}:
            return [blocks.call_of({"name": name}, [], call_id, args, "")]
        case {"part_kind": "tool-return", "tool_name": name, "tool_call_id": call_id}:
            failed = part.get("outcome") in ("failed", "retried")
            event = ToolResult(call_id, part.get("content"), failed, name=name)
            return [Piece("result", part, event=event)]
    return []


def _shown(items: Sequence[Any]) -> list[Piece]:
    """Words, those that follow each other on lines of their own, and what is shown beside them."""
    pieces: list[Piece] = []
    for item in items:
        match item:
            case str(text) | {"kind": "text-content", "content": str(text)}:
                if pieces and pieces[-1].kind == "words":
                    text = f"{pieces.pop().text}\n{text}"
                pieces.append(Piece("words", {"type": "text", "text": text}, text, is_plain=True))
            case {"kind": str(kind)} if kind != "cache-point":
                pieces.append(Piece("media", {"type": kind.replace("-", "_"), **item}))
    return pieces
