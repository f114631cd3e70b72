"""Proofs of events and exports of whole logs, checked by the pure modules alone."""

from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import refold
from refold import Event
from refold.audit import prove, prove_continued, sealed_export
from refold.audit.entry import commitment_of
from refold.audit.note import Checkpoint, Note, check_note, parse_checkpoint, parse_note
from refold.audit.publishing import publish
from refold.audit.tree import subtree_hash
from refold.audit.verifier.heads import SignedHead, Unverified, check_leaf, leaf_hash
from refold.errors import NotFound, ProofError, UsageError
from tests.audit.sealed import KINDS, ORIGIN, key_of, metadata_texts, sealed_by, told
from tests.support.stores import url_of


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """A sealed log of each kind."""
    with refold.open(url_of(request.param, tmp_path), synchronous="NORMAL") as opened:
        told(opened, rounds=8)
        sealed_by(opened).checkpoint()
        yield opened


def checked(proof: dict[str, Any]) -> dict[str, bytes]:
    """What a proof discloses, by ordinal, once every part of it holds."""
    note = parse_note(proof["checkpoint"])
    check_note(note, key_of().verifying)
    head = parse_checkpoint(note.text)
    assert head.origin == proof["origin"] == ORIGIN
    values = {}
    for ordinal, disclosed in proof["disclosed"].items():
        # The name stands in the entry of the stream's first event, which comes with its own way.
        part = disclosed if "entry" in disclosed else proof
        entry, path = b64decode(part["entry"]), [b64decode(step) for step in part["path"]]
        signed = SignedHead(*head, signers="")
        check_leaf(leaf_hash(entry), part["index"], path, signed, "here")
        assert entry[1:17] == b64decode(proof["entry"])[1:17], "of another stream"
        values[ordinal] = b64decode(disclosed["bytes"])
        commitment = commitment_of(int(ordinal), b64decode(disclosed["salt"]), values[ordinal])
        assert bytes([int(ordinal)]) + commitment in entry
    return values


def test_every_event_is_proved(store: refold.Store) -> None:
    """Each event of the log, branches' own ones too: payload, metadata, and the stream's name."""
    for recorded in store.read_all():
        proof = prove(store, recorded.id)
        told = checked(proof)
        words = proof["recorded"]
        assert (words["id"], words["position"]) == (recorded.id, recorded.position)
        assert words["type"].encode() in b64decode(proof["entry"])
        assert told["0"] == recorded.raw
        shared, own = metadata_texts(recorded)
        assert told.get("1", b"") == (
            len(shared).to_bytes(8) + shared + own if shared or own else b""
        )
        assert told["3"].decode() == recorded.stream


def test_an_event_that_a_branch_shares_is_its_parents(store: refold.Store) -> None:
    """By the branch's name too: the event stands once in the log."""
    branch = next(info.stream for info in store.streams() if info.fork is not None)
    proof = prove(store, f"{branch}@0")
    assert proof["index"] == prove(store, "call-1@0")["index"]
    assert checked(proof)["3"] == b"call-1"


def test_a_proof_does_not_hold_where_a_bit_differs(store: refold.Store) -> None:
    """Of the entry, the path, the bytes, the index."""
    proof = prove(store, "call-2@4")
    for name, value in (
        ("index", proof["index"] + 1),
        ("entry", prove(store, "call-2@5")["entry"]),
        ("path", proof["path"][1:]),
        ("path", [*proof["path"], proof["path"][0]]),
    ):
        with pytest.raises((ProofError, Unverified)):
            checked({**proof, name: value})
    other = {**proof["disclosed"], "0": prove(store, "call-2@5")["disclosed"]["0"]}
    with pytest.raises(AssertionError):
        checked({**proof, "disclosed": other})


def test_what_is_withheld_is_named_and_not_told(store: refold.Store) -> None:
    """Neither bytes nor salt; a withheld name leaves the id out too."""
    proof = prove(store, "call-1@4", withhold={"payload": "privileged", "name": "a person's"})
    assert set(checked(proof)) == {"1"}
    assert prove(store, "call-1@0", withhold={"metadata": "none is there"})["withheld"] == []
    assert proof["recorded"]["id"] is None
    assert proof["withheld"] == [
        {"ordinal": 0, "why": "privileged"},
        {"ordinal": 3, "why": "a person's"},
    ]
    with pytest.raises(UsageError):
        prove(store, "call-1@4", withhold={"body": "no such thing"})


