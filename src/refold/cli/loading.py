"""The user's own code and ours by name: modules, registries, folds, projections."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from importlib import import_module
from typing import TYPE_CHECKING, Any, Final

import refold
from refold.cli.options import option
from refold.cli.text import suggestion
from refold.errors import NotFound, UsageError

if TYPE_CHECKING:
    from refold.projections import Projection

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
        found: Any = import_module(module)
        for name in attribute.split(".") if attribute else ():
            found = getattr(found, name)
    except Exception as error:
        raise UsageError(f"{what} {place} cannot be had: {error!r}", place=place) from error
    return found


def fold_for(name: str | None, events: Iterable[refold.Recorded]) -> refold.Fold[Any]:
    """The fold of a name; without one, the built-in fold that handles most of these events."""
    if name is not None:
        return _fold(name)
    types = [recorded.type for recorded in events]
    known = [_fold_at(place) for place in FOLDS.values()]
    return max(known, key=lambda fold: sum(type_ in fold.handlers for type_ in types))


def _fold(name: str) -> refold.Fold[Any]:
    if name in FOLDS:
        return _fold_at(FOLDS[name])
    if ":" not in name:
        near = suggestion(name, FOLDS)
        raise UsageError(
            f"there is no fold {name!r}{near or ':'} give {', '.join(FOLDS)} or module:attribute"
        )
    return _fold_at(name)


def _fold_at(place: str) -> refold.Fold[Any]:
    fold = loaded(place, what="the fold")
    if not isinstance(fold, refold.Fold):
        raise UsageError(f"{place} is not a refold.Fold but a {type(fold).__name__}")
    return fold


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
