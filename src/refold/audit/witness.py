"""Witnesses: others who sign the head of a log when they have seen that it only grew.

c2sp.org/tlog-witness: a witness remembers the last head that it signed of each log, and signs
another when it is proved to continue that one. So who keeps log and key cannot show two people
two logs, or write the log anew, without a witness's help. Its signature says when it was made.
"""

from __future__ import annotations

import time
from base64 import b64encode
from collections.abc import Callable
from typing import Final

from refold.audit import note as notes
from refold.audit.note import Note, NoteSignature, VerifyingKey
from refold.audit.proving import signed_head
from refold.audit.sealer import add_signature
from refold.audit.tables import keeper_of, tables_of
from refold.audit.tiles import reader
from refold.audit.tree import consistency_path
from refold.engine.store import Store
from refold.errors import ProofError, Rejected, Unavailable

ANSWER_BYTES_MAX: Final = 65_536
ANSWER_MAX_S: Final = 10.0
TRIES_MAX: Final = 3
"""A witness may sign a newer head, for another process, between two calls."""
_FORKED: Final = "it does not follow from what the witness signed before: the log has forked"
_ADVICE: Final = {
    403: "its operator has another key for this log",
    404: "its operator has not added this log",
    422: _FORKED,
}


def witnessed(store: Store, url: str, witness: VerifyingKey) -> str:
    """The newest signed head of a log with the witness's signature, which is stored with it.

    Raises what :func:`cosigned` raises, which asks.
    """
    tables = tables_of(store)
    head = signed_head(tables)
    note = cosigned(
        notes.parse_note(str(head.note)),
        url=url,
        witness=witness,
        proof_since=lambda old: consistency_path(old, head.size, reader(tables.tile)),
    )
    said, own = notes.parse_checkpoint(note.text), note.signatures[-1]
    keeper_of(store).write(lambda begin: add_signature(begin(), said, own))
    return str(note)


def cosigned(
    note: Note, *, url: str, witness: VerifyingKey, proof_since: Callable[[int], list[bytes]]
) -> Note:
    """A signed head with the witness's signature, which is checked, behind the others.

    Which size the witness has signed it says itself; ``proof_since`` makes the consistency proof
    from there. Raises :class:`~refold.errors.ProofError` where that is a larger log, or one that
    this does not continue; :class:`~refold.errors.Rejected` where the witness does not know the
    log; :class:`~refold.errors.Unavailable` where there is no answer.
    """
    size, old_size, said = notes.parse_checkpoint(note.text).size, 0, ""
    for _ in range(TRIES_MAX):
        status, said = _asked(url, _request(note, old_size, proof_since(old_size)))
        if status == 200:
            own = notes.check_note(notes.parse_note(f"{note.text}\n{said}"), witness)
            return _with(note, own)
        if status != 409:
            raise _refusal(url, status, said)
        if not (said.strip().isascii() and said.strip().isdigit() and len(said) < 20):
            break
        asked, old_size = old_size, int(said)
        if asked == old_size == size:
            raise ProofError(f"{url} did not sign: {_FORKED}", proof="witness")
        if old_size > size:
            raise ProofError(
                f"{url} has signed a log of {old_size} events, and this one has {size}: it was "
                "rolled back, or another process goes on with it",
                proof="witness",
                expected=old_size,
                computed=size,
            )
    raise Unavailable(f"{url} should say which size it has signed: {said!r:.99}", url=url)


def _request(note: Note, old_size: int, path: list[bytes]) -> bytes:
    steps = "".join(f"{b64encode(step).decode()}\n" for step in path)
    return f"old {old_size}\n{steps}\n{note}".encode()


def _asked(url: str, content: bytes) -> tuple[int, str]:
    """Status and text of the witness's answer."""
    import httpx2

    address = f"{url.rstrip('/')}/add-checkpoint"
    said, until = b"", time.monotonic() + ANSWER_MAX_S
    try:
        with httpx2.stream("POST", address, content=content, timeout=ANSWER_MAX_S) as answer:
            for piece in answer.iter_bytes():
                said += piece
                if len(said) > ANSWER_BYTES_MAX:
                    break
                if time.monotonic() > until:
                    raise Unavailable(f"{url} did not end its answer in time", url=url)
            return answer.status_code, said.decode(errors="replace")
    except (httpx2.HTTPError, httpx2.InvalidURL) as error:
        raise Unavailable(f"{url} does not answer: {error}", url=url) from error


def _with(note: Note, own: NoteSignature) -> Note:
    others = [one for one in note.signatures if (one.name, one.key_id) != own[:2]]
    return Note(note.text, [*others, own])


def _refusal(url: str, status: int, said: str) -> ProofError | Rejected | Unavailable:
    why = f"{url} did not sign (status {status}): {_ADVICE.get(status, said)!s:.300}"
    if status == 422:
        return ProofError(why, proof="witness")
    if status in (400, 403, 404):
        return Rejected(why, url=url, status=status)
    return Unavailable(why, url=url, status=status)
