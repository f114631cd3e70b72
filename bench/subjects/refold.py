"""refold as its users call it: typed events, an expected version with every append."""

from __future__ import annotations

import asyncio
import copy
import random
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import Any, Final
from unittest.mock import patch

import httpx2
import msgspec

import refold
import refold.core.snapshot as core_snapshot
import refold.engine.snapshots as engine_snapshots
from bench import captured
from bench.calls import caller_s, serving
from bench.dialogues import COSTS, spent
from bench.measuring import awaited, called, timed
from bench.replaying import decision_s
from bench.subject import Subject, serve, state_of
from bench.workload import State
from refold import capture
from refold.capture.call import ModelCall
from refold.capture.elements import KnownElements, taken_apart
from refold.capture.recorder import CallRecorder
from refold.conversation import Conversation
from refold.conversation.apis.openai_chat import OPENAI_CHAT
from refold.conversation.importers import import_files
from refold.core.registry import default_registry
from refold.projections import Projector
from refold.readmodels import built_in
from refold.replay import verify

REGISTRY: Final = refold.Registry()
CONVERSATIONS: Final = 200
URL: Final = "https://models.example/v1/chat/completions"


class Usage(msgspec.Struct):
    input_tokens: int
    output_tokens: int
    cost: float


class Arguments(msgspec.Struct):
    query: str
    limit: int
    exact: bool


@REGISTRY.event("user.utterance")
class UserUtterance(msgspec.Struct):
    role: str
    text: str
    language: str
    attachments: list[str]


@REGISTRY.event("model.request")
class ModelRequest(msgspec.Struct):
    request_id: str
    model: str
    temperature: float
    output_tokens_max: int
    prompt_tokens: int
    tools: list[str]
    system: str


@REGISTRY.event("model.response")
class ModelResponse(msgspec.Struct):
    request_id: str
    text: str
    finish_reason: str
    usage: Usage
    latency_ms: int


@REGISTRY.event("tool.call")
class ToolCall(msgspec.Struct):
    call_id: str
    name: str
    arguments: Arguments


@REGISTRY.event("tool.result")
class ToolResult(msgspec.Struct):
    call_id: str
    ok: bool
    output: str
    size_bytes: int
    duration_ms: int


@REGISTRY.event("turn.ended")
class TurnEnded(msgspec.Struct):
    turn: int
    outcome: str
    tokens_used: int
    budget_left: float
    summary: str


class Session(msgspec.Struct):
    """The state that the events are folded to."""

    turns: int = 0
    tokens: int = 0
    cost: float = 0.0
    tools: int = 0
    errors: int = 0
    last: str = ""


def _fold(name: str, initial: Callable[[], Session]) -> refold.Fold[Session]:
    fold = refold.Fold(name, initial, registry=REGISTRY)

    @fold.on(UserUtterance)
    def said(state: Session, event: UserUtterance) -> Session:
        state.last = event.text
        return state

    @fold.on(ModelResponse)
    def answered(state: Session, event: ModelResponse) -> Session:
        state.tokens += event.usage.output_tokens
        state.cost += event.usage.cost
        return state

    @fold.on(ToolCall)
    def called_tool(state: Session, _: ToolCall) -> Session:
        state.tools += 1
        return state

    @fold.on(ToolResult)
    def returned(state: Session, event: ToolResult) -> Session:
        state.errors += not event.ok
        return state

    @fold.on(TurnEnded)
    def ended(state: Session, _: TurnEnded) -> Session:
        state.turns += 1
        return state

    return fold


SNAPSHOTTED: Final = _fold("session", Session)
# Without a state type a fold is never snapshotted: every event is read each time.
WHOLE: Final = _fold("session-whole", lambda: Session())


WHOLE_CONVERSATION: Final = copy.copy(Conversation)
WHOLE_CONVERSATION.state_type = None


