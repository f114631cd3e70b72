"""What is proved of a log: its newest signed head, who signed it, its holes, and one event.

The page has the proof of an event as text; a script of its own checks it in the browser.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from refold import Recorded, Store
from refold.audit import prove
from refold.audit.note import (
    NoteSignature,
    VerifyingKey,
    cosigned_at,
    parse_note,
    parse_verifying_key,
)
from refold.audit.redacted import redacted_positions
from refold.audit.tables import SealedLog, can_be_sealed, is_sealed, keeper_of, tables_of
from refold.conversation.governance import RedactionApplied
from refold.errors import NotFound, ProofError, UsageError
from refold.privacy.decisions import STREAM
from refold.times import rfc3339
from refold.ui.visit import Visit

HOLES_SHOWN: Final = 50
DECISIONS_LOOKED_AT: Final = 1_000
"""So many of the last decisions about personal data are looked through for what says so."""
PAYLOAD_BYTES_MAX: Final = 65_536
"""A larger payload is left out of the proof on a page."""
COSIGNATURE_BYTES: Final = 72


class Signer(NamedTuple):
    """A signature of the newest head: whose it says it is, whether it holds, when it was made.

    ``holds`` is None where that cannot be told: a witness's key is not kept in the log. ``at`` is
    RFC 3339, by a witness's own word; "" of a signature that does not say.
    """

    name: str
    key_id: str
    is_witness: bool
    holds: bool | None
    at: str


class Hole(NamedTuple):
    """A sealed event of which something was taken out, what says so, and why.

    ``redaction`` is None where that is further back than the last decisions.
    """

    event: Recorded
    redaction: Recorded | None
    said: RedactionApplied | None


class LogProof(NamedTuple):
    """How a sealed log stands; ``note`` is its newest signed head, None before the first.

    ``size`` events are under that head, ``unsealed`` came since. ``holes_in_all`` may be more than
    the ``holes``, which are the newest.
    """

    log: SealedLog
    began_at: str
    note: str | None
    size: int
    made_at: str
    unsealed: int
    signers: Sequence[Signer]
    holes: Sequence[Hole]
    holes_in_all: int


def screen(visit: Visit) -> str:
    """The page of proof; with ``event``, of that one too."""
    event, store = visit.text("event"), visit.store
    if not is_sealed(store):
        return visit.page("unsealed.html", can_be=can_be_sealed(store))
    proof, problem = "", ""
    if event:
        try:
            proof = proof_text(store, event)
        except (NotFound, ProofError, UsageError) as error:
            problem = error.message
    values = {"event": event, "proof": proof, "problem": problem, "privacy_stream": STREAM}
    return visit.page("proof.html", said=log_proof(store), **values)


def proof_text(store: Store, event_id: str) -> str:
    """The proof of an event, as JSON with line breaks; a large payload is left out of it."""
    withhold = {}
    if len(store.event(event_id).raw) > PAYLOAD_BYTES_MAX:
        withhold = {"payload": "too large for a page: refold prove"}
    proof = prove(store, event_id, withhold=withhold)
    return msgspec.json.format(msgspec.json.encode(proof), indent=2).decode()


def log_proof(store: Store) -> LogProof:
    """How a sealed log stands; :class:`~refold.errors.NotFound` where it is not sealed."""
    tables = tables_of(store)
    log, head = tables.log(), tables.newest_head(signed=True)
    size = 0 if head is None else head.size
    positions = redacted_positions(keeper_of(store))
    return LogProof(
        log=log,
        began_at=rfc3339(log.began_at),
        note=None if head is None else head.note,
        size=size,
        made_at="" if head is None else rfc3339(head.made_at),
        unsealed=max(0, store.log_head() - size),
        signers=[] if head is None else list(signers(str(head.note), log.keys)),
        holes=list(_holes(store, positions[-HOLES_SHOWN:])),
        holes_in_all=len(positions),
    )


def signers(note: str, keys: str) -> Iterator[Signer]:
    """Who signed a head; of those whose key the log names, whether it holds."""
    parsed = parse_note(note)
    known = {(one.name, one.key_id): one for one in map(parse_verifying_key, keys.split())}
    for one in parsed.signatures:
        key = known.get((one.name, one.key_id))
        is_witness = key is None and len(one.signature) == COSIGNATURE_BYTES
        at = rfc3339(cosigned_at(one) * 1_000_000) if is_witness else ""
        holds = None if key is None else _holds(key, parsed.text, one)
        yield Signer(one.name, one.key_id.hex(), is_witness, holds, at)


def _holds(key: VerifyingKey, text: str, signature: NoteSignature) -> bool | None:
    """Whether a signature is that of a key; None without what checks it."""
    try:
        key.check(text, signature.signature)
    except ProofError:
        return False
    except UsageError:
        return None
    return True


def _holes(store: Store, positions: Sequence[int]) -> Iterator[Hole]:
    """The holes at some positions, each with the last that says what was taken out there."""
    told: dict[str, tuple[Recorded, RedactionApplied]] = {}
    if positions and store.head(STREAM) >= 0:
        newest = store.read(STREAM, direction="backward", limit=DECISIONS_LOOKED_AT)
        for recorded in newest:
            if recorded.type == "redaction.applied":
                said = recorded.to_class(RedactionApplied)
                told.setdefault(said.event, (recorded, said))
    for position in positions:
        (event,) = store.read_all(after=position - 1, limit=1)
        yield Hole(event, *told.get(event.id, (None, None)))
