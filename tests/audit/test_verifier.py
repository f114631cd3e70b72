"""The one-file verifier: alone in an empty folder it accepts what is right and nothing else."""

from __future__ import annotations

import contextlib
import io
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from refold.audit.note import COSIGNATURE, SigningKey
from refold.audit.one_file import verifier_text
from refold.audit.verifier.heads import Unverified, trusted_key
from refold.audit.verifier.program import main, verify
from refold.audit.verifier.proofs import VerifierOptions
from tests.audit.made import KEY, MadeLog, lines, packed, small_log, text
from tests.audit.test_tree import changed
from tests.house.lines import lines_of_code

WITNESS = SigningKey("w", b"w" * 32, COSIGNATURE)
LOG = small_log()
VKEY = str(KEY.verifying)
Change = Callable[[Any], object]


def run(folder: Path, *arguments: str, code: str = "refold_verify.py") -> tuple[int, str]:
    """Run the one file in a folder of its own, without site packages: its status, and its words."""
    (folder / "refold_verify.py").write_text(verifier_text(), encoding="utf-8")
    command = [sys.executable, "-I", "-S", *code.split("\0"), *arguments]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)
    return done.returncode, done.stdout + done.stderr


def verdict(tmp_path: Path, content: bytes, *options: str) -> tuple[int, str]:
    """What the verifier says of the content of a file, in this process."""
    file = tmp_path / "file"
    file.write_bytes(content)
    said = io.StringIO()
    said_bytes = io.TextIOWrapper(io.BytesIO(), "utf-8")
    with contextlib.redirect_stdout(said_bytes), contextlib.redirect_stderr(said):
        status = main(["--key", VKEY, *options, str(file)])
    said_bytes.seek(0)
    return status, (said_bytes.read() + said.getvalue()).replace(str(file), "FILE")


def test_the_one_file_needs_nothing_and_verifies_everything(tmp_path: Path) -> None:
    """A checkpoint, proofs, an export and consistency; exit 0, 1 and 2."""
    (tmp_path / "head.txt").write_text(LOG.checkpoint(5))
    (tmp_path / "proof.json").write_bytes(packed(LOG.proof(2)))
    (tmp_path / "branch.json").write_bytes(packed(LOG.proof(9)))
    (tmp_path / "continued.json").write_bytes(packed(LOG.consistency(5)))
    (tmp_path / "log.jsonl").write_bytes(lines(LOG.export()))
    (tmp_path / "other.json").write_bytes(packed(LOG.proof(2) | {"index": 3}))
    (tmp_path / "key").write_text(VKEY + "\n")
    files = ["head.txt", "proof.json", "branch.json", "continued.json", "log.jsonl"]
    status, said = run(tmp_path, "--key", "key", *files)
    assert (status, said.count(": verified: ")) == (0, 5), said
    assert run(tmp_path, "--key", VKEY, "--against", "head.txt", "log.jsonl")[0] == 0
    status, said = run(tmp_path, "--key", VKEY, *files, "other.json")
    assert (status, said.count(": verified: ")) == (1, 5)
    assert said.count("NOT VERIFIED: other.json: ") == 1
    for wrong in ([], ["--key", "no", "head.txt"], ["--key", VKEY, "nothing.json"]):
        assert run(tmp_path, *wrong)[0] == 2


def test_a_secret_key_in_the_place_of_the_verifying_key_is_not_repeated(tmp_path: Path) -> None:
    """Neither what was given nor what is in a file: it is shown in logs."""
    (tmp_path / "file").write_text(str(KEY))
    for given in (str(KEY), "file"):
        status, said = run(tmp_path, "--key", given, "file")
        assert (status, "no verifying key" in said) == (2, True)
        assert str(KEY)[-40:-20] not in said


