"""What comes of a call: an answer, the words of one that was not whole, or why there is none."""

import json
import zlib
from collections.abc import Sequence
from typing import Any

import pytest

import refold
from refold.backends.sqlite.compression import zstd
from refold.capture.answers import BEGINNING_MAX, FirstToken
from refold.capture.exact import answer_of, check_exact
from refold.capture.recorder import CallRecorder
from refold.conversation import Conversation
from refold.conversation.apis.gemini import GEMINI
from tests.capture.talk import agent, answered, asked, call_of, ends, streamed, talk, user

CALLED = agent("Wait", ("c1", "pay", '{"amount": 5}'))


@pytest.fixture
def store() -> refold.Store:
    return refold.open("memory:")


def came(store: refold.Store, *pieces: bytes, **known: Any) -> list[Any]:
    """The typed events of what came of one call."""
    recorder, call = CallRecorder(store), call_of(asked([user("Hi")]))
    recorder.begin(call)
    headers = known.pop("headers", None)
    if headers is None:
        ends(recorder, call, pieces, **known)
    else:
        call.status, call.answer_headers = 200, headers
        for piece in pieces:
            recorder.received(call, piece)
        call.ending = known["ending"]
        recorder.end(call)
    (info,) = store.streams()
    events = [*store.read(info.stream)]
    assert answer_of(store, info.stream, info.version) == b"".join(pieces)
    assert [check.good for check in check_exact(store)] == [True]
    first = next(n for n, one in enumerate(events) if one.type == "model.request")
    return [one.event for one in events[first + 1 :] if not one.type.startswith("wire.")]


def error_of(event: Any) -> tuple[str, int | None]:
    assert type(event).__name__ == "ModelFailed"
    return event.error, event.status


def error(message: Any) -> bytes:
    return json.dumps({"error": message}).encode()


@pytest.mark.parametrize(
    ("pieces", "known", "expected"),
    [
        ([error({"message": "Slow down"})], {"status": 429}, ("Slow down", 429)),
        ([error("No")], {"status": 400}, ("No", 400)),
        ([error({"code": 7})], {"status": 500}, ('{"code":7}', 500)),
        ([b'{"detail":"none"}'], {"status": 404}, ('{"detail":"none"}', 404)),
        ([b"<html>Bad gateway</html>"], {"status": 502}, ("<html>Bad gateway</html>", 502)),
        ([], {"status": 503}, ("HTTP 503", 503)),
        ([b"\xff\xfe"], {"status": 500}, ("\ufffd\ufffd", 500)),
        ([b"x" * 9_000], {"status": 500}, ("x" * 2_000, 500)),
        ([error({"message": "Overloaded"})], {}, ("Overloaded", 200)),
        ([b"not JSON"], {}, ("not JSON", 200)),
        ([b"[Errno 5] broken"], {"status": 502}, ("[Errno 5] broken", 502)),
        ([b'[{"error":{"message":"Slow down"}}]'], {"status": 429}, ("Slow down", 429)),
        ([b"["], {"ending": "cut"}, ("the connection broke before", 200)),
        ([b"[]"], {}, ("the answer ended before the API's own end of it", 200)),
        ([b'{"choices":[]}'], {}, ("the answer is none: no choices", 200)),
        ([b'{"choices":[{"mess'], {"ending": "cut"}, ("the connection broke before", 200)),
        ([], {"ending": "cut"}, ("the connection broke before the answer was whole", 200)),
        (
            [],
            {"ending": "unreachable", "status": None, "error": "ConnectError: refused"},
            ("no answer came: ConnectError: refused", None),
        ),
        (
            [],
            {"ending": "timeout", "status": None, "error": "ReadTimeout"},
            ("no more came in time: ReadTimeout", None),
        ),
        ([], {"ending": "cancelled", "status": None}, ("the caller cancelled it", None)),
    ],
)
def test_a_call_without_an_answer_says_why(
    store: refold.Store, pieces: list[bytes], known: Any, expected: tuple[str, int | None]
) -> None:
    """In the words of the server where it has any."""
    (failed,) = came(store, *pieces, **known)
    why, status = error_of(failed)
    assert why.startswith(expected[0])
    assert len(why) <= 2_000
    assert status == expected[1]


