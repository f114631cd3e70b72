"""A history bound to the store that it came from."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from refold.core.fold import Fold, Folded
from refold.core.history import History
from refold.engine.checks import check_fold
from refold.errors import UsageError

S = TypeVar("S")
R = TypeVar("R")


@dataclass(frozen=True)
class Branch(History, Generic[R]):
    """A history that can be folded, changed again and saved.

    ``save(stream)`` gives what the store's ``save_branch`` gives: the append, or for an
    :class:`~refold.AsyncStore` an awaitable of it.
    """

    saver: Callable[..., R] | None = None

    def fold(self, fold: Fold[S]) -> Folded[S]:
        """The state along this branch."""
        check_fold(fold)
        return fold.run(self.events)

    def save(self, stream: str) -> R:
        """Store the branch under a new name, sharing its parent's prefix without copying it."""
        if self.saver is None:
            raise UsageError("this branch has no store to be saved in")
        return self.saver(self, stream)
