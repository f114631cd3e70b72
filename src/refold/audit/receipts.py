"""COSE receipts: the proof that an event is in a log, in the form of others' transparency services.

RFC 9942 (COSE Receipts) over RFC 9052 (COSE_Sign1) and RFC 8949 (CBOR): the tree's root, signed
with Ed25519 and left out, and a proof of RFC 9162 by which it is made again from the entry.
"""

from __future__ import annotations

from base64 import b64decode
from typing import Any, Final, NamedTuple

from refold.audit.note import SigningKey, parse_checkpoint, parse_note
from refold.audit.proving import Prover
from refold.engine.store import Store
from refold.errors import NotFound

ALGORITHM, KEY_ID, CLAIMS, STRUCTURE, PROOFS = 1, 4, 15, 395, 396
"""Labels of headers: https://www.iana.org/assignments/cose."""
EDDSA, RFC9162_SHA256, INCLUSION = -8, 1, -1
ISSUER, SUBJECT = 1, 2
"""Claims of RFC 8392: the log's name, and the event by its pseudonym."""
_SIGN1: Final = b"\xd2"


class CoseReceipt(NamedTuple):
    """A receipt, and the entry that it is of: both are needed to verify it."""

    receipt: bytes
    entry: bytes


def cose_receipt(store: Store, event_id: str, key: SigningKey) -> CoseReceipt:
    """A receipt of a sealed event under the newest signed head, signed with the log's key.

    It tells a pseudonym, a version, and where in the log that is. Raises what
    :func:`refold.audit.prove` raises.
    """
    recorded, prover = store.event(event_id), Prover(store)
    if recorded.position > prover.head.size:
        why = f"{event_id} is not sealed yet: `refold checkpoint` seals what stands"
        raise NotFound(why, code="not_sealed", id=event_id)
    proof = prover.proof(recorded, {0: "", 1: "", 3: ""})
    entry, path = b64decode(proof["entry"]), [b64decode(one) for one in proof["path"]]
    root = parse_checkpoint(parse_note(str(prover.head.note)).text).root
    claims = {ISSUER: key.name, SUBJECT: f"{entry[1:17].hex()}@{recorded.version}"}
    headers = {ALGORITHM: EDDSA, KEY_ID: key.verifying.key_id}
    headers |= {CLAIMS: claims, STRUCTURE: RFC9162_SHA256}
    protected = cbor(headers)
    signature = key.signature_of(cbor(["Signature1", protected, b"", root]))
    proofs = {INCLUSION: [cbor([prover.head.size, proof["index"], path])]}
    receipt = _SIGN1 + cbor([protected, {PROOFS: proofs}, None, signature])
    return CoseReceipt(receipt, entry)


def cbor(value: Any) -> bytes:
    """A value in the deterministic encoding of RFC 8949 section 4.2."""
    match value:
        case None:
            return b"\xf6"
        case int():
            return _head(0, value) if value >= 0 else _head(1, -1 - value)
        case bytes():
            return _head(2, len(value)) + value
        case str():
            return _head(3, len(value.encode())) + value.encode()
        case list():
            return _head(4, len(value)) + b"".join(map(cbor, value))
        case dict():
            pairs = sorted((cbor(key), cbor(one)) for key, one in value.items())
            return _head(5, len(pairs)) + b"".join(key + one for key, one in pairs)
    raise TypeError(f"{type(value).__name__} is not encoded here")


def _head(major: int, number: int) -> bytes:
    if number < 24:
        return bytes([major << 5 | number])
    step = next(step for step in range(4) if number < 1 << (8 << step))
    return bytes([major << 5 | 24 + step]) + number.to_bytes(1 << step)
