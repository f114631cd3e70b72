"""A witness by others signs our heads over HTTP, and no head that does not continue the last."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer
from itertools import count
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

import refold
from refold.audit import Sealing, prove
from refold.audit import verify as verify_log
from refold.audit import witness as witnessing_module
from refold.audit.note import (
    COSIGNATURE,
    ED25519,
    Checkpoint,
    Note,
    SigningKey,
    check_note,
    cosigned_at,
    parse_note,
)
from refold.audit.tree import consistency_path, root_of
from refold.audit.verifier.heads import trusted_key
from refold.audit.verifier.program import verify
from refold.audit.verifier.proofs import VerifierOptions
from refold.audit.witness import ANSWER_BYTES_MAX, cosigned, witnessed
from refold.errors import ProofError, RefoldError, Rejected, Unavailable
from tests.audit.logs import entries_of, nodes_of
from tests.audit.others import Judge, witnessing
from tests.audit.sealed import KINDS, told
from tests.support.stores import url_of

KEY = SigningKey("example.org/log", bytes(range(32)))
WITNESS = SigningKey("example.org/witness", bytes(range(1, 33)), COSIGNATURE)
WITNESS_KEY = WITNESS.verifying
NODES = nodes_of(entries_of(600))
FORKED = nodes_of([b"another", *entries_of(600)[1:]])


@pytest.fixture
def witness() -> Iterator[str]:
    """The address of a witness that has signed nothing yet."""
    with witnessing(str(KEY.verifying), str(WITNESS._replace(kind=ED25519))) as url:
        yield url


def head(size: int, nodes: Any = NODES, key: SigningKey = KEY) -> Note:
    """The signed head of the log as it was."""
    text = Checkpoint(key.name, size, root_of(size, nodes)).text
    return Note(text, [key.sign(text)])


def ask(url: str, size: int, nodes: Any = NODES, key: SigningKey = KEY) -> Note:
    """Ask a witness to sign the head of a size."""
    return cosigned(
        head(size, nodes, key),
        url=url,
        witness=WITNESS_KEY,
        proof_since=lambda old: consistency_path(old, size, nodes) if old <= size else [],
    )


def test_a_witness_signs_what_grows(witness: str, judge: Judge) -> None:
    """From the first head on; the signature says when, and torchwood accepts it."""
    for size in (5, 256, 600, 600):
        note = ask(witness, size)
        assert [one.name for one in note.signatures] == [KEY.name, WITNESS.name]
        assert cosigned_at(check_note(note, WITNESS_KEY)) > 1_700_000_000
        assert judge.said("cosigned", text=str(note), key=str(WITNESS_KEY)) == note.text
        assert judge.said("note", text=str(note), key=str(KEY.verifying)) == note.text


def test_a_newer_signature_takes_the_place_of_the_older(witness: str) -> None:
    """A note has one of each witness."""
    note = ask(witness, 5)
    again = cosigned(note, url=witness, witness=WITNESS_KEY, proof_since=lambda _: [])
    assert len(again.signatures) == 2


def test_a_log_that_was_rolled_back_is_told(witness: str) -> None:
    """The witness remembers the larger one."""
    ask(witness, 600)
    with pytest.raises(ProofError, match="has signed a log of 600 events, and this one has 300"):
        ask(witness, 300)


@pytest.mark.parametrize("size", [300, 600])
def test_a_log_that_forked_is_not_signed(witness: str, size: int) -> None:
    """Neither at the size that was signed nor at a larger one."""
    ask(witness, 300)
    with pytest.raises(ProofError, match="the log has forked"):
        ask(witness, size, nodes=FORKED)


def test_a_log_that_is_not_known_is_not_signed(witness: str) -> None:
    """Another name, or another key of the same name."""
    with pytest.raises(Rejected, match="has not added this log"):
        ask(witness, 5, key=SigningKey("other.org/log", KEY.seed))
    with pytest.raises(RefoldError, match="did not sign"):
        ask(witness, 5, key=SigningKey(KEY.name, bytes(32)))


@contextmanager
def answering(status: int, content: bytes) -> Iterator[str]:
    """A server that gives one answer to everything."""

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            """Answer."""
            self.rfile.read(int(self.headers["content-length"]))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()


def cosignature(seed: bytes = WITNESS.seed, text: str | None = None) -> bytes:
    """The line of a witness's signature."""
    line = WITNESS._replace(seed=seed).sign(text or head(5).text, time_s=1_700_000_000).line
    return line.encode()


