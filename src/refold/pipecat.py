"""A Pipecat pipeline, recorded: what was said, what of it was heard, who spoke when.

::

    async with recording.record_async(store, "call-42", channel="voice") as recorder:
        observer = refold.pipecat.recorded(recorder)
        worker = PipelineWorker(pipeline, observers=[observer])

It is an observer: frames pass it by, and none
is changed. What a model generated is told by its frames, what of it was heard by the turns that
the context aggregators behind the transport's output publish. No turn tells of what is said with
``append_to_context=False``: it is recorded where it was said to its end, and of one that was cut
off nobody knows what was heard.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import takewhile
from typing import TYPE_CHECKING, Any, Final

from refold.conversation import events
from refold.conversation.chat_shapes import json_text
from refold.conversation.voice import DtmfReceived, SpeechStarted, SpeechStopped
from refold.core.event import Event
from refold.extras import needs
from refold.recording.notes import Notes
from refold.recording.quiet import QuietRecorder
from refold.recording.session import AsyncSession, Session
from refold.recording.spoken import spoken, unheard
from refold.recording.tool_run import json_value

if TYPE_CHECKING:
    from pipecat.observers.base_observer import BaseObserver

__all__ = ["recorded"]

LOGGER: Final = "refold.pipecat"
_SPEAKERS: Final = {
    "UserStartedSpeakingFrame": ("user", SpeechStarted),
    "UserStoppedSpeakingFrame": ("user", SpeechStopped),
    "BotStartedSpeakingFrame": ("agent", SpeechStarted),
    "BotStoppedSpeakingFrame": ("agent", SpeechStopped),
}


def recorded(recorder: Session | AsyncSession) -> BaseObserver:
    """An observer that records a pipeline in the block of a recorder, which should outlast it.

    Offsets (``offset_ms``) count from this call. Usage needs ``enable_usage_metrics``. Recording
    that fails fails nothing: it is logged once, to ``refold.pipecat``.
    """
    try:
        from pipecat.observers.base_observer import BaseObserver, FramePushed
    except ModuleNotFoundError as missing:
        raise ModuleNotFoundError(needs("refold.pipecat needs Pipecat", "pipecat")) from missing

    told = _RecordedPipeline(QuietRecorder(recorder, LOGGER))

    class PipelineObserver(BaseObserver):
        async def on_push_frame(self, data: FramePushed) -> None:
            told.pushed(data.frame, data.source, data.direction.name)

    return PipelineObserver(observe_every_push=False)


@dataclass
class _Generated:
    """What a model generated so far as one answer, or the pipeline was told to say."""

    id: str
    text: str
    is_aside: bool = False
    """It is kept out of the model's context, and no turn tells of it."""


