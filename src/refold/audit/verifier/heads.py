"""What is read is read strictly; then signed heads of a log, and its tree.

Sources: RFC 9162 section 2.1; c2sp.org/signed-note, tlog-checkpoint and tlog-cosignature.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

from refold.audit.verifier.ed25519 import signature_holds

EPOCH = datetime.fromisoformat("1970-01-01T00:00:00+00:00")
Json = dict[str, Any]


class Unverified(Exception):
    """What is verified is not so; the text says what, and where."""


class WrongUse(Exception):
    """The call is wrong, and nothing was verified."""


def refuse(where: str, what: str) -> NoReturn:
    """Stop, and say what does not hold where."""
    raise Unverified(f"{where}: {what}")


def text_of(data: bytes, where: str) -> str:
    """Text from UTF-8."""
    try:
        return data.decode()
    except UnicodeDecodeError as error:
        refuse(where, f"it is not text: {error}")


def loaded(text: str, where: str) -> Json:
    """An object of JSON, without a name that stands twice in it."""

    def unique(pairs: list[tuple[str, Any]]) -> Json:
        is_so = len(dict(pairs)) == len(pairs)
        return dict(pairs) if is_so else refuse(where, "a name stands twice in one object")

    try:
        return object_of(json.loads(text, object_pairs_hook=unique), where)
    except (ValueError, RecursionError) as error:
        refuse(where, f"it is not JSON: {error}")


def object_of(value: Any, where: str) -> Json:
    """An object."""
    return value if isinstance(value, dict) else refuse(where, f"{value!r:.99} is no object")


def fields(value: Any, where: str, *names: str) -> Json:
    """An object that has these names, and no others."""
    has = object_of(value, where)
    wrong = f"an object should have {sorted(names)}, and has {sorted(has)!r:.199}"
    return has if {*has} == {*names} else refuse(where, wrong)


def list_of(value: Any, where: str) -> list[Any]:
    """A list."""
    return value if isinstance(value, list) else refuse(where, f"{value!r:.99} is no list")


def number_of(value: Any, where: str) -> int:
    """A whole number, at least 0."""
    is_one = type(value) is int and value >= 0
    return int(value) if is_one else refuse(where, f"{value!r:.99} is no whole number")


def bytes_of(value: Any, where: str, length: int | None = None) -> bytes:
    """Bytes from base64, at least one."""
    data, wrong = strict_base64(value), f"{value!r:.99} is not base64 of {length or 'some'} bytes"
    return data if data and length in (None, len(data)) else refuse(where, wrong)


def strict_base64(text: Any) -> bytes:
    """Bytes from base64 as it is written, and not in another way; none for anything else."""
    try:
        data = base64.b64decode(text.encode("ascii"), validate=True)
    except (AttributeError, ValueError):
        return b""
    return data if base64.b64encode(data).decode() == text else b""


def shown_time(microseconds: int) -> str:
    """RFC 3339, in UTC."""
    try:
        return (EPOCH + timedelta(microseconds=microseconds)).isoformat()
    except OverflowError:
        return f"{microseconds} microseconds"


SIGNATURE = re.compile("— ([^\\s+]+) ([A-Za-z0-9+/]+={0,2})\n")
HEAD = re.compile(r"([^\n]+)\n(0|[1-9][0-9]{0,18})\n([A-Za-z0-9+/]{43}=)\n")


class TrustedKey(NamedTuple):
    """Who may sign: the name, the kind of signature, the key's id, and the public key."""

    name: str
    kind: int
    key_id: bytes
    public: bytes


class SignedHead(NamedTuple):
    """What a checkpoint says of a log, and who was found to have signed it."""

    origin: str
    size: int
    root: bytes
    signers: str

    def __str__(self) -> str:
        return f"{self.origin} with {self.size} events ({self.signers}; root {self.root.hex()})"


def trusted_key(text: str) -> TrustedKey:
    """A key from its text, or from the file of that name."""
    file = Path(text)  # What is in it is not repeated: it may be the secret key.
    text = file.read_text("utf-8") if file.is_file() else text
    name, key_id, encoded = [*text.strip().split("+", 2), "", ""][:3]
    value = strict_base64(encoded)
    hashed = hashlib.sha256(name.encode() + b"\n" + value).digest()[:4]
    if len(value) != 33 or value[0] not in (1, 4) or hashed.hex() != key_id:
        what = f"the file {file}" if file.is_file() else "what is given, which is no file,"
        raise WrongUse(f"{what} is no verifying key of Ed25519: name+id+base64")
    return TrustedKey(name, value[0], hashed, value[1:])


