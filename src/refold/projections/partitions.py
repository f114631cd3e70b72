"""Cutting a generation into parts by stream, for as many runners."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

from refold.errors import Unavailable, UsageError
from refold.ports import TableKeeper
from refold.projections.catalog import Books, set_progress

PARTS_MAX: Final = 256
_LEVELLINGS_MAX: Final = 10


class Cut(NamedTuple):
    """Which of how many parts."""

    part: int
    parts: int


WHOLE: Final = Cut(0, 1)


def checked_cut(partition: tuple[int, int] | None) -> Cut:
    """``(part, parts)`` as a caller gives it; the whole for None."""
    if partition is None:
        return WHOLE
    cut = Cut(*partition)
    if not 1 <= cut.parts <= PARTS_MAX or not 0 <= cut.part < cut.parts:
        raise UsageError(
            f"partition={partition!r}: give (part, parts) with part from 0 and below parts, "
            f"at most {PARTS_MAX} parts"
        )
    return cut


def cut_into(
    keeper: TableKeeper,
    name: str,
    generation: int,
    parts: int,
    *,
    level: Callable[[int, int, int], None],
    now: int,
) -> None:
    """Let a generation have ``parts`` parts.

    Parts that stand apart cannot be cut anew: ``level(part, parts, position)`` brings one to where
    the foremost stands.
    """
    for _ in range(_LEVELLINGS_MAX):
        with keeper.tables() as transaction:
            progress = Books(transaction.execute).progress(name, generation)
            if len(progress) == parts:
                return
            positions = {part.position for part in progress}
            if len(positions) == 1:
                set_progress(transaction, name, generation, [*positions] * parts, now=now)
                return
        for part in progress:
            if part.position < max(positions):
                level(part.part, len(progress), max(positions))
    raise Unavailable(
        f"projection {name!r} is being run in other parts: stop its runners, then start these",
        projection=name,
    )
