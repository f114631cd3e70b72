"""Bundles of evidence: what is in them, who verifies them, and that nothing can be left out."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import zipfile
from base64 import b64encode
from collections.abc import Iterator
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

import refold
from refold import Event
from refold.audit import evidence_bundle, prove
from refold.audit.evidence.gathering import as_disclosed
from refold.audit.note import Note, SigningKey
from refold.audit.verifier.heads import Unverified, trusted_key
from refold.audit.verifier.program import unzipped, verify, zipped
from refold.audit.verifier.proofs import VerifierOptions
from refold.errors import NotFound, ProofError, UsageError
from tests.audit.sealed import KINDS, key_of, sealed_by, told
from tests.support.stores import url_of

KEY = key_of()
OPTIONS = VerifierOptions([trusted_key(str(KEY.verifying))], [], False)


@cache
def holds(public: bytes, signature: bytes, message: bytes) -> bool:
    """Whether a signature holds, asked of a quicker library than the verifier's own."""
    try:
        Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refold.audit.verifier.heads.signature_holds", holds)


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """A sealed log of each kind, with streams that grow side by side and branches."""
    with refold.open(url_of(request.param, tmp_path), synchronous="NORMAL") as opened:
        told(opened, rounds=2)
        sealed_by(opened).checkpoint()
        told(opened, rounds=2)
        sealed_by(opened).checkpoint()
        yield opened


def small_store() -> refold.Store:
    """A log of two calls, with one turn each behind the other."""
    store = refold.open("memory:")
    for number in range(2):
        for call in ("call-1", "call-2"):
            store.append(call, [Event("user.utterance", {"text": f"turn {number}"})])
    sealed_by(store).checkpoint()
    return store


def said(bundle: bytes, capsys: pytest.CaptureFixture[str] | None = None) -> str:
    """What the verifier says of a bundle: the details, then the whole."""
    whole = verify(io.BytesIO(bundle), OPTIONS, "bundle")
    return (capsys.readouterr().out if capsys else "") + whole


def remade(members: dict[str, bytes], key: SigningKey = KEY) -> bytes:
    """A bundle of other members, listed and signed anew."""
    rest = {name: content for name, content in members.items() if name != "manifest"}
    listed = [f"{sha256(content).hexdigest()}  {name}" for name, content in rest.items()]
    text = "\n".join(["refold-evidence/1", key.name, *listed, ""])
    return zipped({"manifest": str(Note(text, [key.sign(text)])).encode(), **rest})


def records(members: dict[str, bytes], name: str) -> list[Any]:
    """The records of a member."""
    return [json.loads(line) for line in members[f"proof/{name}.jsonl"].splitlines()]


def packed(records: list[Any]) -> bytes:
    """Records as a member holds them."""
    return b"".join(json.dumps(record).encode() + b"\n" for record in records)


def test_a_bundle_of_each_stream_is_verified(
    store: refold.Store, capsys: pytest.CaptureFixture[str]
) -> None:
    """Streams and branches of each kind of store; the same bytes each time."""
    for info in store.streams():
        bundle = evidence_bundle(store, info.stream, KEY)
        whole = said(bundle, capsys)
        history = [*store.read(info.stream)]
        assert f"all {len(history)} events of a stream" in whole
        assert history[-1].id in whole
        assert evidence_bundle(store, info.stream, KEY) == bundle
        proofs = records(unzipped(bundle, ""), "events")
        assert [one["recorded"]["position"] for one in proofs] == [one.position for one in history]


def test_a_stranger_verifies_it_with_what_is_in_it(tmp_path: Path) -> None:
    """Unzipped by anyone; the one file in it runs alone, and catches another key."""
    bundle = evidence_bundle(small_store(), "call-1", KEY)
    (tmp_path / "bundle.zip").write_bytes(bundle)
    with zipfile.ZipFile(tmp_path / "bundle.zip") as archive:
        assert archive.testzip() is None
        assert archive.namelist() == [*unzipped(bundle, "")]
        archive.extractall(tmp_path)
    assert str(KEY.verifying) in (tmp_path / "README.txt").read_text()
    vcon = json.loads((tmp_path / "conversation.vcon").read_text())
    assert [one["body"] for one in vcon["dialog"]] == ["turn 0", "turn 1"]
    other = SigningKey(KEY.name, bytes(32)).verifying
    for key, status in ((KEY.verifying, 0), (other, 1)):
        command = [sys.executable, "-I", "-S", "refold_verify.py", "--key", str(key), "bundle.zip"]
        done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (status, "")


