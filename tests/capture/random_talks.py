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
from typing import Any, Final, Literal, NamedTuple

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
Fault = Literal["unreachable", "closed"] | Broken


class Sent(NamedTuple):
    """An answer as a server sends it: as the caller reads it, and what comes on the wire.

    ``ends`` are the places in ``plain`` at which each frame of a stream has come.
    """

    plain: bytes
    comes: Comes
    ends: list[int] = []


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
    expected: list[Any] = field(default_factory=lambda: [SessionStarted()])
    unread: list[list[str]] = field(default_factory=list)
    exact: list[tuple[bytes, bytes]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.draw = Draw(self.seed)
        self.first = f"talk {self.seed}: {self.draw.words()}"
        self._items: list[Body] = []
        self._new: list[Any] = []
        self._agent: AgentConfigured | None = None
        self._messages = 0

    def run(self) -> Iterator[None]:
        """The conversation, one call at a time."""
        draw, speaker = self.draw, self.speaker
        agent = speaker.agent(draw)
        words = self.first
        for _ in range(draw.choice([1, 1, 2, 3])):
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

    def _hear(self, turn: Turn) -> None:
        self._items += turn.items
        self._new += turn.events

    def _answered(self, agent: Agent) -> Generator[None, None, Body | str]:
        """Ask until there is an answer: its body, or the words of one that was interrupted."""
        draw, speaker = self.draw, self.speaker
        streams = draw.chance(0.5)
        request = draw.json(speaker.request(draw, agent, self._items, streams=streams))
        for attempt in range(1, draw.choice([1, 1, 1, 2, 3])):
            fault = draw.choice(FAULTS)
            answer = speaker.answer(draw, agent, streams=streams)
            if fault == "refused":
                came = self._refused(agent, request, attempt, streams)
            else:
                came = self._broken(agent, request, attempt, fault, answer, streams)
            yield
            if came.is_whole:
                return answer
            said = [one.text for one in speaker.spoken(came) if isinstance(one, AgentUtterance)]
            if fault == "closed" and said and said[0].strip() and draw.chance(0.5):
                return said[0]
        answer = speaker.answer(draw, agent, streams=streams)
        sent, came = self._sent(answer, streams)
        self._call(agent, request, sent, streams)
        self._comes_to(agent, speaker.spoken(came))
        yield
        return answer

    # -- calls ------------------------------------------------------------------------------------

    def _refused(self, agent: Agent, request: bytes, attempt: int, streams: bool) -> Came:
        """The server says no; its words are the failure's."""
        draw = self.draw
        status, why = draw.choice([400, 429, 500, 503, 529]), draw.words()
        body = draw.json({"error": {"message": why, "type": "bad"}})
        if draw.chance(0.2):
            why = "<html>Bad gateway</html>"
            body = why.encode()
        sent = _on_wire(draw, body, "application/json")
        sent.comes.status = status
        self._call(agent, request, sent, streams, attempt=attempt, answer=body)
        self._comes_to(agent, [ModelFailed(why, attempt, status)])
        return Came()

    def _broken(
        self, agent: Agent, request: bytes, attempt: int, fault: Fault, answer: Body, streams: bool
    ) -> Came:
        """What comes of an answer that breaks off somewhere."""
        draw = self.draw
        if fault == "unreachable":
            how: Any = draw.choice(["cut", "timeout", "interrupt"])
            sent = Sent(b"", Comes([], None, broken=how))
            self._call(agent, request, sent, streams, attempt=attempt, answer=b"")
            why = WHY["unreachable" if how == "cut" else how]
            self._comes_to(agent, [ModelFailed(why, attempt)])
            return Came()
        sent, came = self._sent(answer, streams)
        raw = b"".join(sent.comes.chunks)
        if fault == "closed":
            closes = draw.randint(0, len(sent.comes.chunks))
            raw = b"".join(sent.comes.chunks[:closes])
        else:
            closes, raw = None, raw[: draw.randint(0, len(raw))]
            sent.comes.chunks, sent.comes.broken = draw.chunks(raw), fault
        plain = _unpacked(raw) if "content-encoding" in sent.comes.headers else raw
        if not streams:
            came = came if plain == sent.plain else Came()
        else:
            came = self._came(answer, sum(end <= len(plain) for end in sent.ends))
        self._call(agent, request, sent, streams, attempt=attempt, answer=raw, closes=closes)
        made = self.speaker.spoken(came) if came.facts else []
        if not came.is_whole:
            words = [one for one in made if isinstance(one, AgentUtterance)]
            words = [one for one in words if one.text or one.parts]
            made = [*made[:1], *words] if words else []
            made.append(ModelFailed(WHY[fault], attempt, 200))
        self._comes_to(agent, made)
        return came

    def _call(
        self, agent: Agent, request: bytes, sent: Sent, streams: bool, *,
        attempt: int = 1, answer: bytes | None = None, closes: int | None = None,
    ) -> None:  # fmt: skip
        """Make a call, and note what must be there of its beginning."""
        headers = {"content-type": "application/json", "authorization": "Bearer sk-canary"}
        if attempt > 1:
            headers["x-stainless-retry-count"] = str(attempt - 1)
        path = self.speaker.path(streams=streams)
        self.caller.get(self.draw, path, request, headers, sent, closes)
        if agent.configured != self._agent:
            self._agent = agent.configured
            self.expected.append(agent.configured)
        self.expected += self._new
        self._new = []
        self.expected.append(
            ModelRequest(self.speaker.name, hash=sha256(request).hexdigest(), attempt=attempt)
        )
        self.unread.append([*agent.unread, *self.speaker.unread([*agent.lead, *self._items])])
        kept = b"".join(sent.comes.chunks) if answer is None else answer
        self.exact.append((request, kept))

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
            sent = _on_wire(draw, draw.json(answer), "application/json")
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
        sent = _on_wire(draw, raw, "text/event-stream")._replace(ends=ends)
        return sent, self._came(answer, len(ends))

    def _came(self, answer: Body, count: int) -> Came:
        """What had come of a streamed answer with so many of its frames."""
        came = Came()
        frames = self.speaker.frames(Draw(self._frames), answer, came)
        for _ in range(count):
            next(frames)
        return came


def _on_wire(draw: Draw, plain: bytes, kind: str) -> Sent:
    headers = {"content-type": kind, "x-request-id": "r-1", "set-cookie": "a=b"}
    raw = plain
    if draw.chance(0.3):
        headers["content-encoding"] = "gzip"
        packer = zlib.compressobj(wbits=31)
        pieces = draw.chunks(plain)
        flushed = (packer.compress(one) + packer.flush(zlib.Z_SYNC_FLUSH) for one in pieces)
        raw = b"".join(flushed) + packer.flush()
    return Sent(plain, Comes(draw.chunks(raw), headers=headers))


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
