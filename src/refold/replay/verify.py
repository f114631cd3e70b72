"""Verifying a record by replaying it from itself: fold, exporter and log must agree."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import accumulate, zip_longest
from typing import Final, Literal

import msgspec

from refold.conversation.chat_export import first_touched, is_late_result, to_messages
from refold.conversation.chat_shapes import parsed_arguments
from refold.conversation.events import ToolCall
from refold.conversation.fold import Conversation
from refold.conversation.openai_chat import read_messages
from refold.conversation.state import ConversationState
from refold.core import jsonvalue
from refold.core.history import History
from refold.core.recorded import Recorded, parts_of
from refold.engine.checks import check_progress
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import NotFound, RefoldError
from refold.replay.decision import Decision, before, decisions, is_of_answer
from refold.replay.variant import OPENED, checked_streams

VERIFY: Final = "verify"

MismatchKind = Literal["unreadable", "answers", "prefix", "arguments", "results", "fold"]
"""What does not agree.

``unreadable``: an event that cannot be decoded, or messages that cannot be read back. ``answers``:
the answers in the exported messages are not those of the log. ``prefix``: what the agent had seen
at a decision is not how the whole export begins. ``arguments``: the parsed form of a call is not
what its arguments say. ``results``: a call without its result before the agent's next answer, or a
result without its call; no model accepts such messages. ``fold``: the fold of the conversation
holds other words or calls than the log.
"""


_Found = tuple[str, MismatchKind, str]


class Mismatch(msgspec.Struct, frozen=True):
    """One disagreement: in which stream, at which event ("" for the whole), what, and how."""

    stream: str
    at: str
    kind: MismatchKind
    detail: str


class Verification(msgspec.Struct, frozen=True, kw_only=True):
    """What was verified, and everything that does not agree: none is what you want."""

    mode: str
    conversations: int
    decisions: int
    mismatches: list[Mismatch]


def verify(
    store: Store, streams: Iterable[str], *, progress: Callable[[int], None] | None = None
) -> Verification:
    """Re-derive every decision of the streams from their own record; nothing is asked of anyone.

    Each conversation is exported to chat messages, read back and folded, and all that is held
    against the log. ``progress`` is called with the conversations done so far. Raises
    :class:`~refold.errors.NotFound` for a stream that does not exist.
    """
    check_store(store, call="verify", instead=OPENED)
    check_progress(progress)
    mismatches: list[Mismatch] = []
    conversations = count = 0
    for conversations, stream in enumerate(checked_streams(streams), 1):
        try:
            history = list(store.read(stream))
            recorded = decisions(history)
            found = _disagreements(store, stream, history, recorded)
            mismatches += (Mismatch(stream, *one) for one in found)
            count += len(recorded)
        except NotFound:
            raise
        except RefoldError as error:
            mismatches.append(Mismatch(stream, "", "unreadable", str(error)))
        if progress is not None:
            progress(conversations)
    return Verification(
        mode=VERIFY, conversations=conversations, decisions=count, mismatches=mismatches
    )


def _disagreements(
    store: Store, stream: str, history: Sequence[Recorded], recorded: Sequence[Decision]
) -> Iterator[_Found]:
    yield from _in_messages(History(stream, (), 0, Conversation.registry), history, recorded)
    state = store.fold(stream, Conversation).state
    yield from _arguments(history)
    yield from _in_fold(recorded, state)
    yield from _results(history, recorded, state)


def _in_messages(
    empty: History, history: Sequence[Recorded], recorded: Sequence[Decision]
) -> Iterator[_Found]:
    """Whether a history's chat messages say what its events say."""
    messages = to_messages(history)
    again = decisions(empty.adding(*read_messages(messages).events))
    for mine, theirs in zip_longest(recorded, again):
        if _said(mine) != _said(theirs):
            at = "" if mine is None else mine.at
            yield (at, "answers", f"log: {_shown(mine)}; export: {_shown(theirs)}")
    for decision in _touched_later(history, recorded):
        seen = to_messages(before(history, decision))
        if seen != messages[: len(seen)]:
            detail = f"the {len(seen)} messages before it changed with what came later"
            yield (decision.at, "prefix", detail)


def _touched_later(history: Sequence[Recorded], recorded: Sequence[Decision]) -> Iterator[Decision]:
    """The decisions before which a message stood that a later event wrote to, or moved.

    Those of all others need no second look: a long conversation is exported once, not at each.
    """
    events = list(first_touched(history))
    # The first message that each event, or any after it, touches; and how many stood before it.
    later = [*accumulate(reversed([place for _, place, _ in events]), min)][::-1]
    counts = [0, *(count for _, _, count in events)]
    answers = {
        event.version: index
        for index, (event, _, _) in reversed([*enumerate(events)])
        if is_of_answer(event)
    }
    for decision in recorded:
        index = answers[decision.version]
        if later[index] < counts[index]:
            yield decision


def _in_fold(recorded: Sequence[Decision], state: ConversationState) -> Iterator[_Found]:
    """Whether the fold of a conversation holds the words and calls of its decisions."""
    words = "\n".join(d.action.text for d in recorded if d.action.text)
    agent = (turn for turn in state.transcript if turn.role == "agent")
    if words != "\n".join(turn.text for turn in agent if turn.text):
        yield ("", "fold", "the agent's words in the transcript are others")
    calls = [(c.call_id, c.name, c.arguments) for d in recorded for c in d.action.calls]
    used = (use.event for use in state.tool_calls)
    if calls != [(call.call_id, call.name, call.arguments) for call in used]:
        yield ("", "fold", "the tool calls are others")


def _arguments(history: Iterable[Recorded]) -> Iterator[_Found]:
    for recorded in parts_of(history):
        if recorded.type != "tool.call":
            continue
        call = recorded.to_class(ToolCall)
        said = parsed_arguments(call.arguments)
        if call.parsed is not None and not jsonvalue.equal(call.parsed, said):
            detail = f"{call.name}: the parsed arguments are not what the text says"
            yield (recorded.id, "arguments", detail)


def _results(
    history: Sequence[Recorded], recorded: Sequence[Decision], state: ConversationState
) -> Iterator[_Found]:
    for answer in state.unmatched_results:
        yield (answer.id, "results", "a result without a call")
    for event in parts_of(history):
        if is_late_result(event):
            yield (event.id, "results", "other messages between a call and its result")
    # The fold names an event that a branch copied by the id that it had before.
    place = {event.origin_id: index for index, event in enumerate(history)}
    begun = [decision.version for decision in recorded]
    for use in state.tool_calls:
        following = bisect_right(begun, place[use.id])
        late = following < len(begun) and (
            use.answer is None or place[use.answer.id] > begun[following]
        )
        if late:
            detail = f"{use.event.name}: no result before the agent's next answer"
            yield (use.id, "results", detail)


def _said(decision: Decision | None) -> object:
    return decision and (decision.action.text, decision.action.parts, decision.action.calls)


def _shown(decision: Decision | None) -> str:
    if decision is None:
        return "no answer"
    names = ", ".join(call.name for call in decision.action.calls)
    return f"{decision.action.shown!r}" + (f" calling {names}" if names else "")