def test_a_head_is_proved_to_continue_an_older_one(store: refold.Store) -> None:
    """Of any older size; a checkpoint of another log, or of another history, is refused."""
    old = sealed_by(store).checkpoint()
    told(store)
    sealed_by(store).checkpoint()
    proof = prove_continued(store, old)
    before, after = (parse_checkpoint(parse_note(proof[one]).text) for one in ("old", "new"))
    assert (proof["old"], after.size) == (old, store.log_head())
    others = [
        Checkpoint("example.com/other", before.size, before.root),
        Checkpoint(ORIGIN, before.size, after.root),
        Checkpoint(ORIGIN, after.size + 1, after.root),
    ]
    for other in others:
        with pytest.raises(ProofError):
            prove_continued(store, str(Note(other.text, [key_of().sign(other.text)])))


def test_nothing_is_proved_of_a_checkpoint_of_no_events(tmp_path: Path) -> None:
    """Verifiers refuse such a proof: any log continues an empty one."""
    with refold.open(tmp_path / "a.db") as store:
        old = sealed_by(store).checkpoint()
        told(store)
        sealed_by(store).checkpoint()
        with pytest.raises(UsageError, match="continued by any log"):
            prove_continued(store, old)


def test_what_is_not_sealed_is_not_proved(store: refold.Store) -> None:
    """An event after the newest head, and one that is not there."""
    store.append("call-1", [Event("x")])
    with pytest.raises(NotFound) as raised:
        prove(store, f"call-1@{store.head('call-1')}")
    assert raised.value.code == "not_sealed"
    with pytest.raises(NotFound):
        prove(store, "call-1@999")


def test_a_log_that_is_not_sealed_has_no_proofs(tmp_path: Path) -> None:
    """It says how sealing is turned on."""
    with refold.open(tmp_path / "a.db") as store:
        store.append("a", [Event("x")])
        with pytest.raises(NotFound) as raised:
            prove(store, "a@0")
        assert raised.value.code == "not_sealed"


def test_the_root_can_be_made_again_from_an_export(store: refold.Store) -> None:
    """From the entries alone; what is disclosed is all of the log."""
    head, *events = sealed_export(store)
    assert head["format"] == "refold-sealed-export/1"
    leaves = [leaf_hash(b64decode(event["entry"])) for event in events]
    said = parse_checkpoint(parse_note(head["checkpoint"]).text)
    assert (len(leaves), subtree_hash(b"".join(leaves))) == (said.size, said.root)
    payloads = [b64decode(event["disclosed"]["0"]["bytes"]) for event in events]
    assert payloads == [recorded.raw for recorded in store.read_all()]
    assert [event["index"] for event in events] == list(range(said.size))
    bare = list(sealed_export(store, withhold=["payload", "metadata", "name"]))
    assert [event["entry"] for event in bare[1:]] == [event["entry"] for event in events]
    assert all(event["disclosed"] == {} for event in bare[1:])


@pytest.mark.parametrize(
    ("change", "is_proved"),
    [
        ("DELETE FROM log WHERE position = (SELECT max(position) FROM log)", True),
        ("DELETE FROM audit_streams WHERE stream = 'mail-é'", True),
        (
            "UPDATE audit_tiles SET hashes = zeroblob(length(hashes)) WHERE level = 0 AND tile = 1",
            False,
        ),
    ],
)
def test_what_a_stranger_would_refuse_is_not_given_out(
    change: str, is_proved: bool, tmp_path: Path
) -> None:
    """An append, or the seals of a stream are gone: no export; a tile is damaged: no proof."""
    with refold.open(tmp_path / "a.db", synchronous="NORMAL") as store:
        told(store, rounds=30)
        store.append("call-2", [Event("x")])
        sealed_by(store).checkpoint()
        store._backend.write(lambda begin: begin().execute(change))  # type: ignore[attr-defined]
        if is_proved:
            with pytest.raises(ProofError, match="missing"):
                list(sealed_export(store))
            with pytest.raises(ProofError, match="missing"):
                publish(store, tmp_path / "public")
            assert checked(prove(store, "call-1@3"))
        else:
            with pytest.raises(ProofError, match="comes to"):
                prove(store, "call-1@3")
