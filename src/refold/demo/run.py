"""The demo from end to end: record, show, rewind, ask what if, replay, compare, report.

What it shows of its calls are plain values that are worth printing: a `DemoResult`.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Literal

import msgspec
from msgspec.structs import replace

import refold
from refold.conversation import Conversation, transcript
from refold.conversation.state import ConversationState
from refold.conversation.transcript import Line
from refold.demo.calls import SOURCE, record_calls
from refold.demo.clinic import PLANS
from refold.demo.server import DemoServer
from refold.demo.tables import CHANGED
from refold.demo.ways import own_ways
from refold.errors import UsageError
from refold.replay import ChatEndpoint, ChatRequest, Question, Variant, compare, replay
from refold.replay.compare import Comparison
from refold.replay.report import ToldBeside, write_report
from refold.replay.runner import ReplaySummary

SEED_MAX: Final = 9_999
RUNS_MAX: Final = 100
TITLE: Final = "Larkspur Clinic reception: a shorter prompt"

QUESTION: Final = Question(primary="same_calls")
"""What is asked of the comparison: does the shorter prompt still call the same tools?"""

STEADY: Final = "steady"
"""The category of calls that leave nothing to chance."""
WITHOUT_CHANCE: Final[dict[str, Any]] = {"temperature": 0.0, "progress": lambda *_: None}
OWN_WAYS_CALLS: Final = 12
"""On so many calls two agents show what only a free run can tell."""

NOTE = (
    "The agent of this demo is a rule-based stand-in for a model: it follows the rules that it "
    "recognises in its prompt. Callers, patients and phone numbers are made up."
)
"""What must stand wherever the demo's figures do."""

Step = Literal["record", "replay"]
Progress = Callable[[Step, int, int], None]
States = Mapping[str, ConversationState]
"""The calls as they are at their end, by stream."""


class CallFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What was recorded; ``reused`` of the calls were in the store already, from a run before.

    ``intents`` and ``ends`` count the calls by what they were for and how they ended.
    """

    calls: int
    reused: int
    events: int
    turns: int
    tool_calls: int
    tool_errors: int
    interruptions: int
    intents: dict[str, int]
    ends: dict[str, int]


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """The state of a call after one of its events: ``id`` and ``at`` are that event's."""

    version: int
    id: str
    at: str
    state: ConversationState


class ShownWhatIf(msgspec.Struct, frozen=True, kw_only=True):
    """A branch on which one event never happened.

    ``without`` is that event as a line of the transcript; ``patch`` are the RFC 6902 operations
    from the state as it was to the state of the branch.
    """

    stream: str
    without: Line
    patch: list[dict[str, Any]]


class DemoResult(msgspec.Struct, frozen=True, kw_only=True):
    """A run of the demo; ``msgspec.to_builtins`` makes it JSON values.

    ``shown`` is the stream that ``transcript``, ``half_way``, ``at_end`` and ``what_if`` are of.
    ``timings_s`` has the seconds of each step and ``total``; ``requests`` counts what the local
    server answered, 0 when everything was there from a run before. ``own_ways`` are two agents that
    go on with their own answers, on calls of the same callers to an agent without any chance: the
    streams ``steady-701``, ``steady-702``, … for seed 7.
    """

    note: str
    model: str
    seed: int
    store: str | None
    recorded: CallFigures
    shown: str
    transcript: list[Line]
    half_way: Moment
    at_end: Moment
    what_if: ShownWhatIf
    replayed: ReplaySummary
    control: ReplaySummary
    comparison: Comparison
    own_ways: list[ToldBeside]
    report: str
    requests: int
    timings_s: dict[str, float]


def _no_progress(_step: Step, _done: int, _total: int) -> None:
    """Nothing is shown."""


