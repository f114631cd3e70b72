"""A recorder for an agent's own loop.

::

    from refold import recording
    from refold.conversation import AgentConfigured, Prompt, ToolCall

    with recording.record(store, "call-42", channel="voice", agent=configured) as session:
        session.user_said("Is nine still free?", confidence=0.93)
        session.model_answered(tool_calls=[ToolCall(call_id="c1", name="slots")])
        session.tool_returned("c1", ["09:00"])
        session.model_answered("Nine is free.")

``record_async`` with an :class:`~refold.AsyncStore` has the same names, to ``await``. The session
shows how it ended, whatever left the block.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from refold.conversation.events import AgentConfigured, Party, SessionStarted
from refold.core.clock import Instant
from refold.core.event import Event
from refold.engine.aio import AsyncStore
from refold.engine.checks import check_store
from refold.engine.store import Store
from refold.recording.recorder import Recorder
from refold.recording.session import AsyncSession, Session

__all__ = [
    "AsyncSession",
    "Recorder",
    "Session",
    "record",
    "record_async",
    "resume",
    "resume_async",
]

Channel = Literal["voice", "chat", "email", "api"]
Direction = Literal["inbound", "outbound"]


def record(
    store: Store,
    stream: str,
    *,
    channel: Channel = "chat",
    direction: Direction = "inbound",
    parties: Sequence[Party] = (),
    initial_state: Mapping[str, Any] | None = None,
    agent: AgentConfigured | None = None,
    metadata: Mapping[str, Any] | None = None,
    occurred_at: Instant | None = None,
) -> Session:
    """A recorder of a new session, for a ``with`` block.

    Entering the block appends ``session.started`` and, where ``agent`` is given,
    ``agent.configured``; it raises :class:`~refold.errors.Conflict` when the stream exists.
    ``metadata`` (``tenant``, ``subject``, ``traceparent``, …) goes with every event.
    """
    check_store(store, call="record", instead="use record_async with it")
    opening = _opening(channel, direction, parties, initial_state, agent, occurred_at)
    return Session(store, stream, opening=opening, metadata=metadata)


def record_async(
    store: AsyncStore,
    stream: str,
    *,
    channel: Channel = "chat",
    direction: Direction = "inbound",
    parties: Sequence[Party] = (),
    initial_state: Mapping[str, Any] | None = None,
    agent: AgentConfigured | None = None,
    metadata: Mapping[str, Any] | None = None,
    occurred_at: Instant | None = None,
) -> AsyncSession:
    """As :func:`record`, for an ``async with`` block."""
    check_store(store, call="record_async", instead="use record with it")
    opening = _opening(channel, direction, parties, initial_state, agent, occurred_at)
    return AsyncSession(store, stream, opening=opening, metadata=metadata)


def resume(store: Store, stream: str, *, metadata: Mapping[str, Any] | None = None) -> Session:
    """A recorder that goes on with a session that was suspended or broke off.

    Entering the block reads the stream. Raises :class:`~refold.errors.NotFound` when there is
    none, :class:`~refold.errors.UsageError` when the session has ended.
    """
    check_store(store, call="resume", instead="use resume_async with it")
    return Session(store, stream, opening=None, metadata=metadata)


def resume_async(
    store: AsyncStore, stream: str, *, metadata: Mapping[str, Any] | None = None
) -> AsyncSession:
    """As :func:`resume`, for an ``async with`` block."""
    check_store(store, call="resume_async", instead="use resume with it")
    return AsyncSession(store, stream, opening=None, metadata=metadata)


def _opening(
    channel: Channel,
    direction: Direction,
    parties: Sequence[Party],
    initial_state: Mapping[str, Any] | None,
    agent: AgentConfigured | None,
    occurred_at: Instant | None,
) -> list[Event]:
    started = SessionStarted(
        channel=channel,
        direction=direction,
        parties=list(parties),
        initial_state=dict(initial_state or {}),
    )
    events = [started] if agent is None else [started, agent]
    return [Event.of(event, occurred_at=occurred_at) for event in events]
