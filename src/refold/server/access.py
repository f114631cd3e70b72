"""What a caller may do: append or read, in some categories or all."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal, NamedTuple

from refold.core.event import category_of
from refold.core.recorded import Recorded
from refold.engine.lineage import lineage
from refold.engine.store import Store
from refold.errors import NotFound, RefoldError, UsageError

Scope = Literal["append", "read"]


class Grant(NamedTuple):
    """What a token allows: ``scopes``, in these ``categories`` (none named: all), of a tenant.

    A category is that of a stream's name to the letter: ``call`` is not ``call~``, its branches.
    """

    scopes: frozenset[str]
    categories: frozenset[str] = frozenset()
    tenant: int | None = None

    def check(self, scope: Scope | None) -> None:
        """Refuse what is not in the scopes."""
        if scope is not None and scope not in self.scopes:
            raise UsageError(f"this token may not {scope}", code="forbidden", scope=scope)

    def check_stream(self, stream: str) -> None:
        """Refuse a stream by its name alone, so that nothing is said of whether it is there."""
        self.check_category(category_of(stream))

    def check_category(self, category: str) -> None:
        """Refuse a category that is none of these."""
        if self.categories and category not in self.categories:
            why = f"this token is not for the category {category!r}"
            raise UsageError(why, code="forbidden", category=category)

    def check_readable(self, store: Store, stream: str) -> None:
        """Refuse a stream that is not of these categories, nor all that it branched from."""
        self.check_stream(stream)
        if not self.categories or "~" not in stream:
            return
        if any(not self.has(part.stream) for part in lineage(store._backend, stream)):
            raise NotFound(f"there is no stream {stream!r}", stream=stream)

    def sees(self, store: Store, stream: str) -> bool:
        """Whether a stream, and all that it branched from, is of these categories."""
        try:
            self.check_readable(store, stream)
        except RefoldError:
            return False
        return True

    def visible(self, store: Store, events: Iterable[Recorded]) -> Iterator[Recorded]:
        """Of events those that may be seen: what a branch holds itself tells of its parent."""
        known: dict[str, bool] = {}
        for event in events:
            stream = event.stream
            if self.categories and "~" in stream and stream not in known:
                known[stream] = self.sees(store, stream)
            if known.get(stream, True):
                yield event

    def has(self, stream: str) -> bool:
        """Whether a stream is of these categories, by its name."""
        return not self.categories or category_of(stream) in self.categories

    def among(self, asked: Sequence[str]) -> list[str] | None:
        """The categories to read of those that are asked for; None: all there are."""
        for category in asked:
            self.check_category(category)
        return list(asked) or sorted(self.categories) or None


EVERYTHING: Final = Grant(frozenset({"append", "read"}))
"""What everybody may do where there are no tokens."""
