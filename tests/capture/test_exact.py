"""The bytes of a call come back from the store, checked; `refold doctor` checks them all."""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import refold
from refold.capture.elements import KnownElements, answer_kept, encode_form, taken_apart
from refold.capture.events import WirePiece, WireRequest
from refold.capture.exact import Requests, answer_of, check_exact, request_of
from refold.core.event import Event
from refold.errors import Corrupt, NotFound


@pytest.fixture
def store(tmp_path: Path) -> Iterator[refold.Store]:
    with refold.open(tmp_path / "agents.db") as opened:
        yield opened


def body_of(turns: int, words: str = "w") -> bytes:
    return json.dumps(
        {"messages": [{"role": "user", "content": f"{n} {words * 99}"} for n in range(turns)]}
    ).encode()


def record(
    store: refold.Store, call: str, body: bytes, known: KnownElements, *answer: bytes
) -> int:
    """A call as it is kept; the version of its request."""
    form = taken_apart(body, known)
    given = [Event("note", {}), Event("wire.request", msgspec.Raw(encode_form(form)))]
    at = store.append("chat-1", given, metadata={"call": call}).version
    known.learn(at, form)
    whole = hashlib.sha256(b"".join(answer)).hexdigest()
    for place, piece in enumerate(answer, 1):
        end = {"ending": "whole", "hash": whole} if place == len(answer) else {}
        store.append("chat-1", [answer_kept(piece, **end)], metadata={"call": call})
    return at


def test_a_call_comes_back_from_any_of_its_events(store: refold.Store) -> None:
    """Calls that go on at once are told apart."""
    known = KnownElements()
    first = record(store, "a", body_of(1), known, b"one ", b"two")
    second = record(store, "b", body_of(2), known)
    third = store.append("chat-1", [answer_kept(b"three", hash=None)], metadata={"call": "b"})
    for version in (first - 1, first, first + 1, first + 2):
        assert request_of(store, "chat-1", version) == body_of(1)
        assert answer_of(store, "chat-1", version) == b"one two"
    for version in (second, third.version):
        assert request_of(store, "chat-1", version) == body_of(2)
        assert answer_of(store, "chat-1", version) == b"three"


def test_what_is_of_no_call_is_refused(store: refold.Store) -> None:
    """The error says where to look."""
    store.append("chat-1", [Event("note", {})])
    with pytest.raises(NotFound, match=r"chat-1@0 is of no captured call"):
        request_of(store, "chat-1", 0)


def test_long_streams_come_back_from_their_end_and_in_order(store: refold.Store) -> None:
    """Whatever is held of them meanwhile."""
    known = KnownElements()
    versions = [record(store, str(turns), body_of(turns), known) for turns in range(1, 300)]
    for at, turns in ((-1, 299), (150, 151), (0, 1)):
        assert request_of(store, "chat-1", versions[at]) == body_of(turns)
    reader = Requests(store, "chat-1")
    assert all(reader.body_at(at) == body_of(n) for n, at in enumerate(versions, 1))


def test_a_form_in_pieces_comes_back(store: refold.Store) -> None:
    """As one is kept that is too large for an event."""
    form = taken_apart(body_of(3), KnownElements())
    text = encode_form(form).decode()
    pieces = [WirePiece(text[:50]), WirePiece(text[50:]), WireRequest(pieces=2)]
    at = store.append("chat-1", pieces, metadata={"call": "a"}).version
    assert request_of(store, "chat-1", at) == body_of(3)


def test_the_check_finds_what_is_not_exact(store: refold.Store) -> None:
    """A hash that is another, in a request and in an answer."""
    assert list(check_exact(store)) == []
    known = KnownElements()
    record(store, "a", body_of(1), known, b"one", b"two")
    record(store, "b", body_of(2), known, b"one")
    (good,) = check_exact(store)
    assert good.good
    assert good.detail == "2 requests and 2 answers are what their hashes say"
    form = taken_apart(body_of(3), known)
    wrong = msgspec.structs.replace(form, hash="0" * 64)
    at = store.append("chat-1", [wrong], metadata={"call": "c"}).version
    (bad,) = check_exact(store)
    assert not bad.good
    assert bad.detail.startswith(f"chat-1@{at}: ")
    with pytest.raises(Corrupt):
        request_of(store, "chat-1", at)
    store.append("chat-2", [answer_kept(b"one", hash="0" * 64)], metadata={"call": "d"})
    with pytest.raises(NotFound):
        answer_of(store, "chat-2", 0)


def test_the_check_reads_the_log_once(store: refold.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """However long a stream is, of which each request leads to the one before."""
    known = KnownElements()
    for turns in range(1, 60):
        record(store, str(turns), body_of(turns), known, b"one", b"two")
    monkeypatch.delattr(refold.Store, "read")
    assert [check.good for check in check_exact(store)] == [True]


def test_branches_share_the_elements_of_their_parent(store: refold.Store) -> None:
    """A run may lead to a request that the branch shares."""
    known = KnownElements()
    at = record(store, "a", body_of(5), known)
    store.branch("chat-1", at=at).save("chat-1~b")
    form = taken_apart(body_of(6), known)
    assert len(form.new) == 1
    own = store.append("chat-1~b", [form], metadata={"call": "b"}).version
    assert request_of(store, "chat-1~b", own) == body_of(6)
    (good,) = check_exact(store)
    assert good.good
