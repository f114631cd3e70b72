"""Which conversation a call belongs to, from what its request says; pure.

A history is known by what was said in it: the words, calls and results of its events, not their
bytes, as an SDK writes an answer back otherwise than it came. The system prompt, model and tools
are no part of it: agents that hand over to each other share one.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Final, NamedTuple

import msgspec

from refold.conversation import events
from refold.conversation.chat_shapes import exact_arguments, more_than_words
from refold.core.event import Event, check_name
from refold.errors import InvalidEvent

NAMES: Final = ("conversation_id", "session_id", "thread_id")
"""The keys of a request's ``metadata`` that say which conversation it is of, the first first."""
HISTORY: Final = "history:"
RESPONSE: Final = "response:"
"""What the tags begin with by which a history, or an answer by its id, is found again."""

_SESSION: Final = re.compile(r"_session_([0-9a-fA-F-]{36})$")
_encode: Final = msgspec.json.Encoder(order="deterministic", decimal_format="number").encode


class Chain(NamedTuple):
    """How far a history has come: a digest of all before, and the agent's turn that may go on.

    The words and calls of one turn count together, however they are divided among messages.
    ``answered``: an agent has spoken in it.
    """

    settled: str = ""
    words: str = ""
    calls: tuple[Any, ...] = ()
    answered: bool = False

    @classmethod
    def at(cls, tags: Iterable[str]) -> Chain:
        """The history that has one of these tags."""
        known = (tag.removeprefix(HISTORY) for tag in tags if tag.startswith(HISTORY))
        return cls(next(known, ""), answered=True)

    @property
    def digest(self) -> str:
        """What the history up to here is known by; "" for one that has not begun."""
        said = ["agent", self.words.strip(), self.calls]
        return _chained(self.settled, said) if any(said[1:]) else self.settled

    @property
    def is_turn(self) -> bool:
        """Whether an agent speaks at its end."""
        return bool(self.words or self.calls)

    @property
    def tag(self) -> str:
        """The tag by which it is found."""
        return HISTORY + self.digest

    def after(self, said: Iterable[Event]) -> Chain:
        """The history with these events at its end."""
        chain = self
        for event in said:
            match event.data:
                case events.AgentUtterance():
                    chain = chain._replace(words=chain.words + _words(event), answered=True)
                case events.ToolCall() as call:
                    made = (call.call_id, call.name, exact_arguments(call.arguments))
                    chain = chain._replace(calls=(*chain.calls, made), answered=True)
                case events.UserUtterance() as one:
                    other = [bare(part) for part in more_than_words(one.parts)]
                    chain = chain._then(["user", one.text, other])
                case events.ToolResult() as result:
                    chain = chain._then(["result", result.call_id, bare(result.result)])
        return chain

    def _then(self, said: list[Any]) -> Chain:
        return Chain(_chained(self.digest, said), answered=self.answered)


def chains_of(elements: Sequence[Sequence[Event]], start: Chain) -> list[Chain]:
    """The history before the first element of a request, and after each."""
    chains = [start]
    for said in elements:
        chains.append(chains[-1].after(said))
    return chains


class Beginning(NamedTuple):
    """A beginning of a history: its tag, how many elements it is, whether an agent spoke in it."""

    tag: str
    seen: int
    answered: bool


def beginnings(chains: Sequence[Chain]) -> list[Beginning]:
    """The beginnings that a stream may end with, longest first.

    None ends in the middle of an agent's turn: a call is about all of it.
    """
    last = len(chains) - 1
    return [
        Beginning(chains[place].tag, place, chains[place].answered)
        for place in range(last, -1 if chains[0].digest else 0, -1)
        if place == last or not (chains[place].is_turn and chains[place + 1].is_turn)
    ]


def after_last_answer(elements: Sequence[Sequence[Event]]) -> int:
    """How many elements there are up to the last that an agent said."""
    answers = (events.AgentUtterance, events.ToolCall)
    spoken = [any(isinstance(one.data, answers) for one in said) for said in elements]
    return max((place for place, is_one in enumerate(spoken, 1) if is_one), default=0)


def named_in(body: Mapping[str, Any], category: str) -> str | None:
    """The stream that a request's own metadata names; None where it names none."""
    given, kept = body.get("metadata"), body.get("conversation")
    metadata = given if isinstance(given, Mapping) else {}
    session = _SESSION.search(str(metadata.get("user_id")))
    said = [metadata.get(name) for name in NAMES] + [session and session[1]]
    said.append(kept.get("id") if isinstance(kept, Mapping) else kept)
    name = next((f"{category}-{one}" for one in said if one and isinstance(one, str)), None)
    try:
        check_name(name, what="a stream")
    except InvalidEvent:
        return None if name is None else f"{category}-{_chained(name, '')}"
    return name


def response_tags(response_id: object) -> set[str]:
    """The tag by which an answer is found again; none where it has no id that may be one."""
    tag = f"{RESPONSE}{response_id}"
    try:
        check_name(tag, what="a tag")
    except InvalidEvent:
        return set()
    return {tag} if response_id and isinstance(response_id, str) else set()


def _chained(before: str, said: Any) -> str:
    return hashlib.blake2b(before.encode() + _encode(said), digest_size=16).hexdigest()


def _words(event: Event) -> str:
    """What an agent said; what it said aloud by its id, as that is all that is sent again."""
    match event.metadata:
        case {"openai": {"set": {"audio": {"id": str(own)}}}}:
            return own
    return str(event.data.text)


def told(result: Any) -> str:
    """A digest of what the result of a tool says, as a value or as JSON text of it.

    What a tool of MCP gives says its ``content``: what stands beside that says it again.
    """
    is_mcp = isinstance(result, dict) and isinstance(result.get("content"), list)
    said = bare(result["content"] if is_mcp else result)
    with suppress(ValueError, RecursionError):
        said = msgspec.json.decode(said) if isinstance(said, str) else said
    return _chained("", said)


def bare(value: Any) -> Any:
    """A value without the marks of a provider's cache, which move on; text parts are their text."""
    if isinstance(value, list):
        shown = [bare(item) for item in value]
        texts = [part["text"] for part in shown if isinstance(part, dict) and "text" in part]
        is_text = len(texts) == len(shown) and all(isinstance(text, str) for text in texts)
        return "".join(texts) if is_text else shown
    if isinstance(value, dict):
        return {key: item for key, item in value.items() if key != "cache_control"}
    return value