@pytest.mark.parametrize(
    ("status", "content", "error"),
    [
        (200, b"", ProofError),
        (200, b"\xff", ProofError),
        (200, cosignature(bytes(32)), ProofError),
        (200, cosignature(text=head(6).text), ProofError),
        (200, b"x" * (2 * ANSWER_BYTES_MAX), ProofError),
        (409, b"", Unavailable),
        (409, b"-1\n", Unavailable),
        (409, b"9" * 30, Unavailable),
        (409, b"4\n", Unavailable),
        (409, b"5\n", ProofError),
        (409, b"6\n", ProofError),
        (400, b"no", Rejected),
        (422, b"", ProofError),
        (429, b"", Unavailable),
        (500, b"", Unavailable),
        (302, b"", Unavailable),
    ],
)
def test_an_answer_that_is_none_is_not_taken(
    status: int, content: bytes, error: type[RefoldError]
) -> None:
    """A signature of another key or text, no size, a failure: each by its kind of error."""
    with answering(status, content) as url, pytest.raises(error):
        ask(url, 5)


def test_an_answer_that_does_not_end_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece comes in time, and all of them do not."""
    monkeypatch.setattr(
        witnessing_module, "time", SimpleNamespace(monotonic=count(step=20).__next__)
    )
    with answering(200, cosignature()) as url, pytest.raises(Unavailable, match="in time"):
        ask(url, 5)


def test_a_good_signature_among_others_is_found() -> None:
    """A witness may answer with several lines."""
    other = SigningKey("third.org", bytes(32), COSIGNATURE).sign(head(5).text, time_s=1).line
    with answering(200, other.encode() + cosignature()) as url:
        assert [one.name for one in ask(url, 5).signatures] == [KEY.name, WITNESS.name]


@pytest.mark.parametrize("kind", KINDS)
def test_the_signature_is_kept_with_the_head(witness: str, tmp_path: Path, kind: str) -> None:
    """Beside that of another witness; what is printed and proved carries both, and verifies."""
    second = SigningKey("second.org", bytes(32), COSIGNATURE)
    with refold.open(url_of(kind, tmp_path), synchronous="NORMAL") as store:
        for _ in range(2):
            told(store, rounds=1)
            sealing = Sealing(store, KEY)
            note = sealing.checkpoint()
            line = second.sign(parse_note(note).text, time_s=1_700_000_000).line
            with answering(200, line.encode()) as other:
                witnessed(store, other, second.verifying)
            assert check_note(parse_note(witnessed(store, witness, WITNESS_KEY)), WITNESS_KEY)
            kept = parse_note(sealing.checkpoint())
            assert [one.name for one in kept.signatures] == [KEY.name, second.name, WITNESS.name]
            proof = msgspec.json.encode(prove(store, "call-1@0"))
            keys = [trusted_key(str(key)) for key in (KEY.verifying, second.verifying, WITNESS_KEY)]
            assert verify(io.BytesIO(proof), VerifierOptions(keys, [], show=False), "proof")
            assert verify_log(store, deep=True).finding_count == 0


@pytest.mark.parametrize("url", ["http://127.0.0.1:1", "nothing", "http://[", "ftp://example.org"])
def test_no_answer_is_unavailable(url: str) -> None:
    """Nobody listens, or it is no address."""
    with pytest.raises(Unavailable, match="does not answer"):
        ask(url, 5)
