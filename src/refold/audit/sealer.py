"""The sealer: follows a log behind its appends, and keeps the tree of its events in tables.

Entries, salts and leaves are made here and not in the append. What a step makes is stored in one
transaction with how far it has come; whoever finds that another has gone on looks again.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from typing import Final

from refold.audit import tables
from refold.audit.edge import TILE_BYTES, TreeEdge
from refold.audit.entry import (
    NO_LEAF,
    PSEUDONYM_BYTES,
    SECRET_BYTES,
    StreamTip,
    leaves_of,
)
from refold.audit.note import (
    Checkpoint,
    Note,
    NoteSignature,
    SigningKey,
    is_signed,
    parse_checkpoint,
    parse_note,
)
from refold.audit.reading import appends_after, first_version, forked_after, leaf_in, position_of
from refold.audit.tables import SealTables, StoredHead
from refold.audit.tiles import HEIGHT, WIDTH, reader
from refold.audit.tree import root_of
from refold.core.stored import Row
from refold.engine.store import Store
from refold.errors import ProofError, Unavailable
from refold.ports import Begin, TableTransaction
from refold.privacy.stored import stored_backend

TRIES_MAX: Final = 100
TIPS_HELD_MAX: Final = 20_000
"""More streams in memory after a step, and all are looked up again."""
WORK_S, REST_S = 0.000_2, 0.000_05
"""One that gives way hashes for so long, then rests."""
HEADS_KEPT_US: Final = 3_600_000_000
"""Of the heads of this long the last is kept; and the very first."""
Draw = Callable[[str], bytes]
"""Gives 32 random bytes; what they are for is said, so that a test can give the same again."""


class SealedByAnother(Exception):
    """Another sealer has gone on from where this one stood."""


class Sealer:
    """Seals a log on which sealing is turned on; one thread at a time may use it.

    Several may run at once, in any processes: each event is sealed by one of them. One that
    ``gives_way`` lets threads that append have the interpreter, which hashing does not let go of.
    """

    def __init__(
        self, store: Store, *, draw: Draw = lambda _: secrets.token_bytes(SECRET_BYTES)
    ) -> None:
        self._store, self._log, self._keeper = store, stored_backend(store), tables.keeper_of(store)
        self._stored = tables.tables_of(store)
        self._draw = draw
        self._before, self._rests_at = 0, 0.0
        self.gives_way = False
        self._load()

    @property
    def size(self) -> int:
        """How many events are sealed, as far as this sealer knows."""
        return self._edge.size

    def seal(self, *, progress: Callable[[int, int], object] = lambda *_: None) -> int:
        """Seal what stands; how many events that were."""
        if self._stored.log().size != self.size:
            self._load()  # Another has gone on: nothing is hashed for naught.
        before, head = self.size, self._log.log_head()
        while self.size < head and self.advance():
            progress(self.size, head)
        return self.size - before

    def advance(self) -> int:
        """Seal the next page of appends; how many events. 0: there is nothing to seal.

        :class:`~refold.errors.ProofError` where the log is no continuation of what is sealed.
        """
        for _ in range(TRIES_MAX):
            before = self.size
            rows = appends_after(self._log, before)
            if not rows:
                return 0
            try:
                self._step(rows)
            except SealedByAnother:
                self._load()
            except BaseException as error:
                self._load()  # What became of the transaction is looked up.
                # Tips of streams that another has moved on do not go with what was read before.
                if not isinstance(error, ProofError) or self.size == before:
                    raise
            if self.size > before:
                return self.size - before
        raise Unavailable(f"sealing lost {TRIES_MAX} races")

    def head(self) -> StoredHead:
        """Store size and root of what is sealed, before they are signed; as they stand after."""
        size, root = self.size, self._edge.root()

        def within(begin: Begin) -> StoredHead:
            transaction = begin()
            self._check_fence(transaction)
            transaction.execute(tables.ADD_HEAD, (size, root, None, self._store._clock()))
            newest = SealTables(transaction.execute).newest_head()
            if newest is None or (newest.size, bytes(newest.root)) != (size, root):
                raise _other_root(size, newest)
            return newest

        return self._keeper.write(within)

    def signed(self, key: SigningKey, *, kept: Callable[[], str | None] = lambda: None) -> str:
        """The newest head as a note that this key signed, also where another has; stored.

        ``kept`` gives the note that was signed last, if any: what does not continue it is not
        signed, but refused with :class:`~refold.errors.ProofError`.
        """
        for _ in range(TRIES_MAX):
            try:
                head = self.head()
                self._check_continued(kept())
            except SealedByAnother:
                self._load()
                continue
            return self._sign(head, key)
        raise Unavailable(f"signing lost {TRIES_MAX} races")

    def _sign(self, head: StoredHead, key: SigningKey) -> str:
        if head.note and is_signed(parse_note(head.note), key.verifying):
            return head.note
        own = key.sign(Checkpoint(key.name, head.size, bytes(head.root)).text)
        return self._keeper.write(lambda begin: _keep_signed(begin(), head, own))

    def _check_continued(self, kept: str | None) -> None:
        if kept is None:
            return
        said, own = parse_checkpoint(parse_note(kept).text), self._stored.log()
        if own.size >= said.size > self.size:
            raise SealedByAnother
        if said.size > self.size or root_of(said.size, reader(self._edge.tile)) != said.root:
            raise ProofError(
                f"a head of {said.size:,} events was signed, which the {self.size:,} that are "
                "sealed here do not continue: rolled back, or forked; nothing was signed",
                proof="head",
            )

    def _load(self) -> None:
        sealed = self._stored.log()
        if sealed.size < self._before:
            raise ProofError(
                f"{self._before:,} events were sealed, and {sealed.size:,} are now: the log was "
                "rolled back under the sealer; open it anew",
                proof="log",
            )
        self._edge = TreeEdge(sealed.size, self._stored.tile)
        self._before = sealed.size
        self._tips: dict[str, StreamTip] = {}
        tile, held = divmod(sealed.size, WIDTH)
        self._secrets = {tile: self._stored.secret(tile) or b""} if held else {}

    def _step(self, rows: Sequence[Row]) -> None:
        moved = self._moved(rows)
        before = self.size
        leaves = bytearray()
        new: dict[int, bytes] = {}
        secret_of = self._secret_of(new)
        for row in rows:
            tip = moved[row.stream]
            if row.version != tip.version + 1:
                raise _no_continuation(row, tip)
            if tip.is_new:
                tip.leaf = self._leaf_before(row.stream, row.version, before, leaves)
            leaves += leaves_of(row, tip, secret_of)
            self._give_way()
        for at in range(0, len(leaves), TILE_BYTES):
            self._edge.extend(bytes(leaves[at : at + TILE_BYTES]))
            self._give_way()
        self._keeper.write(lambda begin: self._keep(begin(), before, moved, new))
        self._edge.changed.clear()
        self._before = self.size
        self._secrets = {
            tile: one for tile, one in self._secrets.items() if tile >= self.size // WIDTH
        }
        if len(self._tips) > TIPS_HELD_MAX:
            self._tips = {}

    def _give_way(self) -> None:
        if self.gives_way and time.perf_counter() > self._rests_at:
            time.sleep(REST_S)
            self._rests_at = time.perf_counter() + WORK_S

    def _keep(
        self,
        transaction: TableTransaction,
        before: int,
        moved: dict[str, StreamTip],
        new: dict[int, bytes],
    ) -> None:
        """Store what a step made, unless another has gone on."""
        self._check_fence(transaction, before)
        tiles = self._edge.changed.items()
        transaction.executemany(
            tables.ADD_TILE,
            [
                (level, tile, hashes, None if level else new.get(tile))
                for (level, tile), hashes in tiles
            ],
        )
        tips = [(name, tip.pseudonym, tip.version, tip.leaf) for name, tip in moved.items()]
        transaction.executemany(tables.ADD_STREAM, tips)
        transaction.execute("UPDATE audit_log SET size = ? WHERE id = 1", (self.size,))

    def _check_fence(self, transaction: TableTransaction, size: int | None = None) -> None:
        if SealTables(transaction.execute).log().size != (self.size if size is None else size):
            raise SealedByAnother

    def _moved(self, rows: Sequence[Row]) -> dict[str, StreamTip]:
        """The tips of the streams of some appends, to be moved; new where they have none yet."""
        names = list(dict.fromkeys(row.stream for row in rows))
        self._tips |= self._stored.tips(name for name in names if name not in self._tips)
        for row in rows:
            if row.stream not in self._tips:
                pseudonym = self._draw(f"stream {row.stream}")[:PSEUDONYM_BYTES]
                self._tips[row.stream] = StreamTip(pseudonym, row.version - 1, is_new=True)
        return {name: self._tips[name] for name in names}

    def _secret_of(self, new: dict[int, bytes]) -> Callable[[int], bytes]:
        known = self._secrets

        def secret_of(position: int) -> bytes:
            tile = (position - 1) >> HEIGHT
            if tile not in known:
                known[tile] = new[tile] = self._draw(f"tile {tile}")
            return known[tile]

        return secret_of

    def _leaf_before(self, stream: str, version: int, size: int, leaves: bytearray) -> bytes:
        """What the first own event of a stream follows: a leaf of its parent's, where it forked."""
        if version != first_version(self._log, stream):
            raise ProofError(
                f"stream {stream!r} begins at version {version} for the sealer, which has lost "
                "what it sealed of it: `refold verify --deep` says what differs",
                proof="stream",
            )
        forked = forked_after(self._log, stream)
        if forked is None:
            return NO_LEAF
        position = position_of(self._log, *forked)
        if position > size:
            at = (position - size - 1) * 32
            return bytes(leaves[at : at + 32])
        return leaf_in(self._edge.tile(0, (position - 1) // WIDTH), position)


def add_signature(transaction: TableTransaction, head: Checkpoint, own: NoteSignature) -> str:
    """Add a signature to a head as it stands now: others may have signed it meanwhile."""
    found = transaction.execute("SELECT note FROM audit_checkpoints WHERE size = ?", (head.size,))
    others = [one for (note,) in found if note for one in parse_note(note).signatures]
    note = str(Note(head.text, [*(one for one in others if one[:2] != own[:2]), own]))
    sql = "UPDATE audit_checkpoints SET note = ? WHERE size = ?"
    transaction.execute(sql, (note, head.size))
    return note


def _keep_signed(transaction: TableTransaction, head: StoredHead, own: NoteSignature) -> str:
    """Store a head's signature; of the others of its hour none but the very first is kept."""
    note = add_signature(transaction, Checkpoint(own.name, head.size, bytes(head.root)), own)
    hour = head.made_at - head.made_at % HEADS_KEPT_US
    transaction.execute(
        "DELETE FROM audit_checkpoints WHERE size < ? AND made_at >= ? "
        "AND size > (SELECT min(size) FROM audit_checkpoints)",
        (head.size, hour),
    )
    return note


def _no_continuation(row: Row, tip: StreamTip) -> ProofError:
    return ProofError(
        f"stream {row.stream!r} is sealed up to version {tip.version}, and position "
        f"{row.position} holds version {row.version}: `refold verify --deep` says what differs",
        proof="stream",
        expected=tip.version + 1,
        computed=row.version,
    )


def _other_root(size: int, newest: StoredHead | None) -> ProofError:
    return ProofError(
        f"the database has another head than the {size:,} events that its tiles come to: "
        f"{newest}; nothing was signed",
        proof="head",
    )
