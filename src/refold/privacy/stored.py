"""The stored form of a log: with envelopes where personal values were protected."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from refold.engine.store import Store
from refold.ports import Backend


@runtime_checkable
class Wrapping(Protocol):
    """A backend round another, which stores what it is given in another form."""

    @property
    def inner(self) -> Backend:
        """The backend itself."""
        ...


def stored_backend(store: Store) -> Backend:
    """The backend of a store as it stands on disk, whether what it gives is opened or not.

    Who seals, verifies, copies, archives or erases works on this: it sees envelopes alone.
    """
    log = store._backend
    return log.inner if isinstance(log, Wrapping) else log
