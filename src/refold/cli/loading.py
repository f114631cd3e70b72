"""The user's own code and ours by name: modules, registries, folds, projections."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final, TypeVar

import refold
from refold.cli.options import option
from refold.cli.text import suggestion
from refold.errors import NotFound, UsageError

if TYPE_CHECKING:
    from refold.projections import Projection

T = TypeVar("T")

READ_MODELS: Final = "refold.readmodels:built_in"
FOLDS: Final = {
    "conversation": "refold.conversation:Conversation",
    "portfolio": "refold.ledger:Portfolio",
}

fold_option: Final = option(
    "--fold",
    "fold_name",
    metavar="NAME",
    help=f"{', '.join(FOLDS)} or module:attribute.  [default: what fits the events]",
)


def loaded(place: str, *, what: str) -> Any:
    """The module of ``module``, or the value of ``module:attribute``.

    Modules of the folder that the command is run in are found. Raises :class:`UsageError` where
    there is none, or where importing it fails.
    """
    if "" not in sys.path:
        sys.path.insert(0, "")
    module, _, attribute = place.partition(":")
    try:
        found = import_module(module)
        return attrgetter(attribute)(found) if attribute else found
    except Exception as error:
        raise UsageError(f"{what} {place} cannot be had: {error!r}", place=place) from error


def fold_for(name: str | None, events: Iterable[refold.Recorded]) -> refold.Fold[Any]:
    """The fold of a name; without one, the built-in fold that handles most of these events."""
    if name is not None:
        return _fold(name)
    types = [recorded.type for recorded in events]
    return max(map(_fold, FOLDS), key=lambda fold: sum(one in fold.handlers for one in types))


def _fold(name: str) -> refold.Fold[Any]:
    place = FOLDS.get(name, name)
    if ":" not in place:
        near = suggestion(name, FOLDS)
        raise UsageError(
            f"there is no fold {name!r}{near or ':'} give {', '.join(FOLDS)} or module:attribute"
        )
    return of_class(refold.Fold, loaded(place, what="the fold"), place)


def of_class(cls: type[T], found: object, place: str) -> T:
    """What was found at a place; :class:`UsageError` where it is something else than it must be."""
    if not isinstance(found, cls):
        raise UsageError(f"{place} is not a refold.{cls.__name__} but a {type(found).__name__}")
    return found


def projections_from(places: Iterable[str]) -> list[Projection]:
    """The projections that stand at places: one, several, or a function that gives them."""
    found: list[Projection] = []
    for place in tuple(places) or (READ_MODELS,):
        found += _projections_at(place)
    return found


def named(projections: Mapping[str, Projection], name: str) -> Projection:
    """The projection of a name; near names are suggested where there is none."""
    if name not in projections:
        near = suggestion(name, projections) or f": there are {', '.join(projections)}"
        raise NotFound(
            f"there is no projection {name!r}{near}; --from names your own", projection=name
        )
    return projections[name]


def _projections_at(place: str) -> list[Projection]:
    from refold.projections import Projection

    value = loaded(place, what="--from")
    if callable(value):
        value = value()
    found = [value] if isinstance(value, Projection) else value
    if not isinstance(found, list | tuple) or not all(isinstance(p, Projection) for p in found):
        raise UsageError(f"{place} is neither a projection nor a list of them")
    return list(found)
