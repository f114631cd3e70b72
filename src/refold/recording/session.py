"""Recording a session: what is appended when, the same for threads and for asyncio.

The steps are coroutines. For asyncio they wait for the store; for threads the store answers at
once, so they run from start to end without ever waiting.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import nullcontext
from decimal import Decimal
from functools import partial
from typing import Any, ClassVar, Final, Generic, Self, TypeVar

from refold.conversation import events
from refold.core.clock import Instant
from refold.core.event import Event, event_id
from refold.core.expected import NO_EVENTS, NO_STREAM
from refold.engine.aio import AsyncStore
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import Conflict, InvalidEvent, UsageError, refuse_unless
from refold.event_loop import answered, at_once
from refold.ports import Appended
from refold.recording.answers import answer, completion, exact_cost
from refold.recording.in_force import InForce, Telling, Told, begun, entered, in_force
from refold.recording.notes import SYSTEM, Notes, followed, stamped
from refold.recording.tool_run import ToolRun, error_text, stored

S = TypeVar("S")
R = TypeVar("R")
T = TypeVar("T")
Make = Callable[[str], Sequence[object]]
"""Makes events, of one answer where there is one, under the message id that it is given."""


class Recorder(ABC, Generic[S, R]):
    """A session that is being recorded in a store ``S``; ``R`` is what its methods give.

    Each call is one append, made at the version that this recorder left the stream at: a second
    recorder of the same stream, or anyone else who writes to it, makes the next call raise
    :class:`~refold.errors.Conflict`. Calls from several threads or tasks take turns. Leaving the
    block ends the session: ``completed``, ``error`` with the exception, or ``cancelled`` for what
    is no error (a cancelled task, Ctrl-C).

    Metadata of every event: ``correlation`` (the stream), ``causation`` (the event that led to
    it), ``actor``, ``origin`` (recorded), and what the caller gave; an event's own goes before.
    ``occurred_at`` is when it happened, by default when the log records it.
    """

    _lock: ClassVar[Callable[[], Any]]
    """Makes what calls take turns by."""
    _kind: ClassVar[str]
    """Ends the names of the functions for this kind of store: nothing, or ``_async``."""

    @classmethod
    def begin(
        cls,
        store: S,
        stream: str,
        *,
        channel: events.Channel = "chat",
        direction: events.Direction = "inbound",
        parties: Sequence[events.Party] = (),
        initial_state: Mapping[str, Any] | None = None,
        agent: events.AgentConfigured | None = None,
        metadata: Mapping[str, Any] | None = None,
        occurred_at: Instant | None = None,
    ) -> Self:
        """A recorder of a new session, for a block.

        Entering the block appends ``session.started`` and, where ``agent`` is given,
        ``agent.configured``; it raises :class:`~refold.errors.Conflict` when the stream exists.
        ``metadata`` (``tenant``, ``subject``, ``traceparent``, …) goes with every event.
        """
        refuse_unless(isinstance(parties, Sequence), "a list of parties", parties=parties)
        right = isinstance(initial_state, Mapping | None)
        refuse_unless(right, "a mapping", initial_state=initial_state)
        started = events.SessionStarted(channel, direction, [*parties], {**(initial_state or {})})
        opening = [Event.of(event, occurred_at=occurred_at) for event in (started, agent) if event]
        return cls(store, stream, opening, metadata, call="record")

    @classmethod
    def resume(cls, store: S, stream: str, *, metadata: Mapping[str, Any] | None = None) -> Self:
        """A recorder that goes on with a session that was suspended or broke off, for a block.

        Entering the block reads the stream. Raises :class:`~refold.errors.NotFound` when there is
        none, :class:`~refold.errors.UsageError` when the session has ended.
        """
        return cls(store, stream, (), metadata, call="resume")

    def __init__(
        self,
        store: S,
        stream: str,
        opening: Sequence[Event],
        metadata: Mapping[str, Any] | None,
        *,
        call: str,
    ) -> None:
        other = call if self._kind else f"{call}_async"
        check_store(store, call=call + self._kind, instead=f"use {other} with it")
        if metadata is not None and not isinstance(metadata, Mapping):
            raise InvalidEvent(f"metadata must be a mapping, not {type(metadata).__name__}")
        self._store: Any = store
        self._turn = type(self)._lock()
        self.stream: Final = stream
        """The stream that is written to."""
        self._opening = opening
        self._notes = Notes(stream)
        self._is_open = self._is_suspended = False
        self._around: InForce | None = None
        own = {"correlation": stream, "origin": "recorded", "actor": SYSTEM}
        self._metadata = {**own, **(metadata or {})}

    @property
    def version(self) -> int:
        """The version of the last event recorded; -1 before the first."""
        return self._notes.version

    @property
    def agent(self) -> events.AgentConfigured | None:
        """The configuration of the agent in force."""
        return self._notes.agent

    def user_said(
        self,
        text: str,
        *,
        parts: list[dict[str, Any]] | None = None,
        party: str | None = None,
        confidence: float | None = None,
        language: str | None = None,
        words: Sequence[events.Word] = (),
        audio: str | None = None,
        occurred_at: Instant | None = None,
    ) -> R:
        """Record what the person said: ``user.utterance``."""
        refuse_unless(isinstance(words, Sequence), "a list of words", words=words)
        said = events.UserUtterance(text, parts, party, confidence, language, list(words), audio)
        return self._recorded(lambda _: [said], occurred_at)

    def model_answered(
        self,
        text: str | None = None,
        *,
        tool_calls: Sequence[events.ToolCall] = (),
        parts: Sequence[dict[str, Any]] = (),
        usage: events.Usage | None = None,
        cost: Decimal | None = None,
        currency: str = "USD",
        latency_ms: float | None = None,
        first_token_ms: float | None = None,
        finish_reason: str | None = None,
        model: str | None = None,
        response_id: str | None = None,
        occurred_at: Instant | None = None,
    ) -> R:
        """Record an answer in one append: ``model.response``, words, each tool call.

        They share a message id. A tool call gets its schema hash and effect from the agent's
        configured tools, ``parsed`` from its arguments. ``parts`` is for reasoning and the like.
        ``cost`` is a ``Decimal``: :class:`~refold.errors.InvalidEvent` for a float.
        """
        refuse_unless(isinstance(parts, Sequence), "a list of parts", parts=parts)
        response = events.ModelResponse(
            response_id=response_id,
            model=model,
            parts=list(parts),
            usage=usage,
            first_token_ms=first_token_ms,
            latency_ms=latency_ms,
            cost=exact_cost(cost),
            currency=currency,
            finish_reason=finish_reason,
        )
        return self._recorded(partial(answer, response, text, tool_calls), occurred_at)

    def model_responded(
        self,
        response: Any,
        *,
        cost: Decimal | None = None,
        currency: str = "USD",
        latency_ms: float | None = None,
        first_token_ms: float | None = None,
        occurred_at: Instant | None = None,
    ) -> R:
        """Record an answer as its API gave it, as :meth:`model_answered` does.

        It is an OpenAI chat completion or response, an Anthropic message or a Gemini answer: the
        JSON object, or an object of an SDK, of which what was set is recorded.

        Arguments stay the string they are, and a chat message exports as it was. What words and
        calls do not say, as thoughts with signatures and citations, stands in the ``parts`` of
        ``model.response``. What is not understood is named in its metadata, under ``unread``; an
        error beside the words is ``model.failed`` after them. Raises
        :class:`~refold.errors.InvalidEvent`, with the JSON Pointer, for what is no answer of one
        choice, or holds a call that is none.
        """
        known = events.ModelResponse(
            first_token_ms=first_token_ms,
            latency_ms=latency_ms,
            cost=exact_cost(cost),
            currency=currency,
        )
        return self._recorded(partial(completion, response, known), occurred_at)

    def tool_returned(
        self,
        call_id: str,
        result: Any,
        *,
        is_error: bool = False,
        latency_ms: float | None = None,
        occurred_at: Instant | None = None,
    ) -> R:
        """Record what a tool gave back, as the agent saw it: ``tool.result``."""
        returned = events.ToolResult(call_id, result, is_error, latency_ms)
        return self._recorded(lambda _: [returned], occurred_at)

    def record(self, *events: object) -> R:
        """Record any other events in one append."""
        return self._recorded(lambda _: events)

    def ended(self, reason: str = "completed", *, occurred_at: Instant | None = None) -> R:
        """Record how the session ended; leaving the block then records nothing more."""
        return self._recorded(lambda _: [events.SessionEnded(reason=reason)], occurred_at)

    def suspend(self) -> None:
        """Leave the session open when the block ends without an exception, to be resumed."""
        self._is_suspended = True

    def _recorded(self, make: Make, occurred_at: Instant | None = None) -> R:
        return self._run(lambda: self._add(make, occurred_at))

    @abstractmethod
    def _run(self, work: Callable[[], Coroutine[Any, Any, Appended]]) -> R:
        """Run the work when all that was begun before it is done."""

    @abstractmethod
    def _soon(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Told:
        """Run the work when all that was begun before it is done, waiting for nothing."""

    def _beside(self, make: Callable[[Notes], Sequence[object]]) -> Told:
        """Record what is made of the session as it stands then, if it is anything."""
        return self._soon(partial(self._made, make))

    def _tell(self, run: ToolRun, make: Telling) -> Told:
        """Record a run of a tool."""
        return self._soon(partial(self._told, run, make))

    async def _made(self, make: Callable[[Notes], Sequence[object]]) -> None:
        if given := make(self._notes):
            await self._add(lambda _: given)

    async def _told(self, run: ToolRun, make: Telling) -> None:
        version = self.version
        await self._made(lambda notes: make(notes, run))
        if self.version > version:
            stored(self._notes, run, event_id(self.stream, version + 1))

    def _come_into_force(self) -> None:
        self._around = in_force()
        entered.set(self)

    def _out_of_force(self) -> None:
        if entered.get() is self:  # Else another task leaves the block than entered it.
            entered.set(self._around)

    async def _enter(self) -> None:
        if self._is_open or self.version != NO_EVENTS:
            raise UsageError("a recorder is for one block: make another", stream=self.stream)
        self._is_open = True
        if not self._opening:
            history = await answered(self._store.branch(self.stream))
            self._notes = followed(self.stream, history)
            self._check_going_on()
            return
        try:
            await self._add(lambda _: self._opening)
        except Conflict as conflict:
            raise Conflict(
                stream=self.stream,
                expected=conflict.expected,
                actual=conflict.actual,
                advice="record under another name, or go on with this session by "
                "refold.recording.resume",
            ) from conflict

    async def _leave(self, error: BaseException | None) -> None:
        try:
            is_going_on = self.version != NO_EVENTS and not self._notes.is_ended
            if is_going_on and not (self._is_suspended and error is None):
                await self._add(lambda _: [_ending(error)])
        except Exception as refused:
            if error is None:
                raise
            # The caller's exception goes on: it says what went wrong first.
            error.add_note(f"refold could not record how {self.stream!r} ended: {refused}")
        finally:
            self._is_open = False

    async def _add(self, make: Make, occurred_at: Instant | None = None) -> Appended:
        if not self._is_open:
            raise UsageError("record inside the recorder's block", stream=self.stream)
        self._check_going_on()
        notes = self._notes
        # Unique in its stream, as the version is.
        made, after = stamped(notes, make(f"m{notes.version + 1}"), occurred_at=occurred_at)
        expected = NO_STREAM if notes.version == NO_EVENTS else notes.version
        told: Any = {"expected": expected, "metadata": self._metadata}
        appended: Appended = await answered(self._store.append(self.stream, made, **told))
        self._notes = after
        return appended

    def _check_going_on(self) -> None:
        if self._notes.is_ended:
            raise UsageError(f"the session {self.stream!r} has ended", stream=self.stream)


class Session(Recorder[Store, Appended]):
    """A :class:`Recorder` for a ``with`` block."""

    _lock = threading.Lock
    _kind = ""

    def __enter__(self) -> Self:
        self._run(self._enter)
        self._come_into_force()
        return self

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._out_of_force()
        self._run(partial(self._leave, error))

    def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        # A forked process waits for no thread of its parent's: the store refuses.
        with self._turn if self._store._process.is_here else nullcontext():
            return at_once(work())

    def _soon(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self._run(work)


class AsyncSession(Recorder[AsyncStore, Coroutine[Any, Any, Appended]]):
    """A :class:`Recorder` for an ``async with`` block.

    What is given to a call is stored even when its task is cancelled meanwhile, and the end of
    the session behind it.
    """

    _lock = asyncio.Lock
    _kind = "_async"

    async def __aenter__(self) -> Self:
        try:
            await self._run(self._enter)
        except asyncio.CancelledError as error:
            # The start is stored all the same, and no block will be left to end it.
            if self._opening:
                await self._run(partial(self._leave, error))
            raise
        self._loop = asyncio.get_running_loop()
        self._soons: set[Any] = set()
        self._come_into_force()
        return self

    async def __aexit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        self._out_of_force()
        await asyncio.shield(asyncio.ensure_future(self._left(error)))

    async def _left(self, error: BaseException | None) -> None:
        # What another loop or thread has begun comes to its turn here a moment later.
        await asyncio.gather(*map(asyncio.wrap_future, [*self._soons]), return_exceptions=True)
        await self._in_turn(partial(self._leave, error))

    async def _run(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        # Shielded: a cancelled call that was half done would leave the version unknown.
        return await asyncio.shield(asyncio.ensure_future(self._in_turn(work)))

    def _soon(self, work: Callable[[], Coroutine[Any, Any, None]]) -> Told:
        told = begun(self._in_turn(work), self._loop)
        self._soons.add(told)
        told.add_done_callback(self._soons.discard)
        return told

    async def _in_turn(self, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        async with self._turn if self._store._process.is_here else nullcontext():
            return await work()


def _ending(error: BaseException | None) -> events.SessionEnded:
    if error is None:
        return events.SessionEnded(reason="completed")
    reason = "error" if isinstance(error, Exception) else "cancelled"
    return events.SessionEnded(reason=reason, error=error_text(error))
