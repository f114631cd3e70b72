"""Recording the demo's calls: caller, agent, tools and clock, through `refold.recording`."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from time import perf_counter
from typing import Final

import refold
from refold import recording
from refold.conversation import (
    AgentConfigured,
    CallTransferred,
    DtmfReceived,
    Party,
    PlaybackInterrupted,
    Prompt,
    Tool,
    ToolCall,
    to_messages,
)
from refold.demo import callers, tables
from refold.demo.agent import MODEL
from refold.demo.callers import Caller, Saying
from refold.demo.clinic import EFFECTS, TOOLS, Clinic
from refold.demo.listen import KEYPAD
from refold.recording.session import Session
from refold.replay import Action, Call, ChatEndpoint, ChatRequest

MONDAY: Final = datetime(2026, 3, 2, 8, 5, tzinfo=UTC)
"""When the first call comes in; a made-up day on a clock of the demo's own."""
ANSWERS_MAX: Final = 40
SOURCE: Final = "refold demo"
WORD_S: Final = 0.36
PAUSE_S: Final = 0.6
TOOL_S: Final = 0.45

Answered = Callable[[int, int], None]
"""Called with how many calls are recorded, of how many."""


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
    progress: Answered,
) -> None:
    """Let a seed's callers call, one after the other; each call is one of ``streams``."""
    people = list(callers.callers(seed))
    clinic = Clinic.opened([caller.patient for caller in people], today=MONDAY, seed=seed)
    for caller in people:
        if caller.intent in ("move", "cancel"):
            clinic.give_appointment(caller.patient)
    clock = Clock(MONDAY)
    for caller, stream in zip(people, streams, strict=True):
        _Call(store, stream, endpoint, caller, clinic, clock).run()
        clock.pass_s(45 + 30 * (caller.number % 5))
        progress(caller.number, len(people))


def configured(caller_number: int) -> AgentConfigured:
    """The agent as the calls are recorded under."""
    functions = [tool["function"] for tool in TOOLS]
    return AgentConfigured(
        prompt=Prompt(text=tables.RECORDED, id="reception-1"),
        model=MODEL,
        provider="refold demo: rules, no model",
        params={"temperature": 0.7, "seed": caller_number},
        tools=[Tool(effect=EFFECTS[function["name"]], **function) for function in functions],
        agent="receptionist",
        version="1",
    )


@dataclass
class _Call:
    """One call from the first ring to the end."""

    store: refold.Store
    stream: str
    endpoint: ChatEndpoint
    caller: Caller
    clinic: Clinic
    clock: Clock

    def run(self) -> None:
        agent, patient = configured(self.caller.number), self.caller.patient
        customer = Party(role="customer", name=patient.name, address=patient.phone)
        session = recording.record(
            self.store,
            self.stream,
            channel="voice",
            parties=[customer, Party(role="agent", name="receptionist")],
            initial_state={"intent": self.caller.intent, "habit": self.caller.habit},
            agent=agent,
            metadata={"source": SOURCE},
            occurred_at=self.clock.now,
        )
        with session:
            session.ended(self._talk(session, agent), occurred_at=self.clock.pass_s(PAUSE_S))

    def _talk(self, session: Session, agent: AgentConfigured) -> str:
        """Answer and listen in turn; gives how the call ended."""
        for _ in range(ANSWERS_MAX):
            action = self._answer(session, agent)
            if action.calls:
                if self._use_tools(session, action.calls):
                    return "transferred"
                continue
            turn = self.caller.reply(action.text)
            if turn is None:
                return "completed"
            self._hear(session, action.text, turn)
        return "abandoned"

    def _answer(self, session: Session, agent: AgentConfigured) -> Action:
        request = ChatRequest(
            messages=to_messages(self.store.read(self.stream)),
            model=MODEL,
            tools=list(TOOLS),
            params=agent.params,
        )
        asked_s = perf_counter()
        action = self.endpoint(request)
        latency_ms = round((perf_counter() - asked_s) * 1000, 3)
        session.model_answered(
            action.text or None,
            tool_calls=[
                ToolCall(call_id=call.call_id, name=call.name, arguments=call.arguments)
                for call in action.calls
            ],
            usage=action.usage,
            cost=action.cost,
            latency_ms=latency_ms,
            finish_reason=action.finish_reason,
            model=action.model,
            occurred_at=self.clock.speak(action.text),
        )
        return action

    def _use_tools(self, session: Session, calls: Sequence[Call]) -> bool:
        """Run the calls; whether one of them handed the caller over."""
        transferred = False
        for call in calls:
            arguments = json.loads(call.arguments)
            answer = self.clinic.use(call.name, arguments)
            session.tool_returned(
                call.call_id,
                json.dumps(answer),
                is_error="error" in answer,
                latency_ms=TOOL_S * 1000,
                occurred_at=self.clock.pass_s(TOOL_S),
            )
            if call.name == "transfer_call" and "error" not in answer:
                handed = CallTransferred(to_party=arguments["to"], from_party="receptionist")
                session.record(refold.Event.of(handed, occurred_at=self.clock.now))
                transferred = True
        return transferred

    def _hear(self, session: Session, said: str, turn: Saying) -> None:
        if turn.cuts_in_at is not None:
            # They spoke while the sentence was still playing: part of its time has not passed.
            self.clock.pass_s(-PAUSE_S - WORD_S * len(said.split()) * (1 - turn.cuts_in_at))
            cut_off = refold.Event.of(_cut(said, turn.cuts_in_at), occurred_at=self.clock.now)
            session.record(cut_off)
        if turn.via == "keypad":
            keys = DtmfReceived(digits=turn.text.removeprefix(KEYPAD), masked=False)
            session.record(refold.Event.of(keys, occurred_at=self.clock.now))
        began = self.clock.speak(turn.text)
        session.user_said(turn.text, confidence=turn.confidence, language="en", occurred_at=began)
        if turn.via == "silence":
            self.clock.pass_s(8)


def _cut(text: str, share: float) -> PlaybackInterrupted:
    """What was heard of a sentence and what was not, cut between two words."""
    words = text.split(" ")
    heard = max(1, round(len(words) * share))
    return PlaybackInterrupted(
        played_text=" ".join(words[:heard]), unplayed_text=" ".join(words[heard:])
    )
