"""Turning sealing on, and sealing behind a store while it is used."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

from refold.audit import tables
from refold.audit.note import SigningKey
from refold.audit.sealer import Sealer
from refold.audit.verifying import check_start
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import AWAY, ProofError, StoreClosed, UsageError, is_number, refuse_unless
from refold.ports import Begin, TableTransaction
from refold.privacy.locked import alone_in, sync_folder
from refold.process import ProcessLock

LOGGER: Final = logging.getLogger("refold.audit")
EVERY_S: Final = 1.0
FAILURES_MAX: Final = 10
"""How often in a row the storage may be unavailable before sealing gives up."""


class LastHead:
    """The newest head that was signed, in a file outside of the database.

    It is what tells a log that was rolled back whole from one that goes on.
    """

    def __init__(self, path: Path | None) -> None:
        self._path = path

    def read(self) -> str | None:
        """The note; None where none was kept."""
        if self._path is None or not self._path.exists():
            return None
        return self._path.read_text(errors="replace")

    def keep(self, note: str) -> None:
        """Put a note in the place of the one before, whole and synced; never an older one.

        Several sealers may keep theirs in one file. Raises :class:`~refold.errors.ProofError` for
        another head of the same size.
        """
        if self._path is None:
            return
        with alone_in(self._path.parent):
            kept = self.read()
            if kept == note or (kept and _size(kept) > _size(note)):
                return
            if kept and _size(kept) == _size(note) and kept.split("\n")[:3] != note.split("\n")[:3]:
                why = f"two heads of {_size(note):,} events were signed: {self._path} has the other"
                raise ProofError(why, proof="head")
            own = f"{self._path.name}.{os.getpid()}-{threading.get_ident()}.new"
            new = self._path.with_name(own)
            with new.open("w") as file:
                file.write(note)
                file.flush()
                os.fsync(file.fileno())
            new.replace(self._path)
            sync_folder(self._path.parent)


def _size(note: str) -> int:
    """Of how many events a note's head is; 0 for what is no note."""
    _, _, rest = note.partition("\n")
    said, _, _ = rest.partition("\n")
    return int(said) if said.isdecimal() else 0


class Sealing:
    """Seals a log: by itself, or behind its appends while a ``with`` block runs.

    Where sealing was never on, it is turned on: ``key`` names the log (its origin) and signs its
    heads. A log that is not what its last head says is refused with
    :class:`~refold.errors.ProofError`. ``last_head`` is a file, best on another disk, for the
    newest signed head: by it a log that was rolled back as a whole is known. In the block, what
    has come is sealed and signed every ``every_s`` seconds by a thread, and at the end of the
    block the rest; an error of that thread is raised there. With ``turns_key``, ``key`` takes
    the place of the one that the log names.
    """

    def __init__(
        self,
        store: Store,
        key: SigningKey,
        *,
        last_head: Path | str | None = None,
        every_s: float = EVERY_S,
        turns_key: bool = False,
    ) -> None:
        check_store(store, call="Sealing", instead="give refold.open(…)")
        refuse_unless(isinstance(key, SigningKey), "what load_key(…) gives", key=type(key))
        refuse_unless(is_number(every_s), "a number of seconds", every_s=every_s)
        self._store, self._key, self._every_s = store, key, every_s
        self._kept = LastHead(None if last_head is None else Path(last_head))
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._failure: Exception | None = None
        turn_on(store, key, turns_key=turns_key)
        check_start(store, key.verifying, outside=self._kept.read(), turns_key=turns_key)
        self._sealer, self._turn = Sealer(store), ProcessLock()

    def checkpoint(self, *, progress: Callable[[int, int], object] | None = None) -> str:
        """Seal what stands; the newest head as a signed note (c2sp.org/tlog-checkpoint).

        Any thread may ask, also in the block. :class:`~refold.errors.ProofError`, and nothing is
        signed, where the log does not continue the head in ``last_head``.
        """
        with self._turn():
            self._sealer.seal(progress=progress or (lambda *_: None))
            note = self._sealer.signed(self._key, kept=self._kept.read)
            self._kept.keep(note)
            return note

    def run(self) -> None:
        """Seal what stands, then what comes, until :meth:`close` is called or the store closed.

        Where the storage is unavailable, or it is not known what became of a step, it waits and
        tries again, at most 10 times in a row.
        """
        failures, self._sealer.gives_way = 0, True
        while not self._stopped.is_set():
            try:
                if self._store.log_head() > self._sealer.size:
                    self.checkpoint()
                failures = 0
            except StoreClosed:
                return
            except AWAY:
                failures += 1
                if failures == FAILURES_MAX:
                    raise
            self._stopped.wait(self._every_s)

    def close(self) -> None:
        """Let :meth:`run` end after what it is at."""
        self._stopped.set()

    def begin(self) -> None:
        """Run in a thread from now on; again, where that gave up on storage that was away."""
        is_away = isinstance(self._failure, AWAY)
        if self._thread is None or (is_away and not self._thread.is_alive()):
            name, self._failure = "refold-sealing", None
            self._thread = threading.Thread(target=self._in_thread, name=name, daemon=True)
            self._thread.start()

    def end(self) -> None:
        """End the thread, where it began, and seal the rest; raises what the thread failed with."""
        self.close()
        if self._thread is not None:
            self._thread.join()
            if self._failure is not None:
                raise self._failure
            self.checkpoint()

    def __enter__(self) -> Self:
        self.begin()
        return self

    def __exit__(self, kind: object, *_: object) -> None:
        if kind is None:
            self.end()
        elif self._thread is not None:
            self.close()
            self._thread.join()

    def _in_thread(self) -> None:
        try:
            self.run()
        except Exception as error:
            LOGGER.error("sealing has ended: %s", error)
            self._failure = error


def turn_on(store: Store, key: SigningKey, *, turns_key: bool = False) -> None:
    """Make the tables of a sealed log, where it is not sealed; say that it is, by this key.

    What is in the log by then is sealed too: of the time before, nothing is claimed. Raises
    :class:`~refold.errors.UsageError` where it is sealed by another key.
    """
    keeper, verifying = tables.keeper_of(store), key.verifying
    if tables.is_sealed(store) and str(verifying) in tables.tables_of(store).log().keys.split():
        return
    facts = (1, key.name, str(verifying), store.log_head(), store._clock())

    def within(begin: Begin) -> None:
        transaction = begin()
        tables.make_tables(transaction, sql=getattr(keeper, "sql", "sqlite"))
        transaction.execute(
            "INSERT INTO audit_log (id, format, origin, keys, size, began_size, began_at) "
            "VALUES (1, ?, ?, ?, 0, ?, ?) ON CONFLICT (id) DO NOTHING",
            facts,
        )
        _check_key(transaction, key, turns_key=turns_key)

    keeper.write(within)


def _check_key(transaction: TableTransaction, key: SigningKey, *, turns_key: bool) -> None:
    sealed = tables.SealTables(transaction.execute).log()
    keys = sealed.keys.split()
    if sealed.origin != key.name:
        why = f"the log is sealed as {sealed.origin}, and the key is of {key.name}"
        raise UsageError(why, code="other_origin", origin=sealed.origin)
    if str(key.verifying) in keys:
        return
    if not turns_key:
        why = f"{sealed.origin} is sealed by the key {keys[-1]}: give that, or turn to a new one"
        raise UsageError(f"{why} with --new-key", code="other_key", key=keys[-1])
    transaction.execute(
        "UPDATE audit_log SET keys = ? WHERE id = 1", ("\n".join([*keys, str(key.verifying)]),)
    )