FLIP = """
import functools, io, sys
sys.path.insert(0, ".")
import refold_verify as v
v.signature_holds = functools.lru_cache(None)(v.signature_holds)
options = v.VerifierOptions([v.trusted_key(sys.argv[1])], [], False)
uncaught = count = 0
for name in sys.argv[2:]:
    whole = open(name, "rb").read()
    v.verify(io.BytesIO(whole), options, name)
    for at in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[at // 8] ^= 1 << at % 8
        try:
            v.verify(io.BytesIO(flipped), options, "flipped")
            uncaught += 1
            print(name, at, bytes(flipped))
        except v.Unverified as why:
            assert str(why).startswith("flipped"), why
        count += 1
print(uncaught, "of", count)
"""


def test_every_flipped_bit_is_caught_and_told(tmp_path: Path) -> None:
    """Of a checkpoint, a proof and an export, one after another."""
    log = MadeLog()
    for payload in (b"{}", b"1"):
        log.add("c", payload, kind="k")
    contents = {
        "head": log.checkpoint().encode(),
        "proof": packed(log.proof(1)),
        "export": lines(log.export()),
    }
    for name, content in contents.items():
        (tmp_path / name).write_bytes(content)
    status, said = run(tmp_path, VKEY, *contents, code=f"-c\0{FLIP}")
    bits = 8 * sum(map(len, contents.values()))
    assert (status, said) == (0, f"0 of {bits}\n"), said[-999:]


def test_every_flipped_bit_of_a_proof_of_consistency_is_caught(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of both heads and the path; signatures are checked by a quicker library here."""

    def holds(public: bytes, signature: bytes, message: bytes) -> bool:
        try:
            Ed25519PublicKey.from_public_bytes(public).verify(signature, message)
        except InvalidSignature:
            return False
        return True

    monkeypatch.setattr("refold.audit.verifier.heads.signature_holds", holds)
    options = VerifierOptions([trusted_key(VKEY)], [], False)
    whole = packed(LOG.consistency(6))
    for at in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises(Unverified):
            verify(io.BytesIO(flipped), options, "proof")


def test_the_one_file_is_small_enough_to_be_read(tmp_path: Path) -> None:
    """At most 484 lines of code: the decision about evidence says what each part takes."""
    file = tmp_path / "program.py"
    file.write_text(verifier_text(), encoding="utf-8")
    assert lines_of_code(file) <= 484


def test_what_is_verified_is_said(tmp_path: Path) -> None:
    """Event, place, log, key; with --show the payload too, so that nobody must decode it."""
    status, said = verdict(tmp_path, packed(LOG.proof(2)), "--show")
    assert status == 0
    for part in (
        "call-1@1",
        "position 3, recorded 2026-01",
        "a with 11 events",
        KEY.verifying.key_id.hex(),
    ):
        assert part in said
    assert '  payload: {"text": "1"}\n' in said


def test_a_witness_that_is_named_must_have_signed(tmp_path: Path) -> None:
    """Its time is told; one whose key is not given is counted only."""
    both = LOG.checkpoint(others=[WITNESS]).encode()
    wanted = ["--witness", str(WITNESS.verifying)]
    status, said = verdict(tmp_path, both, *wanted)
    assert (status, "witnessed by w at 2026-01-01T00:00:00+00:00" in said) == (0, True)
    status, said = verdict(tmp_path, both)
    assert (status, "1 more signatures not looked at" in said) == (0, True)
    status, said = verdict(tmp_path, LOG.checkpoint().encode(), *wanted)
    assert (status, "no signature of w" in said) == (1, True)


def _withhold(proof: Any, ordinal: int = 0) -> None:
    del proof["disclosed"][str(ordinal)]
    proof["withheld"] = [{"ordinal": ordinal, "why": "privileged"}]


def test_what_is_withheld_is_told(tmp_path: Path) -> None:
    """With the reason that was given; of a stream's name, also where another event holds it."""
    proof = LOG.proof(2)
    _withhold(proof)
    status, said = verdict(tmp_path, packed(proof))
    assert (status, "withheld: payload ('privileged')" in said) == (0, True)
    for index in (0, 2):
        proof = LOG.proof(index)
        _withhold(proof, 3)
        proof["recorded"]["id"] = None
        assert verdict(tmp_path, packed(proof))[0] == 0


def _claim_name(proof: Any) -> None:
    """Say that the event is of the other stream, by that stream's own first event."""
    proof["disclosed"]["3"] = LOG.proof(3)["disclosed"]["3"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda proof: proof.update(origin="b"), "it says origin 'b'"),
        (lambda proof: proof.update(index=3), "the root that was signed is"),
        (lambda proof: proof.update(index=11), "index 11 is not in a log of 11"),
        (lambda proof: proof.update(index=True), "True is no whole number"),
        (lambda proof: proof.update(index=2.0), "2.0 is no whole number"),
        (lambda proof: proof.update(entry=text(LOG.entries[3])), "the root that was signed is"),
        (lambda proof: proof["path"].pop(), "too short"),
        (lambda proof: proof["path"].append(proof["path"][0]), "too long"),
        (lambda proof: proof.update(path={}), "{} is no list"),
        (lambda proof: proof.update(path=[1]), "1 is not base64 of 32 bytes"),
        (lambda proof: proof.update(checkpoint=None), "the checkpoint is no text"),
        (lambda proof: proof.update(more=1), "an object should have"),
        (lambda proof: proof.update(disclosed=[]), "[] is no object"),
        (lambda proof: proof["disclosed"].update({"7": {}}), "discloses '7'"),
        (lambda proof: proof["disclosed"].update({"00": {}}), "discloses '00'"),
        (lambda proof: proof["disclosed"]["0"].update(bytes=text(b"x")), "payload: what is"),
        (lambda proof: proof["disclosed"]["0"].update(salt=text(bytes(32))), "payload: what is"),
        (lambda proof: proof["disclosed"].pop("0"), "disclosed, or withheld"),
        (lambda proof: proof.update(withheld=[{"ordinal": 0, "why": ""}]), "disclosed, or with"),
        (lambda proof: proof.update(withheld=[{"ordinal": 9, "why": ""}]), "disclosed, or with"),
        (_claim_name, "not its first event"),
        (lambda proof: proof["recorded"].update(id="call-1@2"), "it says id 'call-1@2'"),
        (lambda proof: proof["recorded"].update(position=4), "it says position 4"),
        (lambda proof: proof["recorded"].update(position=3.0), "it says position 3.0"),
        (lambda proof: proof.update(format="refold-proof/2"), "format 'refold-proof/2' is none"),
        (lambda proof: proof.update(format=[]), "format [] is none"),
    ],
)
def test_a_proof_that_says_something_else_is_refused(
    tmp_path: Path, change: Change, said: str
) -> None:
    """In words of what, and where."""
    proof = LOG.proof(2)
    change(proof)
    status, told = verdict(tmp_path, packed(proof))
    assert (status, said in told) == (1, True), told
    assert told.startswith("NOT VERIFIED: FILE")


