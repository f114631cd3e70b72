"""The bundle: its members, the manifest that lists them, and the zip of all of it."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import msgspec

from refold.audit.evidence.disclosure import Disclosure
from refold.audit.evidence.gathering import Gathered, gathered
from refold.audit.evidence.instructions import instructions
from refold.audit.evidence.page import page
from refold.audit.note import Note, SigningKey
from refold.audit.one_file import verifier_text
from refold.audit.verifier.program import zipped
from refold.conversation.vcon_export import to_vcon, uuid_of
from refold.engine.store import Store
from refold.errors import UsageError

FORMAT: Final = "refold-evidence/1"
_vcon_json: Final = msgspec.json.Encoder(decimal_format="number").encode
BYTES_MAX: Final = (1 << 32) - 1
"""A larger zip would need the fields of Zip64."""


def evidence_bundle(
    store: Store,
    what: str,
    key: SigningKey,
    *,
    withhold: Mapping[str, str] | None = None,
    disclose: Collection[str] = (),
) -> bytes:
    """A zip of evidence about a stream, or about one event (``stream@version``) and what led to it.

    It proves every event of the stream under the newest signed head of the log, so that none is
    left out, and discloses them but what ``withhold`` maps to a reason; of one event, what came
    after it is withheld. Each is ``payload``, ``metadata`` or ``name``, of every event, or the id
    or the type of some; ``disclose`` names events that are disclosed all the same. The log's key
    signs the list of its members. The same log, head and choice give the same bytes.

    Raises :class:`~refold.errors.NotFound` where there is no such stream or it is not sealed yet,
    :class:`~refold.errors.ProofError` where the log is not what was sealed, or the key is not that
    of its newest head.
    """
    found = gathered(store, what, key.verifying, Disclosure(withhold or {}, disclose))
    members = {"checkpoint": str(found.head.note).encode(), **_members(found, str(key.verifying))}
    listed = [f"{sha256(content).hexdigest()}  {name}" for name, content in members.items()]
    text = "\n".join([FORMAT, key.name, *listed, ""])
    manifest = str(Note(text, [key.sign(text)])).encode()
    if sum(map(len, members.values())) > BYTES_MAX // 2:
        why = f"the evidence of {what} is larger than 2 GB: withhold payloads, or take one event"
        raise UsageError(why)
    return zipped({"manifest": manifest, **members})


def _members(found: Gathered, key: str) -> dict[str, bytes]:
    proofs = {
        "older": found.older,
        "events": found.events,
        "governance": found.governance,
        "rest": found.rest,
    }
    return {
        "index.html": page(found, key).encode(),
        "README.txt": instructions(found, key).encode(),
        "refold_verify.py": verifier_text().encode(),
        "conversation.vcon": _vcon(found),
        **_stamps(found),
        **{f"proof/{name}.jsonl": _lines(records) for name, records in proofs.items() if records},
    }


def _stamps(found: Gathered) -> dict[str, bytes]:
    """The time stamps, each beside the checkpoint that it is of."""
    members: dict[str, bytes] = {}
    for number, one in enumerate(found.stamps, 1):
        name = f"timestamps/{number}-of-{one.size}"
        members |= {f"{name}.checkpoint": one.note.encode(), f"{name}.tsr": one.answer}
    return members


def _vcon(found: Gathered) -> bytes:
    """What is disclosed as a vCon, whose uuid does not tell the stream's name."""
    made = to_vcon(found.disclosed)
    return _vcon_json({**made, "uuid": uuid_of(found.events[0]["entry"])})


def _lines(records: Sequence[Any]) -> bytes:
    return b"".join(msgspec.json.encode(record) + b"\n" for record in records)
