"""Folds by name: the built-in ones, and ``module:attribute`` for anyone's own."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

import refold
from refold.cli.errors import suggestion
from refold.cli.loading import loaded
from refold.cli.options import option
from refold.errors import UsageError

BUILT_IN: Final = {
    "conversation": "refold.conversation:Conversation",
    "portfolio": "refold.ledger:Portfolio",
}

fold_option: Final = option(
    "--fold",
    "fold_name",
    metavar="NAME",
    help=f"{', '.join(BUILT_IN)} or module:attribute.  [default: what fits the events]",
)


def fold_for(name: str | None, events: Iterable[refold.Recorded]) -> refold.Fold[Any]:
    """The fold of a name; without one, the built-in fold that handles most of these events."""
    if name is not None:
        return _named(name)
    types = [recorded.type for recorded in events]
    known = [_loaded(place) for place in BUILT_IN.values()]
    return max(known, key=lambda fold: sum(type_ in fold.handlers for type_ in types))


def _named(name: str) -> refold.Fold[Any]:
    if name in BUILT_IN:
        return _loaded(BUILT_IN[name])
    if ":" not in name:
        near = suggestion(name, BUILT_IN)
        raise UsageError(
            f"there is no fold {name!r}{near or ':'} give {', '.join(BUILT_IN)} or module:attribute"
        )
    return _loaded(name)


def _loaded(place: str) -> refold.Fold[Any]:
    fold = loaded(place, what="the fold")
    if not isinstance(fold, refold.Fold):
        raise UsageError(f"{place} is not a refold.Fold but a {type(fold).__name__}")
    return fold
