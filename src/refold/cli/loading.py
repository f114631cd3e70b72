"""The user's own code and ours by name: modules, registries, folds, projections."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from importlib import import_module
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Final

import refold
from refold.cli import output
from refold.cli.options import option
from refold.cli.text import suggestion
from refold.errors import UsageError

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


def loaded(place: str, *, what: str, cls: type = object) -> Any:
    """The module of ``module``, or the value of ``module:attribute``.

    Modules of the folder that the command is run in are found, once the user names one that is not
    ours: a stranger's folder hides none of the installed. Raises :class:`UsageError` where
    there is none, where importing it fails, and for what is not of the class.
    """
    if "" not in sys.path and not place.startswith("refold."):
        sys.path.insert(0, "")
    module, _, attribute = place.partition(":")
    try:
        found: Any = import_module(module)
        found = attrgetter(attribute)(found) if attribute else found
    except Exception as error:
        raise UsageError(f"{what} {place} cannot be had: {error!r}", place=place) from error
    if not isinstance(found, cls):
        raise UsageError(f"{place} is not a refold.{cls.__name__} but a {type(found).__name__}")
    return found


def fold_for(name: str | None, events: Iterable[refold.Recorded]) -> refold.Fold[Any]:
    """The fold of a name; without one, the built-in fold that handles most of these events."""
    if name is not None:
        return _fold(name)
    types = [recorded.type for recorded in events]

    def taken(fold: refold.Fold[Any]) -> int:
        return sum(one in fold.handlers for one in types)

    best = max(map(_fold, FOLDS), key=taken)
    if types and not taken(best):
        names = ", ".join(FOLDS)
        output.note(f"no fold of refold takes these events: --fold names {names} or yours")
    return best


def _fold(name: str) -> refold.Fold[Any]:
    place = FOLDS.get(name, name)
    if ":" not in place:
        near = suggestion(name, FOLDS)
        raise UsageError(
            f"there is no fold {name!r}{near or ':'} give {', '.join(FOLDS)} or module:attribute"
        )
    fold: refold.Fold[Any] = loaded(place, what="the fold", cls=refold.Fold)
    return fold


def known_registry() -> refold.Registry:
    """The registry with every class that refold has."""
    from refold.conversation import Conversation

    return Conversation.registry


def registry_from(modules: Iterable[str]) -> refold.Registry:
    """The registry that the modules fill: the default one, or that which one of them names."""
    known = known_registry()
    own = {}
    for module in modules:
        if ":" not in module:
            loaded(module, what="the module")
        elif (found := loaded(module, what="the registry", cls=refold.Registry)) is not known:
            own[id(found)] = found
    if len(own) > 1:
        raise UsageError("the modules name several registries: give one at a time")
    return next(iter(own.values()), known)


def projections_from(places: Iterable[str]) -> list[Projection]:
    """The projections that stand at places: one, several, or a function that gives them."""
    from refold.projections import Projection

    found: list[Projection] = []
    for place in tuple(places) or (READ_MODELS,):
        value = loaded(place, what="--from")
        value = value() if callable(value) else value
        value = [value] if isinstance(value, Projection) else value
        if not isinstance(value, list | tuple) or not all(isinstance(p, Projection) for p in value):
            raise UsageError(f"{place} is neither a projection nor a list of them")
        found += value
    return found
