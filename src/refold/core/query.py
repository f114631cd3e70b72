"""Which events a decision rests on: by type and by tag, in whatever streams they stand.

An append that is made on condition that no such event has come since it was decided is what
https://dcb.events/specification/ calls a dynamic consistency boundary.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from refold.core.event import Kind, check_name
from refold.core.upcast import Upcasts
from refold.errors import InvalidEvent, UsageError, shown

TAGS_MAX: Final = 32
"""How many tags an append may have, and a part of a query."""
ITEMS_MAX: Final = 32
"""How many queries may be joined."""


class QueryItem(NamedTuple):
    """Events with any of the types (none given: of any type) and with all of the tags."""

    types: frozenset[str]
    tags: tuple[str, ...]

    def fits(self, types: Iterable[str], tags: Iterable[str]) -> bool:
        """Whether an append of events of such types, tagged so, may hold an event of these."""
        return set(self.tags).issubset(tags) and (
            not self.types or not self.types.isdisjoint(types)
        )


class Query:
    """Events of the whole log with any of ``types`` and all of ``tags``; ``a | b`` is either.

    Give types, tags or both. Events of branches are never among them: those did not happen.
    """

    def __init__(self, *, types: Sequence[str] = (), tags: Sequence[str] = ()) -> None:
        if any(isinstance(n, str) or not isinstance(n, Collection) for n in (types, tags)):
            raise UsageError("types and tags of a query are lists of names")
        if not types and not tags:
            raise UsageError("a query of everything: give it types, tags or both")
        for name in types:
            check_name(name, what="an event type")
        names = frozenset(Kind.parse(name).type for name in types)
        self.items: tuple[QueryItem, ...] = (QueryItem(names, checked_tags(tags)),)

    def __or__(self, other: Query) -> Query:
        if not isinstance(other, Query):
            return NotImplemented
        both = object.__new__(Query)
        both.items = tuple(dict.fromkeys((*self.items, *other.items)))
        if len(both.items) > ITEMS_MAX:
            raise UsageError(f"a query of {len(both.items)} parts, over {ITEMS_MAX}")
        return both

    def of_stored(self, upcasts: Upcasts) -> Query:
        """The query of the stored events that may count as these, where types were split."""
        if not upcasts.reshaped:
            return self
        widened = object.__new__(Query)
        widened.items = tuple(
            item._replace(types=upcasts.sources_of(item.types)) for item in self.items
        )
        return widened

    @property
    def types(self) -> frozenset[str] | None:
        """The types of any of its parts; None where one is of every type."""
        every = any(not item.types for item in self.items)
        return None if every else frozenset().union(*(item.types for item in self.items))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Query) and set(self.items) == set(other.items)

    def __hash__(self) -> int:
        return hash(frozenset(self.items))

    def __repr__(self) -> str:
        return " | ".join(
            f"Query(types={sorted(item.types)}, tags={list(item.tags)})" for item in self.items
        )


class Condition(NamedTuple):
    """No event that matches stands after a position."""

    query: Query
    after: int


def condition_of(query: Query | None, after: int) -> Condition | None:
    """The condition that no event of a query has come; None where there is no query."""
    return None if query is None else Condition(query, after)


def checked_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """Tags without repeats; :class:`InvalidEvent` unless they are a list of names."""
    if isinstance(tags, str) or not isinstance(tags, Sequence):
        raise InvalidEvent(f"tags must be a list of names, not {shown(tags)}")
    for tag in tags:
        check_name(tag, what="a tag")
    distinct = tuple(dict.fromkeys(tags))
    if len(distinct) > TAGS_MAX:
        raise InvalidEvent(f"{len(distinct)} tags, over {TAGS_MAX}")
    return distinct