def signed_text(note: Any, keys: list[TrustedKey], where: str) -> tuple[str, str]:
    """What a note says, and in words who signed it, when every one of the keys has."""
    if not isinstance(note, str) or note.encode(errors="replace").decode() != note:
        refuse(where, "the checkpoint is no text")
    text, _, lines = note.rpartition("\n\n")
    text += "\n"
    found = list(SIGNATURE.finditer(lines))
    if "".join(match[0] for match in found) != lines:
        refuse(where, "a checkpoint is a text, an empty line and signatures, and this is not")
    signatures: dict[Any, bytes] = {}
    for match in found:
        value = strict_base64(match[2])
        if len(value) < 5 or (match[1], value[:4]) in signatures:
            refuse(where, f"the signature of {match[1]} is damaged, or stands there twice")
        signatures[match[1], value[:4]] = value[4:]
    signers = [signer(key, signatures, text, where) for key in keys]
    if signatures:
        signers.append(f"{len(signatures)} more signatures not looked at, without their keys")
    return text, "; ".join(signers)


def signed_head(note: Any, keys: list[TrustedKey], where: str) -> SignedHead:
    """What a checkpoint says, when every one of the keys has signed it."""
    text, signers = signed_text(note, keys, where)
    head = HEAD.fullmatch(text)
    root = strict_base64(head[3]) if head else b""
    if not head or not root:
        refuse(where, "a checkpoint says origin, size and root in three lines; this does not")
    return SignedHead(head[1], int(head[2]), root, signers)


def signer(key: TrustedKey, signatures: dict[Any, bytes], text: str, where: str) -> str:
    """Who signed a text, in words; the signature is taken out of the others."""
    signature, message = signatures.pop((key.name, key.key_id), b""), text
    said = f"signed by {key.name} (key {key.key_id.hex()})"
    if key.kind == 4:
        time_s, signature = int.from_bytes(signature[:8], "big"), signature[8:]
        said = f"witnessed by {key.name} at {shown_time(time_s * 10**6)}"
        message = f"cosignature/v1\ntime {time_s}\n{text}"
    if not signature_holds(key.public, signature, message.encode()):
        refuse(where, f"no signature of {key.name} (key {key.key_id.hex()}) holds of its text")
    return said


def leaf_hash(entry: bytes) -> bytes:
    """The hash of an entry's leaf."""
    return hashlib.sha256(b"\0" + entry).digest()


def above(left: bytes, right: bytes) -> bytes:
    """The hash of the node above two others."""
    return hashlib.sha256(b"\1" + left + right).digest()


def root_of(hashes: list[bytes]) -> bytes:
    """The root of leaves: level by level, where the last of an odd number is carried up."""
    while len(hashes) > 1:
        pairs = range(0, len(hashes) - 1, 2)
        last = hashes[len(pairs) * 2 :]
        hashes = [above(hashes[at], hashes[at + 1]) for at in pairs] + last
    return hashes[0] if hashes else hashlib.sha256().digest()


def beside(index: int, last: int, path: list[bytes], where: str) -> list[tuple[int, bytes]]:
    """Whether each node beside the way up from an index, to ``last``, stands left, and its hash."""
    sides = []
    while last:
        sides += [index & 1] if index & 1 or index < last else []
        index, last = index >> 1, last >> 1
    if len(sides) != len(path):
        refuse(where, f"the path to the root is too {'long' if path[len(sides) :] else 'short'}")
    return [(is_left, path[at]) for at, is_left in enumerate(sides)]


def check_leaf(leaf: bytes, index: int, path: list[bytes], head: SignedHead, where: str) -> None:
    """Refuse a leaf that is not at its index under a head (RFC 9162 section 2.1.3.2)."""
    if index >= head.size or len(leaf) != 32:
        refuse(where, f"index {index} is not in a log of {head.size} events")
    for is_left, other in beside(index, head.size - 1, path, where):
        leaf = above(other, leaf) if is_left else above(leaf, other)
    check_root("the root that was signed", head.root, leaf, where)


def check_continued(old: SignedHead, new: SignedHead, path: list[bytes], where: str) -> None:
    """Refuse a head that does not continue another (RFC 9162 section 2.1.4.2)."""
    if old.origin != new.origin or not 0 < old.size <= new.size:
        refuse(where, f"{new} cannot be shown to continue {old}")
    # The path begins at the largest node that ends with the old log.
    level = 64 if old.size == new.size else (old.size & -old.size).bit_length() - 1
    index, last = old.size - 1 >> level, new.size - 1 >> level
    before = after = path[0] if index and path else old.root
    for is_left, other in beside(index, last, path[index > 0 :], where):
        before = above(other, before) if is_left else before
        after = above(other, after) if is_left else above(after, other)
    check_root("the old root", old.root, before, where)
    check_root("the new root", new.root, after, where)


def check_root(name: str, root: bytes, computed: bytes, where: str) -> None:
    """Refuse another root than a path came to."""
    if computed != root:
        refuse(where, f"{name} is {root.hex()}, but what is here comes to {computed.hex()}")
