"""A LiveKit agent's session, recorded: what was said, what of it was heard, who spoke when.

::

    async with recording.record_async(store, "call-42", channel="voice") as recorder:
        session = AgentSession(...)
        refold.livekit.recorded(session, recorder)
        await session.start(agent=Receptionist(), room=ctx.room)

It listens to the events that an ``AgentSession`` publishes. These say what was heard; what was
going to be said is read where each agent's ``transcription_node`` passes it on.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence
from functools import wraps
from inspect import isawaitable
from typing import TYPE_CHECKING, Any, Final

from refold.conversation import events
from refold.conversation.voice import SpeechStarted, SpeechStopped
from refold.core.event import Event
from refold.recording.notes import Notes
from refold.recording.quiet import QuietRecorder
from refold.recording.session import AsyncSession, Session
from refold.recording.spoken import spoken

if TYPE_CHECKING:
    from livekit.agents import AgentSession

__all__ = ["recorded"]

LOGGER: Final = "refold.livekit"
_TAPPED: Final = "_refold_tapped"


def recorded(session: AgentSession[Any], recorder: Session | AsyncSession) -> None:
    """Record a session that is about to start in the block of a recorder, which should outlast it.

    Offsets (``offset_ms``) count from this call. Recording that fails fails nothing: it is logged
    once, to ``refold.livekit``.
    """
    _RecordedSession(session, QuietRecorder(recorder, LOGGER))


class _RecordedSession:
    """Turns the events of a session into those of the vocabulary, in their order.

    ``_generated`` is what the speech that is under way was going to say, as far as that is known;
    ``_under_way`` is its handle, where the session says it.
    """

    def __init__(self, session: Any, beside: QuietRecorder) -> None:
        self._session, self._beside = session, beside
        self._start_s = time.time()
        self._generated = ""
        self._under_way: Any = None
        self._called: set[str] = set()
        self._language: str | None = None
        self._speaker: str | None = None
        for name in (
            "conversation_item_added", "user_input_transcribed", "user_state_changed",
            "agent_state_changed", "speech_created", "tool_execution_updated",
            "function_tools_executed", "error",
        ):  # fmt: skip
            session.on(name, self._guarded(getattr(self, f"_on_{name}")))

    def _guarded(self, listen: Any) -> Any:
        def heard(event: Any) -> None:
            try:
                listen(event)
            except Exception as error:  # An event of a shape that is not known here.
                self._beside.failed(error)

        return heard

    def _record(self, at_s: float, *told: object) -> None:
        at_us = round(at_s * 1_000_000)
        self._beside.record(*(Event.of(one, occurred_at=at_us) for one in told))

    def _offset_ms(self, at_s: float) -> int:
        return max(round((at_s - self._start_s) * 1_000), 0)

    # -- words ------------------------------------------------------------------------------------

    def _on_user_input_transcribed(self, event: Any) -> None:
        if event.is_final:
            self._language = event.language and str(event.language)
            self._speaker = event.speaker_id

    def _on_conversation_item_added(self, event: Any) -> None:
        item, at_s = event.item, event.created_at
        if item.type == "agent_handoff":
            self._record(at_s, _configured(self._session, item.new_agent_id))
        elif item.type == "message" and item.role == "user":
            said = events.UserUtterance(
                item.text_content or "",
                party=self._speaker,
                confidence=item.transcript_confidence,
                language=self._language,
            )
            self._language = self._speaker = None
            self._record(item.created_at, said)
        elif item.type == "message" and item.role == "assistant":
            self._agent_said(item, at_s)

    def _agent_said(self, item: Any, at_s: float) -> None:
        generated, self._generated = self._generated, ""
        offset_ms = self._offset_ms(at_s) if item.interrupted else None
        said = spoken(
            generated if item.interrupted else "",
            item.text_content or "",
            is_cut=item.interrupted,
            message_id=item.id,
            offset_ms=offset_ms,
        )
        self._record(at_s, *_response(item), *said)

    def _on_speech_created(self, event: Any) -> None:
        self._tap(self._session.current_agent)
        event.speech_handle.add_done_callback(self._guarded(self._unheard))

    def _unheard(self, handle: Any) -> None:
        """A speech is over: what is left of it was cut off before anything of it was heard."""
        if self._under_way not in (None, handle):
            return  # It was taken back while it waited for another.
        generated, self._generated = self._generated, ""
        if generated.strip():
            now_s = time.time()
            offset_ms = self._offset_ms(now_s)
            message_id = f"unheard-{offset_ms}"
            cut = spoken(generated, "", is_cut=True, message_id=message_id, offset_ms=offset_ms)
            self._record(now_s, *cut)

    def _tap(self, agent: Any) -> None:
        """Note what an agent's transcription node is given."""
        if getattr(agent, _TAPPED, None) is self:
            return
        node = agent.transcription_node

        async def noted(text: Any) -> AsyncIterator[Any]:
            async for delta in text:
                self._generated += delta
                yield delta

        @wraps(node)
        async def transcription_node(text: Any, settings: Any) -> Any:
            if self._session.current_speech is not self._under_way:
                self._guarded(self._unheard)(self._under_way)
                self._under_way = self._session.current_speech
            made = node(noted(text), settings)
            return await made if isawaitable(made) else made

        agent.transcription_node = transcription_node
        setattr(agent, _TAPPED, self)

    # -- who speaks -------------------------------------------------------------------------------

    def _on_user_state_changed(self, event: Any) -> None:
        self._speech("user", event)

    def _on_agent_state_changed(self, event: Any) -> None:
        self._speech("agent", event)

    def _speech(self, party: str, event: Any) -> None:
        offset_ms = self._offset_ms(event.created_at)
        if event.new_state == "speaking":
            self._record(event.created_at, SpeechStarted(party, offset_ms))
        elif event.old_state == "speaking":
            self._record(event.created_at, SpeechStopped(party, offset_ms))

    # -- tools and errors -------------------------------------------------------------------------

    def _on_tool_execution_updated(self, event: Any) -> None:
        if event.update.type == "tool_call_started":
            self._called.add(event.update.function_call.call_id)
            self._record(event.created_at, _call(event.update.function_call))

    def _on_function_tools_executed(self, event: Any) -> None:
        pairs = [(call, result) for call, result in event.zipped() if result is not None]

        def results(notes: Notes) -> Sequence[Event]:
            """Those of calls that no tool of refold's own has answered."""
            told: list[Event] = []
            for call, result in pairs:
                if call.call_id not in self._called:
                    told.append(Event.of(_call(call)))
                elif call.call_id not in notes.open_calls:
                    continue
                at_us = round(result.created_at * 1_000_000)
                latency_ms = round((result.created_at - call.created_at) * 1_000, 3)
                returned = events.ToolResult(
                    call.call_id, result.output, result.is_error, max(latency_ms, 0.0)
                )
                told.append(Event.of(returned, occurred_at=at_us))
            return told

        self._beside.record_made(results)

    def _on_error(self, event: Any) -> None:
        if getattr(event.error, "type", "") in ("llm_error", "realtime_model_error"):
            cause = getattr(event.error, "error", event.error)
            self._record(event.created_at, events.ModelFailed(f"{type(cause).__name__}: {cause}"))


