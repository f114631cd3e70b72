"""Signed notes: how the head of a log is written down, signed, and countersigned.

- the note, its signatures and its keys as text: c2sp.org/signed-note, Ed25519 (RFC 8032);
- what it says of a log, without extension lines: c2sp.org/tlog-checkpoint;
- a witness's signature with its time, cosignature/v1: c2sp.org/tlog-cosignature.
"""

from __future__ import annotations

import re
from base64 import b64decode, b64encode
from binascii import Error as Base64Error
from collections.abc import Sequence
from hashlib import sha256
from types import ModuleType
from typing import Final, NamedTuple

from refold.errors import ProofError, UsageError
from refold.extras import needs

ED25519: Final = 1
"""A plain signature of the note's text."""
COSIGNATURE: Final = 4
"""A witness's signature of text and time."""
_NAME: Final = re.compile(r"[^\s+]+")
_SIGNATURE: Final = re.compile(r"— ([^\s+]+) ([A-Za-z0-9+/]+={0,2})\n")
_CHECKPOINT: Final = re.compile(r"([^\n]+)\n(0|[1-9]\d{0,18})\n([A-Za-z0-9+/]{43}=)\n")
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")
_KEY_ID_BYTES: Final = 4
_TIME_BYTES: Final = 8


class NoteSignature(NamedTuple):
    """One line of a note: whose it says it is, the id of the key, and the signature's bytes."""

    name: str
    key_id: bytes
    signature: bytes

    @property
    def line(self) -> str:
        """The line as it stands in the note."""
        return f"— {self.name} {b64encode(self.key_id + self.signature).decode()}\n"


class Note(NamedTuple):
    """A text that ends with a newline, and its signatures, at least one; none is checked yet."""

    text: str
    signatures: Sequence[NoteSignature]

    def __str__(self) -> str:
        return self.text + "\n" + "".join(signature.line for signature in self.signatures)


class VerifyingKey(NamedTuple):
    """What checks signatures: a name, the kind (ED25519 or COSIGNATURE), 32 bytes of public key."""

    name: str
    public: bytes
    kind: int = ED25519

    @property
    def key_id(self) -> bytes:
        """Four bytes that tell keys of one name apart."""
        hashed = self.name.encode() + b"\n" + bytes([self.kind]) + self.public
        return sha256(hashed).digest()[:_KEY_ID_BYTES]

    def __str__(self) -> str:
        return f"{self.name}+{self.key_id.hex()}+{_text(bytes([self.kind]) + self.public)}"

    def check(self, text: str, signature: bytes) -> None:
        """Refuse a signature that is not this key's of a text. Raises ProofError."""
        signed, own = text.encode(), signature
        if self.kind == COSIGNATURE:
            time_s, own = int.from_bytes(signature[:_TIME_BYTES]), signature[_TIME_BYTES:]
            signed = _cosigned(text, time_s)
        made = _ed25519().Ed25519PublicKey.from_public_bytes(self.public)
        from cryptography.exceptions import InvalidSignature

        try:
            made.verify(own, signed)
        except InvalidSignature as error:
            raise ProofError(
                f"the signature of {self.name} is not that of key {self.key_id.hex()}",
                proof="signature",
                signer=self.name,
            ) from error


class SigningKey(NamedTuple):
    """What signs: a name, 32 secret bytes, and the kind of signature."""

    name: str
    seed: bytes
    kind: int = ED25519

    @property
    def verifying(self) -> VerifyingKey:
        """The key that others check with."""
        own = _ed25519().Ed25519PrivateKey.from_private_bytes(self.seed)
        return VerifyingKey(self.name, own.public_key().public_bytes_raw(), self.kind)

    def __str__(self) -> str:
        secret = _text(bytes([self.kind]) + self.seed)
        return f"PRIVATE+KEY+{self.name}+{self.verifying.key_id.hex()}+{secret}"

    def __repr__(self) -> str:
        return f"SigningKey({self.name!r})"

    def signature_of(self, data: bytes) -> bytes:
        """The 64 bytes of a signature of bytes (Ed25519)."""
        own = _ed25519().Ed25519PrivateKey.from_private_bytes(self.seed)
        return bytes(own.sign(data))

    def sign(self, text: str, *, time_s: int = 0) -> NoteSignature:
        """Sign a note's text; a cosignature says that it was made at ``time_s`` (Unix seconds)."""
        if self.kind == COSIGNATURE:
            stamped = time_s.to_bytes(_TIME_BYTES)
            signature = stamped + self.signature_of(_cosigned(text, time_s))
        else:
            signature = self.signature_of(text.encode())
        return NoteSignature(self.name, self.verifying.key_id, signature)


