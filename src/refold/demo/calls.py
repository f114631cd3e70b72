"""Recording the demo's calls: caller, agent, tools and clock, through `refold.recording`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Final

import msgspec

import refold
from refold import recording
from refold.conversation import events, to_messages
from refold.conversation.voice import CallTransferred, DtmfReceived, PlaybackInterrupted
from refold.demo.agent import MODEL
from refold.demo.clinic import AGENT, TOOLS, Caller, Clinic, Saying, callers
from refold.demo.listen import KEYPAD
from refold.demo.tables import RECORDED
from refold.recording.session import Session
from refold.replay import Action, Call, ChatEndpoint, ChatRequest

MONDAY: Final = datetime(2026, 3, 2, 8, 5, tzinfo=UTC)
"""When the first call comes in; a made-up day on a clock of the demo's own."""
ANSWERS_MAX: Final = 40
SOURCE: Final = "refold demo"
WORD_S: Final = 0.36
PAUSE_S: Final = 0.6
TOOL_S: Final = 0.45


@dataclass
class Clock:
    """The demo's own clock: time passes when somebody speaks or waits."""

    now: datetime

    def pass_s(self, seconds: float) -> datetime:
        """Let time pass; gives the moment after."""
        self.now += timedelta(milliseconds=round(seconds * 1000))
        return self.now

    def speak(self, text: str) -> datetime:
        """Let somebody say something after a pause; gives the moment they begin."""
        began = self.pass_s(PAUSE_S)
        self.pass_s(WORD_S * len(text.split()))
        return began


def record_calls(
    store: refold.Store,
    streams: Sequence[str],
    endpoint: ChatEndpoint,
    *,
    seed: int,
    progress: Callable[[int, int], None],
    temperature: float = 0.7,
) -> None:
    """Let a seed's callers call, one after the other, the first as one of ``streams`` each.

    ``progress`` is called with how many calls are recorded, and of how many.
    """
    people = list(callers(seed))
    clinic = Clinic.opened([caller.patient for caller in people], today=MONDAY, seed=seed)
    for caller in people:
        if caller.intent in ("move", "cancel"):
            clinic.give_appointment(caller.patient)
    clock = Clock(MONDAY)
    for caller, stream in zip(people, streams, strict=False):
        with _picked_up(store, stream, caller, clock, temperature) as session:
            ended = _Call(store, session, endpoint, caller, clinic, clock).talk()
            session.ended(ended, occurred_at=clock.pass_s(PAUSE_S))
        clock.pass_s(45 + 30 * (caller.number % 5))
        progress(caller.number, len(streams))


def _picked_up(
    store: refold.Store, stream: str, caller: Caller, clock: Clock, temperature: float
) -> Session:
    customer = events.Party(role="customer", name=caller.patient.name, address=caller.patient.phone)
    prompt = {"text": RECORDED, "id": "reception-1"}
    params = {"temperature": temperature, "seed": caller.number}
    agent = msgspec.convert({**AGENT, "prompt": prompt, "params": params}, events.AgentConfigured)
    return recording.record(
        store,
        stream,
        channel="voice",
        parties=[customer, events.Party(role="agent", name="receptionist")],
        initial_state={"intent": caller.intent, "habit": caller.habit},
        agent=agent,
        metadata={"source": SOURCE},
        occurred_at=clock.now,
    )


@dataclass
class _Call:
    """One call from the greeting to the end."""

    store: refold.Store
    session: Session
    endpoint: ChatEndpoint
    caller: Caller
    clinic: Clinic
    clock: Clock

    def talk(self) -> str:
        """Answer and listen in turn; gives how the call ended."""
        for _ in range(ANSWERS_MAX):
            action = self._answer()
            handed_over = [self._hands_over(call) for call in action.calls]
            if any(handed_over):
                return "transferred"
            if handed_over:
                continue
            saying = self.caller.reply(action.text)
            if saying is None:
                return "completed"
            self._hear(action.text, saying)
        return "abandoned"

    def _answer(self) -> Action:
        agent = self.session.agent
        request = ChatRequest(
            messages=to_messages(self.store.read(self.session.stream)),
            model=MODEL,
            tools=list(TOOLS),
            params=agent.params if agent else {},
        )
        asked_s = perf_counter()
        action = self.endpoint(request)
        latency_ms = round((perf_counter() - asked_s) * 1000, 3)
        self.session.model_answered(
            action.text or None,
            tool_calls=msgspec.convert(action.calls, list[events.ToolCall], from_attributes=True),
            usage=action.usage,
            cost=action.cost,
            latency_ms=latency_ms,
            finish_reason=action.finish_reason,
            model=action.model,
            occurred_at=self.clock.speak(action.text),
        )
        return action

    def _hands_over(self, call: Call) -> bool:
        """Do what a tool call asks for; whether that handed the caller over."""
        arguments = json.loads(call.arguments)
        answer = self.clinic.use(call.name, arguments)
        self.session.tool_returned(
            call.call_id,
            json.dumps(answer),
            is_error="error" in answer,
            latency_ms=TOOL_S * 1000,
            occurred_at=self.clock.pass_s(TOOL_S),
        )
        if handed_over := "transferred" in answer:
            self._note(CallTransferred(to_party=arguments["to"], from_party="receptionist"))
        return handed_over

    def _hear(self, said: str, saying: Saying) -> None:
        if saying.cuts_in_at is not None:
            # They spoke while the sentence was still playing: part of its time has not passed.
            words = said.split(" ")
            heard = max(1, round(len(words) * saying.cuts_in_at))
            self.clock.pass_s(-PAUSE_S - WORD_S * len(words) * (1 - saying.cuts_in_at))
            played, unplayed = " ".join(words[:heard]), " ".join(words[heard:])
            self._note(PlaybackInterrupted(played_text=played, unplayed_text=unplayed))
        if saying.via == "keypad":
            self._note(DtmfReceived(digits=saying.text.removeprefix(KEYPAD), masked=False))
        self.session.user_said(
            saying.text,
            confidence=saying.confidence,
            language="en",
            occurred_at=self.clock.speak(saying.text),
        )
        if saying.via == "silence":
            self.clock.pass_s(8)

    def _note(self, event: object) -> None:
        self.session.record(refold.Event.of(event, occurred_at=self.clock.now))
