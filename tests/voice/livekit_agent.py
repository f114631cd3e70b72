"""A LiveKit agent with stand-ins at the edge: a scripted model, ears, a voice and a speaker.

The session, its turn taking, interruptions and tools are the package's own.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterable, AsyncIterator, Sequence
from typing import Any

from livekit import rtc
from livekit.agents import (
    Agent,
    AgentSession,
    APIConnectOptions,
    RunContext,
    function_tool,
    llm,
    stt,
    tts,
)
from livekit.agents.voice.io import AudioInput, AudioOutput, AudioOutputCapabilities

import refold

RATE = 24_000
WORD_MS = 40
"""How long a word takes to be said."""
Answer = tuple[Sequence[str], Sequence[tuple[str, str, str]]]
"""The words of an answer, and its calls: id, name, arguments."""


class ScriptedModel(llm.LLM[Any]):
    """Answers as its script says; an exception in it is raised."""

    def __init__(self, *script: Answer | Exception) -> None:
        super().__init__()
        self.script = [*script]

    @property
    def model(self) -> str:
        return "scripted-1"

    @property
    def provider(self) -> str:
        return "here"

    def chat(self, *, chat_ctx: Any, tools: Any = None, **options: Any) -> llm.LLMStream:
        return _Answering(self, chat_ctx=chat_ctx, tools=tools or [], conn_options=_ONCE)


_ONCE = APIConnectOptions(max_retry=0)


class _Answering(llm.LLMStream):
    async def _run(self) -> None:
        model: Any = self._llm
        answer = model.script.pop(0)
        if isinstance(answer, Exception):
            raise answer
        words, calls = answer
        for word in words:
            delta = llm.ChoiceDelta(role="assistant", content=word)
            self._event_ch.send_nowait(llm.ChatChunk(id="r1", delta=delta))
        if calls:
            made = [llm.FunctionToolCall(call_id=i, name=n, arguments=a) for i, n, a in calls]
            delta = llm.ChoiceDelta(role="assistant", tool_calls=made)
            self._event_ch.send_nowait(llm.ChatChunk(id="r1", delta=delta))


class Ears(stt.STT[Any]):
    """Hears what the test says; see :class:`Receptionist`."""

    def __init__(self) -> None:
        super().__init__(capabilities=stt.STTCapabilities(streaming=True, interim_results=False))

    async def _recognize_impl(self, *args: Any, **options: Any) -> stt.SpeechEvent:
        raise NotImplementedError


class Voice(tts.TTS[Any]):
    """Says what the agent's own node makes of it; see :class:`Receptionist`."""

    def __init__(self) -> None:
        capabilities = tts.TTSCapabilities(streaming=True)
        super().__init__(capabilities=capabilities, sample_rate=RATE, num_channels=1)

    def synthesize(self, text: str, **options: Any) -> tts.ChunkedStream:
        raise NotImplementedError


class Silence(AudioInput):
    """A microphone that records nothing."""

    def __init__(self) -> None:
        super().__init__(label="silence")

    async def __anext__(self) -> rtc.AudioFrame:
        await asyncio.Event().wait()
        raise StopAsyncIteration


class Speaker(AudioOutput):
    """Plays in real time, and says how many of the words it has played when it is stopped."""

    def __init__(self) -> None:
        capabilities = AudioOutputCapabilities(pause=False)
        super().__init__(label="speaker", capabilities=capabilities, sample_rate=RATE)
        self.words: list[str] = []
        self._pushed_s = 0.0
        self._started_s: float | None = None
        self._playing: asyncio.Task[None] | None = None

    async def capture_frame(self, frame: rtc.AudioFrame) -> None:
        await super().capture_frame(frame)
        if self._started_s is None:
            self._started_s = time.time()
            self.on_playback_started(created_at=self._started_s)
        self._pushed_s += frame.duration

    def flush(self) -> None:
        super().flush()
        if self._started_s is not None and self._playing is None:
            self._playing = asyncio.create_task(self._play(self._started_s))

    def clear_buffer(self) -> None:
        if self._playing is not None:
            self._playing.cancel()
        if self._started_s is not None:
            self._done(interrupted=True)

    async def _play(self, started_s: float) -> None:
        await asyncio.sleep(max(started_s + self._pushed_s - time.time(), 0))
        self._done(interrupted=False)

    def _done(self, *, interrupted: bool) -> None:
        played_s = min(self._pushed_s, time.time() - (self._started_s or 0.0))
        heard = "".join(self.words[: max(round(played_s * 1_000 / WORD_MS), 1)])
        self.words, self._pushed_s, self._started_s, self._playing = [], 0.0, None, None
        self.on_playback_finished(
            playback_position=played_s, interrupted=interrupted, synchronized_transcript=heard
        )


class Receptionist(Agent):
    """Answers the phone; what the caller says is put into ``heard``."""

    def __init__(self, speaker: Speaker, name: str = "receptionist", **options: Any) -> None:
        super().__init__(instructions=f"You are the {name}.", id=name, **options)
        self.heard: asyncio.Queue[stt.SpeechEvent] = asyncio.Queue()
        self._speaker = speaker

    def caller_says(self, text: str, confidence: float = 0.9) -> None:
        kinds = stt.SpeechEventType
        data = stt.SpeechData(language="en", text=text, confidence=confidence)  # type: ignore[arg-type]
        self.heard.put_nowait(stt.SpeechEvent(type=kinds.START_OF_SPEECH))
        self.heard.put_nowait(stt.SpeechEvent(type=kinds.FINAL_TRANSCRIPT, alternatives=[data]))
        self.heard.put_nowait(stt.SpeechEvent(type=kinds.END_OF_SPEECH))

    async def stt_node(self, audio: Any, model_settings: Any) -> AsyncIterator[stt.SpeechEvent]:
        while True:
            yield await self.heard.get()

    async def tts_node(
        self, text: AsyncIterable[str], model_settings: Any
    ) -> AsyncIterator[rtc.AudioFrame]:
        async for words in text:
            for word in words.split():
                self._speaker.words.append(f"{word} ")
                count = RATE * WORD_MS // 1_000
                yield rtc.AudioFrame(bytes(2 * count), RATE, 1, count)

    @function_tool
    async def find_slots(self, context: RunContext[None], day: str) -> str:
        """Free hours of a day."""
        return f"{day} 9:00"

    @function_tool
    @refold.tool(effect="irreversible")
    async def book(self, context: RunContext[None], slot: str) -> str:
        """Book a slot."""
        return f"booked {slot}"

    @function_tool
    async def to_billing(self, context: RunContext[None]) -> Agent:
        """Hand the call over."""
        return Receptionist(self._speaker, "billing")


def session_with(model: ScriptedModel) -> tuple[AgentSession[None], Speaker]:
    """A session whose turns are those of the ears, and its speaker."""
    session: AgentSession[None] = AgentSession(
        llm=model,
        stt=Ears(),
        tts=Voice(),
        turn_handling={
            "turn_detection": "stt",
            "endpointing": {"min_delay": 0.02, "max_delay": 0.05},
            "interruption": {"min_duration": 0.0, "resume_false_interruption": False},
        },
    )
    speaker = Speaker()
    session.input.audio, session.output.audio = Silence(), speaker
    return session, speaker