class Demo(DemoServer):
    """The demo: its model is served on 127.0.0.1 while the ``with`` block runs.

    ::

        with Demo() as demo:
            result = demo.run("demo.db", report_path="report.html")
            print(result.comparison.figures.by_decision)

    ``base_url`` (it ends in ``/v1``) and ``model`` are what any client of an OpenAI-compatible API
    asks for; ``requests`` counts what was answered.
    """

    def run(
        self,
        store: refold.Store | str | os.PathLike[str],
        *,
        seed: int = 7,
        report_path: str | os.PathLike[str] = "refold-demo.html",
        progress: Progress = _no_progress,
    ) -> DemoResult:
        """Record made-up calls of a clinic's reception, replay them with another prompt, compare.

        Everything stays on this machine: the agent is a rule-based stand-in for a model.
        ``store`` is an open store, or a path or URL that is opened for the run. ``seed`` (0 to
        9,999) determines who calls and what they say; the calls are the streams ``call-701``,
        ``call-702``, … for seed 7. ``progress`` is called with a step, how much of it is done, and
        of how much.

        Running again with the same store and seed records nothing twice: the calls and every
        answer of the replays are found and used, and the report is written anew. Calls that were
        cut off half-way stay as they are; a whole set is recorded beside them.

        Raises :class:`~refold.errors.UsageError` for a seed out of range and for a report that
        cannot be written.
        """
        if not 0 <= seed <= SEED_MAX:
            raise UsageError(f"seed={seed} is not 0 to {SEED_MAX}", argument="seed", value=seed)
        report = Path(report_path)
        if report.is_dir() or not report.absolute().parent.is_dir():
            # Said now, not after the calls are recorded and replayed.
            raise UsageError(f"no report can be written to {report}", path=str(report))
        if isinstance(store, refold.Store):
            return self._run(store, seed, report, progress)
        where = os.fspath(store)
        # Demo data: a power cut may take the last of it, and then it is recorded again.
        with refold.open(where, synchronous="NORMAL") as opened:
            result = self._run(opened, seed, report, progress)
        return replace(result, store=where)

    def _run(self, store: refold.Store, seed: int, report: Path, progress: Progress) -> DemoResult:
        timings_s: dict[str, float] = {}
        began_s, asked_before = perf_counter(), self.requests
        variant = Variant(prompt=CHANGED, label="shorter prompt")
        control = Variant(params={"seed": seed + 1_000})

        def tell(done: int, total: int, *_: object) -> None:
            progress("replay", done, total)

        with _timed("record", timings_s):
            count, tell_calls = sum(times for _, _, times in PLANS), partial(progress, "record")
            steady, _ = self._calls(store, STEADY, OWN_WAYS_CALLS, seed=seed, **WITHOUT_CHANCE)
            streams, reused = self._calls(store, "call", count, seed=seed, progress=tell_calls)
        with _timed("replay", timings_s):
            how: Any = {"workers": 2, "primary": QUESTION.primary, "progress": tell}
            asked = replay(store, streams, variant, self._endpoint(), control=control, **how)
        repeated, replayed = asked.parts
        with _timed("compare", timings_s):
            comparison = compare(store, streams, variant, control=control, question=QUESTION)
        with _timed("own ways", timings_s), closing(self._endpoint()) as endpoint:
            beside = own_ways(store, steady, endpoint)
        with _timed("report", timings_s):
            how = {"read": store.read, "title": TITLE, "note": NOTE, "beside": beside}
            write_report(comparison, report, **how)
        with _timed("look", timings_s):
            states = {stream: store.fold(stream, Conversation).state for stream in streams}
            shown = most_telling(states)
            result = DemoResult(
                note=NOTE,
                model=self.model,
                seed=seed,
                store=None,
                recorded=call_figures(store, states, reused),
                shown=shown,
                transcript=transcript(store.read(shown)),
                half_way=moment(store, shown, store.head(shown) // 2),
                at_end=moment(store, shown, store.head(shown)),
                what_if=without_an_answer(store, shown, states[shown]),
                replayed=replayed,
                control=repeated,
                comparison=replace(comparison, conversations=list(comparison.conversations)),
                report=str(report),
                own_ways=beside,
                requests=self.requests - asked_before,
                timings_s=timings_s,
            )
        timings_s["total"] = round(perf_counter() - began_s, 3)
        return result

    def _calls(
        self, store: refold.Store, category: str, count: int, *, seed: int, **how: Any
    ) -> tuple[list[str], int]:
        """The streams of the seed's first calls, recorded now or found; and how many were found."""
        for again in ("", *(f"-{run}" for run in range(2, RUNS_MAX + 1))):
            streams = [f"{category}-{seed * 100 + number}{again}" for number in range(1, count + 1)]
            there = [store.head(stream) >= 0 for stream in streams]
            if all(there) and all(_is_whole(store, stream) for stream in streams):
                return streams, count
            if not any(there):
                break
        else:
            raise UsageError(f"{RUNS_MAX} demos were cut off in this store: give another path")
        with closing(self._endpoint()) as endpoint:
            # The first request pays for loading the HTTP client, and no call should.
            endpoint(ChatRequest(messages=[{"role": "user", "content": ""}], model=self.model))
            record_calls(store, streams, endpoint, seed=seed, **how)
        return streams, 0

    def _endpoint(self) -> ChatEndpoint:
        # No key: the environment's may be a real one, and none of the demo's business.
        endpoint = ChatEndpoint(self.base_url, api_key="", timeout_s=30)
        # Its port is another at every run, and the answers are the same agent's.
        endpoint.url = "the demo's endpoint"
        return endpoint


def _is_whole(store: refold.Store, stream: str) -> bool:
    """Whether a stream is a call of the demo, recorded to its end."""
    first = store.event(f"{stream}@0")
    ended = store.fold(stream, Conversation).state.end_reason
    return first.metadata.get("source") == SOURCE and ended not in (None, "error", "cancelled")


@contextmanager
def _timed(name: str, timings_s: dict[str, float]) -> Iterator[None]:
    began_s = perf_counter()
    yield
    timings_s[name] = round(perf_counter() - began_s, 3)


# -- what is shown of the calls --------------------------------------------------------------------


def most_telling(states: States) -> str:
    """A call worth showing: one that was interrupted, changed something, and is not too long."""

    def interest(stream: str) -> tuple[bool, int]:
        state = states[stream]
        interrupted = any(turn.heard is not None for turn in state.transcript)
        books = any(use.event.name == "book_appointment" for use in state.tool_calls)
        return interrupted and books, -len(state.transcript)

    return max(states, key=interest)


def call_figures(store: refold.Store, states: States, reused: int) -> CallFigures:
    """What was recorded, counted."""
    uses = [use for state in states.values() for use in state.tool_calls]
    turns = [turn for state in states.values() for turn in state.transcript]
    return CallFigures(
        calls=len(states),
        reused=reused,
        events=sum(store.head(stream) + 1 for stream in states),
        turns=len(turns),
        tool_calls=len(uses),
        tool_errors=sum(use.answer is not None and use.answer.event.is_error for use in uses),
        interruptions=sum(turn.heard is not None for turn in turns),
        intents=dict(Counter(str(s.initial_state.get("intent")) for s in states.values())),
        ends=dict(Counter(str(state.end_reason) for state in states.values())),
    )


def moment(store: refold.Store, stream: str, version: int) -> Moment:
    """A call as it was after one of its events."""
    event = store.event(f"{stream}@{version}")
    at = next((line.at for line in transcript([event])), event.occurred_at.isoformat())
    state = store.fold(stream, Conversation, version=version).state
    return Moment(version=version, id=event.id, at=at, state=state)


def without_an_answer(store: refold.Store, stream: str, state: ConversationState) -> ShownWhatIf:
    """The call without the last thing that a tool gave back."""
    answers = [use.answer for use in state.tool_calls if use.answer is not None]
    if not answers:
        raise refold.NotFound(f"no tool gave anything back in {stream}", stream=stream)
    branch = store.branch(stream)
    without = branch.without(answers[-1].id)
    (line,) = (line for line in transcript(branch) if line.id == answers[-1].id)
    changes = msgspec.to_builtins(refold.diff_states(state, without.fold(Conversation).state))
    # As RFC 6902 writes an operation: without the value that was there before.
    patch = [{k: v for k, v in change.items() if k != "before"} for change in changes]
    return ShownWhatIf(stream=stream, without=line, patch=patch)
