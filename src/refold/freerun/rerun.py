"""Code that is run again: its model and its tools give it what is known, up to its next question.

Nothing of it waits for anything outside. Where it asks its model what is not answered yet, it is
left, and that question is what comes of the run.
"""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextvars import copy_context
from dataclasses import dataclass
from functools import cache, partial, wraps
from inspect import isawaitable
from types import ModuleType
from typing import Any, Final, NamedTuple, NoReturn

from refold.capture import sending, threads
from refold.capture.endpoints import endpoint
from refold.capture.install import libraries
from refold.conversation.chat_shapes import exact_arguments, json_text
from refold.freerun.answering import asked_in, body_of
from refold.freerun.outside import shut_in
from refold.freerun.pinned import pinned
from refold.recording.tool_run import error_text
from refold.replay.decision import Action
from refold.replay.request import ChatRequest, Message
from refold.tools import standing_in

TurnTaker = Callable[[str], Any]
"""What an agent does with what the user says; may be async. A text that it gives is what it says,
where no model said it."""
_one_at_a_time: Final = threading.Lock()
"""Chance is one for the whole process."""


class LeftError(BaseException):
    """The code has come to where it is left. It is no error of its own, which it might handle."""


class RunOutcome(NamedTuple):
    """What a run came to: the next question for the model, or an answer without one."""

    asked: ChatRequest | None = None
    answer: Action | None = None
    refused: str = ""


@dataclass(eq=False)
class _KnownCall:
    """A call of the model, and what its tool gave as far as that is known."""

    call: Message
    result: str | None = None


class Rerun:
    """One run of code through a conversation as far as it is known, in OpenAI's chat messages."""

    def __init__(self, request: ChatRequest) -> None:
        self._request = request
        self._came: RunOutcome | None = None
        self._answers: deque[Message] = deque()
        self._calls = [*_known_calls(request.messages)]

    def run(self, begin: Callable[[], TurnTaker]) -> RunOutcome:
        """What the code comes to, which is begun anew; blocks, but waits for nothing outside."""
        _stand_in()
        with (
            _one_at_a_time,
            threads.conversation(self._request.at.rpartition("@")[0] or "rerun"),
            shut_in(),
            pinned(self._request),
        ):
            tokens = sending.standing_in.set(self._model), standing_in.set(self.tool)
            try:
                asyncio.run(self._through(begin))
            except BaseException as error:
                if isinstance(error, KeyboardInterrupt):
                    raise
                if self._came is None:
                    self._came = RunOutcome(refused=f"the code failed: {error_text(error)}")
            finally:
                sending.standing_in.reset(tokens[0])
                standing_in.reset(tokens[1])
        return self._came or RunOutcome(refused="the code came to no question for its model")

    async def _through(self, begin: Callable[[], TurnTaker]) -> None:
        turn = begin()
        turns = turns_of(self._request.messages)
        for number, (said, answers) in enumerate(turns, 1):
            self._answers = deque(answers)
            given = turn(said)
            words = await given if isawaitable(given) else given
            if self._came is not None:
                return
            if isinstance(words, str) and (said_so := _own_words(self._answers, words)) is not None:
                if said_so:
                    self._answers.popleft()
                elif number == len(turns):
                    self._came = RunOutcome(answer=Action(text=words))
            if self._answers:
                left = len(self._answers)
                self.leave(f"the code did not ask again as before: {left} answers were not taken")

    # -- what the code gets ------------------------------------------------------------------------

    def _model(self, library: ModuleType, request: Any, content: bytes) -> Any:
        """The answer to a request of the code by HTTP; leaves it where there is none yet."""
        if (api := endpoint(request, None)) is None:
            self.leave(
                f"the code sent {request.method} {request.url.host}{request.url.path} by itself: "
                "it asks nothing but its model while it is run again"
            )
        if (asked := asked_in(api, content, request.url.path)) is None:
            self.leave(f"the code asks its model by {api.name}, not by an API of OpenAI's")
        if not self._answers:
            self.leave(asked=asked)
        kind, body = body_of(api, self._answers.popleft(), content)
        return library.Response(200, headers={"content-type": kind}, content=body, request=request)

    def tool(self, name: str, arguments: Any, call_id: str | None) -> str:
        """What a tool gave to a call of the model; each call once where it has no id here."""
        found = self._called(name, arguments) if call_id is None else self._by_id(call_id)
        if found is None or found.result is None:
            self.leave(
                f"the code ran {name} by itself: no answer of its model called it with these "
                "arguments, so that what it gives is not known"
            )
        return found.result

    def _called(self, name: str, arguments: Any) -> _KnownCall | None:
        given = exact_arguments(json_text(arguments))
        for known in self._calls:
            function = known.call.get("function") or {}
            said = exact_arguments(function.get("arguments") or "{}")
            is_so = isinstance(said, dict) and isinstance(given, dict)
            if is_so and function.get("name") == name and said.items() <= given.items():
                self._calls.remove(known)
                return known
        return None

    def _by_id(self, call_id: str) -> _KnownCall | None:
        """The next call of an id, which an agent may use again; the last as often as it is run."""
        those = [known for known in self._calls if known.call.get("id") == call_id]
        if len(those) > 1:
            self._calls.remove(those[0])
        return those[0] if those else None

    def leave(self, refused: str = "", *, asked: ChatRequest | None = None) -> NoReturn:
        """Leave the code for good; only the first reason counts."""
        self._came = self._came or RunOutcome(asked, refused=refused)
        raise LeftError


