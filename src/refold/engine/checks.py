"""Arguments of the wrong kind, refused with what to give instead."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

from refold.core.fold import Decider, Fold
from refold.errors import UsageError


def check_names(**filters: Sequence[str] | None) -> None:
    """Refuse one name where a list of names is wanted: it would be taken letter by letter."""
    for name, wanted in filters.items():
        if isinstance(wanted, str):
            raise UsageError(
                f"{name}={wanted!r} is one name: give a list, {name}=[{wanted!r}]", argument=name
            )
        if wanted is None:
            continue
        if not isinstance(wanted, Collection) or not all(isinstance(one, str) for one in wanted):
            raise UsageError(f"{name}={wanted!r:.99} is no list of names", argument=name)


def check_whole(**numbers: object) -> None:
    """Refuse versions, positions and the like that are no whole numbers; None is one not given."""
    for name, number in numbers.items():
        if number is not None and (isinstance(number, bool) or not isinstance(number, int)):
            raise UsageError(f"{name}={number!r} is not a whole number", argument=name)


def checked_limit(limit: int | None) -> int | None:
    """A limit as Python counts, no log has more; refused when it is no number, or negative."""
    check_whole(limit=limit)
    if limit is not None and limit < 0:
        raise UsageError(
            f"limit={limit} is negative: give 0 or more, or None for no limit", argument="limit"
        )
    return None if limit is None else min(limit, sys.maxsize)


def check_fold(fold: object) -> None:
    """Refuse what is no fold, such as its name or the class of its state."""
    if not isinstance(fold, Fold):
        raise UsageError(
            f"fold={fold!r} is not a refold.Fold: give one, such as "
            "refold.conversation.Conversation",
            argument="fold",
        )


def check_decider(decider: object) -> None:
    """Refuse what is no decider, such as its fold."""
    if not isinstance(decider, Decider):
        raise UsageError(
            f"decider={decider!r} is not a refold.Decider: give Decider(fold, decide)",
            argument="decider",
        )