def test_every_flipped_bit_of_a_bundle_is_caught(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the members, their names, and every field of the zip; each is told with its place."""
    for text in ("verifier_text", "instructions", "page"):
        monkeypatch.setattr(f"refold.audit.evidence.bundle.{text}", lambda *_: "short")
    store = refold.open("memory:")
    store.append("a", [Event("k")])
    sealed_by(store).checkpoint()
    whole = evidence_bundle(store, "a", KEY)
    said(whole)
    for at in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[at // 8] ^= 1 << at % 8
        try:
            said(bytes(flipped))
        except Unverified as why:
            assert str(why).startswith("bundle"), why
        else:
            pytest.fail(f"bit {at} is not caught")


@pytest.mark.parametrize(
    "change",
    [
        lambda whole: whole + b"\0",
        lambda whole: whole[:-1],
        lambda whole: whole[:-2] + b"\1\0!",
        lambda whole: b"\0" + whole,
        lambda whole: b"PK",
        lambda whole: zipped({**unzipped(whole, ""), "more.txt": b"more"}),
        lambda whole: zipped(dict([*unzipped(whole, "").items()][:-1])),
        lambda whole: zipped(dict([*unzipped(whole, "").items()][::-1])),
        lambda whole: rezipped(whole, zipfile.ZIP_STORED),
        lambda whole: rezipped(whole, zipfile.ZIP_DEFLATED),
    ],
)
def test_no_other_zip_is_the_bundle(change: Any) -> None:
    """Bytes behind or before it, a comment, one member more or less, another order or packing."""
    whole = evidence_bundle(small_store(), "call-1", KEY)
    with pytest.raises(Unverified):
        said(change(whole))


def rezipped(whole: bytes, packing: int) -> bytes:
    """The same members in a zip by another program."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", packing) as archive:
        for name, content in unzipped(whole, "").items():
            archive.writestr(name, content)
    return made.getvalue()


def test_a_member_that_stands_twice_is_refused() -> None:
    """A reader that takes the first, and one that takes the last, must not see two things."""
    whole = evidence_bundle(small_store(), "call-1", KEY)
    members = unzipped(whole, "")
    local = zipped(members).partition(b"PK\1\2")[0]
    twice = local + zipped({"README.txt": b"else"}).partition(b"PK\1\2")[0]
    with pytest.raises(Unverified):
        said(twice + whole[len(local) :])


def without(members: dict[str, bytes], name: str, number: int) -> dict[str, bytes]:
    """The members, with one record of one of them left out."""
    kept = records(members, name)
    del kept[number]
    return {**members, f"proof/{name}.jsonl": packed(kept)}


def test_who_leaves_an_event_out_is_caught() -> None:
    """By the manifest; with the log's own key by the chain, and at the end by what follows."""
    store = small_store()
    members = unzipped(evidence_bundle(store, "call-1", KEY), "")
    for number in (0, 1):
        cut = without(members, "events", number)
        for bundle in (zipped(cut), remade(cut, SigningKey(KEY.name, bytes(32)))):
            with pytest.raises(Unverified, match="manifest"):
                said(bundle)
    with pytest.raises(Unverified, match="does not follow"):
        said(remade(without(members, "events", 0)))
    shorter = unzipped(evidence_bundle(store, "call-1@0", KEY), "")
    rest = [*records(shorter, "events")[1:], *records(members, "rest")]
    cut = without(shorter, "events", 1)
    bare = [{name: one[name] for name in ("index", "entry", "path")} for one in rest]
    with pytest.raises(Unverified, match="not the next event"):
        said(remade({**cut, "proof/rest.jsonl": packed(bare)}))
    with pytest.raises(Unverified, match="proves no event"):
        said(remade({**members, "proof/events.jsonl": b""}))


def test_another_stream_behind_it_does_not_hide_its_end() -> None:
    """With the log's own key: the events that follow are then looked at for the other's alone."""
    store = small_store()
    first, second = (
        unzipped(evidence_bundle(store, call, KEY), "") for call in ("call-1", "call-2")
    )
    for count in (1, 2):
        both = [*records(first, "events")[:count], *records(second, "events")]
        with pytest.raises(Unverified, match="it does not follow the event before it"):
            said(remade({**second, "proof/events.jsonl": packed(both)}))


