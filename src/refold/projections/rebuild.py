"""A new generation beside the old: filled, swapped in, confirmed or taken back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from refold.errors import NotFound, Unavailable, UsageError
from refold.ports import TableKeeper, Transaction
from refold.projections.catalog import (
    Books,
    Generation,
    Standing,
    add_generation,
    begun,
    check_unchanged,
    drop_generation,
    raised_fence,
    show,
    stored_standing,
)
from refold.projections.projection import Projection
from refold.projections.runner import Ground, Runner

SWAPS_MAX: Final = 10_000
_SET: Final = "UPDATE refold_projections SET current = ?, previous = ? WHERE name = ?"


def rebuild(
    ground: Ground,
    projection: Projection,
    *,
    progress: Callable[[int, int], None],
    is_stopped: Callable[[], bool],
) -> int:
    """Fill a new generation from the whole log and swap it in; its number.

    Goes on with one that was begun by the same code. ``progress`` gets positions done and in all.
    """
    generation = _begun_filling(ground, projection)
    runner = Runner(ground, projection, generation=generation)
    runner.load()
    for _ in range(SWAPS_MAX):
        head = ground.log.log_head()
        while runner.position < head:
            if is_stopped():
                raise Unavailable(
                    f"the rebuild of projection {projection.name!r} was stopped at position "
                    f"{runner.position}: the next one goes on from there",
                    projection=projection.name,
                )
            runner.advance(until=head)
            progress(runner.position, head)
        if _is_swapped(ground.keeper, projection.name, generation, runner.position):
            return generation
    raise Unavailable(f"projection {projection.name!r} is moved faster than it can be rebuilt")


def confirm(keeper: TableKeeper, name: str) -> int | None:
    """Drop the generation before the current one; its number, None where there is none."""
    stored_standing(keeper, name)
    with keeper.tables() as transaction:
        standing = _standing(transaction, name)
        if standing.previous is None:
            return None
        drop_generation(transaction, name, standing.generations[standing.previous])
        transaction.execute(_SET, (standing.current, None, name))
        return standing.previous


def roll_back(keeper: TableKeeper, name: str) -> int:
    """Show the generation before the current one again; its number.

    It stands where it stood when it was swapped out. What was current is kept in its place.
    """
    stored_standing(keeper, name)
    with keeper.tables() as transaction:
        standing = _standing(transaction, name)
        if standing.previous is None:
            raise UsageError(
                f"projection {name!r} has no generation to go back to", projection=name
            )
        _swap(transaction, standing, standing.previous)
        return standing.previous


def _begun_filling(ground: Ground, projection: Projection) -> int:
    """The generation to fill: one begun by the same code, else a new one."""
    name, now = projection.name, ground.clock()
    begun(ground.keeper, projection, now=now)
    with ground.keeper.tables() as transaction:
        standing = _standing(transaction, name)
        filling = standing.filling
        if filling is not None:
            if _is_same(projection, standing.generations[filling]):
                return filling
            drop_generation(transaction, name, standing.generations[filling])
        current = standing.generations[standing.current]
        generation = add_generation(
            transaction, projection, standing.next, instead_of=current, now=now
        )
        return generation.number


def _is_same(projection: Projection, generation: Generation) -> bool:
    try:
        check_unchanged(projection, generation)
    except UsageError:
        return False
    return True


def _is_swapped(keeper: TableKeeper, name: str, generation: int, position: int) -> bool:
    """Swap a generation in, unless the current one has come further: nobody's reads go back."""
    with keeper.tables() as transaction:
        standing = _standing(transaction, name)
        if standing.current == generation:
            return True  # Another rebuild of the same generation did.
        if generation not in standing.generations:
            raise NotFound(f"another rebuild of projection {name!r} took the place of this one")
        current = Books(transaction.execute).progress(name, standing.current)
        if any(part.position > position for part in current):
            return False
        if standing.previous is not None:
            drop_generation(transaction, name, standing.generations[standing.previous])
        _swap(transaction, standing, generation)
        return True


def _swap(transaction: Transaction, standing: Standing, generation: int) -> None:
    name, current = standing.name, standing.generations[standing.current]
    show(transaction, name, standing.generations[generation], instead_of=current)
    transaction.execute(_SET, (generation, standing.current, name))
    for number in (generation, standing.current):
        raised_fence(transaction, name, number)


def _standing(transaction: Transaction, name: str) -> Standing:
    standing = Books(transaction.execute).standing(name)
    if standing is None:
        raise NotFound(f"projection {name!r} was never started here", projection=name)
    return standing