def test_half_a_character_is_no_checkpoint(tmp_path: Path) -> None:
    """JSON can hold what no text is."""
    proof = packed(LOG.proof(2) | {"checkpoint": "X"}).replace(b'"X"', b'"\\ud800\\n\\n"')
    status, told = verdict(tmp_path, proof)
    assert (status, "the checkpoint is no text" in told) == (1, True)


def _swap(records: Any) -> None:
    records[2], records[3] = records[3], records[2]


def _swap_unseen(records: Any) -> None:
    _swap(records)
    _renumber(records)


def _leave_out_unseen(records: Any) -> None:
    del records[3]
    _renumber(records)


def _renumber(records: Any) -> None:
    for index, record in enumerate(records[1:]):
        record["index"] = index


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda records: records.pop(), "it has 10 events, and not all 11"),
        (lambda records: records.append(records[-1]), "line 13: index 10 stands where 11 must"),
        (lambda records: records.pop(3), "line 4: index 3 stands where 2 must"),
        (_swap, "line 3: index 2 stands where 1 must"),
        (_swap_unseen, "FILE: the root of 11 events is"),
        (_leave_out_unseen, "line 5: version 2 does not"),
        (lambda records: records[1]["disclosed"].update({"1": {}}), "line 2: it discloses '1'"),
        (lambda records: records[1].update(more=1), "line 2: an object should have"),
        (
            lambda records: records[4].update(entry=text(b"\x01")),
            "line 5: the entry cannot be read",
        ),
        (
            lambda records: records[9].update(entry=text(LOG.entries[9]), disclosed={}),
            "line 10: version 3",
        ),
        (lambda records: records[0].update(checkpoint=LOG.checkpoint(10)), "it has 11 events"),
    ],
)
def test_an_export_that_says_something_else_is_refused(
    tmp_path: Path, change: Change, said: str
) -> None:
    """Left out, doubled, swapped, changed; with the line where it can be told."""
    records = LOG.export()
    change(records)
    status, told = verdict(tmp_path, lines(records))
    assert (status, said in told) == (1, True), told


