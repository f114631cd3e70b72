"""Arguments of the wrong kind, refused with what to give instead."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Collection, Sequence

from refold.core.fold import Decider, Fold
from refold.errors import refuse_unless, wrong_argument


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
    check_given(**{name: number for name, number in numbers.items() if number is not None})


def checked_limit(limit: int | None) -> int | None:
    """A limit as Python counts, no log has more; refused when it is no number, or negative."""
    check_whole(limit=limit)
    refuse_unless(limit is None or limit >= 0, "0 or more, or None for no limit", limit=limit)
    return None if limit is None else min(limit, sys.maxsize)


def check_fold(fold: object) -> None:
    """Refuse what is no fold, such as its name or the class of its state."""
    if not isinstance(fold, Fold):
        raise wrong_argument("a refold.Fold such as Conversation", fold=fold)


def check_decider(decider: object) -> None:
    """Refuse what is no decider, such as its fold."""
    refuse_unless(isinstance(decider, Decider), "a refold.Decider(fold, decide)", decider=decider)


def check_path(**paths: object) -> None:
    """Refuse what names no file: SQLite is given names in UTF-8, and ends them at a NUL."""
    for name, path in paths.items():
        text = os.fspath(path) if isinstance(path, str | os.PathLike) else None
        right = isinstance(text, str) and not re.search(r"[\0\ud800-\udfff]", text)
        refuse_unless(right, "the path of a file, in UTF-8", **{name: path})


def check_progress(progress: object) -> None:
    """Refuse what cannot be told how far a long call has come."""
    refuse_unless(progress is None or callable(progress), "a function", progress=progress)
