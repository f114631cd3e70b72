"""A Pipecat pipeline with stand-ins at the edge: a scripted model, a voice and a speaker.

The pipeline, its turn taking, interruptions, context and tools are the package's own.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from dataclasses import fields
from typing import Any

import pipecat.frames.frames as frames
from pipecat.metrics.metrics import LLMTokenUsage
from pipecat.observers.base_observer import BaseObserver
from pipecat.pipeline.pipeline import Pipeline
from pipecat.pipeline.worker import PipelineParams, PipelineWorker
from pipecat.processors.aggregators.llm_context import LLMContext
from pipecat.processors.aggregators.llm_response_universal import (
    LLMContextAggregatorPair,
    LLMUserAggregatorParams,
)
from pipecat.processors.frame_processor import FrameDirection
from pipecat.services.llm_service import FunctionCallParams, LLMService
from pipecat.services.settings import LLMSettings, TTSSettings
from pipecat.services.tts_service import TTSService
from pipecat.transcriptions.language import Language
from pipecat.transports.base_output import BaseOutputTransport
from pipecat.transports.base_transport import TransportParams
from pipecat.turns.user_turn_strategies import ExternalUserTurnStrategies
from pipecat.workers.runner import WorkerRunner

import refold

RATE = 16_000
WORD_S = 0.04
"""How long a word takes to be said."""
Answer = tuple[Sequence[str], Sequence[tuple[str, str, dict[str, Any]]]]
"""The words of an answer, and its calls: id, name, arguments."""


class ScriptedModel(LLMService):
    """Answers as its script says; an exception in it is one of the service."""

    def __init__(self, *script: Answer | Exception) -> None:
        given: dict[str, Any] = {one.name: None for one in fields(LLMSettings)}
        del given["extra"]
        settings: Any = LLMSettings(**{**given, "model": "scripted-1"})
        super().__init__(settings=settings)
        self.script = [*script]

    def can_generate_metrics(self) -> bool:
        return True

    async def process_frame(self, frame: frames.Frame, direction: FrameDirection) -> None:
        await super().process_frame(frame, direction)
        if not isinstance(frame, frames.LLMContextFrame):
            await self.push_frame(frame, direction)
            return
        await self.push_frame(frames.LLMFullResponseStartFrame())
        try:
            await self._answer(frame.context)
        except ConnectionError as error:
            await self.push_error(error_msg=f"no answer: {error}", exception=error)
        finally:
            await self.push_frame(frames.LLMFullResponseEndFrame())

    async def _answer(self, context: Any) -> None:
        answer = self.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        words, calls = answer
        await self.start_ttfb_metrics()
        for word in words:
            await self.stop_ttfb_metrics()
            await self.push_frame(frames.LLMTextFrame(word))
        await self.start_llm_usage_metrics(
            LLMTokenUsage(
                prompt_tokens=7, completion_tokens=len(words), total_tokens=7 + len(words)
            )
        )
        made = [frames.FunctionCallFromLLM(name, id, given, context) for id, name, given in calls]
        if made:
            await self.run_function_calls(made)


class Voice(TTSService):
    """Says words of equal length, and when each is said."""

    def __init__(self) -> None:
        settings = TTSSettings(model=None, voice=None, language=None)
        super().__init__(
            settings=settings,
            push_text_frames=False,
            push_start_frame=True,
            push_stop_frames=True,
            sample_rate=RATE,
        )

    async def run_tts(
        self, text: str, context_id: str
    ) -> AsyncGenerator[frames.Frame | None, None]:
        words = text.split()
        times = [(word, place * WORD_S) for place, word in enumerate(words)]
        await self.start_word_timestamps()  # type: ignore[no-untyped-call]
        await self.add_word_timestamps(times, context_id)
        for _ in words:
            yield frames.TTSAudioRawFrame(
                bytes(2 * int(RATE * WORD_S)), RATE, 1, context_id=context_id
            )


class Speaker(BaseOutputTransport):
    """Plays in real time."""

    def __init__(self) -> None:
        super().__init__(TransportParams(audio_out_enabled=True, audio_out_sample_rate=RATE))

    async def start(self, frame: frames.StartFrame) -> None:
        await super().start(frame)
        await self.set_transport_ready(frame)

    async def write_audio_frame(self, frame: frames.OutputAudioRawFrame) -> bool:
        await asyncio.sleep(len(frame.audio) / 2 / RATE)
        return True


async def find_slots(params: FunctionCallParams, day: str) -> None:
    """Free hours of a day."""
    await params.result_callback({"free": [f"{day} 9:00"]})


@refold.tool("book", effect="irreversible")
async def booked(slot: str) -> str:
    return f"booked {slot}"


async def book(params: FunctionCallParams, slot: str) -> None:
    """Book a slot."""
    await params.result_callback(await booked(slot))


async def fails(params: FunctionCallParams) -> None:
    """Fail."""
    raise ValueError("no such calendar")


class Line:
    """A pipeline that runs, and what a caller does."""

    def __init__(self, worker: PipelineWorker) -> None:
        self.worker = worker

    async def say(self, text: str) -> None:
        """The caller says something; the agent is interrupted where it speaks."""
        await self.worker.queue_frame(frames.ProposedUserStartedSpeakingFrame())
        await asyncio.sleep(0.05)
        await self.worker.queue_frame(
            frames.TranscriptionFrame(text, "caller", "", language=Language.EN)
        )
        await self.worker.queue_frame(frames.ProposedUserStoppedSpeakingFrame())


async def run(
    observer: BaseObserver, talk: Callable[[Line], Awaitable[None]], *script: Any
) -> None:
    """Run a pipeline while a caller talks, to its end."""
    model = ScriptedModel(*script)
    pair = LLMContextAggregatorPair(
        LLMContext([{"role": "system", "content": "You answer."}], tools=[find_slots, book, fails]),
        user_params=LLMUserAggregatorParams(user_turn_strategies=ExternalUserTurnStrategies()),
    )
    pipeline = Pipeline([pair.user(), model, Voice(), Speaker(), pair.assistant()])
    params = PipelineParams(enable_metrics=True, enable_usage_metrics=True)
    worker = PipelineWorker(
        pipeline,
        params=params,
        observers=[observer],
        cancel_on_idle_timeout=False,
        enable_rtvi=False,
    )
    started = asyncio.Event()

    async def on_started(worker: Any, frame: Any) -> None:
        started.set()

    worker.add_event_handler("on_pipeline_started", on_started)

    async def call() -> None:
        await asyncio.wait_for(started.wait(), 20)
        await talk(Line(worker))
        await worker.queue_frame(frames.EndFrame())

    runner = WorkerRunner(handle_sigint=False)
    await runner.add_workers(worker)
    await asyncio.gather(runner.run(), call())