def _known_calls(talk: Sequence[Message]) -> Iterator[_KnownCall]:
    """The calls of a talk in order, each with the result that came next for its id."""
    waiting: dict[Any, _KnownCall] = {}
    for message in talk:
        for call in message.get("tool_calls") or ():
            waiting[call.get("id")] = known = _KnownCall(call)
            yield known
        if message.get("role") == "tool" and (of := waiting.get(message.get("tool_call_id"))):
            of.result = str(message.get("content") or "")


def turns_of(talk: Sequence[Message]) -> list[tuple[str, list[Message]]]:
    """What the user said, turn by turn, each with the answers that followed it.

    What was said at once is one turn. What the agent said before anyone spoke is no answer.
    """
    turns: list[tuple[str, list[Message]]] = []
    for message in talk:
        if message.get("role") == "user":
            text = _text(message.get("content"))
            if turns and not turns[-1][1]:
                turns[-1] = f"{turns[-1][0]}\n{text}", []
            else:
                turns.append((text, []))
        elif message.get("role") == "assistant" and turns:
            turns[-1][1].append(message)
    return turns


def _text(content: Any) -> str:
    parts = content if isinstance(content, list) else [{"text": content or ""}]
    return "".join(part.get("text", "") for part in parts if isinstance(part, dict))


def _own_words(left: Sequence[Message], words: str) -> bool | None:
    """Whether the one answer that is left is these words; None where words are no answer here."""
    if not left:
        return False
    is_same = len(left) == 1 and left[0].get("content") == words
    return True if is_same and not left[0].get("tool_calls") else None


@cache
def _stand_in() -> None:
    """Let a model be stood in for, whichever client of the HTTP libraries asks it."""
    for library in libraries():
        for cls in (library.Client, library.AsyncClient):
            cls.send = sending.stood_in(cls.send, library)
    threading.Thread.start = _knowing(threading.Thread.start)  # type: ignore[assignment, method-assign]


def _knowing(start: Callable[[threading.Thread], None]) -> Callable[[threading.Thread], None]:
    """A thread that the code begins is its own for good.

    One that a pool begins is in no conversation, and serves others later: see
    :mod:`refold.capture.threads`, by which its work is of who gives it.
    """

    @wraps(start)
    def started(thread: threading.Thread) -> None:
        if standing_in.get() is not None and threads.current() is not None:
            context = copy_context()
            thread.run = partial(context.run, thread.run)  # type: ignore[method-assign]
        start(thread)

    return started
