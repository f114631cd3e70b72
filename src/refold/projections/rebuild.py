"""A new generation beside the old: filled, swapped in, confirmed or taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from refold.errors import NotFound, Unavailable, UsageError
from refold.ports import TableKeeper
from refold.projections.catalog import Catalog, Entry, begun, catalog_of, is_unchanged
from refold.projections.cursor import Context
from refold.projections.projection import Projection
from refold.projections.runner import Runner

SWAPS_MAX: Final = 10_000


def rebuild(
    context: Context,
    projection: Projection,
    *,
    progress: Callable[[int, int], None],
    is_stopped: Callable[[], bool],
) -> int:
    """Fill a new generation from the whole log and swap it in; its number.

    Goes on with one that was begun by the same code. ``progress`` gets positions done and in all.
    """
    generation = _begun_filling(context, projection)
    runner = Runner(context, projection, generation=generation)
    runner.load()
    for _ in range(SWAPS_MAX):
        head = context.log.log_head()
        while runner.position < head:
            if is_stopped():
                raise Unavailable(
                    f"the rebuild of projection {projection.name!r} was stopped at position "
                    f"{runner.position}: the next one goes on from there",
                    projection=projection.name,
                )
            runner.advance(until=head)
            progress(runner.position, head)
        if _is_swapped(context.keeper, projection.name, generation, runner.position):
            return generation
    raise Unavailable(f"projection {projection.name!r} is moved faster than it can be rebuilt")


def confirm(keeper: TableKeeper, name: str) -> int | None:
    """Drop the generation before the current one; its number, None where there is none."""
    catalog_of(keeper).started(name)
    with keeper.tables() as transaction:
        catalog = Catalog(transaction.execute)
        entry = catalog.started(name)
        if entry.previous is not None:
            catalog.drop(name, entry.generations[entry.previous])
            catalog.set_current(name, entry.current, None)
        return entry.previous


def roll_back(keeper: TableKeeper, name: str) -> int:
    """Show the generation before the current one again; its number.

    It stands where it stood when it was swapped out. What was current is kept in its place.
    """
    catalog_of(keeper).started(name)
    with keeper.tables() as transaction:
        catalog = Catalog(transaction.execute)
        entry = catalog.started(name)
        if entry.previous is None:
            raise UsageError(
                f"projection {name!r} has no generation to go back to", projection=name
            )
        _swap(catalog, entry, entry.previous)
        return entry.previous


def _begun_filling(context: Context, projection: Projection) -> int:
    """The generation to fill: one begun by the same code, else a new one."""
    now = context.clock()
    begun(context.keeper, projection, now=now)
    with context.keeper.tables() as transaction:
        catalog = Catalog(transaction.execute)
        entry = catalog.started(projection.name)
        number = max(entry.generations) + 1
        if entry.filling is not None:
            if is_unchanged(projection, entry.generations[entry.filling]):
                return entry.filling
            catalog.drop(entry.name, entry.generations[entry.filling])
        return catalog.add(projection, number, instead_of=entry.shown, now=now).number


def _is_swapped(keeper: TableKeeper, name: str, generation: int, position: int) -> bool:
    """Swap a generation in, unless the current one has come further: nobody's reads go back."""
    with keeper.tables() as transaction:
        catalog = Catalog(transaction.execute)
        entry = catalog.started(name)
        if entry.current == generation:
            return True  # Another rebuild of the same generation did.
        if generation not in entry.generations:
            raise NotFound(f"another rebuild of projection {name!r} took the place of this one")
        if entry.shown.position > position:
            return False
        if entry.previous is not None:
            catalog.drop(name, entry.generations[entry.previous])
        _swap(catalog, entry, generation)
        return True


def _swap(catalog: Catalog, entry: Entry, generation: int) -> None:
    catalog.show(entry.name, entry.generations[generation], instead_of=entry.shown)
    catalog.set_current(entry.name, generation, entry.current)
    for number in (generation, entry.current):
        catalog.raise_fence(entry.name, number)
