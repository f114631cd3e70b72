"""Projections by place: the built-in ones, and ``module:attribute`` for anyone's own."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from refold.cli.errors import suggestion
from refold.cli.loading import loaded
from refold.errors import NotFound, UsageError

if TYPE_CHECKING:
    from refold.projections import Projection

BUILT_IN = "refold.readmodels:built_in"


def projections_from(places: Iterable[str]) -> list[Projection]:
    """The projections that stand at places: one, several, or a function that gives them."""
    found: list[Projection] = []
    for place in tuple(places) or (BUILT_IN,):
        found += _at(place)
    return found


def named(projections: Mapping[str, Projection], name: str) -> Projection:
    """The projection of a name; near names are suggested where there is none."""
    if name not in projections:
        near = suggestion(name, projections) or f": there are {', '.join(projections)}"
        raise NotFound(
            f"there is no projection {name!r}{near}; --from names your own", projection=name
        )
    return projections[name]


def _at(place: str) -> list[Projection]:
    from refold.projections import Projection

    value = loaded(place, what="--from")
    if callable(value):
        value = value()
    found = [value] if isinstance(value, Projection) else value
    if not isinstance(found, list | tuple) or not all(isinstance(p, Projection) for p in found):
        raise UsageError(f"{place} is neither a projection nor a list of them")
    return list(found)
