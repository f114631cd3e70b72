"""Answers that others computed: AES-256-GCM of NIST's validation programme, Ed25519 of its authors.

They come with the package ``cryptography-vectors``, and are read from there.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path

import cryptography_vectors
import pytest

from refold.audit.verifier.ed25519 import signature_holds
from refold.privacy.envelope import Damaged, DataKey, _decrypted
from refold.privacy.locked import cipher_of

VECTORS = Path(cryptography_vectors.__file__).parent
GCM = VECTORS / "ciphers/AES/GCM"
EVERY = 32
"""Of the signatures so many are passed over for one: the verifier's own arithmetic is slow."""


def cases(path: Path) -> Iterator[Mapping[str, str]]:
    """The cases of a file of NIST's, each with the lengths of its section."""
    section: dict[str, str] = {}
    for block in path.read_text().replace("\r", "").split("\n\n"):
        lines = [line for line in block.splitlines() if line and line[0] != "#"]
        if lines and lines[0][0] == "[":
            section = dict(line.strip("[]").split(" = ") for line in lines)
        elif lines:
            pairs = (line.partition("=") for line in lines)
            yield section | {name.strip(): value.strip() for name, _, value in pairs}


@cache
def ours(name: str) -> list[Mapping[str, str]]:
    """Those with nonces and tags as long as those of an envelope."""
    lengths = {"IVlen": "96", "Taglen": "128"}
    return [one for one in cases(GCM / name) if lengths.items() <= one.items()]


def test_what_nist_decrypts_is_decrypted_and_what_it_refuses_refused() -> None:
    """By what opens envelopes, with and without associated data."""
    refused = 0
    for case in ours("gcmDecrypt256.rsp"):
        key, nonce, text, about, tag = (
            bytes.fromhex(case[name]) for name in ("Key", "IV", "CT", "AAD", "Tag")
        )
        data_key = DataKey("ab" * 16, cipher_of(key))
        if "FAIL" in case:
            refused += 1
            with pytest.raises(Damaged):
                _decrypted(nonce + text + tag, about, data_key)
        else:
            assert _decrypted(nonce + text + tag, about, data_key).hex() == case["PT"]
    assert refused > 100
    assert len(ours("gcmDecrypt256.rsp")) - refused > 100


def test_what_nist_encrypts_is_encrypted_to_the_same() -> None:
    """By what makes envelopes: text, and the tag behind it."""
    assert len(ours("gcmEncryptExtIV256.rsp")) > 200
    for case in ours("gcmEncryptExtIV256.rsp"):
        key, nonce, plain, about = (
            bytes.fromhex(case[name]) for name in ("Key", "IV", "PT", "AAD")
        )
        assert cipher_of(key).encrypt(nonce, plain, about).hex() == case["CT"] + case["Tag"]


def test_the_verifier_takes_the_signatures_of_the_authors_of_ed25519() -> None:
    """Of messages of 0 to 1,023 bytes; none with a bit of signature, message or key turned."""
    lines = (VECTORS / "asymmetric/Ed25519/sign.input").read_text().split()
    assert len(lines) == 1024
    for number, line in enumerate(lines[1::EVERY]):
        _, public, said, signed = (bytes.fromhex(part) for part in line.split(":")[:4])
        signature, message = signed[:64], signed[64:]
        assert message == said
        assert signature_holds(public, signature, message)
        turned = bytearray(public + signature + message)
        turned[number * 7 % len(turned)] ^= 1 << number % 8
        key, changed, text = turned[:32], turned[32:96], turned[96:]
        assert not signature_holds(bytes(key), bytes(changed), bytes(text))