class RefoldStore:
    """One file, and the versions that the caller knows of its streams."""

    def __init__(self, store: refold.Store, subject: Refold) -> None:
        self.store = store
        self._subject = subject
        self._versions: dict[int, int] = {}

    def append(self, stream: int, start: int, size: int) -> None:
        """Append at the version that the last append left."""
        subject = self._subject
        appended = self.store.append(
            f"session-{stream}",
            subject.typed[start : start + size],
            expected=self._versions.get(stream, refold.NO_STREAM),
            metadata=subject.events[start].metadata,
        )
        self._versions[stream] = appended.version

    def load(self, stream: int) -> State:
        """A stream read and folded, all of it."""
        return state_of(self.store.fold(f"session-{stream}", WHOLE).state)

    def feed(self) -> State:
        """The whole log read in order, each event decoded and folded."""
        return state_of(self.store.fold_all(WHOLE).state)

    def by_stream(self) -> list[int]:
        """The whole log stream by stream: a state each; the sums of what they count."""
        states = [self.store.fold(info.stream, WHOLE).state for info in self.store.streams()]
        return [
            sum(getattr(state, name) for state in states)
            for name in ("turns", "tokens", "tools", "errors")
        ]

    def settle(self) -> None:
        """Move everything out of the write-ahead log."""
        self._subject.reopen(self)

    def close(self) -> None:
        self.store.close()