class _RecordedPipeline:
    """Turns the frames of a pipeline into events of the vocabulary."""

    def __init__(self, beside: QuietRecorder) -> None:
        self._beside = beside
        self._start_s = time.time()
        self._answers: list[_Generated] = []
        """What is not yet known to be heard or cut off."""
        self._is_cut = False
        self._turns = 0
        self._last_id: str | None = None
        self._user: tuple[str | None, str | None] = (None, None)
        self._first_token_s: float | None = None
        self._called: dict[str, float] = {}

    def pushed(self, frame: object, source: object, direction: str) -> None:
        """A frame was pushed for the first time, ``DOWNSTREAM`` or ``UPSTREAM``."""
        try:
            # What is told to both ends of the pipeline is two frames.
            if direction == "DOWNSTREAM" or type(frame).__name__ == "ErrorFrame":
                self._take(frame, source)
        except Exception as error:  # A frame of a shape that is not known here.
            self._beside.failed(error)

    def _take(self, frame: Any, source: object) -> None:
        from pipecat.frames import frames
        from pipecat.services.llm_service import LLMService
        from pipecat.utils.errors import ErrorCategory

        match frame:
            case frames.LLMFullResponseStartFrame() | frames.TTSSpeakFrame():
                self._unheard()
                self._turns += 1
                own_id = f"turn-{round(self._start_s * 1_000)}-{self._turns}"
                is_aside = not getattr(frame, "append_to_context", True)
                self._answers.append(_Generated(own_id, getattr(frame, "text", ""), is_aside))
                self._last_id = own_id
            case frames.LLMTextFrame():
                for answer in [one for one in self._answers if not one.is_aside][-1:]:
                    answer.text += frame.text
            case frames.InterruptionFrame() | frames.CancelFrame():
                self._is_cut = bool(_joined(self._answers).strip())
                if not self._is_cut:
                    self._answers = [one for one in self._answers if not one.is_aside]
            case frames.LLMContextAssistantTurnFrame():
                self._agent_said(frame)
            case frames.TranscriptionFrame():
                self._user = frame.user_id or None, frame.language and str(frame.language)
            case frames.LLMContextUserTurnFrame():
                self._unheard()
                party, language = self._user
                said = events.UserUtterance(frame.text, party=party, language=language)
                self._beside.record(said)
            case frames.InputDTMFFrame():
                self._beside.record(DtmfReceived(str(frame.button.value)))
            case frames.ErrorFrame(processor=LLMService(), category=category):
                if category is not ErrorCategory.APPLICATION:  # As of a tool, which says so itself.
                    self._beside.record(events.ModelFailed(frame.error))
            case frames.MetricsFrame() if isinstance(source, LLMService):
                self._measured(frame.data)
            case frames.FunctionCallsStartedFrame():
                for call in frame.function_calls:
                    self._call(call)
            case frames.FunctionCallInProgressFrame():
                self._call(frame)
            case frames.FunctionCallResultFrame() | frames.FunctionCallCancelFrame():
                self._result(frame)
            case _ if type(frame).__name__ in _SPEAKERS:
                party, kind = _SPEAKERS[type(frame).__name__]
                if (party, kind, self._is_cut) == ("agent", SpeechStopped, False):
                    self._take_first(len(_asides(self._answers)[:1]))  # Each has its own stop.
                self._beside.record(kind(party, self._now_ms()))

    # -- what the agent said ----------------------------------------------------------------------

    def _agent_said(self, turn: Any) -> None:
        if self._is_cut:
            self._cut(turn.text)
        else:
            said = self._take_first(self._told(turn.text))
            self._beside.record(*spoken("", turn.text, is_cut=False, message_id=_id_of(said)))

    def _take_first(self, count: int) -> list[_Generated]:
        """Take so many answers off, which were said; tell the asides, give the others."""
        said, self._answers = self._answers[:count], self._answers[count:]
        for one in said:
            if one.is_aside:
                self._beside.record(events.AgentUtterance(one.text, message_id=one.id))
        return [one for one in said if one.text.strip() and not one.is_aside]

    def _told(self, heard: str) -> int:
        """How many of the answers a turn that was heard to its end consists of."""
        for count in range(1, len(self._answers)):
            if unheard(heard, _joined(self._answers[:count])) == "":
                return count
        return len(self._answers)

    def _cut(self, heard: str) -> None:
        """The turn was cut off: nothing that was waiting is said now."""
        if heard:
            self._take_first(len(_asides(self._answers)))
        waiting, self._answers, self._is_cut = self._answers, [], False
        tails = (waiting[place:] for place in range(len(waiting)))
        said = next((one for one in tails if unheard(_joined(one), heard) is not None), [])
        said = [one for one in said if one.text.strip() and not one.is_aside]
        own_id, offset_ms = _id_of(said), self._now_ms()
        cut = spoken(_joined(said), heard, is_cut=True, message_id=own_id, offset_ms=offset_ms)
        self._beside.record(*cut)

    def _unheard(self) -> None:
        """Something else begins: what was cut off until now, nobody has heard anything of."""
        if self._is_cut:
            self._cut("")

    # -- tools and models -------------------------------------------------------------------------

    def _call(self, call: Any) -> None:
        call_id = call.tool_call_id
        if call_id not in self._called:
            arguments = json_text(json_value(dict(call.arguments or {})))
            name, message_id = call.function_name, self._last_id
            self._beside.record(events.ToolCall(call_id, name, arguments, message_id=message_id))
        self._called[call_id] = time.perf_counter()

    def _result(self, frame: Any) -> None:
        call_id, properties = frame.tool_call_id, getattr(frame, "properties", None)
        if properties is not None and not properties.is_final:
            return
        since = self._called.pop(call_id, None)
        latency_ms = None if since is None else round((time.perf_counter() - since) * 1_000, 3)
        is_cancelled = type(frame).__name__ == "FunctionCallCancelFrame"
        value = "cancelled" if is_cancelled else json_value(frame.result)
        is_error = is_cancelled or frame.error is not None
        result = events.ToolResult(call_id, value, is_error, latency_ms)

        def answered(notes: Notes) -> Sequence[Event]:
            """The result, where no tool of refold's own has told it."""
            return [Event.of(result)] if call_id in notes.open_calls else []

        self._beside.record_made(answered)

    def _measured(self, data: Sequence[Any]) -> None:
        from pipecat.metrics.metrics import LLMUsageMetricsData, TTFBMetricsData

        for one in data:
            if isinstance(one, TTFBMetricsData):
                self._first_token_s = one.value
            elif isinstance(one, LLMUsageMetricsData):
                used, first_s = one.value, self._first_token_s
                self._first_token_s = None
                usage = events.Usage(
                    used.prompt_tokens,
                    used.completion_tokens,
                    used.cache_read_input_tokens or 0,
                    used.cache_creation_input_tokens,
                    used.reasoning_tokens,
                )
                first_ms = None if first_s is None else round(first_s * 1_000, 3)
                response = events.ModelResponse(
                    model=one.model or None,
                    usage=usage,
                    first_token_ms=first_ms,
                    message_id=self._last_id,
                )
                self._beside.record(response)

    def _now_ms(self) -> int:
        return round((time.time() - self._start_s) * 1_000)


def _joined(answers: Sequence[_Generated]) -> str:
    """What a turn says of these answers."""
    return "".join(one.text for one in answers if not one.is_aside)


def _asides(answers: Sequence[_Generated]) -> list[_Generated]:
    """Those that come before any answer that a turn tells of."""
    return [*takewhile(lambda one: one.is_aside, answers)]


def _id_of(said: Sequence[_Generated]) -> str | None:
    """The id of the first of these answers."""
    return said[0].id if said else None
