"""The demo from end to end: record, show, rewind, ask what if, replay, compare, report."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from time import perf_counter
from typing import Any, Final, Literal

import msgspec

import refold
from refold.conversation import Conversation, ConversationState, transcript
from refold.demo import callers, tables
from refold.demo.agent import MODEL
from refold.demo.calls import SOURCE, record_calls
from refold.demo.result import NOTE, CallFigures, DemoResult, Moment, WhatIf
from refold.demo.server import DemoServer
from refold.errors import NotFound, UsageError
from refold.replay import ChatEndpoint, ChatRequest, ReplaySummary, Variant, compare, replay
from refold.replay.report import write_report

SEED: Final = 7
SEED_MAX: Final = 9_999
RUNS_MAX: Final = 100
TITLE: Final = "Larkspur Clinic reception: a shorter prompt"

Step = Literal["record", "replay", "control"]
Progress = Callable[[Step, int, int], None]
"""Called with a step, how much of it is done, and of how much."""


def run_demo(
    store: refold.Store | str | os.PathLike[str],
    *,
    seed: int = SEED,
    report_path: str | os.PathLike[str] = "refold-demo.html",
    progress: Progress | None = None,
) -> DemoResult:
    """Record made-up calls of a clinic's reception, replay them with another prompt, compare.

    Everything stays on this machine: the agent is a rule-based stand-in for a model, behind an
    OpenAI-compatible server on 127.0.0.1 that lives as long as the run. ``store`` is an open
    store, or a path or URL that is opened for the run. ``seed`` (0 to 9,999) determines who calls
    and what they say; the calls are the streams ``call-701``, ``call-702``, … for seed 7.

    Running again with the same store and seed records nothing twice: the calls and every answer
    of the replays are found and used, and the report is written anew. Calls that were cut off
    half-way stay as they are; a whole set is recorded beside them.

    Raises :class:`~refold.errors.UsageError` for a seed out of range and for a report that cannot
    be written.
    """
    if not 0 <= seed <= SEED_MAX:
        raise UsageError(f"seed={seed} is not from 0 to {SEED_MAX}", argument="seed", value=seed)
    report = Path(report_path)
    if report.is_dir() or not report.absolute().parent.is_dir():
        # Said now, not after the calls are recorded and replayed.
        raise UsageError(f"no report can be written to {report}", path=str(report))
    if isinstance(store, refold.Store):
        return _run(store, None, seed, report, progress or _silent)
    where = os.fspath(store)
    # Demo data: a power cut may take the last of it, and then it is recorded again.
    with refold.open(where, synchronous="NORMAL") as opened:
        return _run(opened, where, seed, report, progress or _silent)


def _run(
    store: refold.Store, where: str | None, seed: int, report: Path, progress: Progress
) -> DemoResult:
    timings_s: dict[str, float] = {}
    began_s = perf_counter()
    variant = Variant(prompt=tables.CHANGED, label="shorter prompt")
    control = Variant(params={"seed": seed + 1_000})
    with DemoServer() as server:
        with _timed("record", timings_s):
            streams, reused = _calls(store, server, seed, progress)
        with _timed("replay", timings_s):
            replayed = _replay(store, streams, variant, server, "replay", progress)
        with _timed("control", timings_s):
            repeated = _replay(store, streams, control, server, "control", progress)
        requests = server.requests
    with _timed("compare", timings_s):
        comparison = compare(store, streams, variant, control=control)
    with _timed("report", timings_s):
        write_report(comparison, report, read=store.read, title=TITLE, note=NOTE)
    with _timed("look", timings_s):
        states = {stream: store.fold(stream, Conversation).state for stream in streams}
        shown = _most_telling(states)
        result = DemoResult(
            note=NOTE,
            model=MODEL,
            seed=seed,
            store=where,
            recorded=_figures(store, states, reused),
            shown=shown,
            transcript=transcript(store.read(shown)),
            half_way=_moment(store, shown, store.head(shown) // 2),
            at_end=_moment(store, shown, store.head(shown)),
            what_if=_what_if(store, shown, states[shown]),
            replayed=replayed,
            control=repeated,
            comparison=comparison,
            report=str(report),
            requests=requests,
            timings_s=timings_s,
        )
    timings_s["total"] = round(perf_counter() - began_s, 3)
    return result


@contextmanager
def _timed(name: str, timings_s: dict[str, float]) -> Iterator[None]:
    began_s = perf_counter()
    yield
    timings_s[name] = round(perf_counter() - began_s, 3)


# -- recording ------------------------------------------------------------------------------------


def _calls(
    store: refold.Store, server: DemoServer, seed: int, progress: Progress
) -> tuple[list[str], int]:
    """The streams of the seed's calls, recorded now or found; and how many were found."""
    count = sum(1 for _ in callers.callers(seed))
    for run in range(1, RUNS_MAX + 1):
        again = "" if run == 1 else f"-{run}"
        streams = [f"call-{seed * 100 + number}{again}" for number in range(1, count + 1)]
        there = [store.head(stream) >= 0 for stream in streams]
        if all(there) and all(_is_whole(store, stream) for stream in streams):
            return streams, count
        if not any(there):
            break
    else:
        raise UsageError(f"{RUNS_MAX} demos were cut off in this store: give another path")
    endpoint = _endpoint(server)
    try:
        # The first request pays for loading the HTTP client, and no call should.
        endpoint(ChatRequest(messages=[{"role": "user", "content": ""}], model=MODEL))
        record_calls(
            store,
            streams,
            endpoint,
            seed=seed,
            progress=lambda done, total: progress("record", done, total),
        )
    finally:
        endpoint.close()
    return streams, 0


