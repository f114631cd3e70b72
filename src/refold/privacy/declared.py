"""Events emptied of their personal values: of those that somebody declared to be personal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from functools import partial
from typing import Final

from refold.engine.store import Store
from refold.privacy.envelope import OPENING, REDACTED, parsed
from refold.privacy.fields import CONVERSATION, FieldTable, with_more
from refold.privacy.fitting import fitting, is_at
from refold.privacy.places import Path, TextSpan, spans
from refold.privacy.removing import ValueChange
from refold.privacy.texts import LookedEvent

_NOTHING: Final = (b"null", b'""', b"[]", b"{}", b'"[redacted]"', b'"[erased]"')
"""Texts of values that say nothing, or nothing any more."""
_OWN: Final = ("session.", "wire.", "replay.", "dataset.", "projection.")
"""Types of refold that hold nothing personal beyond what :data:`CONVERSATION` says."""


class Declared:
    """Which values are personal: by the store, by what is given, and of a conversation."""

    def __init__(self, store: Store, fields: Mapping[str, Sequence[str]]) -> None:
        privacy = getattr(store._backend, "privacy", None)
        of_store = {} if privacy is None else privacy.fields._table
        self._said = with_more(CONVERSATION, of_store, fields)
        self._table, self._registry = FieldTable(self._said), store.registry

    def emptied(
        self, event: LookedEvent, mark: str, *, dying: Collection[str] = (), subject_as: str = ""
    ) -> ValueChange | None:
        """An event without its personal values; None where nothing of it is left to go.

        Values in envelopes go, but under the ``dying`` keys: with those they go by themselves.
        """
        payload, pointers = event.plain, list[str]()
        for path in self._paths(event, dying):
            for span in spans(payload, partial(is_at, path)):
                if payload[span.start : span.end] not in _NOTHING:
                    closed = path in _envelopes(event)
                    shown = REDACTED if closed else mark
                    payload = fitting(self._registry, event, payload, span, shown)
                    pointers.append(span.pointer.decode())
        names = event.noted("subject")
        renamed = subject_as if names is not None and names != subject_as else ""
        if payload == event.plain and not renamed and not event.has_digest:
            return None
        pointer = pointers[0] if len(pointers) == 1 else ""
        return ValueChange(event, payload, pointer, "erased" if pointers else "metadata", renamed)

    def undeclared(self, events: Iterable[LookedEvent]) -> dict[str, int]:
        """How many events there are, by type, of which nobody said what is personal."""
        known = {*self._said}.__contains__ if "*" not in self._said else bool
        types = (one.type for one in events if one.plain not in _NOTHING)
        return dict(Counter(one for one in types if not known(one) and not one.startswith(_OWN)))

    def _paths(self, event: LookedEvent, dying: Collection[str]) -> list[Path]:
        """The ways to the values that go."""
        closed = _envelopes(event)
        fields, plain = self._table.of(event.stored.tag), event.plain
        is_alone = plain[:1] not in (b"{", b"[")
        going = {path for path, key in closed.items() if key not in dying}

        def is_wanted(path: Path, _start: int) -> bool:
            if path in closed:
                return path in going
            is_inside = path != () or is_alone
            return fields is not None and is_inside and fields.are_at(path)

        return [span.path for span in spans(plain, is_wanted)]


def _envelopes(event: LookedEvent) -> dict[Path, str]:
    """The ways to the envelopes of an event, each with the id of its key."""
    payload = bytes(event.stored.data)
    if OPENING not in payload:
        return {}
    found: list[TextSpan] = spans(payload, lambda _, start: payload.startswith(OPENING, start))
    envelopes = ((one.path, parsed(payload[one.start : one.end])) for one in found)
    return {path: one.key.decode() for path, one in envelopes if one is not None}
