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

from refold.recording.session import AsyncSession, Session

__all__ = ["record", "record_async", "resume", "resume_async"]

record = Session.begin
record_async = AsyncSession.begin
resume = Session.resume
resume_async = AsyncSession.resume
