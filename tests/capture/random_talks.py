"""Random conversations through capture, and what the store must hold of them afterwards."""

from __future__ import annotations

import asyncio
import json
import zlib
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import zip_longest
from types import ModuleType
from typing import Any, Final, Literal, NamedTuple, cast

import msgspec
from msgspec.structs import replace

import refold
from refold import capture
from refold.capture.exact import answer_of, check_exact, request_of
from refold.conversation.events import (
    AgentConfigured,
    AgentUtterance,
    ModelFailed,
    ModelRequest,
    ModelResponse,
    Prompt,
    SessionStarted,
    ToolCall,
)
from tests.capture.speakers.drawing import Draw
from tests.capture.speakers.said import Agent, Body, Came, Speaker, Turn, described, numbered
from tests.capture.wire import Broken, Comes, wire_of

HOST = "https://models.example"
WHY = {
    "cut": "the connection broke before the answer was whole: ReadError: no more",
    "timeout": "no more came in time: ReadTimeout: no more",
    "closed": "the caller stopped reading before the answer was whole",
    "hangs": "the caller cancelled it: CancelledError",
    "interrupt": "the caller cancelled it: KeyboardInterrupt",
    "unreachable": "no answer came: ReadError: no more",
}


FAULTS: Final[tuple[Any, ...]] = (
    "refused", "unreachable", "cut", "closed", "timeout", "hangs", "interrupt",
)  # fmt: skip
Fault = Literal["refused", "unreachable", "closed"] | Broken


class Sent(NamedTuple):
    """An answer as a server sends it: as the caller reads it, and what comes on the wire.

    ``ends`` are the places in ``plain`` at which each frame of a stream has come.
    """

    plain: bytes
    comes: Comes
    ends: list[int] = []

    @property
    def raw(self) -> bytes:
        """All that comes on the wire."""
        return b"".join(self.comes.chunks)


class Ask(NamedTuple):
    """One request, and who is asked; ``attempt`` counts those of a client by itself, from 1."""

    agent: Agent
    request: bytes
    streams: bool
    attempt: int = 1


@dataclass
class Caller:
    """Someone who calls models through refold's clients, blocking or async, streamed or not."""

    store: refold.Store
    library: ModuleType
    runner: asyncio.Runner
    raises: bool = True
    wire: Any = None

    def __post_init__(self) -> None:
        self.wire = wire_of(self.library)
        options: dict[str, Any] = {
            "library": self.library,
            "transport": self.wire,
            "on_error": "raise" if self.raises else "log",
        }
        self._client = capture.client(self.store, **options)
        self._async_client = capture.async_client(self.store, **options)

    def get(
        self, draw: Draw, path: str, content: bytes, headers: Body, sent: Sent, closes: int | None
    ) -> None:
        """Make a call, and see that what comes back is what was sent, to the piece.

        ``closes`` is after how many pieces the caller leaves, None: never.
        """
        self.wire.comes, broken = sent.comes, sent.comes.broken
        is_async = broken == "hangs" or (broken != "interrupt" and draw.chance(0.3))
        if not self.raises:  # Each client has a thread of its own.
            assert capture.flush()
        request = {"url": HOST + path, "content": content, "headers": headers}
        streams = closes is not None or broken is not None or draw.chance(0.6)
        got: list[bytes] = []
        expected = sent.comes.chunks[:closes]
        try:
            if is_async:
                self.runner.run(self._get_async(request, streams, broken, got, closes))
            else:
                self._get(request, streams, got, closes)
        except (self.library.TransportError, asyncio.CancelledError, KeyboardInterrupt):
            assert broken is not None
        else:
            assert broken is None or closes is not None
        assert got == expected if streams else b"".join(got) == sent.plain
        asked, raw = self.wire.sent.pop()
        assert raw == content
        assert "refold" not in " ".join([*asked.headers, *asked.headers.values()]).lower()

    def _get(self, request: Body, streams: bool, got: list[bytes], closes: int | None) -> None:
        if not streams:
            got.append(self._client.post(**request).content)
            return
        with self._client.stream("POST", **request) as response:
            if closes == 0:
                return
            for chunk in response.iter_raw():
                got.append(chunk)
                if len(got) == closes:
                    return

    async def _get_async(
        self, request: Body, streams: bool, broken: Any, got: list[bytes], closes: int | None
    ) -> None:
        if not streams:
            got.append((await self._async_client.post(**request)).content)
            return

        async def read() -> None:
            async with self._async_client.stream("POST", **request) as response:
                if closes == 0:
                    return
                async for chunk in response.aiter_raw():
                    got.append(chunk)
                    if len(got) == closes:
                        return

        task = asyncio.create_task(read())
        if broken == "hangs":
            for _ in range(20 + 3 * len(self.wire.comes.chunks)):
                await asyncio.sleep(0)
            task.cancel()
        await task


