"""What the readers of the later APIs share: messages of blocks, answers of one shape.

What the words and calls of an answer do not say, as thoughts with signatures, encrypted parts,
citations and what the provider's own tools did, stands in the ``parts`` of ``model.response``,
each block as it came and in its place; but for what is shown beside words, as images, which
stands in the parts of the words. A message in a request is read as the answer that it was: its
``model.response`` is left out where it would say nothing.
"""

from __future__ import annotations

from abc import abstractmethod
from collections import Counter
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any, ClassVar, Final, Literal, NamedTuple

from msgspec.structs import replace

from refold.conversation import chat_shapes as shapes
from refold.conversation import events
from refold.conversation.apis.base import Api, Body
from refold.conversation.chat_shapes import Path, Unread, as_said
from refold.conversation.openai_chat import Chat, failure_of, pair, text_or_none
from refold.conversation.tokens import CHAT_TOKENS, read_usage
from refold.core.event import Event
from refold.core.jsonvalue import pointer
from refold.errors import InvalidEvent

UNREAD_WORDS: Final = {"type": "unread words"}
"""The part that a message has in place of a block that is not understood."""


class Piece(NamedTuple):
    """One block: ``raw`` as it came, and what it says.

    ``beside`` is what a provider's tool did or what the API adds, ``media`` an image, a file or a
    sound, ``odd`` what is not understood. ``is_plain`` says that words or a call say all of it.
    """

    kind: Literal["words", "call", "result", "thought", "beside", "media", "odd"]
    raw: Body
    text: str = ""
    event: Any = None
    is_plain: bool = False


class BlockApi(Api):
    """An API whose messages are made of blocks."""

    _roles: ClassVar[Mapping[Any, Literal["user", "agent", "prompt"]]]
    """Who each role is; a prompt configures the agent."""
    _content: ClassVar[str] = "content"
    """The key of a message that holds its blocks."""
    _calls: ClassVar[tuple[str, ...]]
    """The types of the blocks that are calls."""
    _facts: ClassVar[tuple[str, str, str, str]]
    """Where an answer has its id, its model, why it ended, and its usage."""
    _tokens: ClassVar[Mapping[str, str]] = CHAT_TOKENS
    """Where a usage has what it counts, as :func:`~refold.conversation.tokens.read_usage`
    wants it."""

    def read_answer(
        self, body: Any, response: events.ModelResponse, tools: Sequence[events.Tool] = ()
    ) -> Chat:
        """As :meth:`Api.read_answer`."""
        unread: list[Unread] = []
        body = self._body(body)
        said, error = self._answer(body, unread), body.get("error")
        failed = [Event.of(failure_of(error))] if error else []
        if said is None and not failed:
            raise InvalidEvent(f"there is neither an answer of {self.name} nor an error")
        if said is None:
            return Chat(failed, [])
        own_id, model, reason = (text_or_none(body.get(key)) for key in self._facts[:3])
        told = self._facts[3]
        usage = read_usage(body.get(told), [told], unread, self._tokens)
        known = {"response_id": own_id, "model": model, "finish_reason": reason}
        made = replace(response, usage=usage, **known)
        return Chat([*answered(said, made, tools), *failed], unread)

    @abstractmethod
    def _answer(self, body: Mapping[str, Any], unread: list[Unread]) -> list[Piece] | None:
        """The pieces of an answer; None where there is none."""

    @abstractmethod
    def _piece(self, block: Body, path: Path) -> Piece:
        """What a block is; InvalidEvent where it is not as its type must be."""

    def _elements(
        self, items: list[Any], agent: events.AgentConfigured, unread: list[Unread]
    ) -> list[list[Event]]:
        elements: list[list[Event]] = []
        open_calls: Counter[str] = Counter()
        last, own = None, ""
        for index, item in enumerate(items):
            path: Path = [self.talk, index]
            if not isinstance(item, dict):
                raise shapes.refused("a message must be an object", path)
            # What an agent says without a pause is one message.
            own = own if hasattr(last, "message_id") else f"m{index}"
            elements.append(self._element(item, path, own, agent, unread))
            made = [event.data for event in elements[-1]]
            last = made[-1] if made else last
            pair(made, open_calls, pointer(path), unread)
        return elements

    def _element(
        self, item: Body, path: Path, own: str, agent: events.AgentConfigured, unread: list[Unread]
    ) -> list[Event]:
        """The events of an element; ``own`` is the id of the message where it is the agent's."""
        pieces = self._pieces(item.get(self._content), [*path, self._content], unread)
        role, name = item.get("role"), text_or_none(item.get("name"))
        match self._roles.get(role) if isinstance(role, str | None) else None:
            case "user":
                return said_by(name, heard(pieces))
            case "agent":
                return said_by(name, spoken(pieces, own, agent.tools))
            case "prompt":
                return [Event.of(replace(agent, prompt=events.Prompt(text_of(pieces))))]
        raise shapes.refused(f"there is no event for the role {as_said(role)}", [*path, "role"])

    def _pieces(self, content: object, path: Path, unread: list[Unread]) -> list[Piece]:
        """The pieces of content, which may be text alone; what is odd leaves a mark behind."""
        content = [] if content in (None, "") else content
        blocks = content if isinstance(content, list) else [content]
        blocks = [{"type": "text", "text": b} if isinstance(b, str) else b for b in blocks]
        return [self._checked(block, [*path, n], unread) for n, block in enumerate(blocks)]

    def _checked(self, block: Any, path: Path, unread: list[Unread]) -> Piece:
        is_call = isinstance(block, dict) and block.get("type") in self._calls
        try:
            if not isinstance(block, dict):
                raise shapes.refused("a block must be an object", path)
            shapes.check_json(block, path)
            piece = self._piece(block, path)
        except InvalidEvent as error:
            unread.append(Unread("call" if is_call else "words", error.path, error.reason))
            return Piece("odd", shapes.UNREAD_CALL if is_call else UNREAD_WORDS)
        if piece.kind == "odd":
            reason = f"nothing of the type {as_said(block.get('type'))} is known"
            unread.append(Unread("words", pointer(path), reason))
        return piece