class Checkpoint(NamedTuple):
    """The head of a log: the log's name, how many leaves it has, and their root."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """What a note of it says."""
        return f"{self.origin}\n{self.size}\n{_text(self.root)}\n"


def parse_verifying_key(text: str) -> VerifyingKey:
    """A key from its text: ``name+8 hex digits+base64``. Raises UsageError."""
    name, kind, public, key_id = _parsed_key(text.strip(), "a verifying key")
    key = VerifyingKey(name, public, kind)
    if key.key_id.hex() != key_id:
        raise UsageError(f"the key of {name} has the id {key.key_id.hex()}, but says {key_id}")
    return key


def parse_signing_key(text: str) -> SigningKey:
    """A secret key from its text: ``PRIVATE+KEY+name+8 hex digits+base64``. Raises UsageError."""
    private, _, rest = text.strip().partition("PRIVATE+KEY+")
    if private or not rest:
        raise UsageError("a signing key begins with PRIVATE+KEY+")
    name, kind, seed, key_id = _parsed_key(rest, "a signing key")
    key = SigningKey(name, seed, kind)
    if key.verifying.key_id.hex() != key_id:
        raise UsageError(f"the signing key of {name} is damaged: its id is not {key_id}")
    return key


def _parsed_key(text: str, what: str) -> tuple[str, int, bytes, str]:
    name, _, rest = text.partition("+")
    key_id, _, encoded = rest.partition("+")
    value = _bytes(encoded)
    if not _NAME.fullmatch(name) or len(value) != 33 or value[0] not in (ED25519, COSIGNATURE):
        raise UsageError(f"{what} is name+id+base64 of an Ed25519 key")
    return name, value[0], value[1:], key_id


def parse_note(text: str) -> Note:
    """A note taken apart, its signatures not checked. Raises ProofError."""
    said, blank, lines = text.rpartition("\n\n")
    found = list(_SIGNATURE.finditer(lines))
    whole = "".join(match[0] for match in found) == lines and not _CONTROL.search(text)
    if not blank or not lines or not whole:
        raise ProofError("a note is a text, an empty line, and signature lines", proof="note")
    signatures = [NoteSignature(match[1], *_split(_bytes(match[2]))) for match in found]
    return Note(said + "\n", signatures)


def _split(value: bytes) -> tuple[bytes, bytes]:
    if len(value) <= _KEY_ID_BYTES:
        raise ProofError("a signature line of the note is too short", proof="note")
    return value[:_KEY_ID_BYTES], value[_KEY_ID_BYTES:]


def is_signed(note: Note, key: VerifyingKey) -> bool:
    """Whether a note has a signature that says it is of a key; it is not checked."""
    return any(one[:2] == (key.name, key.key_id) for one in note.signatures)


def check_note(note: Note, key: VerifyingKey) -> NoteSignature:
    """The signature of a key under a note, which must be there and right. Raises ProofError."""
    for signature in note.signatures:
        if (signature.name, signature.key_id) == (key.name, key.key_id):
            key.check(note.text, signature.signature)
            return signature
    signers = ", ".join(f"{one.name} ({one.key_id.hex()})" for one in note.signatures)
    raise ProofError(
        f"the note is not signed by {key.name} ({key.key_id.hex()}), only by {signers}",
        proof="signature",
    )


def parse_checkpoint(text: str) -> Checkpoint:
    """What the text of a note says of a log. Raises ProofError."""
    match = _CHECKPOINT.fullmatch(text)
    if match is None or not (root := _bytes(match[3])):
        raise ProofError("a checkpoint is three lines: origin, size, root", proof="checkpoint")
    return Checkpoint(match[1], int(match[2]), root)


def cosigned_at(signature: NoteSignature) -> int:
    """When a witness says that it signed, in Unix seconds."""
    return int.from_bytes(signature.signature[:_TIME_BYTES])


def _cosigned(text: str, time_s: int) -> bytes:
    return f"cosignature/v1\ntime {time_s}\n{text}".encode()


def _text(value: bytes) -> str:
    return b64encode(value).decode()


def _bytes(text: str) -> bytes:
    """Bytes from their one base64 text; other texts of the same bytes count as none."""
    try:
        value = b64decode(text, validate=True)
    except (Base64Error, ValueError):
        return b""
    return value if _text(value) == text else b""


def _ed25519() -> ModuleType:
    try:
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise UsageError(needs("signatures are made with cryptography", "audit")) from error
    return ed25519
