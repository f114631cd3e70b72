"""A redacted turn is gone from every captured request and answer that repeated it."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold import Event
from refold.capture.elements import (
    KnownElements,
    answer_kept,
    encode_form,
    in_events,
    taken_apart,
)
from refold.capture.events import WirePiece, WireRequest
from refold.capture.exact import RedactedBytes, Requests, answer_of, check_exact
from refold.conversation import ModelRequest, UserUtterance
from refold.privacy import redaction, removing
from refold.privacy.decisions import OUT_OF_REACH
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from tests.privacy.erasable import ON_DISK
from tests.support.stores import url_of

WHY = Removal("asked for")
SECRET = 'Zoë’s "card" is\n4242 4242 4242 4242'


@pytest.fixture(params=ON_DISK)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """A store of each kind."""
    with refold.open(url_of(request.param, tmp_path)) as opened:
        yield opened


class Talk:
    """A captured conversation whose every request repeats all that was said before."""

    def __init__(self, store: refold.Store, stream: str, **metadata: Any) -> None:
        self.store, self.stream, self.metadata = store, stream, metadata
        self.known = KnownElements()
        self.messages: list[dict[str, Any]] = []
        self.requests: dict[int, bytes] = {}

    def say(self, text: str) -> int:
        """Somebody says something, and the model is asked; the version of the utterance."""
        self.messages.append({"role": "user", "content": text})
        said = self.store.append(self.stream, [UserUtterance(text)], metadata=self.metadata)
        return self.ask() and said.version

    def ask(self, *, extra: Any = None) -> int:
        """The model is asked, in one request that repeats all; its version."""
        body = json.dumps({"model": "m", "messages": self.messages, "x": extra}).encode()
        form, call = taken_apart(body, self.known), f"call{len(self.requests)}"
        events = [
            Event("wire.request", msgspec.Raw(encode_form(one)))
            if isinstance(one, WireRequest)
            else one
            for one in in_events(form)
        ]
        told = ModelRequest("openai-chat", hash=form.hash)
        metadata = {**self.metadata, "call": call}
        at = self.store.append(self.stream, [*events, told], metadata=metadata).version - 1
        self.known.learn(at, form)
        self.requests[at] = body
        return at

    def answer(self, *pieces: bytes) -> None:
        """The answer to the last request comes, in pieces as they came."""
        call = f"call{len(self.requests) - 1}"
        whole = sha256(b"".join(pieces)).hexdigest()
        for place, piece in enumerate(pieces, 1):
            end = {"ending": "whole", "hash": whole} if place == len(pieces) else {}
            kept = answer_kept(piece, **end)
            self.store.append(self.stream, [kept], metadata={**self.metadata, "call": call})


def everything(store: refold.Store) -> bytes:
    """All payloads of a store, with every escape of JSON taken away."""
    found = b"\n".join(one.raw for one in store.read_all())
    return found.replace(b"\\", b"").replace(b"u00eb", "ë".encode())


def test_a_turn_goes_from_every_later_request(store: refold.Store) -> None:
    """Elements, JSON in strings and digests; requests can be read, and say what they are not."""
    talk = Talk(store, "chat-1")
    talk.say("hello there, this is a long enough first turn to be an element of its own")
    at = talk.say(SECRET)
    arguments = json.dumps({"note": SECRET, "inner": json.dumps({"note": SECRET})})
    call = {"type": "function", "function": {"name": "note", "arguments": arguments}}
    talk.messages.append({"role": "assistant", "tool_calls": [call]})
    for number in range(4):
        talk.say(f"and more, number {number}, which is nobody's business but is no secret at all")
    removed = redact(store, [f"chat-1@{at}"], field="text", wanted=WHY)
    assert b"4242" not in everything(store)
    digests = [sha256(body).hexdigest().encode() for body in talk.requests.values()]
    kept = everything(store)
    requests = Requests(store, "chat-1")
    for version, body in talk.requests.items():
        now = requests.body_at(version)
        if b"4242" not in body:
            assert now == body
            assert not isinstance(now, RedactedBytes)
            continue
        assert isinstance(now, RedactedBytes)
        assert [one.get("role") for one in json.loads(now)["messages"]] == [
            one.get("role") for one in json.loads(body)["messages"]
        ]
        assert json.loads(now)["messages"][1] == {"role": "user", "content": "[redacted]"}
    assert [digest in kept for digest in digests] == [True] + [False] * 5
    (check,) = check_exact(store)
    assert check.good
    assert "1 requests" in check.detail
    assert "5 more were redacted" in check.detail
    assert not [one for one in removed.checks if not one.good and one.name != OUT_OF_REACH]


def test_a_request_in_pieces_is_one_text(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A secret that is cut by the border of two pieces goes too."""
    monkeypatch.setattr("refold.capture.elements.PIECE_BYTES_MAX", 256)
    talk = Talk(store, "chat-1")
    at = talk.say(SECRET)
    for number in range(20):
        talk.ask(extra=[f"{'x' * number}{SECRET}", SECRET * 3])
    pieces = [one for one in store.read("chat-1") if one.type == "wire.piece"]
    assert any(SECRET[-9:] in one.data["text"] for one in pieces)
    redact(store, [f"chat-1@{at}"], field="text", wanted=WHY)
    left = [one for one in store.read("chat-1") if one.type == "wire.piece"]
    whole = "".join(one.to_class(WirePiece).text for one in left)
    assert "4242" not in whole
    requests = Requests(store, "chat-1")
    for version in talk.requests:
        assert isinstance(requests.body_at(version), RedactedBytes)


