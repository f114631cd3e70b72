"""Notes, keys and cosignatures as c2sp.org has them, with the published examples."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from refold.audit.note import (
    COSIGNATURE,
    Checkpoint,
    Note,
    NoteSignature,
    SigningKey,
    VerifyingKey,
    check_note,
    cosigned_at,
    parse_checkpoint,
    parse_note,
    parse_signing_key,
    parse_verifying_key,
)
from refold.errors import ProofError, RefoldError, UsageError
from tests.audit.test_tree import changed

KEY = SigningKey("example.org/log", bytes(range(32)))
WITNESS = SigningKey("witness.example.org", bytes(range(1, 33)), COSIGNATURE)
HEAD = Checkpoint("example.org/log", 42, b"r" * 32)


def signed(text: str = HEAD.text) -> Note:
    """A note of the log's key and a witness."""
    return Note(text, [KEY.sign(text), WITNESS.sign(text, time_s=1_700_000_000)])


def test_the_example_of_the_note_package_is_ours() -> None:
    """Keys, text and signature as the documentation of golang.org/x/mod/sumdb/note shows them."""
    secret = "PRIVATE+KEY+PeterNeumann+c74f20a3+AYEKFALVFGyNhPJEMzD1QIDr+Y7hfZx09iUvxdXHKDFz"
    signer = parse_signing_key(secret)
    verifier = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    text = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
    )
    shown = (
        f"{text}\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngo"
        "tpRZb6KE6RyyBwJnAM=\n"
    )
    assert str(signer.verifying) == verifier
    assert str(signer) == secret
    assert str(Note(text, [signer.sign(text)])) == shown
    check_note(parse_note(shown), parse_verifying_key(verifier))


def test_a_checkpoint_is_three_lines() -> None:
    """Origin, size, root; read back as it was."""
    assert HEAD.text == "example.org/log\n42\ncnJycnJycnJycnJycnJycnJycnJycnJycnJycnJycnI=\n"
    assert parse_checkpoint(HEAD.text) == HEAD


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a\n1\n",
        HEAD.text + "extension\n",
        HEAD.text.replace("42", "042"),
        HEAD.text.replace("42", "-1"),
        HEAD.text.replace("42", "٤٢"),
        HEAD.text.replace("42", "9" * 20),
        HEAD.text.replace("nI=", "nJ="),
        HEAD.text.replace("=", ""),
        HEAD.text[:-1],
        "\n" + HEAD.text,
    ],
)
def test_what_is_no_checkpoint_is_refused(text: str) -> None:
    """An extension line, a number written in another way, base64 of another length or form."""
    with pytest.raises(ProofError):
        parse_checkpoint(text)


def test_both_kinds_of_signature_are_checked() -> None:
    """The log's and the witness's, whose time is told."""
    note = parse_note(str(signed()))
    assert note == signed()
    assert check_note(note, KEY.verifying) == note.signatures[0]
    assert cosigned_at(check_note(note, WITNESS.verifying)) == 1_700_000_000