def test_an_export_is_held_to_an_older_checkpoint(tmp_path: Path) -> None:
    """One that another kept: a log that was written anew with its key is found out."""
    kept = tmp_path / "kept"
    kept.write_text(LOG.checkpoint(5))
    assert verdict(tmp_path, lines(LOG.export()), "--against", str(kept))[0] == 0
    other = MadeLog()
    for number in range(6):
        other.add("call-1", b"%d" % number)
    status, said = verdict(tmp_path, lines(other.export()), "--against", str(kept))
    assert (status, "the root of 5 events is" in said) == (1, True)
    kept.write_text(LOG.checkpoint())
    status, said = verdict(tmp_path, lines(other.export()), "--against", str(kept))
    assert (status, "does not continue" in said) == (1, True)
    assert verdict(tmp_path, packed(LOG.proof(2)), "--against", str(kept))[0] == 2


@pytest.mark.parametrize("old", range(1, 12))
def test_each_head_continues_each_before_it(tmp_path: Path, old: int) -> None:
    """And no other path shows it."""
    proof = LOG.consistency(old)
    assert verdict(tmp_path, packed(proof))[0] == 0
    for at in range(len(proof["path"])):
        for wrong in ([], [text(bytes(32))]):
            path = [*proof["path"][:at], *wrong, *proof["path"][at + 1 :]]
            assert verdict(tmp_path, packed(proof | {"path": path}))[0] == 1
    longer = [*proof["path"], text(bytes(32))]
    assert verdict(tmp_path, packed(proof | {"path": longer}))[0] == 1


def test_a_log_cannot_become_smaller(tmp_path: Path) -> None:
    """Nor is anything shown by continuing an empty one."""
    assert verdict(tmp_path, packed(LOG.consistency(0)))[0] == 1
    proof = LOG.consistency(5)
    turned = proof | {"old": proof["new"], "new": proof["old"]}
    status, said = verdict(tmp_path, packed(turned))
    assert (status, "cannot be shown to continue" in said) == (1, True)


@pytest.mark.parametrize(
    "content",
    [b"", b"\xff", b"{", b'{"a":1,"a":2}', b"{" * 100_000, b"hello\n", b"\n\n", b'{"format":1}'],
)
def test_what_is_nothing_of_refold_is_refused_in_words(tmp_path: Path, content: bytes) -> None:
    """No file makes it fail with an error of Python."""
    status, said = verdict(tmp_path, content)
    assert (status, said.startswith("NOT VERIFIED: FILE")) == (1, True), said


def test_a_terminal_is_not_steered_by_what_is_disclosed(tmp_path: Path) -> None:
    """Control characters of a payload are shown as their code."""
    log = MadeLog()
    log.add("c", b"\x1b[2J\xff")
    status, said = verdict(tmp_path, packed(log.proof(0)), "--show")
    assert (status, "payload: \\x1b[2J\\xff" in said) == (0, True)


def test_a_signature_of_another_key_is_none(tmp_path: Path) -> None:
    """The same name and id do not help."""
    other = MadeLog(SigningKey(KEY.name, changed(KEY.seed)))
    other.add("c", b"{}")
    forged = other.checkpoint().encode()
    assert verdict(tmp_path, forged)[0] == 1
