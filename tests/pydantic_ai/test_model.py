"""The store beside pydantic-ai's own in memory: the same conversations, records, conflicts."""

import asyncio
import copy
from collections.abc import Coroutine
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from pydantic_ai import Conversation
from pydantic_ai.conversation_store import (
    ConversationConflict,
    ConversationRecord,
    ConversationStore,
    InMemoryConversationStore,
)
from pydantic_ai.exceptions import UserError
from pydantic_ai.messages import ModelMessage, ModelRequest, ModelResponse, TextPart
from pydantic_ai.usage import RunUsage

import refold
from refold.conversation import Conversation as Folded
from refold.conversation import transcript
from refold.pydantic_ai import RefoldConversationStore
from refold.verbatim import nameable

IDS = ["a", "b", "c~1", "%"]


def run(asked: Coroutine[Any, Any, Any]) -> Any:
    """What a call comes to, or what it raises of what is expected."""

    async def caught() -> Any:
        try:
            return await asked
        except ConversationConflict as conflict:
            return "conflict", conflict.conversation_id
        except UserError as error:
            return type(error), str(error).replace("'", "").split("Entry")[0]

    return asyncio.run(caught())


def message(number: int) -> ModelMessage:
    """A request or a response."""
    if number % 2:
        return ModelResponse(parts=[TextPart(f"answer {number}")])
    return ModelRequest.user_text_prompt(f"question {number}")


def text_of(message: Any) -> str:
    """The words of a message that :func:`message` made."""
    return str(message.parts[0].content)


class Both:
    """One conversation as each of the two stores has given it."""

    def __init__(self, mine: Conversation, theirs: Conversation) -> None:
        self.mine, self.theirs = mine, theirs


