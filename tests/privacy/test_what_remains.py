"""What is said to stand in a redacted event is held to its redaction, by who has one file only."""

from __future__ import annotations

import io
from base64 import b64decode, b64encode
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold import Event
from refold.audit import evidence_bundle, prove, sealed_export
from refold.audit.verifier.heads import Unverified, trusted_key
from refold.audit.verifier.program import verify
from refold.audit.verifier.proofs import VerifierOptions
from refold.privacy.erasure import erase
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from tests.audit.sealed import key_of, sealed_by
from tests.privacy.erasable import KINDS
from tests.support.stores import url_of

WHY = Removal("asked for")
SAID = "I am Ann Example of 12 Example Street"
LEFT = b'{"text":"I am [redacted] of 12 Example Street"}'
OPTIONS = VerifierOptions([trusted_key(str(key_of().verifying))], [], True)
Change = Callable[[Any], object]


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """A sealed log of two callers' turns, of which one was redacted in part."""
    with refold.open(url_of(request.param, tmp_path)) as opened:
        yield redacted(opened)


def redacted(store: refold.Store) -> refold.Store:
    """Two turns of two calls; the name goes from one of them."""
    for call in ("call-0", "call-1"):
        said = [Event("user.utterance", {"text": SAID}), Event("x.y", {"n": 1})]
        store.append(call, said, metadata={"actor": "me"})
    sealed_by(store).checkpoint()
    redact(store, ["call-0@0"], field="text", span=(5, 16), wanted=WHY)
    sealed_by(store).checkpoint()
    return store


def verdict(content: bytes) -> str:
    """What the one-file verifier says."""
    return verify(io.BytesIO(content), OPTIONS, "FILE")


def exported(records: list[Any]) -> bytes:
    """An export as it stands in a file."""
    return b"".join(msgspec.json.encode(one) + b"\n" for one in records)


def text(value: bytes) -> str:
    """Bytes as base64."""
    return b64encode(value).decode()


def test_a_proof_shows_what_remains(
    store: refold.Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Payload and metadata as they stand, under the redaction's own word."""
    proof = prove(store, "call-0@0")
    assert b64decode(proof["remains"]["payload"]) == LEFT
    assert "what its redaction says remains" in verdict(msgspec.json.encode(proof))
    assert f"payload since: {LEFT.decode()}" in capsys.readouterr().out
    assert "remains" not in prove(store, "call-0@1")


def test_so_do_an_export_and_a_bundle(store: refold.Store) -> None:
    """Each event that was redacted has it, and no other."""
    lines = [*sealed_export(store)]
    assert [one["index"] for one in lines[1:] if "remains" in one] == [0]
    assert "every event of" in verdict(exported(lines))
    bundle = evidence_bundle(store, "call-0", key_of())
    assert b64encode(LEFT) in bundle
    assert "all 2 events" in verdict(bundle)


def test_a_turn_that_was_redacted_twice_shows_what_is_left_now(store: refold.Store) -> None:
    """By the word of the later redaction; the earlier one's is no longer true."""
    before = prove(store, "call-0@0")["remains"]["redaction"]
    redact(store, ["call-0@0"], field="text", wanted=WHY)
    assert "remains" not in prove(store, "call-0@0"), "its redaction is not sealed yet"
    assert ["remains" in one for one in sealed_export(store)].count(True) == 0
    sealed_by(store).checkpoint()
    proof = prove(store, "call-0@0")
    assert b64decode(proof["remains"]["payload"]) == b'{"text":"[redacted]"}'
    assert verdict(msgspec.json.encode(proof))
    proof["remains"]["redaction"] = before
    with pytest.raises(Unverified):
        verdict(msgspec.json.encode(proof))


def test_an_erasure_says_what_remains_too() -> None:
    """Of values that stand in no envelope: `erase` binds what is left as `redact` does."""
    with refold.open("memory:") as store:
        store.append("call-0", [Event("user.utterance", {"text": SAID})])
        sealed_by(store).checkpoint()
        erase(store, "call-0", wanted=WHY, fields={"user.utterance": ["/text"]})
        sealed_by(store).checkpoint()
        proof = prove(store, "call-0@0")
        assert b64decode(proof["remains"]["payload"]) == b'{"text":"[erased]"}'
        verdict(msgspec.json.encode(proof))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one.update(payload=text(b'{"text":"I owe 900"}')), "redaction in the log"),
        (lambda one: one.update(metadata=""), "redaction in the log"),
        (lambda one: one.update(metadata=text(b"\0" * 8)), "redaction in the log"),
        (lambda one: one.update(salt=text(bytes(32))), "redaction in the log"),
        (lambda one: one.update(payload=""), "is not base64"),
        (lambda one: one.pop("salt"), "an object should have"),
        (lambda one: one["redaction"].update(index=5), "the root that was signed"),
        (lambda one: one["redaction"].update(bytes=text(b"{}")), "not what was committed to"),
        (lambda one: one["redaction"].update(more=1), "an object should have"),
    ],
)
def test_a_false_claim_of_what_remains_is_refused(change: Change, said: str) -> None:
    """Other bytes, less of them, another salt, another redaction; of the stored form too."""
    proof = prove(redacted(refold.open("memory:")), "call-0@0")
    change(proof["remains"])
    with pytest.raises(Unverified, match=r"FILE, what remains.*" + said):
        verdict(msgspec.json.encode(proof))


def test_only_a_redaction_of_the_event_itself_counts() -> None:
    """Another's redaction, and an event of another type that says the same, are none."""
    store = redacted(refold.open("memory:"))
    proof = prove(store, "call-0@0")
    other = prove(store, "call-0@1")
    with pytest.raises(Unverified, match="says remains of call-0@1"):
        verdict(msgspec.json.encode({**other, "remains": proof["remains"]}))
    said = b64decode(proof["remains"]["redaction"]["bytes"])
    store.append("call-0", [Event("redaction.rumoured", msgspec.json.decode(said))])
    sealed_by(store).checkpoint()
    rumour, proof = prove(store, "call-0@2"), prove(store, "call-0@0")
    place = {name: rumour[name] for name in ("index", "entry", "path")}
    proof["remains"]["redaction"] = {**place, **rumour["disclosed"]["0"]}
    with pytest.raises(Unverified, match="redaction in the log"):
        verdict(msgspec.json.encode(proof))


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda one: one.update(payload=text(b"{}")), "line 2, what remains: it is not what"),
        (lambda one: one.update(redaction=1), "line 2, what remains: it is not what"),
        (lambda one: one.update(redaction=0), "line 2, what remains: it is not what"),
        (lambda one: one.update(redaction=900), "line 2, what remains: the redaction that"),
        (lambda one: one.update(redaction="4"), "is no whole number"),
    ],
)
def test_a_false_claim_in_an_export_is_refused(change: Change, said: str) -> None:
    """With the line of the event of which it is made."""
    lines = [*sealed_export(redacted(refold.open("memory:")))]
    change(lines[1]["remains"])
    with pytest.raises(Unverified, match=said):
        verdict(exported(lines))


def test_what_is_withheld_does_not_come_out_as_what_remains(store: refold.Store) -> None:
    """Payload, metadata and name: each of them is in what remains, or in the redaction of it."""
    for what in ("payload", "metadata", "name"):
        proof = prove(store, "call-0@0", withhold={what: "privileged"})
        assert "remains" not in proof
        assert verdict(msgspec.json.encode(proof))
        lines = [*sealed_export(store, withhold=[what])]
        assert not [one for one in lines if "remains" in one]
