"""What real logs give a stranger is verified by the one file that has nothing of refold."""

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold.audit import prove, prove_continued, sealed_export
from refold.audit.note import SigningKey
from refold.audit.verifier.heads import Unverified, trusted_key
from refold.audit.verifier.program import verify
from refold.audit.verifier.proofs import VerifierOptions
from tests.audit.sealed import KINDS, ORIGIN, key_of, sealed_by, told
from tests.support.stores import url_of


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """A sealed log of each kind."""
    with refold.open(url_of(request.param, tmp_path), synchronous="NORMAL") as opened:
        told(opened, rounds=4)
        yield opened


def verified(*values: Any, key: SigningKey | None = None) -> str:
    """What the verifier says of JSON values, one a line."""
    trusted = trusted_key(str((key or key_of()).verifying))
    file = io.BytesIO(b"".join(msgspec.json.encode(value) + b"\n" for value in values))
    return verify(file, VerifierOptions([trusted], [], show=False), "FILE")


def test_every_proof_of_a_log_is_verified(store: refold.Store) -> None:
    """Of every event, whole and with each part withheld; with the name's first event, and as it."""
    old = sealed_by(store).checkpoint()
    told(store, rounds=1)
    sealed_by(store).checkpoint()
    for recorded in store.read_all():
        assert verified(prove(store, recorded.id)).startswith(f"{recorded.id} (")
        for part in ("payload", "metadata", "name"):
            assert verified(prove(store, recorded.id, withhold={part: "not yours"}))
    assert verified(prove_continued(store, old))


def test_a_whole_export_is_verified(store: refold.Store) -> None:
    """Each event follows the one before it, branches the event that they left; one less is told."""
    sealed_by(store).checkpoint()
    lines = list(sealed_export(store))
    assert "every event" in verified(*lines)
    assert verified(*sealed_export(store, withhold=["payload", "metadata", "name"]))
    for wrong in (lines[:-1], [*lines[:3], *lines[4:]], [*lines[:3], lines[4], lines[3]]):
        with pytest.raises(Unverified):
            verified(*wrong)


def test_a_proof_of_another_log_is_refused(store: refold.Store) -> None:
    """Another key of the same name signs for nobody who was given this one."""
    sealed_by(store).checkpoint()
    with pytest.raises(Unverified):
        verified(prove(store, "call-1@0"), key=SigningKey(ORIGIN, bytes(32)))
    with pytest.raises(Unverified):
        verified({**prove(store, "call-1@0"), "origin": "example.com/other"})


def test_metadata_are_shown_as_they_were_given(capsys: pytest.CaptureFixture[str]) -> None:
    """What events of an append share, and an event's own; without the length that is between."""
    with refold.open("memory:") as store:
        own = refold.Event("a.b", {}, metadata={"own": 1})
        store.append("call-1", [own], metadata={"shared": 2})
        sealed_by(store).checkpoint()
        proof = io.BytesIO(msgspec.json.encode(prove(store, "call-1@0")))
    trusted = trusted_key(str(key_of().verifying))
    verify(proof, VerifierOptions([trusted], [], show=True), "FILE")
    assert '  metadata: {"shared":2}{"own":1}\n' in capsys.readouterr().out