def _call(call: Any) -> events.ToolCall:
    # The id of the message that it is part of stands before that of the call.
    message_id = call.id.rpartition("/")[0]
    return events.ToolCall(call.call_id, call.name, call.arguments, message_id=message_id or None)


def _response(item: Any) -> list[object]:
    """What is known of the model's answer; nothing where no model made it."""
    first_token_s = item.metrics.get("llm_node_ttft")
    if first_token_s is None:
        return []
    model = item.metrics.get("llm_metadata", {}).get("model_name")
    first_token_ms = round(first_token_s * 1_000, 3)
    return [events.ModelResponse(model=model, first_token_ms=first_token_ms, message_id=item.id)]


def _configured(session: Any, agent_id: str) -> events.AgentConfigured:
    from livekit.agents import llm

    agent = session.current_agent
    model = agent.llm if isinstance(agent.llm, llm.LLM | llm.RealtimeModel) else session.llm
    described = llm.ToolContext(agent.tools).parse_function_tools("openai", strict=False)
    tools = [each.get("function", each) for each in described]
    return events.AgentConfigured(
        prompt=events.Prompt(str(agent.instructions)),
        model=getattr(model, "model", None),
        provider=getattr(model, "provider", None),
        tools=[
            events.Tool(each["name"], each.get("description") or "", each.get("parameters") or {})
            for each in tools
            if "name" in each
        ],
        agent=agent_id,
    )