class StoreIsTheirs(RuleBasedStateMachine):
    """What is done to one store is done to the other; all that can be asked is the same.

    Entries are known by their place, as each store has ids of its own.
    """

    def __init__(self) -> None:
        super().__init__()
        self.opened = refold.open("memory:")
        self.refolds = [RefoldConversationStore(self.opened) for _ in range(2)]
        self.theirs = InMemoryConversationStore()
        self.held: list[Both] = []
        self.number = 0

    def teardown(self) -> None:
        """Every stream can be shown."""
        for info in self.opened.streams():
            transcript(self.opened.read(info.stream))
        self.opened.close()

    def stores(self, who: int) -> tuple[ConversationStore, ConversationStore]:
        return self.refolds[who], self.theirs

    def hold(self, mine: Any, theirs: Any) -> None:
        """Two answers that say the same; conversations are kept to go on with."""
        if not isinstance(mine, Conversation) or not isinstance(theirs, Conversation):
            assert mine == theirs
            return
        assert mine.messages == theirs.messages
        assert mine.usage == theirs.usage
        assert mine.conversation_id == theirs.conversation_id
        self.held.append(Both(mine, theirs))
        del self.held[:-8]

    @rule(own=st.sampled_from(IDS))
    def begin(self, own: str) -> None:
        self.held.append(Both(Conversation(conversation_id=own), Conversation(conversation_id=own)))

    @rule(
        own=st.sampled_from(IDS),
        limit=st.none() | st.integers(0, 3),
        scope=st.sampled_from([None, None, "s", "t"]),
        who=st.sampled_from([0, 1]),
    )
    def load(self, own: str, limit: int | None, scope: str | None, who: int) -> None:
        mine, theirs = self.stores(who)
        self.hold(
            run(mine.load(own, limit=limit, scope=scope)),
            run(theirs.load(own, limit=limit, scope=scope)),
        )

    @precondition(lambda self: self.held)
    @rule(
        data=st.data(),
        count=st.integers(0, 3),
        scope=st.sampled_from([None, None, "s", "t"]),
        who=st.sampled_from([0, 1]),
    )
    def save(self, data: st.DataObject, count: int, scope: str | None, who: int) -> None:
        both = data.draw(st.sampled_from(self.held))
        added = [message(self.number + n) for n in range(count)]
        self.number += count
        usage = RunUsage(requests=self.number, input_tokens=self.number * 3)
        saved = []
        for store, conversation in zip(self.stores(who), (both.mine, both.theirs), strict=True):
            conversation.messages += copy.deepcopy(added)
            conversation.usage = copy.deepcopy(usage)
            entries = run(store.save(conversation, scope=scope))
            is_saved = isinstance(entries, list)
            saved.append([one.message for one in entries] if is_saved else entries)
        assert saved[0] == saved[1]

    @precondition(lambda self: self.held)
    @rule(data=st.data(), keep=st.integers(0, 3))
    def rewrite(self, data: st.DataObject, keep: int) -> None:
        """The history is cut, as where it was compacted, and is no longer the one loaded."""
        both = data.draw(st.sampled_from(self.held))
        summary = message(self.number * 2)
        self.number += 1
        for conversation in (both.mine, both.theirs):
            conversation.messages = [*conversation.messages[:keep], copy.deepcopy(summary)]
            conversation.new_message_index = None

    @rule(
        own=st.sampled_from(IDS),
        at=st.integers(0, 4),
        is_new=st.booleans(),
        who=st.sampled_from([0, 1]),
    )
    def branch(self, own: str, at: int, is_new: bool, who: int) -> None:
        made = []
        for store in self.stores(who):
            record = run(store.read_record(own))
            revision = record.revision if record and is_new else None
            made.append(run(store.branch(own, at=at, expected_revision=revision)))
        self.hold(*made)

    @rule(own=st.sampled_from(IDS), data=st.data(), who=st.sampled_from([0, 1]))
    def back(self, own: str, data: st.DataObject, who: int) -> None:
        """To an entry of a branch that was left."""
        places = self.entries_of(self.theirs, own)
        if not places:
            return
        place = data.draw(st.integers(0, len(places) - 1))
        made = []
        for store in self.stores(who):
            entry, record = self.entries_of(store, own)[place], run(store.read_record(own))
            made.append(run(store.branch(own, from_entry=entry, expected_revision=record.revision)))
        self.hold(*made)

    @rule(
        own=st.sampled_from(IDS),
        new=st.sampled_from(IDS),
        data=st.data(),
        scope=st.sampled_from([None, "s"]),
        who=st.sampled_from([0, 1]),
    )
    def fork(self, own: str, new: str, data: st.DataObject, scope: str | None, who: int) -> None:
        at = data.draw(st.none() | st.integers(0, 4))
        places = self.entries_of(self.theirs, own)
        place = data.draw(st.integers(0, len(places) - 1)) if places and at is None else None
        made = []
        for store in self.stores(who):
            entry = None if place is None else self.entries_of(store, own)[place]
            asked = store.fork(own, at=at, from_entry=entry, new_conversation_id=new, scope=scope)
            made.append(run(asked))
        self.hold(*made)

    @rule(own=st.sampled_from(IDS), scope=st.sampled_from([None, "s"]), who=st.sampled_from([0, 1]))
    def delete(self, own: str, scope: str | None, who: int) -> None:
        for store in self.stores(who):
            run(store.delete(own, scope=scope))

    def entries_of(self, store: ConversationStore, own: str) -> list[str]:
        """The ids of the entries of a conversation and of the branches that it left, in order."""
        record = run(store.read_record(own))
        if record is None:
            return []
        found: dict[str, None] = {}
        for tip in [record.head_id, *record.branches]:
            found |= {entry.id: None for entry in run(store.read_history(tip))}
        return [*found]

    def told(self, store: ConversationStore, record: ConversationRecord) -> Any:
        """A record with entries named by their messages."""
        lines = [record.head_id, record.forked_at, *record.branches]
        histories = [[entry.message for entry in run(store.read_history(tip))] for tip in lines]
        own = record.conversation_id, record.usage, record.scope, record.forked_from
        return *own, record.deferred_tool_requests, histories

    @invariant()
    def records_are_the_same(self) -> None:
        listed = []
        for store in (self.refolds[0], self.theirs):
            records = run(store.list_conversations())
            times = [record.updated_at for record in records]
            assert times == sorted(times, reverse=True)
            listed.append({one.conversation_id: self.told(store, one) for one in records})
        assert listed[0] == listed[1]

    @invariant()
    def each_stream_is_one_history(self) -> None:
        """What is told in the stream that a record names is what the conversation says."""
        for record in run(self.refolds[1].list_conversations()):
            own = f"conversation-{nameable(record.conversation_id)}"
            newest = next(iter(self.opened.read(own, direction="backward")))
            stream = newest.data["stream"]
            if self.opened.head(stream) < 0 or stream in self.begun_again():
                continue
            history = run(self.refolds[0].read_history(record.head_id))
            said = [one.text for one in self.opened.fold(stream, Folded).state.transcript]
            assert said == [text_of(entry.message) for entry in history]

    def begun_again(self) -> set[str]:
        """Streams in which a conversation was deleted, and what branches from them."""
        names = {each.stream for each in self.opened.read_all(types=["pydantic_ai.deleted"])}
        infos = [*self.opened.streams()]
        for _ in infos:
            names |= {info.stream for info in infos if info.fork and info.fork.parent in names}
        return names


TestStoreIsTheirs = StoreIsTheirs.TestCase
TestStoreIsTheirs.settings = settings(max_examples=20, stateful_step_count=20, deadline=None)
