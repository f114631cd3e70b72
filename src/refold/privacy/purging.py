"""Read models without what was erased: filled anew from the log, or emptied for who keeps them."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from functools import partial

from refold.engine.store import Store
from refold.errors import RefoldError
from refold.ports import Check, TableKeeper
from refold.privacy.projected import empty_projection
from refold.privacy.stored import stored_backend
from refold.projections.catalog import catalog_of
from refold.projections.projection import Projection
from refold.projections.projector import Projector


def purge_read_models(store: Store, projections: Iterable[Projection] = ()) -> Iterator[Check]:
    """Take what the log does not hold any more out of the rows of projections beside it.

    Those that are given are filled anew, and shown when they have caught up; the rows of others,
    whose code is not here, are dropped: whoever keeps them fills them from the beginning when he
    runs next. One line each. Afterwards :meth:`~refold.ports.Eraser.scrub` has to take the old
    rows out of the storage.
    """
    keeper = stored_backend(store)
    if not isinstance(keeper, TableKeeper):
        return
    known = {one.name: one for one in projections}
    for name in catalog_of(keeper).names():
        try:
            if name in known:
                _filled_anew(store, known[name])
                yield Check(f"projection {name}", True, "filled anew from the log")
            else:
                keeper.write(partial(empty_projection, keeper=keeper, name=name))
                told = "emptied: whoever keeps it fills it from the beginning when he runs next"
                yield Check(f"projection {name}", True, told)
        except RefoldError as error:
            yield Check(f"projection {name}", False, f"its rows may hold what went: {error}")


def _filled_anew(store: Store, projection: Projection) -> None:
    projector = Projector(store, [projection])
    projector.rebuild(projection.name)
    projector.confirm(projection.name)
