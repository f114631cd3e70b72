"""A store that seals itself behind its appends, by a key that it is given or finds."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from refold.audit.keys import PASSPHRASE, key_of_environment, load_key
from refold.audit.note import SigningKey
from refold.audit.sealing import Sealing
from refold.audit.tables import is_sealed, tables_of
from refold.engine.store import Store
from refold.errors import UsageError
from refold.ports import Backend, Batch, Outcome

Seal = SigningKey | str | os.PathLike[str] | bool | None


class SealedStore(Store):
    """A store whose first append begins to seal it by a thread, which ends when it is closed.

    ``seal`` is a key, or the file of one, beside which the newest head is kept (``FILE.head``);
    with True it is that of the environment: of ``REFOLD_SIGNING_KEY``, else in the file that
    ``REFOLD_SEAL_KEY`` names. With None it is that key too, but only a log that was sealed by it
    is sealed on: one key must never sign two logs. Raises what :class:`Sealing` raises, at its
    close what its thread failed with.
    """

    def __init__(self, backend: Backend, *, seal: Seal, **how: Any) -> None:
        super().__init__(backend, **how)
        self._sealing: Sealing | None = None
        key, last_head = _key(seal)
        is_its = is_sealed(self) and str(key.verifying) in tables_of(self).log().keys.split()
        if seal is not None or is_its:
            self._sealing = Sealing(self, key, last_head=last_head)

    def _commit(self, batches: Sequence[Batch]) -> list[Outcome]:
        outcomes = super()._commit(batches)
        if self._sealing is not None:
            self._sealing.begin()
        return outcomes

    def close(self) -> None:
        """Seal the rest, where anything was appended; then see :meth:`refold.Store.close`."""
        sealing, self._sealing = self._sealing, None
        try:
            if sealing is not None and self._process.is_here:
                self._writer.close()
                sealing.end()
        finally:
            super().close()


def _key(seal: Seal) -> tuple[SigningKey, str | None]:
    """The key, and where the newest head is kept, if anywhere."""
    last_head, file, found = os.environ.get("REFOLD_SEAL_LAST_HEAD"), seal, None
    if isinstance(seal, bool | None):
        file, found = os.environ.get("REFOLD_SEAL_KEY") or None, key_of_environment()
    if isinstance(file, str | os.PathLike):
        last_head = last_head or f"{os.fspath(file)}.head"
        found = found or load_key(file, passphrase=os.environ.get(PASSPHRASE, ""))
    elif isinstance(file, SigningKey):
        found = file
    if found is None:
        raise UsageError("seal: give a key or its file, or set REFOLD_SIGNING_KEY, REFOLD_SEAL_KEY")
    return found, last_head
