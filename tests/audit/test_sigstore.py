"""sigstore's verifier accepts our checkpoints and inclusion proofs, and nothing near them."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from sigstore._internal.merkle import verify_merkle_inclusion
from sigstore._internal.rekor.checkpoint import verify_checkpoint
from sigstore._internal.trust import Keyring, RekorKeyring
from sigstore.errors import VerificationError
from sigstore.models import TransparencyLogEntry
from sigstore_models.common import v1 as common

from refold.audit.note import Checkpoint, Note, SigningKey
from refold.audit.tree import inclusion_path, root_of
from tests.audit.logs import entries_of, nodes_of
from tests.audit.test_tree import changed

KEY = SigningKey("example.org/log", bytes(range(32)))
ENTRIES = entries_of(300)
NODES = nodes_of(ENTRIES)


def keyring() -> RekorKeyring:
    """Our verifying key, as sigstore keeps keys."""
    public = Ed25519PublicKey.from_public_bytes(KEY.verifying.public)
    raw = public.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
    details = common.PublicKeyDetails.PKIX_ED25519
    return RekorKeyring(Keyring([common.PublicKey(raw_bytes=b64encode(raw), key_details=details)]))


def asked(index: int, size: int, changes: Mapping[str, Any] = {}) -> TransparencyLogEntry:
    """An entry of a log, with its proof and the signed head."""
    root = root_of(size, NODES)
    text = Checkpoint(KEY.name, size, root).text
    facts = {
        "index": index,
        "size": size,
        "root": root,
        "path": inclusion_path(index, size, NODES),
        "note": str(Note(text, [KEY.sign(text)])),
        "entry": ENTRIES[index],
        **changes,
    }
    proof = SimpleNamespace(
        log_index=facts["index"],
        tree_size=facts["size"],
        root_hash=facts["root"],
        hashes=facts["path"],
        checkpoint=SimpleNamespace(envelope=facts["note"]),
    )
    log = SimpleNamespace(key_id=KEY.verifying.key_id)
    inner: Any = SimpleNamespace(
        inclusion_proof=proof, canonicalized_body=facts["entry"], log_id=log
    )
    return TransparencyLogEntry(inner)


def check(entry: TransparencyLogEntry) -> None:
    """What sigstore checks of an entry offline: the signed head, and the way to its root."""
    verify_checkpoint(keyring(), entry)
    verify_merkle_inclusion(entry)


PLACES = [(0, 1), (1, 2), (4, 5), (255, 300), (299, 300), (128, 257)]


@pytest.mark.parametrize(("index", "size"), PLACES)
def test_what_we_prove_is_accepted(index: int, size: int) -> None:
    """Alone, at both edges, and in the midst of the log."""
    check(asked(index, size))


@pytest.mark.parametrize(("index", "size"), PLACES)
def test_what_was_changed_is_refused(index: int, size: int) -> None:
    """The entry, its place, the root, each hash of the path, the head's text and signature."""
    right = asked(index, size)._inner.inclusion_proof
    assert right is not None
    path, note = list(right.hashes), str(getattr(right.checkpoint, "envelope", ""))
    signature = note[-20:]
    wrong: list[dict[str, Any]] = [
        {"entry": ENTRIES[index] + b"."},
        {"root": changed(right.root_hash)},
        {"path": [*path, right.root_hash]},
        {"note": note.replace(f"\n{size}\n", f"\n{size + 1}\n")},
        {"note": note.replace(signature, signature.swapcase())},
        *({"path": [*path[:at], changed(step), *path[at + 1 :]]} for at, step in enumerate(path)),
        *({"path": [*path[:at], *path[at + 1 :]]} for at in range(len(path))),
        *({"index": other} for other in {index - 1, index ^ 1} if size > 1 and 0 <= other < size),
    ]
    for changes in wrong:
        with pytest.raises(VerificationError):
            check(asked(index, size, changes))