def test_records_of_another_head_are_refused(store: refold.Store) -> None:
    """A proof is of the bundle's head, or it is none."""
    old = unzipped(evidence_bundle(store, "call-2", KEY), "")
    told(store, rounds=1)
    sealed_by(store).checkpoint()
    new = unzipped(evidence_bundle(store, "call-2", KEY), "")
    with pytest.raises(Unverified, match="another checkpoint"):
        said(remade({**new, "proof/events.jsonl": old["proof/events.jsonl"]}))


def test_the_heads_that_first_held_the_events_are_continued(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """An older checkpoint that somebody kept says how old the events are at least."""
    times = iter(range(1_700_000_000_000_000, 2_000_000_000_000_000, 4_000_000_000))
    with refold.open(tmp_path / "a.db", clock=lambda: next(times)) as store:
        for number in range(3):
            store.append("call-1", [Event("k", {"n": number})])
            sealed_by(store).checkpoint()
        store.append("call-2", [Event("k")])
        sealed_by(store).checkpoint()
        bundle = evidence_bundle(store, "call-1", KEY)
    olds = [one["old"].split("\n")[1] for one in records(unzipped(bundle, ""), "older")]
    assert olds == ["1", "2", "3"]
    assert said(bundle, capsys).count(" continues ") == 3


def test_one_event_is_told_with_what_led_to_it(capsys: pytest.CaptureFixture[str]) -> None:
    """What came after it is there, and withheld; unless it is asked for."""
    store = small_store()
    store.append("call-1", [Event("session.ended", {"reason": "done"})])
    sealed_by(store).checkpoint()
    bundle = evidence_bundle(store, "call-1@0", KEY)
    proofs = records(unzipped(bundle, ""), "events")
    assert ["0" in one["disclosed"] for one in proofs] == [True, False, False]
    assert said(bundle, capsys).count("it came after the event that this evidence is about") == 2
    more = evidence_bundle(store, "call-1@0", KEY, disclose=["session.ended"])
    proofs = records(unzipped(more, ""), "events")
    assert ["0" in one["disclosed"] for one in proofs] == [True, False, True]


def test_what_is_withheld_is_nowhere_and_its_reason_is_said(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """An event, a type, all payloads, the name."""
    store = small_store()
    for what in ("call-1@1", "user.utterance", "payload"):
        bundle = evidence_bundle(store, "call-1", KEY, withhold={what: "privileged"})
        assert b64encode(store.event("call-1@1").raw) not in bundle
        assert "privileged" in said(bundle, capsys)
    assert b64encode(store.event("call-1@1").raw) in evidence_bundle(store, "call-1", KEY)
    bundle = evidence_bundle(store, "call-1", KEY, withhold={"name": "it names a person"})
    assert "from an event (user.utterance, position 1, recorded 2" in said(bundle)
    assert b"call-1" not in bundle
    assert b64encode(b"call-1") not in bundle


def test_withheld_metadata_are_in_no_member() -> None:
    """Neither those of the append nor those of an event; the vCon says the rest as before."""
    store = refold.open("memory:")
    said = [Event("user.utterance", {"text": "Hello"}, metadata={"own": "canary-own"})]
    store.append("call-1", said, metadata={"shared": "canary-shared"})
    sealed_by(store).checkpoint()
    for choice, is_told in ((None, True), ({"metadata": "privileged"}, False)):
        members = unzipped(evidence_bundle(store, "call-1", KEY, withhold=choice), "")
        assert b"Hello" in members["conversation.vcon"]
        for canary in (b"canary-own", b"canary-shared"):
            assert (canary in members["conversation.vcon"]) == is_told
            assert not any(canary in content for content in members.values()) or is_told


def test_with_the_name_goes_what_tells_it() -> None:
    """Metadata that name a subject, and what has the stream's name in it, or its root's."""
    store = refold.open("memory:")
    texts = ["nothing", "of call-1.", "call-12"]
    said = [Event("a.b", {"text": text}) for text in texts]
    store.append("call-1", said[:1], metadata={"subject": "ann"})
    store.append("call-1", said[1:], metadata={"channel": "voice"})
    store.branch("call-1", at=1).adding(Event("a.b", {})).save("call-1~x")
    sealed_by(store).checkpoint()
    bundle = evidence_bundle(store, "call-1", KEY, withhold={"name": "private"})
    disclosed = [set(one["disclosed"]) for one in records(unzipped(bundle, ""), "events")]
    assert disclosed == [{"0"}, {"1"}, {"0", "1"}]
    assert "of call-1." not in unzipped(bundle, "")["index.html"].decode()
    branch = evidence_bundle(store, "call-1~x", KEY, withhold={"name": "private"})
    forked = records(unzipped(branch, ""), "events")[2]
    assert (forked["recorded"]["type"], set(forked["disclosed"])) == ("session.forked", set())
    for version, ordinals in enumerate(disclosed):
        proof = prove(store, f"call-1@{version}", withhold={"name": "private"})
        assert set(proof["disclosed"]) == ordinals


@pytest.mark.parametrize("name", ['call-"Ann"', "call-\\1", "call-Ünal", "call-a/b"])
def test_with_the_name_goes_what_tells_it_however_it_is_escaped(name: str) -> None:
    """In texts and in names of members, as programs escape them that write ASCII; in JSON in a text
    too."""
    told = json.dumps({"text": f"of {name}."})
    payloads = [told, json.dumps({"arguments": told}), json.dumps({name: 1}), '{"text": "\\u0041"}']
    store = refold.open("memory:")
    store.append(name, [Event("a.b", msgspec.Raw(one.encode())) for one in payloads])
    sealed_by(store).checkpoint()
    for version, is_told in enumerate([True, True, True, False]):
        proof = prove(store, f"{name}@{version}", withhold={"name": "private"})
        assert ("0" in proof["disclosed"]) != is_told


def test_what_is_said_of_an_event_counts_before_what_is_said_of_all() -> None:
    """Its id before its type, that before the rest; and a name of nothing is refused."""
    store = small_store()

    def told(withhold: list[str], disclose: list[str]) -> list[bool]:
        why = dict.fromkeys(withhold, "privileged")
        bundle = evidence_bundle(store, "call-1", KEY, withhold=why, disclose=disclose)
        return ["0" in one["disclosed"] for one in records(unzipped(bundle, ""), "events")]

    assert told(["call-1@1"], ["user.utterance"]) == [True, False]
    assert told(["user.utterance"], ["call-1@1"]) == [False, True]
    assert told(["user.utterance"], ["user.utterance"]) == [False, False]
    assert told(["payload"], ["call-1@1"]) == [False, True]
    for name in ("call-1@11", "user.uterance", "payloads"):
        for withhold, disclose in (([name], []), ([], [name])):
            with pytest.raises(UsageError, match="is no id and no type"):
                told(withhold, disclose)


def test_personal_values_are_shown_as_far_as_they_are_disclosed() -> None:
    """In the place of each commitment its value, or why there is none; what was emptied stands."""
    store = small_store()
    recorded = store.event("call-1@0")
    texts = ["A" * 43, "B" * 43]
    holes = [f'{{"refold:personal":["","{one}",""]}}' for one in texts]
    payload = f'{{"a":{holes[0]},"b":[{holes[1]}]}}'.encode()

    def told(value: bytes) -> dict[str, str]:
        return {"salt": "", "bytes": b64encode(value).decode()}

    proof = {
        "disclosed": {"0": told(payload), texts[0]: told(b'{"x":1}')},
        "withheld": [{"ordinal": texts[1], "why": "erased"}],
    }
    shown = as_disclosed(recorded, proof)
    assert (shown.data, shown.id) == ({"a": {"x": 1}, "b": ["[erased]"]}, recorded.id)
    assert as_disclosed(recorded, {"disclosed": {}, "withheld": []}) is recorded
    same = {"disclosed": {"0": told(recorded.raw)}, "withheld": []}
    assert as_disclosed(recorded, same) is recorded


def test_what_cannot_be_proved_is_no_evidence(tmp_path: Path) -> None:
    """No such stream, not sealed to its end, another key, an event that was changed."""
    store = small_store()
    for what in ("call-9", "call-1@9", ""):
        with pytest.raises(NotFound):
            evidence_bundle(store, what, KEY)
    with pytest.raises(ProofError):
        evidence_bundle(store, "call-1", SigningKey(KEY.name, bytes(32)))
    store.append("call-1", [Event("late")])
    with pytest.raises(NotFound) as raised:
        evidence_bundle(store, "call-1", KEY)
    assert raised.value.code == "not_sealed"


def test_a_long_log_behind_the_stream_is_looked_at_in_part(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """How far is said."""
    monkeypatch.setattr("refold.audit.evidence.gathering.REST_MAX", 3)
    store = small_store()
    store.append("else", [Event("k")] * 9)
    sealed_by(store).checkpoint()
    bundle = evidence_bundle(store, "call-1", KEY)
    assert "none came after up to position 6 (7 behind it not looked at)" in said(bundle)
    assert "(the 7 after those were not looked at)" in unzipped(bundle, "")["README.txt"].decode()