def words_of(block: Body, path: Path, key: str = "text") -> Piece:
    """The piece of a block that says the text at ``key``."""
    text = block.get(key)
    if not isinstance(text, str):
        raise shapes.refused(f"{key} must be text", [*path, key])
    more = [block[name] for name in block.keys() - {"type", key, "cache_control"}]
    return Piece("words", block, text, is_plain=key == "text" and not any(more))


def call_of(block: Body, path: Path, call_id: object, arguments: object, said: str) -> Piece:
    """The piece of a call, its arguments the text that came, or that of the JSON that came.

    ``said`` names what the call says of the block; there may be more in it.
    """
    name = block.get("name")
    if not isinstance(name, str):
        raise shapes.refused("a tool call must name its function", [*path, "name"])
    given = {} if arguments is None else arguments
    text = given if isinstance(given, str) else shapes.json_text(given)
    call = events.ToolCall(shapes.read_id(call_id), name, text, shapes.parsed_arguments(text))
    more = [block[key] for key in block.keys() - {"type", "name", *said.split()}]
    return Piece("call", block, event=call, is_plain=not any(more))


def result_of(content: object) -> Any:
    """A tool's result: words alone as their text, all else as it came."""
    match content:
        case [{"type": "text" | "input_text", "text": str(text)}]:
            return text
    return content


def answered(
    pieces: Sequence[Piece], response: events.ModelResponse, tools: Sequence[events.Tool]
) -> list[Event]:
    """The events of an answer: the response, words where there are any or nothing else, calls."""
    order = [piece.kind for piece in pieces if piece.kind in ("words", "call")]
    is_told = all(piece.is_plain or piece.kind == "media" for piece in pieces)
    is_told = is_told and order == sorted(order, reverse=True)
    parts = [] if is_told else [piece.raw for piece in pieces if piece.kind != "media"]
    shown = [piece for piece in pieces if piece.kind in ("words", "media", "odd")]
    said = None if all(p.kind == "words" for p in shown) else [piece.raw for piece in shown]
    made: list[Any] = [replace(response, parts=parts)]
    own = response.message_id
    calls = [shapes.described(piece.event, tools) for piece in pieces if piece.kind == "call"]
    if shown or not calls:
        words = events.AgentUtterance(text_of(pieces), said, message_id=own)
        names = (text_or_none(piece.raw.get("name")) for piece in pieces if piece.kind == "words")
        made.append(replace(words, party=next(filter(None, names), None)))
    made += [replace(call, message_id=own) for call in calls]
    made += [piece.event for piece in pieces if piece.kind == "result"]
    return [Event.of(one) for one in made]


def spoken(pieces: Sequence[Piece], message_id: str, tools: Sequence[events.Tool]) -> list[Event]:
    """The events of an agent's message in a request, as those of the answer that it was."""
    response, *rest = answered(pieces, events.ModelResponse(message_id=message_id), tools)
    if not response.data.parts:
        return rest
    # What a model thought or looked up, on its own, is no turn of the agent without words.
    is_silent = all(piece.kind in ("thought", "beside") for piece in pieces)
    return [response] if is_silent else [response, *rest]


def heard(pieces: Sequence[Piece]) -> list[Event]:
    """The events of a user's message in a request: the results in it, then words."""
    made = [Event.of(piece.event) for piece in pieces if piece.kind == "result"]
    said = [piece for piece in pieces if piece.kind != "result"]
    if said or not made:
        is_told = all(piece.is_plain and piece.kind == "words" for piece in said)
        parts = None if is_told else [piece.raw for piece in said]
        made.append(Event.of(events.UserUtterance(text_of(said), parts)))
    return made


def said_by(name: str | None, made: list[Event]) -> list[Event]:
    """Events, their words with the name of whoever said them, where one is given."""
    people = events.UserUtterance | events.AgentUtterance
    return [
        Event.of(replace(one.data, party=name)) if name and isinstance(one.data, people) else one
        for one in made
    ]


def text_of(pieces: Sequence[Piece]) -> str:
    """The words: joined where they follow each other, else on lines of their own."""
    runs = groupby(pieces, lambda piece: piece.kind == "words")
    texts = ["".join(piece.text for piece in run) for is_words, run in runs if is_words]
    return "\n".join(filter(None, texts))
