"""Arguments of the wrong kind, refused with what to give instead."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence

from refold.core.fold import Decider, Fold
from refold.errors import UsageError, shown


def refuse_unless(right: bool, wanted: str, **given: object) -> None:
    """Refuse an argument, given by its name, that is not what is wanted."""
    if right:
        return
    ((name, value),) = given.items()
    raise UsageError(f"{name}={shown(value)} is not {wanted}", argument=name)


def check_names(**filters: Sequence[str] | None) -> None:
    """Refuse one name where a list of names is wanted: it would be taken letter by letter."""
    for name, wanted in filters.items():
        if wanted is not None:
            right = not isinstance(wanted, str) and isinstance(wanted, Collection)
            right = right and all(isinstance(one, str) for one in wanted)
            advice = f": give [{wanted!r:.99}]" if isinstance(wanted, str) else ""
            refuse_unless(right, f"a list of names{advice}", **{name: wanted})


def check_given(**numbers: object) -> None:
    """Refuse versions, positions and the like that are no whole numbers."""
    for name, number in numbers.items():
        right = isinstance(number, int) and not isinstance(number, bool)
        refuse_unless(right, "a whole number", **{name: number})


def check_whole(**numbers: object) -> None:
    """The same where None stands for one that is not given."""
    for name, number in numbers.items():
        if number is not None:
            check_given(**{name: number})


def checked_limit(limit: int | None) -> int | None:
    """A limit as Python counts, no log has more; refused when it is no number, or negative."""
    check_whole(limit=limit)
    refuse_unless(limit is None or limit >= 0, "0 or more, or None for no limit", limit=limit)
    return None if limit is None else min(limit, sys.maxsize)


def check_fold(fold: object) -> None:
    """Refuse what is no fold, such as its name or the class of its state."""
    refuse_unless(isinstance(fold, Fold), "a refold.Fold such as Conversation", fold=fold)


def check_decider(decider: object) -> None:
    """Refuse what is no decider, such as its fold."""
    refuse_unless(isinstance(decider, Decider), "a refold.Decider(fold, decide)", decider=decider)
