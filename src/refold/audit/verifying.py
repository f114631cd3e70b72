"""Whether a sealed log is what its signed heads say: its tiles, its heads, and every event."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Final, NamedTuple

from refold.audit.edge import TreeEdge
from refold.audit.findings import Finding, Findings
from refold.audit.note import (
    Checkpoint,
    Note,
    VerifyingKey,
    check_note,
    parse_checkpoint,
    parse_note,
    parse_verifying_key,
)
from refold.audit.processes import Reopen, looking
from refold.audit.redacted import RedactedEvents
from refold.audit.remaking import Remaker, check_events
from refold.audit.tables import (
    SealedLog,
    SealTables,
    StoredHead,
    can_be_sealed,
    is_sealed,
    tables_of,
)
from refold.audit.tiles import WIDTH, reader
from refold.audit.tree import HASH_BYTES, root_of
from refold.audit.values import check_values
from refold.core.clock import from_us
from refold.engine.store import Store
from refold.errors import ProofError, UsageError
from refold.privacy.stored import stored_backend

TILES_A_PAGE: Final = 256
TAIL_EVENTS: Final = 256
"""So many of the last events are looked at when sealing begins."""


class Verified(NamedTuple):
    """What was looked at, and what was found: nothing, where all is as it was sealed.

    ``events`` are those that a signed head covers, ``unsealed`` those after them; ``remade`` says
    whether the events were looked at, or the tree and its heads alone. ``finding_count`` may be
    more than the ``findings`` told. ``claims`` say in words what follows, and what does not.
    ``redacted`` are the events that are no longer what was sealed, each with the event that says
    what was taken out, and binds what is left.
    """

    origin: str
    events: int
    unsealed: int
    heads: int
    remade: bool
    finding_count: int
    findings: Sequence[Finding]
    claims: Sequence[str]
    redacted: Sequence[tuple[str, str]] = ()


def verify(
    store: Store,
    *,
    deep: bool = False,
    against: Sequence[str] = (),
    keys: Sequence[str] = (),
    reopen: Reopen | None = None,
    jobs: int = 1,
    progress: Callable[[int, int], object] | None = None,
) -> Verified:
    """Look whether a sealed log is what its heads say.

    Every tile is made again from the leaves, every head from the tiles; with ``deep`` every leaf
    from the event that is stored. ``against`` are checkpoints that were kept elsewhere, as text:
    only such a one shows that whoever holds the signing key has not written all of it anew.
    ``keys`` are verifying keys that came from elsewhere; else those that the log names are taken,
    which is told. ``jobs`` processes look at the events of a large log where ``reopen`` opens
    it anew: ``partial(refold.open, url, mode="read")``, or another function that can be pickled.
    With ``deep``, a store that has its keyring opens every personal value too, which is recorded as
    a read: a seal is of their commitments, and does not see that a secret was changed.
    ``progress`` gets the events done and those in all.
    """
    if against and not is_sealed(store):
        why = (
            "nothing is sealed here, and it is to continue a signed head: its seals were taken out"
        )
        raise ProofError(f"{why}, or it is another store", proof="log")
    stored = tables_of(store)
    sealed, findings = stored.log(), Findings()
    head = store.log_head()
    if head < sealed.size:
        findings.add("log", f"the log ends at position {head:,}, and {sealed.size:,} are sealed")
    until = min(sealed.size, head) if deep else 0
    given = [*map(parse_verifying_key, keys)]
    if given and not {*map(str, given)} & {*sealed.keys.split()}:
        said = ", ".join(sealed.keys.split()) or "none"
        findings.add("signature", f"the log names its keys, and not the one that is given: {said}")
    with looking(store, until, jobs=jobs, reopen=reopen) as look:
        _check_tiles(stored, sealed.size, findings)
        heads, covered = _check_heads(stored, sealed, given, against, findings)
        if given and sealed.size and not covered:
            findings.add("signature", f"no head of the {sealed.size:,} events is signed by the key")
        look(findings, progress=progress or (lambda *_: None))
    values = check_values(store, findings, until=until)
    unsealed = max(head - covered, 0)
    return Verified(
        sealed.origin,
        covered,
        unsealed,
        heads,
        deep,
        findings.count,
        findings.told,
        _claims(sealed, unsealed, deep=deep, has_key=bool(keys), against=len(against)) + values,
        RedactedEvents(stored_backend(store), stored.ask).told(),
    )


def check_start(
    store: Store, key: VerifyingKey, *, outside: str | None, turns_key: bool = False
) -> None:
    """Refuse to seal a log that is not what its last head says, or the last that was kept outside.

    They are to be signed by this key; where it takes the place of another, by one that the log
    names. Raises :class:`~refold.errors.ProofError`: the log was rolled back, cut off or changed.
    """
    stored = tables_of(store)
    newest = stored.newest_head()  # First: another may be sealing.
    signed = stored.newest_head(signed=True)
    sealed, findings = stored.log(), Findings()
    kept = [note for note in (outside, signed and signed.note) if note is not None]
    _check_sizes(store.log_head(), sealed, newest, findings)
    if not findings.count:
        others = map(parse_verifying_key, sealed.keys.split() if turns_key else [])
        keys = [key, *others]
        for text in kept:
            _check_note(text, stored, sealed, keys, findings)
        if newest is not None:
            _check_root(stored, Checkpoint(sealed.origin, newest.size, newest.root), findings)
        after = max(sealed.size - TAIL_EVENTS, 0)
        remaker, quiet = Remaker(stored_backend(store), stored), lambda *_: None
        check_events(remaker, findings, after=after, until=sealed.size, progress=quiet)
    for found in findings.told:
        advice = "`refold verify --deep` says more"
        if found.what == "log":
            advice = "let the newer one go on; where it is lost, seal this one under another origin"
        if found.what == "signature" and not turns_key:
            advice += ", and where its key was to be turned to this one, --new-key does so"
        raise ProofError(
            f"{sealed.origin} is not sealed on: {found.detail}; {advice}",
            proof=found.what,
            position=found.position,
        )


def check_sealed(store: Store) -> Iterator[tuple[str, bool, str]]:
    """One line of a diagnosis: whether the tree of a sealed log is that of its heads.

    Of a log that could be sealed and is not, that; a journal has no such line.
    """
    if not is_sealed(store):
        if can_be_sealed(store):
            yield "seals", True, "the log is not sealed, for want of a key: `refold seal`"
        return
    try:
        told = verify(store)
    except UsageError as missing:
        yield "seals", True, f"not looked at: {missing.message}"
        return
    detail = f"{told.events:,} events are sealed and {told.unsealed:,} not yet; {told.heads} heads"
    if told.findings:
        detail = told.findings[0].detail
    yield "seals", not told.finding_count, detail


def _check_sizes(
    head: int, sealed: SealedLog, newest: StoredHead | None, findings: Findings
) -> None:
    if head < sealed.size:
        findings.add("log", f"the log ends at position {head:,}, and {sealed.size:,} are sealed")
    if newest is not None and newest.size > sealed.size:
        said = f"a head of {newest.size:,} events is stored, and {sealed.size:,} are sealed"
        findings.add("head", said)


def _check_tiles(stored: SealTables, size: int, findings: Findings) -> None:
    """Every tile above the leaves is what the leaves come to, and none is too short."""
    edge = TreeEdge(0, stored.tile)
    for first in range(0, -(-size // WIDTH), TILES_A_PAGE):
        found = {tile: hashes for tile, hashes, _ in stored.leaf_tiles(first, TILES_A_PAGE)}
        for tile in range(first, min(first + TILES_A_PAGE, -(-size // WIDTH))):
            due = min(size - tile * WIDTH, WIDTH) * HASH_BYTES
            hashes = found.get(tile, b"")[:due]  # It may have grown meanwhile.
            if len(hashes) != due:
                missing = (due - len(hashes)) // HASH_BYTES
                findings.add("tile", f"tile {tile} of the leaves lacks {missing} of its hashes")
                return
            edge.extend(hashes)
        last = edge.size == size
        for (level, tile), hashes in edge.changed.items():
            is_whole = len(hashes) == WIDTH * HASH_BYTES
            if level and (is_whole or last) and not stored.tile(level, tile).startswith(hashes):
                findings.add("tile", f"tile {tile} of level {level} is not what is below it")
        edge.changed.clear()


def _check_heads(
    stored: SealTables,
    sealed: SealedLog,
    given: Sequence[VerifyingKey],
    against: Sequence[str],
    findings: Findings,
) -> tuple[int, int]:
    """Every head is that of the tiles, and signed; how many there are, and what they cover."""
    keys = given or [parse_verifying_key(text) for text in sealed.keys.split()]
    heads, covered = stored.heads(), 0
    for head in heads:
        _check_root(stored, Checkpoint(sealed.origin, head.size, head.root), findings)
    signed = [(head.note, head) for head in heads if head.note is not None]
    for text, expected in [*signed, *((text, None) for text in against)]:
        said = _check_note(text, stored, sealed, keys, findings, expected=expected)
        covered = max(covered, min(said, sealed.size))
    return len(heads), covered


def _check_root(stored: SealTables, said: Checkpoint, findings: Findings) -> None:
    try:
        root = root_of(said.size, reader(stored.tile))
    except ProofError as error:
        findings.add("head", f"a head of {said.size:,} events was signed: {error.message}")
        return
    if root != bytes(said.root):
        findings.add(
            "head",
            f"a head of {said.size:,} events has the root {said.root.hex()}, and the log "
            f"comes to {root.hex()}: it is not the one that was sealed, or a fork of it",
        )


def _check_note(
    text: str,
    stored: SealTables,
    sealed: SealedLog,
    keys: Sequence[VerifyingKey],
    findings: Findings,
    *,
    expected: StoredHead | None = None,
) -> int:
    """Look at a signed head; how many events it covers, where nothing is wrong with it."""
    try:
        note = parse_note(text)
        said = parse_checkpoint(note.text)
        _check_signed(note, keys)
    except ProofError as error:
        which = "a checkpoint that was kept elsewhere: " if expected is None else ""
        findings.add("signature", which + error.message)
        return 0
    before = findings.count
    if said.origin != sealed.origin:
        detail = f"a checkpoint of {said.origin} is none of {sealed.origin}"
        findings.add("signature", detail)
    elif expected is not None:
        if (said.size, said.root) != (expected.size, bytes(expected.root)):
            findings.add("head", f"the head of {expected.size:,} events has a note of another")
    elif said.size > sealed.size:
        findings.add(
            "log",
            f"a head of {said.size:,} events was signed, and {sealed.size:,} are sealed here: "
            "the log was rolled back, or a copy of it was sealed on",
        )
    else:
        _check_root(stored, said, findings)
    return said.size if findings.count == before else 0


def _check_signed(note: Note, keys: Sequence[VerifyingKey]) -> None:
    refused: ProofError | None = None
    for key in keys:
        try:
            check_note(note, key)
            return
        except ProofError as error:
            refused = refused or error
    raise refused or ProofError("there is no key to check the heads with", proof="signature")


def _counted(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'s' * (number != 1)}"


def _claims(
    sealed: SealedLog, unsealed: int, *, deep: bool, has_key: bool, against: int
) -> list[str]:
    """What may be said where nothing was found, and what may not."""
    began = f"{from_us(sealed.began_at).isoformat()} (by the log's own word)"
    claims = []
    if sealed.began_size:
        claims.append(
            f"sealing was turned on at {began}, with {_counted(sealed.began_size, 'event')} in the "
            "log: nothing is claimed of what was there before"
        )
    else:
        claims.append(f"sealed from the first event on, since {began}")
    if unsealed:
        claims.append(f"{_counted(unsealed, 'newer event')} not sealed yet: `refold checkpoint`")
    if not deep:
        claims.append("the events themselves were not looked at: --deep")
    if not has_key:
        claims.append("the key is the one that the log itself names: give yours, --key")
    if not against:
        claims.append(
            "whoever has the signing key can have written all of it anew: only a checkpoint that "
            "was kept elsewhere tells, --against"
        )
    return claims
