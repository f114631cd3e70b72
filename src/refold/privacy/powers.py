"""The powers of a protected backend: just those that the backend has which it stands round.

Each power is a Protocol, and whether a backend has it is told by what its class has. So a class is
made for each set of powers, and not one that answers for all.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import lru_cache
from operator import attrgetter
from typing import Any, Final

from refold import ports
from refold.archive.month import KeepsMonths
from refold.core.query import QueryItem
from refold.core.stored import Row
from refold.engine.store import Store
from refold.errors import UsageError, refuse_unless
from refold.ports import Backend, Clock
from refold.privacy.access import AccessLog
from refold.privacy.privacy import Privacy
from refold.privacy.protected import Protected
from refold.privacy.snapshots import ClosedSnapshots
from refold.privacy.stored import outlives
from refold.privacy.subject_keys import SubjectKeys

_JOURNAL: Final = (
    "a journal keeps no keys, so that no personal value can be protected in it: take a database, "
    "a path such as agents.db or postgresql://…, and `refold copy` the journal into it"
)


class _WholeView(Protected):
    """Reads short streams at once."""

    def whole(self, stream: str, *, last: int) -> Row | None:
        """See :class:`~refold.ports.WholeReader`."""
        inner: Any = self.inner
        row = inner.whole(stream, last=last)
        return None if row is None else self.opened([row])[0]


class _TagSearch(Protected):
    """Finds appends by their tags."""

    def tagged(self, item: QueryItem, *, after: int, rows_max: int) -> list[Row]:
        """See :class:`~refold.ports.TagKeeper`."""
        inner: Any = self.inner
        return self.opened(inner.tagged(item, after=after, rows_max=rows_max))


def _forwarding(power: Any, *names: str) -> type:
    """A class that has a power by what the inner backend does."""

    def forward(name: str) -> Callable[..., Any]:
        def call(self: Protected, *given: Any, **named: Any) -> Any:
            return getattr(self.inner, name)(*given, **named)

        call.__doc__ = f"See :class:`~refold.ports.{power.__name__}`."
        return call

    return type(f"_{power.__name__}", (), {name: forward(name) for name in names})


_POWERS: Final[dict[Any, type]] = {
    ports.WholeReader: _WholeView,
    ports.TagKeeper: _TagSearch,
    ports.SnapshotKeeper: ClosedSnapshots,
    ports.Checkable: _forwarding(ports.Checkable, "check"),
    ports.Announcer: _forwarding(ports.Announcer, "announce"),
    ports.Copied: _forwarding(ports.Copied, "batches"),
    ports.Compactor: _forwarding(ports.Compactor, "compact"),
    ports.Measured: _forwarding(ports.Measured, "sizes"),
    ports.Maintained: _forwarding(ports.Maintained, "copy_to", "repair"),
    ports.ProgressKeeper: _forwarding(ports.ProgressKeeper, "progress"),
    ports.TableKeeper: _forwarding(ports.TableKeeper, "write", "query"),
    KeepsMonths: type("_Months", (), {"month_keeper": property(attrgetter("inner.month_keeper"))}),
}


@lru_cache
def _class_of(powers: tuple[Any, ...]) -> type[Protected]:
    bases = [_POWERS[power] for power in powers]
    if not any(issubclass(base, Protected) for base in bases):
        bases.append(Protected)
    return type("ProtectedBackend", tuple(bases), {"sql": property(_sql)})


def _sql(backend: Protected) -> str:
    """The SQL of its tables."""
    return getattr(backend.inner, "sql", "sqlite")


def protected(
    backend: Backend,
    privacy: Privacy | None,
    *,
    clock: Clock,
    opened: Callable[[str | os.PathLike[str]], Store],
) -> Backend:
    """A backend whose personal values are protected as ``privacy`` says.

    Without that, what is protected already is read by nobody. ``opened`` opens the store of a URL,
    for reads to be recorded in. :class:`~refold.errors.UsageError` where it cannot keep keys.
    """
    refuse_unless(isinstance(privacy, Privacy | None), "a refold.privacy.Privacy", privacy=privacy)
    if not isinstance(backend, ports.TableKeeper) or not outlives(backend):
        raise UsageError(_JOURNAL)
    privacy = privacy or Privacy()
    keys = SubjectKeys(backend, privacy.keyring, clock=clock)
    journal = privacy.journal
    if not isinstance(journal, Store):
        journal = Store(backend, clock=clock) if journal is None else opened(journal)
    access = AccessLog(journal, privacy.reading, allow=privacy.allow)
    powers = tuple(power for power in _POWERS if isinstance(backend, power))
    own = journal if isinstance(privacy.journal, str | os.PathLike) else None
    return _class_of(powers)(backend, privacy, keys, access, own=own)