def test_a_streamed_answer_is_one_text(store: refold.Store) -> None:
    """Token by token, over pieces that are cut anywhere, and compressed ones."""
    talk = Talk(store, "chat-1")
    at = talk.say(SECRET)
    tokens = ["You said: ", *SECRET[::1][:10], SECRET[10:25], SECRET[25:], ", right?"]
    lines = [json.dumps({"choices": [{"delta": {"content": one}}]}) for one in tokens]
    said = "".join(f"data: {line}\n\n" for line in lines).encode()
    talk.answer(*(said[start : start + 37] for start in range(0, len(said), 37)))
    redact(store, [f"chat-1@{at}"], field="text", wanted=WHY)
    now = answer_of(store, "chat-1", [*talk.requests][-1])
    assert isinstance(now, RedactedBytes)
    deltas = [json.loads(line[6:]) for line in now.decode().split("\n\n") if line]
    told = "".join(one["choices"][0]["delta"]["content"] for one in deltas)
    assert told.startswith("You said: [redacted]")
    assert told.endswith(", right?")
    assert not {*"4242"} & {*told}


def test_branches_and_other_streams_of_the_subject_are_looked_through(
    store: refold.Store,
) -> None:
    """Another subject's are not, whatever they say."""
    talk = Talk(store, "chat-1", subject="ann")
    at = talk.say(SECRET)
    branch = store.branch("chat-1", at=at)
    branch.adding(UserUtterance(f"again: {SECRET}")).save("chat-1~b")
    Talk(store, "mail-7", subject="ann").say(f"as I said: {SECRET}")
    Talk(store, "chat-9", subject="bob").say(f"me too: {SECRET}")
    redact(store, [f"chat-1~b@{at}"], field="text", wanted=WHY)
    held = {one.stream for one in store.read_all() if b"4242" in one.raw}
    assert held == {"chat-9"}


def test_what_is_said_again_meanwhile_is_found(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An append between the plan and the end is looked through before it is said to be done."""
    talk = Talk(store, "chat-1")
    at = talk.say(SECRET)
    plain, again = removing.remove, [SECRET, SECRET]

    def racing(*args: Any) -> Any:
        if again:
            talk.say(again.pop())
        return plain(*args)

    monkeypatch.setattr(redaction, "remove", racing)
    redact(store, [f"chat-1@{at}"], field="text", wanted=WHY)
    assert not again
    assert b"4242" not in everything(store)


def test_a_live_capture_goes_on_after_a_redaction(store: refold.Store) -> None:
    """A request that names an element which was redacted meanwhile is read, and told apart."""
    talk = Talk(store, "chat-1")
    at = talk.say(SECRET)
    redact(store, [f"chat-1@{at}"], field="text", wanted=WHY)
    later = talk.ask()
    assert isinstance(Requests(store, "chat-1").body_at(later), RedactedBytes)
    assert all(check.good for check in check_exact(store))