def test_every_flipped_bit_of_a_note_is_caught() -> None:
    """Of the text, the names and both signatures: parsing or one of the checks refuses it."""
    whole = str(signed()).encode()
    for at in range(8 * len(whole)):
        flipped = bytearray(whole)
        flipped[at // 8] ^= 1 << at % 8
        with pytest.raises((RefoldError, UnicodeDecodeError)):
            note = parse_note(flipped.decode())
            check_note(note, KEY.verifying)
            check_note(note, WITNESS.verifying)
            assert str(note) == str(signed())


def test_another_key_of_the_same_name_is_none() -> None:
    """The refusal says who did sign."""
    other = SigningKey(KEY.name, b"o" * 32)
    with pytest.raises(ProofError, match=f"only by {KEY.name}"):
        check_note(signed(), other.verifying)
    forged = NoteSignature(KEY.name, KEY.verifying.key_id, other.sign(HEAD.text).signature)
    with pytest.raises(ProofError, match="not that of key"):
        check_note(Note(HEAD.text, [forged]), KEY.verifying)


def test_a_cosignature_is_of_its_time() -> None:
    """The same signature with another time does not hold."""
    own = WITNESS.sign(HEAD.text, time_s=5)
    later = (6).to_bytes(8) + own.signature[8:]
    with pytest.raises(ProofError):
        WITNESS.verifying.check(HEAD.text, later)
    with pytest.raises(ProofError):
        WITNESS.verifying.check(HEAD.text, own.signature[:7])


@given(st.binary(min_size=32, max_size=32), st.sampled_from([1, COSIGNATURE]))
def test_keys_are_read_back_from_their_text(seed: bytes, kind: int) -> None:
    """Both keys, of both kinds; the secret is not in what Python shows."""
    key = SigningKey("a.example/b", seed, kind)
    assert parse_signing_key(str(key)) == key
    assert parse_verifying_key(f" {key.verifying}\n") == key.verifying
    assert repr(key) == "SigningKey('a.example/b')"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "name",
        str(KEY),
        str(KEY.verifying)[:-1],
        str(KEY.verifying).replace("log+", "LOG+"),
        str(KEY.verifying).replace("example.org", "exam ple.org"),
        str(VerifyingKey("n", bytes(32), 2)),
        str(VerifyingKey("n", bytes(31))),
        str(VerifyingKey("", bytes(32))),
    ],
)
def test_what_is_no_key_is_refused(text: str) -> None:
    """Of another kind, name, length or id."""
    with pytest.raises(UsageError):
        parse_verifying_key(text)


def test_a_damaged_signing_key_is_refused() -> None:
    """It would sign what nobody can check."""
    damaged = str(SigningKey(KEY.name, changed(KEY.seed)))
    id_of_another = damaged.replace(
        parse_signing_key(damaged).verifying.key_id.hex(), KEY.verifying.key_id.hex()
    )
    for text in (id_of_another, str(KEY.verifying), "PRIVATE+KEY+"):
        with pytest.raises(UsageError):
            parse_signing_key(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        HEAD.text,
        HEAD.text + "\n",
        "\n" + KEY.sign(HEAD.text).line,
        str(signed())[:-1],
        str(signed()) + "more\n",
        str(signed()).replace("— ", "- "),
        HEAD.text + "\n— name AAAA\n",
        HEAD.text + "\n— na+me AAAAAAAA\n",
        HEAD.text + "\n— name AAAAAAB=\n",
        str(signed("a\tb\n")),
        str(signed("a\rb\n")),
        str(signed("a\0b\n")),
    ],
)
def test_what_is_no_note_is_refused(text: str) -> None:
    """Without text, an empty line or a signature; with something behind, or another dash."""
    with pytest.raises(ProofError):
        parse_note(text)


def test_the_examples_of_c2sp_are_read() -> None:
    """A checkpoint with a cosignature (c2sp.org/tlog-cosignature), a note (signed-note)."""
    own = (
        "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOA"
        "YQ8="
    )
    cosigned = (
        "jWbPPwAAAABkGFDLEZMHwSRaJNiIDoe9DYn/zXcrtPHeolMI5OWXEhZCB9dlrDJsX3b2oyin1nPZqhf5nNo0xUe+"
        "mbIUBkBIfZ+qnA=="
    )
    poet = (
        "NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwN"
        "tIc="
    )
    shown = (
        "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
        f"— example.com/behind-the-sofa {own}\n— witness.example.com/w1 {cosigned}\n"
    )
    note = parse_note(shown)
    head = parse_checkpoint(note.text)
    assert (head.origin, head.size) == ("example.com/behind-the-sofa", 20_852_163)
    assert head.root.hex().startswith("0ac5186a91863e8e")
    assert [one.key_id.hex() for one in note.signatures] == ["033de0ae", "8d66cf3f"]
    assert cosigned_at(note.signatures[1]) == 1_679_315_147
    assert str(note) == shown
    text = (
        "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\n"
        "ed è subito sera.\n"
    )
    poem = parse_note(f"{text}\n— quasimodo.example/salvatore {poet}\n")
    assert (poem.text, poem.signatures[0].name) == (text, "quasimodo.example/salvatore")


def test_signing_without_its_library_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is not in the base."""
    monkeypatch.setitem(sys.modules, "cryptography.hazmat.primitives.asymmetric", None)
    with pytest.raises(UsageError, match=r"pip install 'refold\[audit\]'"):
        KEY.sign("x\n")
