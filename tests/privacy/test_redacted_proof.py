"""Proofs hold after a redaction, and nothing else passes for one."""

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import refold
from refold import Event
from refold.audit import copy_seals, prove, verify
from refold.audit.tables import tables_of
from refold.audit.verifier.program import main as stranger
from refold.engine.copying import copy_log
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from tests.audit.sealed import key_of, sealed_by
from tests.privacy.erasable import KINDS
from tests.support.stores import url_of

WHY = Removal("asked for")
SAID = "I am Ann Example of 12 Example Street"


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """A sealed log with a turn that was repeated, more than a tile long, and its checkpoint."""
    with refold.open(url_of(request.param, tmp_path)) as opened:
        for number in range(130):
            said = [Event("user.utterance", {"text": SAID}), Event("x.y", {"n": number})]
            opened.append(f"call-{number % 2}", said, metadata={"actor": "me"})
        yield opened


def checked(store: refold.Store, *against: str) -> list[str]:
    """What verifying every event finds."""
    how = {"deep": True, "keys": [str(key_of().verifying)], "against": against}
    return [one.detail for one in verify(store, **how).findings]  # type: ignore[arg-type]


def test_every_proof_holds_after_redactions(store: refold.Store) -> None:
    """Sealed before or not, in whole tiles and in the last: against the checkpoint from before."""
    before = sealed_by(store).checkpoint()
    store.append("call-0", [Event("user.utterance", {"text": SAID})])
    removed = redact(store, ["call-0@0"], field="text", span=(5, 16), wanted=WHY)
    assert len(removed.changes) == 66
    assert checked(store, before) == []
    again = redact(store, ["call-0@0"], field="text", span=(19, 36), wanted=WHY)
    assert len(again.changes) == 66
    after = sealed_by(store).checkpoint()
    assert checked(store, before, after) == []
    told = verify(store, deep=True)
    assert len(told.redacted) == 66
    assert dict(told.redacted)["call-0@0"].startswith("refold-privacy@")


def test_the_rest_of_a_redacted_event_is_proved(store: refold.Store, tmp_path: Path) -> None:
    """Its metadata and name are disclosed, its payload is withheld, and a stranger agrees."""
    sealed_by(store).checkpoint()
    redact(store, ["call-0@0"], field="text", wanted=WHY)
    sealed_by(store).checkpoint()
    for event in ("call-0@0", "call-0@1", "call-0@2", "call-1@0"):
        proof = prove(store, event)
        file = tmp_path / "proof.json"
        file.write_bytes(msgspec.json.encode(proof))
        assert stranger(["--key", str(key_of().verifying), str(file)]) == 0
        is_redacted = event in ("call-0@0", "call-0@2")
        assert ("0" in proof["disclosed"]) is not is_redacted
        assert {"1", "3"} <= {*proof["disclosed"]}
        withheld = [one for one in proof["withheld"] if one["ordinal"] == 0]
        assert bool(withheld) is is_redacted
        assert all("redacted" in one["why"] for one in withheld)


def test_the_salt_of_what_is_gone_is_gone(store: refold.Store) -> None:
    """Else whoever has the database could try all phone numbers."""
    sealed_by(store).checkpoint()
    secrets = [secret for *_, secret in tables_of(store).leaf_tiles(0, 2)]
    redact(store, ["call-0@0"], field="text", wanted=WHY)
    stored = tables_of(store).ask("SELECT secret, salts FROM audit_tiles WHERE level = 0", ())
    held = b"".join(bytes(value) for row in stored for value in row if value is not None)
    assert not any(secret in held for secret in secrets if secret)


def test_a_copy_of_a_redacted_log_is_proved(tmp_path: Path) -> None:
    """What is kept of redacted events is copied with the seals."""
    with refold.open(tmp_path / "log.db") as store, refold.open(tmp_path / "copy.db") as copy:
        store.append("call-0", [Event("user.utterance", {"text": SAID}), Event("x.y", {})])
        before = sealed_by(store).checkpoint()
        redact(store, ["call-0@0"], field="text", wanted=WHY)
        sealed_by(store).checkpoint()
        copy_log(store._backend, copy._backend, lambda *_: None)
        assert copy_seals(store, copy) == store.log_head()
        assert checked(copy, before) == []
        assert [event for event, _ in verify(copy, deep=True).redacted] == ["call-0@0"]


def test_packed_events_are_redacted(tmp_path: Path) -> None:
    """In a segment as in a row; proofs hold, and nothing of it is in the file."""
    path = tmp_path / "log.db"
    with refold.open(path) as store:
        for number in range(300):
            text = SAID if number % 50 == 0 else f"turn {number}"
            store.append("call-0", [Event("user.utterance", {"text": text})])
        before = sealed_by(store).checkpoint()
        assert store.compact().events > 200
        removed = redact(store, ["call-0@0"], field="text", wanted=WHY)
        assert [one.event.version for one in removed.changes] == [*range(0, 300, 50)]
        assert removed.is_done
        assert checked(store, before) == []
        texts = [one.data["text"] for one in store.read("call-0")]
        assert texts.count("[redacted]") == 6
        assert texts[1] == "turn 1"
    for file in tmp_path.iterdir():
        assert b"Ann Example" not in file.read_bytes()


def test_other_bytes_do_not_pass_for_a_redaction(store: refold.Store) -> None:
    """Neither beside a redaction of the event, nor without one."""
    sealed_by(store).checkpoint()
    redact(store, ["call-0@0"], field="text", wanted=WHY)
    log = store._backend
    log.replace({1: b'{"text":"[redacted], and I owe 900"}'})  # type: ignore[attr-defined]
    assert checked(store) == ["call-0@0 is not what was sealed"]
    log.replace({1: b'{"text":"[redacted]"}', 2: b'{"n":7}'})  # type: ignore[attr-defined]
    assert checked(store) == ["call-0@1 is not what was sealed"]