@dataclass
class Talk:
    """One conversation: what was said in it, and the events that this must come to."""

    speaker: Speaker
    caller: Caller
    seed: int
    packed: float = 0.3
    """How likely an answer comes compressed."""
    expected: list[Any] = field(default_factory=lambda: [SessionStarted()])
    unread: list[list[str]] = field(default_factory=list)
    exact: list[tuple[bytes, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draw = Draw(self.seed)
        self.first = f"talk {self.seed}: {self.draw.words()}"
        self._items: list[Body] = []
        self._new: list[Any] = []
        self._agent: AgentConfigured | None = None
        self._prompt: Prompt | None = None
        self._messages = 0

    def run(self) -> Iterator[None]:
        """The conversation, one call at a time."""
        draw, speaker = self.draw, self.speaker
        agent = speaker.agent(draw)
        words = self.first
        for _ in range(draw.choice([1, 1, 2, 3])):
            if draw.chance(0.15):
                self._instruct(draw.words())
            self._hear(speaker.user(draw, words))
            for _ in range(2):
                body = yield from self._answered(agent)
                if isinstance(body, str):  # The words that came before the caller spoke again.
                    self._items += speaker.words(body)
                    break
                self._items += speaker.again(draw, body)
                calls = speaker.calls(speaker.came(body))
                if not calls:
                    break
                self._hear(speaker.results(draw, calls))
            words = draw.words()
            if draw.chance(0.2):
                agent = speaker.agent(draw)

    def _instruct(self, text: str) -> None:
        """Another prompt from here on."""
        item = self._items and self.speaker.instructions(self.draw, text)
        if item:
            self._items.append(item)
            self._new.append(Prompt(text))

    def _hear(self, turn: Turn) -> None:
        self._items += turn.items
        self._new += turn.events

    def breaks(self, at: int) -> bool:
        """A streamed answer that breaks off, and the same asked again.

        ``at`` counts places: an even one is the end of a frame, an odd one is a byte before the
        next. False: there are not as many.
        """
        draw, speaker = self.draw, self.speaker
        agent = speaker.agent(draw)
        self._hear(speaker.user(draw, self.first))
        ask = Ask(agent, draw.json(speaker.request(draw, agent, self._items, streams=True)), True)
        answer = speaker.answer(draw, agent, streams=True)
        sent, whole = self._sent(answer, streams=True)
        places = [0, *(place for end in sent.ends for place in (end - 1, end))]
        if at < len(places):
            fault: Fault = draw.choice(["cut", "timeout"])
            if not self._breaks(ask, fault, sent, answer, upto=places[at]).is_whole:
                self._call(ask, self._sent(answer, streams=True)[0])
                self._comes_to(agent, speaker.spoken(whole))
        return at < len(places)

    def _answered(self, agent: Agent) -> Generator[None, None, Body | str]:
        """Ask until there is an answer: its body, or the words of one that was interrupted."""
        draw, speaker = self.draw, self.speaker
        streams = draw.chance(0.5)
        request = draw.json(speaker.request(draw, agent, self._items, streams=streams))
        for attempt in range(1, draw.choice([1, 1, 1, 2, 3])):
            ask, fault = Ask(agent, request, streams, attempt), draw.choice(FAULTS)
            answer = speaker.answer(draw, agent, streams=streams)
            came = self._fails(ask, fault, answer)
            yield
            if came.is_whole:
                return answer
            if fault == "closed" and (heard := speaker.heard(came)) and draw.chance(0.5):
                return heard
        answer = speaker.answer(draw, agent, streams=streams)
        sent, came = self._sent(answer, streams)
        self._call(Ask(agent, request, streams), sent)
        self._comes_to(agent, speaker.spoken(came))
        yield
        return answer

    # -- calls ------------------------------------------------------------------------------------

    def _fails(self, ask: Ask, fault: Fault, answer: Body) -> Came:
        """A call that gets no answer, or not all of it: what had come."""
        draw = self.draw
        if fault == "refused":
            return self._refused(ask)
        if fault == "unreachable":
            how: Any = draw.choice(["cut", "timeout", "interrupt"])
            self._call(ask, Sent(b"", Comes([], None, broken=how)), answer=b"")
            why = WHY["unreachable" if how == "cut" else how]
            self._comes_to(ask.agent, [ModelFailed(why, ask.attempt)])
            return Came()
        sent, _ = self._sent(answer, ask.streams)
        if fault == "closed":
            return self._breaks(ask, fault, sent, answer, draw.randint(0, len(sent.comes.chunks)))
        return self._breaks(ask, fault, sent, answer, draw.randint(0, len(sent.raw)))

    def _refused(self, ask: Ask) -> Came:
        """The server says no; its words are the failure's."""
        draw = self.draw
        status, why = draw.choice([400, 429, 500, 503, 529]), draw.words()
        body = draw.json({"error": {"message": why, "type": "bad"}})
        if draw.chance(0.2):
            why = "<html>Bad gateway</html>"
            body = why.encode()
        sent = self._on_wire(body, "application/json")
        sent.comes.status = status
        self._call(ask, sent, answer=body)
        self._comes_to(ask.agent, [ModelFailed(why, ask.attempt, status)])
        return Came()

    def _breaks(self, ask: Ask, fault: Fault, sent: Sent, answer: Body, upto: int) -> Came:
        """An answer breaks off after so many bytes, or the caller leaves after so many pieces."""
        comes, closes, raw = sent.comes, None, sent.raw[:upto]
        if fault == "closed":
            closes, raw = upto, b"".join(comes.chunks[:upto])
        else:
            comes.chunks, comes.broken = self.draw.chunks(raw), cast(Broken, fault)
        plain = _unpacked(raw) if "content-encoding" in comes.headers else raw
        if ask.streams:
            came = self._came(answer, sum(end <= len(plain) for end in sent.ends))
        else:
            came = self.speaker.came(answer) if plain == sent.plain else Came()
        self._call(ask, sent, answer=raw, closes=closes)
        made = self.speaker.spoken(came) if came.facts else []
        if not came.is_whole:
            words = [one for one in made if isinstance(one, AgentUtterance)]
            words = [one for one in words if one.text or one.parts]
            made = [*made[:1], *words] if words else []
            made.append(ModelFailed(WHY[fault], ask.attempt, 200))
        self._comes_to(ask.agent, made)
        return came

    def _call(
        self, ask: Ask, sent: Sent, *, answer: bytes | None = None, closes: int | None = None
    ) -> None:
        """Make a call, and note what must be there of its beginning."""
        headers = {"content-type": "application/json", "authorization": "Bearer sk-canary"}
        if ask.attempt > 1:
            headers["x-stainless-retry-count"] = str(ask.attempt - 1)
        path = self.speaker.path(streams=ask.streams)
        self.caller.get(self.draw, path, ask.request, headers, sent, closes)
        agent = ask.agent
        if self._new and isinstance(self._new[0], Prompt):  # Nobody has spoken by the one before.
            self._prompt = self._new.pop(0)
        self._configures(agent.configured)
        for one in self._new:
            if isinstance(one, Prompt):
                self._prompt = one
                self._configures(agent.configured)
            else:
                self.expected.append(one)
        self._new = []
        known = sha256(ask.request).hexdigest()
        where = (HOST + path).partition("?")[0]
        self.expected.append(
            ModelRequest(self.speaker.name, hash=known, attempt=ask.attempt, url=where)
        )
        self.unread.append([*agent.unread, *self.speaker.unread([*agent.lead, *self._items])])
        self.exact.append((ask.request, sent.raw if answer is None else answer))

    def _configures(self, agent: AgentConfigured) -> None:
        """The agent is another, or has another prompt, since it was last said."""
        if self._prompt is not None:
            agent = replace(agent, prompt=self._prompt)
        if agent != self._agent:
            self._agent = agent
            self.expected.append(agent)

    def _comes_to(self, agent: Agent, made: list[Any]) -> None:
        tools = agent.configured.tools
        said = [described(one, tools) if isinstance(one, ToolCall) else one for one in made]
        if not isinstance(said[0], ModelFailed):
            said = numbered(said, f"m{self._messages}")
            self._messages += 1
        self.expected += said

    # -- answers ----------------------------------------------------------------------------------

    def _sent(self, answer: Body, streams: bool) -> tuple[Sent, Came]:
        draw = self.draw
        if not streams:
            sent = self._on_wire(draw.json(answer), "application/json")
            return sent, self.speaker.came(answer)
        raw, ends, line = b"", [], draw.choice([b"\n", b"\r\n", b"\r"])
        raw += draw.choice([b"", b"\xef\xbb\xbf"])
        self._frames = draw.getrandbits(32)
        for kind, data in self.speaker.frames(Draw(self._frames), answer, Came()):
            if draw.chance(0.1):
                raw += b": a comment" + line + line
            if kind:
                raw += b"event: " + kind.encode() + line
            said = data.encode() if isinstance(data, str) else json.dumps(data).encode()
            raw += b"data: " + said
            ends.append(len(raw))
            raw += line + line
        sent = self._on_wire(raw, "text/event-stream")._replace(ends=ends)
        return sent, self._came(answer, len(ends))

    def _on_wire(self, plain: bytes, kind: str) -> Sent:
        draw, raw = self.draw, plain
        headers = {"content-type": kind, "x-request-id": "r-1", "set-cookie": "a=b"}
        if draw.chance(self.packed):
            headers["content-encoding"] = "gzip"
            packer = zlib.compressobj(wbits=31)
            pieces = draw.chunks(plain)
            flushed = (packer.compress(one) + packer.flush(zlib.Z_SYNC_FLUSH) for one in pieces)
            raw = b"".join(flushed) + packer.flush()
        return Sent(plain, Comes(draw.chunks(raw), headers=headers))

    def _came(self, answer: Body, count: int) -> Came:
        """What had come of a streamed answer with so many of its frames."""
        came = Came()
        frames = self.speaker.frames(Draw(self._frames), answer, came)
        for _ in range(count):
            next(frames)
        return came


def _unpacked(raw: bytes) -> bytes:
    unpacker = zlib.decompressobj(31)
    return unpacker.decompress(raw) + unpacker.flush()


# -- what the store has ---------------------------------------------------------------------------


def check(store: refold.Store, talks: Sequence[Talk]) -> None:
    """Each conversation is a stream with its events, and the bytes of each call come back."""
    names = [info.stream for info in store.streams()]
    assert len(names) == len(talks), names
    streams = {_first(store, name): name for name in names}
    for talk in talks:
        stream = next(name for words, name in streams.items() if words == talk.first)
        events = [one for one in store.read(stream) if not one.type.startswith("wire.")]
        found = normal([one.event for one in events])
        for place, (one, other) in enumerate(zip_longest(found, talk.expected)):
            assert same(one, other), f"seed {talk.seed}, event {place}:\n{one}\n{other}"
        asked = [one for one in events if one.type == "model.request"]
        before = 0
        for one, unread in zip(asked, talk.unread, strict=True):
            # What was there before need not be told again.
            told = one.metadata.get("unread", [])
            assert told == unread or (not told and len(unread) <= before), f"seed {talk.seed}"
            before = len(unread)
        for one, exact in zip(asked, talk.exact, strict=True):
            kept = request_of(store, stream, one.version), answer_of(store, stream, one.version)
            assert kept == exact, f"seed {talk.seed}"
    assert [one.good for one in check_exact(store)] == [True]


_encode = msgspec.json.Encoder(order="deterministic").encode


def _first(store: refold.Store, stream: str) -> str:
    said = (one for one in store.read(stream) if one.type == "user.utterance")
    text: str = next(said).data["text"]
    return text


def normal(events: Sequence[Any]) -> list[Any]:
    """Events without times, and with message ids that count from m0."""
    ids: dict[str, str] = {}
    made: list[Any] = []
    for one in events:
        if isinstance(one, ModelResponse | AgentUtterance | ToolCall):
            assert one.message_id is not None
            one = replace(one, message_id=ids.setdefault(one.message_id, f"m{len(ids)}"))
        if isinstance(one, ModelResponse):
            assert one.latency_ms is not None
            one = replace(one, latency_ms=None, first_token_ms=None)
        made.append(one)
    return made


def same(one: Any, other: Any) -> bool:
    """Whether two events are one, to the type of each number."""
    if isinstance(one, ModelFailed) and isinstance(other, ModelFailed):
        one, other = (replace(each, error=each.error.strip(": ")) for each in (one, other))
    return type(one) is type(other) and _encode(one) == _encode(other)