def _is_whole(store: refold.Store, stream: str) -> bool:
    """Whether a stream is a call of the demo, recorded to its end."""
    first = store.event(f"{stream}@0")
    ended = store.fold(stream, Conversation).state.end_reason
    return first.metadata.get("source") == SOURCE and ended not in (None, "error", "cancelled")


def _endpoint(server: DemoServer) -> ChatEndpoint:
    # No key: the environment's may be a real one, and none of the demo's business.
    return ChatEndpoint(server.base_url, api_key="", timeout_s=30)


def _replay(
    store: refold.Store,
    streams: Sequence[str],
    variant: Variant,
    server: DemoServer,
    step: Step,
    progress: Progress,
) -> ReplaySummary:
    return replay(
        store,
        streams,
        variant,
        _endpoint(server),
        workers=2,
        progress=lambda done, total, _cost, _failures: progress(step, done, total),
    )


# -- looking --------------------------------------------------------------------------------------


def _most_telling(states: dict[str, ConversationState]) -> str:
    """A call worth showing: one that was interrupted, changed something, and is not too long."""

    def interest(stream: str) -> tuple[bool, int]:
        state = states[stream]
        interrupted = any(turn.heard is not None for turn in state.transcript)
        tools = {use.event.name for use in state.tool_calls}
        return interrupted and "book_appointment" in tools, -len(state.transcript)

    return max(states, key=interest)


def _figures(store: refold.Store, states: dict[str, ConversationState], reused: int) -> CallFigures:
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


def _moment(store: refold.Store, stream: str, version: int) -> Moment:
    event = store.event(f"{stream}@{version}")
    line = transcript([event])
    at = line[0].at if line else event.occurred_at.isoformat()
    return Moment(
        version=version,
        id=event.id,
        at=at,
        state=store.fold(stream, Conversation, version=version).state,
    )


def _what_if(store: refold.Store, stream: str, state: ConversationState) -> WhatIf:
    """The call without the last thing that a tool gave back."""
    answers = [use.answer for use in state.tool_calls if use.answer is not None]
    if not answers:
        raise NotFound(f"no tool gave anything back in {stream}", stream=stream)
    branch = store.branch(stream)
    without = branch.without(answers[-1].id)
    changes = refold.diff_states(state, without.fold(Conversation).state)
    (line,) = (line for line in transcript(branch) if line.id == answers[-1].id)
    return WhatIf(stream=stream, without=line, patch=[_json(change) for change in changes])


def _json(change: object) -> dict[str, Any]:
    """An operation as RFC 6902 writes it: without the value that was there before."""
    said: dict[str, Any] = msgspec.to_builtins(change)
    return {name: value for name, value in said.items() if name != "before"}


def _silent(_step: Step, _done: int, _total: int) -> None:
    """No progress is shown."""