class Refold(Subject):
    """The subject that all this is about."""

    how: dict[str, Any] = {}
    """More that its stores are opened with."""
    built: dict[str, Any] = {}
    """More that a log kept for reading is written with."""

    def prepare(self) -> None:
        self.registry = default_registry if self.text == "dialogues" else REGISTRY
        classes = {kind.tag: self.registry.class_of(kind) for kind in self.registry.kinds()}
        self.typed: list[Any] = [msgspec.convert(e.data, classes[e.type]) for e in self.events]

    def address(self, path: Path) -> str:
        """What a store of a path is opened by."""
        return str(path)

    def open(self, path: Path) -> RefoldStore:
        opened = refold.open(self.address(path), registry=self.registry, **self.how)
        return RefoldStore(opened, self)

    def reopen(self, kept: RefoldStore) -> None:
        """Close and open: the last connection to close leaves one file."""
        for name, store in self.kept.items():
            if store is kept:
                kept.close()
                address = self.address(self._path(name))
                kept.store = refold.open(address, registry=self.registry, **self.how)

    def append_tasks(self, *, size: int, seconds: float, tasks: int) -> dict[str, float]:
        """Appends by tasks of an event loop, each to a stream of its own."""
        path = self._path("tasks")

        async def measure() -> dict[str, float]:
            versions: list[Any] = [refold.NO_STREAM] * tasks
            address = self.address(path)
            how = {"registry": self.registry, **self.how}
            async with refold.open_async(address, **how) as store:

                async def work(caller: int, n: int) -> None:
                    start = self._start(caller, n, size)
                    appended = await store.append(
                        f"session-{caller}",
                        self.typed[start : start + size],
                        expected=versions[caller],
                        metadata=self.events[start].metadata,
                    )
                    versions[caller] = appended.version

                return await awaited(work, tasks=tasks, seconds=seconds, spent=self.spent_s)

        with self.beside(path):
            figures = asyncio.run(measure())
        self._remove(path)
        return self._events(figures, size)

    def beside(self, path: Path) -> AbstractContextManager[object]:  # noqa: ARG002
        """What goes on beside the tasks."""
        return nullcontext()

    def build(self, *, name: str, events: int, streams: int = 1, size: int = 1) -> None:
        """A log kept for reading, written without waiting for the disk and then opened anew."""
        address = self.address(self._path(name))
        how = {"registry": self.registry, "synchronous": "NORMAL", **self.built}
        store = RefoldStore(refold.open(address, **how), self)
        for n in range(events // (streams * size)):
            for stream in range(streams):
                store.append(stream, self._start(stream, n, size), size)
        self.kept[name] = store
        self.reopen(store)

    def build_captured(self, *, name: str, turns: int) -> dict[str, float]:
        """Calls a second of capturing a conversation of so many; the log is kept."""
        store = RefoldStore(refold.open(self._path(name)), self)
        took_s, _ = timed(lambda: _capture(store.store, turns), seconds=0)
        self.kept[name] = store
        return {"value": turns / took_s}

    def build_steps(self, *, name: str, turns: int) -> dict[str, float]:
        """Checkpoints a second of a LangGraph graph's steps; the log is kept."""
        from bench import steps
        from refold.langgraph import RefoldSaver

        store = self.kept[name] = RefoldStore(refold.open(self.address(self._path(name))), self)
        took_s, _ = timed(lambda: steps.save(RefoldSaver(store.store), turns), seconds=0)
        return {"value": 2 * turns / took_s}

    def build_whole(self, *, name: str, turns: int) -> None:
        """The same, each request and answer kept whole."""
        store = RefoldStore(refold.open(self._path(name)), self)
        for turn in captured.turns(turns):
            bodies = [msgspec.Raw(turn.request), msgspec.Raw(turn.answer)]
            store.store.append("chat-1", [refold.Event("body", {"of": body}) for body in bodies])
        self.kept[name] = store

    def take_apart(self, *, seconds: float) -> dict[str, float]:
        """Seconds to take apart a request of which the last turn is new."""
        known = KnownElements()
        bodies = [turn.request for turn in captured.turns(520)]
        for version, body in enumerate(bodies[500:-1]):
            known.learn(version, taken_apart(body, known))
        took_s, _ = timed(lambda: taken_apart(bodies[-1], known), seconds=seconds, times_min=3)
        return {"value": took_s}

    def fold_conversations(self, *, name: str, seconds: float) -> dict[str, object]:
        """Seconds to fold every conversation of a kept log, each from its first event on."""
        store = self.kept[name].store
        streams = [info.stream for info in store.streams()]
        work = lambda: [store.fold(stream, WHOLE_CONVERSATION).state for stream in streams]  # noqa: E731
        took_s, states = timed(work, seconds=seconds, times_min=3)
        said = sum(len(state.transcript) for state in states)
        return {"value": took_s, "state": [said, sum(len(state.tool_calls) for state in states)]}

    def calls(self, *, captured: bool, streamed: bool) -> dict[str, float]:
        """Processor seconds of the caller's thread a call of 15 KB, or a chunk of an answer."""
        path = self._path("calls")
        with serving() as url, refold.open(path) as store:
            client = capture.client(store) if captured else httpx2.Client()
            with client:
                took_s = caller_s(client, url, streamed=streamed, calls=20 if streamed else 200)
            capture.flush()
        self._remove(path)
        return {"value": took_s}

    def replayed(self, *, bare: bool, conversations: int) -> dict[str, object]:
        """Processor seconds a decision of a replay, or of the bare client in such a run."""
        path = self._path("replayed")
        bare_s, own_s = decision_s(path, conversations)
        self._remove(path)
        more = f"{(own_s - bare_s) * 1_000:.2f} ms over the bare client in the same run"
        return {"value": bare_s} if bare else {"value": own_s, "also": more}

    def verify(self, *, name: str, seconds: float) -> dict[str, object]:
        """Seconds to replay every conversation of a kept log from its own record."""
        store = self.kept[name].store
        streams = [info.stream for info in store.streams()]
        took_s, found = timed(lambda: verify(store, streams), seconds=seconds, times_min=1)
        assert not found.mismatches
        return {"value": took_s, "state": found.decisions}

    def fold_from_snapshot(self, *, name: str, seconds: float) -> dict[str, object]:
        """Seconds to fold the first conversation of a kept log from its newest snapshot."""
        store = self.kept[name].store
        store.fold("session-0", Conversation)
        work = lambda: store.fold("session-0", Conversation)  # noqa: E731
        took_s, folded = timed(work, seconds=seconds, times_min=3)
        state = folded.state
        return {"value": took_s, "state": [len(state.transcript), len(state.tool_calls)]}

    def pack(self, *, name: str) -> dict[str, float]:
        """Events a second of packing all but the last append."""
        took_s, packed = timed(self.kept[name].store.compact, seconds=0)
        return {"value": packed.events / took_s}

    def by_stream(self, *, name: str, events: int) -> dict[str, object]:
        """Events a second of folding the whole log to a state a stream."""
        took_s, state = timed(self.kept[name].by_stream, seconds=0)
        return {"value": events / took_s, "state": state}

    def as_of(self, *, name: str, by: str, seconds: float) -> dict[str, float]:
        """Seconds to have the state at a moment drawn anew each time, with snapshots in place.

        ``by``: version, recorded or occurred.
        """
        store = self.kept[name].store
        moments = _moments(store, by)
        took_s, _ = timed(
            lambda: store.fold("session-0", SNAPSHOTTED, **next(moments)),
            seconds=seconds,
            times_min=20,
        )
        return {"value": took_s}

    def state_at(self, *, name: str, version: int) -> dict[str, object]:
        """The state at a version, to be compared."""
        folded = self.kept[name].store.fold("session-0", SNAPSHOTTED, version=version)
        return {"state": list(state_of(folded.state))}

    def as_of_every(self, *, name: str, between: int, seconds: float) -> dict[str, object]:
        """Seconds of an as-of read with a snapshot every so many events, and what they cost."""
        kept = self.kept[name]
        kept.store._backend.drop_snapshots()
        modules = (core_snapshot, engine_snapshots)
        with ExitStack() as changed:
            for module in modules:
                changed.enter_context(patch.object(module, "EVENTS_BETWEEN_MIN", between))
            first_s, folded = timed(lambda: kept.store.fold("session-0", SNAPSHOTTED), seconds=0)
            answer = self.as_of(name=name, by="version", seconds=seconds)
        taken = sum(p.size_bytes for p in kept.store.sizes() if p.part.startswith("snapshots"))
        events = folded.version + 1
        also = f"{taken / events:.1f} bytes, {first_s / events * 1e6:.2f} µs"
        return {**answer, "also": also}

    def load_from_snapshot(self, *, name: str, seconds: float) -> dict[str, float]:
        """Seconds to load a stream whose fold keeps snapshots."""
        store = self.kept[name].store
        store.fold("session-0", SNAPSHOTTED)
        took_s, _ = timed(lambda: store.fold("session-0", SNAPSHOTTED), seconds=seconds)
        return {"value": took_s}

    def rebuild(self, *, name: str, events: int, projection: str) -> dict[str, object]:
        """Events a second of the log at which a built-in projection is rebuilt."""
        store = self.kept[name].store
        begun = Projector(store, built_in())
        begun.close()
        begun.catch_up()  # Begins each where it was never begun, and ends there.
        projector = Projector(store, built_in())
        took_s, _ = timed(lambda: projector.rebuild(projection), seconds=0)
        answer: dict[str, object] = {"value": events / took_s}
        if projection == "costs":
            answer["state"] = spent(projector.query(COSTS), events)
        projector.confirm(projection)
        return answer

    def append_on(self, *, name: str, size: int, seconds: float, streams: int) -> dict[str, float]:
        """Appends at the end of a kept log, by one caller, to its streams in turn."""
        store = self.kept[name]

        def work(_: int, n: int) -> None:
            store.append(n % streams, self._start(0, n, size), size)

        return self._events(called(work, callers=1, seconds=seconds), size)

    def import_conversations(
        self, *, name: str, folder: str, tools_file: str = "airline-tools.json"
    ) -> dict[str, float]:
        """Events a second of importing the recorded conversations; the log is kept."""
        self.drop(name=name)
        file, tools = Path(folder, "gpt-4o-airline.json"), Path(folder, tools_file)
        store = refold.open(self.address(self._path(name)))
        took_s, report = timed(
            lambda: import_files(store, "tau-bench", [file], tools=tools if tools_file else None),
            seconds=0,
        )
        self.kept[name] = RefoldStore(store, self)
        self.reopen(self.kept[name])
        assert report.ok and report.imported == CONVERSATIONS
        return {"value": report.events / took_s, "events": report.events, "took_s": took_s}

    def size_kept(self, *, name: str) -> dict[str, float]:
        """Bytes an event of a kept log, however many it holds."""
        return self.size(name=name, events=self.kept[name].store.log_head())

    def write_out(self, *, name: str, path: str) -> dict[str, int]:
        """A kept log as JSON lines of stream, type and payload, metadata: a line a stream."""
        store = self.kept[name].store
        count = 0
        with Path(path).open("wb") as out:
            for info in store.streams():
                events = [(e.type, e.data, e.metadata) for e in store.read(info.stream)]
                count += len(events)
                line = (info.stream, [event[:2] for event in events], events[0][2])
                out.write(msgspec.json.encode(line) + b"\n")
        return {"value": count}


def _capture(store: refold.Store, turns: int) -> None:
    """Record calls as their transport tells of them, each answer in one piece."""
    recorder = CallRecorder(store)
    for number, turn in enumerate(captured.turns(turns)):
        call = ModelCall(f"{number:032}", OPENAI_CHAT, URL, turn.request, {}, started_us=number)
        recorder.begin(call)
        call.status = 200
        recorder.received(call, turn.answer)
        call.ending, call.latency_ms = "whole", 1.0
        recorder.end(call)


def _moments(store: refold.Store, by: str) -> Iterator[dict[str, int]]:
    """Moments in the life of a stream as ``fold`` takes them, without end."""
    chance = random.Random(1)
    last = store.head("session-0")
    if by == "version":
        while True:
            yield {"version": chance.randrange(last)}
    ends = [store.event(f"session-0@{version}").recorded_at_us for version in (0, last)]
    while True:
        yield {f"{by}_until": chance.randint(*ends)}


if __name__ == "__main__":
    serve(Refold)