@pytest.mark.parametrize("ending", ["cut", "closed", "timeout", "cancelled", "whole"])
def test_a_stream_cut_at_any_piece_keeps_its_words(ending: Any) -> None:
    """What had come is there, and that it was not all."""
    text = "one two three four"
    pieces = streamed(text)
    for count in range(len(pieces) + 1):
        events = came(refold.open("memory:"), *pieces[:count], ending=ending)
        words = " ".join(text.split()[: max(min(count - 1, 4), 0)])
        said = [event.text.strip() for event in events if type(event).__name__ == "AgentUtterance"]
        assert said == ([words] if words else [])
        # The piece before the last says why it ended: nothing of the answer is missing then.
        is_whole = count >= len(pieces) - 1
        assert (type(events[-1]).__name__ == "ModelFailed") != is_whole


def test_half_a_call_was_not_made(store: refold.Store) -> None:
    """Nobody could have run it; the words beside it stand."""
    delta = {"role": "assistant", **CALLED}
    delta["tool_calls"][0]["function"]["arguments"] = '{"amo'
    delta["tool_calls"][0]["index"] = 0
    piece = {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
    events = came(store, b"data: %b\n\n" % json.dumps(piece).encode(), ending="cut")
    names = [type(event).__name__ for event in events]
    assert names == ["ModelResponse", "AgentUtterance", "ModelFailed"]
    (info,) = store.streams()
    assert store.fold(info.stream, Conversation).state.open_calls == {}


def test_an_error_behind_the_words_is_told_after_them(store: refold.Store) -> None:
    """As some servers send one in the stream."""
    late = b"data: %b\n\n" % error({"message": "Overloaded"})
    events = came(store, *streamed("one two", end=False), late)
    assert [type(event).__name__ for event in events][-2:] == ["AgentUtterance", "ModelFailed"]
    assert error_of(events[-1]) == ("Overloaded", 200)


def packed(packing: str, pieces: Sequence[bytes]) -> list[bytes]:
    """The pieces compressed as a server does that sends each at once."""
    if packing == "zstd":
        squeezer = zstd().ZstdCompressor()
        made = [squeezer.compress(one, squeezer.FLUSH_BLOCK) for one in pieces]
        return [*made, squeezer.flush()]
    packer = zlib.compressobj(wbits=31 if packing == "gzip" else 15)
    made = [packer.compress(one) + packer.flush(zlib.Z_SYNC_FLUSH) for one in pieces]
    return [*made, packer.flush()]


@pytest.mark.parametrize("packing", ["gzip", "deflate", "zstd"])
def test_a_compressed_answer_is_read_and_kept_as_it_came(store: refold.Store, packing: str) -> None:
    """The bytes on the wire are the bytes that come back."""
    headers = {"content-encoding": packing, "content-type": "application/json"}
    pieces = packed(packing, [answered(agent("Hello"))])
    response, said = came(store, *pieces, headers=headers, ending="whole")
    assert said.text == "Hello"
    assert response.usage.input_tokens == 100


@pytest.mark.parametrize("packing", ["gzip", "deflate", "zstd"])
def test_a_compressed_stream_is_read_as_far_as_it_came(store: refold.Store, packing: str) -> None:
    """Its words until it was cut."""
    headers = {"content-encoding": packing, "content-type": "text/event-stream"}
    pieces = packed(packing, streamed("a b c"))[:3]
    events = came(store, *pieces, headers=headers, ending="cut")
    assert [getattr(event, "text", None) for event in events] == [None, "a b ", None]


def test_what_is_not_understood_is_named(store: refold.Store) -> None:
    """In the metadata of what it stands beside."""
    recorder = CallRecorder(store)
    call = call_of(asked([user("Hi")], tools=[{"type": "web_search"}]))
    recorder.begin(call)
    odd = {"role": "assistant", "content": "a", "tool_calls": [{"id": "c", "function": {}}]}
    ends(recorder, call, [answered(odd)])
    (info,) = store.streams()
    told = {one.type: one.metadata.get("unread") for one in store.read(info.stream)}
    assert told["model.request"] == ["/tools/0/name"]
    assert told["model.response"] == ["/choices/0/message/tool_calls/0/function/name"]


@pytest.mark.parametrize("body", [b"", b"no JSON", b"[]", b"{}", b'{"messages": 7}', b"\xff"])
def test_a_request_that_is_none_is_kept_all_the_same(store: refold.Store, body: bytes) -> None:
    """Exactly, in a stream of its own, with what the server said to it."""
    recorder, call = CallRecorder(store), call_of(body)
    recorder.begin(call)
    ends(recorder, call, [error({"message": "Bad"})], status=400)
    (info,) = store.streams()
    types = [one.type for one in store.read(info.stream)]
    assert types == [
        "session.started", "wire.request", "model.request", "wire.answer", "wire.answer",
        "model.failed",
    ]  # fmt: skip
    assert [check.good for check in check_exact(store)] == [True]


def test_a_tool_call_says_what_its_tool_does(store: refold.Store) -> None:
    """As its request described it."""
    schema = {"type": "object", "properties": {"amount": {"type": "number"}}}
    tool = {"type": "function", "function": {"name": "pay", "parameters": schema}}
    talk(CallRecorder(store), [user("Pay")], CALLED, rest={"tools": [tool]})
    (info,) = store.streams()
    events = {one.type: one.event for one in store.read(info.stream) if "wire" not in one.type}
    assert events["tool.call"].schema_hash == events["agent.configured"].tools[0].schema_hash != ""
    assert events["tool.call"].message_id == events["model.response"].message_id is not None


def test_an_array_cut_anywhere_keeps_its_words() -> None:
    """As Gemini streams where no events are asked for: each object that had come, marked as cut."""
    words = ["one ", "two ", "three"]
    chunks: list[Any] = [
        {"candidates": [{"content": {"role": "model", "parts": [{"text": word}]}, "index": 0}]}
        for word in words
    ]
    chunks[-1]["candidates"][0]["finishReason"] = "STOP"
    raw = json.dumps(chunks, indent=1).replace("},\n {", "}\r\n,\r\n {").encode()
    for cut in range(0, len(raw) + 1, 7):
        store = refold.open("memory:")
        call = call_of(json.dumps({"contents": [{"parts": [{"text": "Hi"}]}]}).encode())
        call.api, call.url = GEMINI, "https://models.example/v1beta/models/g:streamGenerateContent"
        recorder = CallRecorder(store)
        recorder.begin(call)
        ends(recorder, call, [raw[:cut]], ending="cut")
        (info,) = store.streams()
        events = [one for one in store.read(info.stream) if not one.type.startswith("wire.")]
        said = [one.data["text"] for one in events if one.type == "agent.utterance"]
        whole = sum(_ends_at(raw, word) <= cut for word in words)
        assert said == ["".join(words[:whole])] * bool(whole)
        assert (events[-1].type == "model.failed") == (whole < len(words))


def _ends_at(raw: bytes, word: str) -> int:
    """Where the object with a word ends in an array that is indented by one."""
    return raw.index(b"\n }", raw.index(json.dumps(word).encode())) + 3


def test_the_first_word_is_timed_in_whatever_pieces_it_comes() -> None:
    """What only says that an answer begins is none; of a stream without a word nothing is kept."""
    chunks = b"".join(streamed("Gate 4")).split(b"\n")
    for silence in (b"", b": keep alive\n\n" * (1 + BEGINNING_MAX // 14)):
        call = call_of(asked([user("Hi")]))
        call.answer_headers = {"content-type": "text/event-stream"}
        first = FirstToken(call, 0.0)
        first.take(silence, 1.0)
        for n, chunk in enumerate(chunks):
            first.take(chunk + b"\n", 2.0 + n)
        words = next(n for n, chunk in enumerate(chunks) if b"Gate" in chunk)
        # The blank line behind it ends a piece.
        assert call.first_token_ms == (None if silence else (3.0 + words) * 1_000)
