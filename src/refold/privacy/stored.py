"""The stored form of a log: with envelopes where personal values were protected."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, runtime_checkable

from refold.engine.store import Store
from refold.ports import Backend, Copied, Measured, TableKeeper
from refold.projections.postgres_dialect import dialect_of


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


def as_stored(store: Store) -> Store:
    """The store itself, or where its values are protected one that reads them as they stand."""
    log = stored_backend(store)
    if log is store._backend:
        return store
    return Store(log, registry=store.registry, clock=store._clock)


def has_keys(log: object) -> bool:
    """Whether a backend holds protected values: its table of keys is there."""
    return isinstance(log, TableKeeper) and bool(
        log.query(dialect_of(log).exists, ("privacy_keys",))
    )


def is_open(store: Store) -> bool:
    """Whether all of a store can be looked into: nothing is encrypted, or there is a keyring."""
    keys = getattr(store._backend, "keys", None)
    return keys is None or keys.keyring is not None


def outlives(log: object) -> bool:
    """Whether a backend's tables are there for as long as its events; a journal's are not."""
    return isinstance(log, TableKeeper) and not (
        isinstance(log, Copied) and not isinstance(log, Measured)
    )


def check_in_clear(store: Store) -> Iterator[tuple[str, bool, str]]:
    """One line of a diagnosis: whether what is declared personal is stored without encryption."""
    log = stored_backend(store)
    if not isinstance(log, TableKeeper) or not has_keys(log):
        return
    if log.query("SELECT 1 FROM privacy_keys WHERE tenant_key = '' AND destroyed_at IS NULL"):
        why = (
            "some are not encrypted: they were declared without a keyring, so whoever has the "
            "database reads them, and the key that digests of keyed appends are hidden by"
        )
        yield "personal values", True, why
