"""Which values of an append are personal, and where they stand. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from refold.privacy.apart import Slot, at_way, taken_apart
from refold.privacy.envelope import place_in
from refold.privacy.fields import Fields, FieldTable
from refold.privacy.places import Path, pointer_of, spans

_KINDS_MAX: Final = 1_000
"""Kinds of which plans are kept; beyond it they are made anew."""


class _Plan(NamedTuple):
    """How the personal values of events of a kind are found.

    ``members`` are those of the payload that are personal, each with where it stands, or that have
    something in them that is (with nothing). None where others may be, or all of it.
    """

    kind: str
    fields: Fields
    members: Mapping[str, bytes] | None

    def is_personal(self, path: Path, text: bytes) -> bool:
        """Whether a value is, by the way to it; the payload itself only where it has no members."""
        is_inside = path != () or text[:1] not in (b"{", b"[")
        return is_inside and self.fields.are_at(path)


class PersonalValues(NamedTuple):
    """An append taken apart, and its personal values as they stand in it, each in a slot.

    Of each there is its JSON text, where it stands (:func:`refold.privacy.envelope.place_in`), and
    the index of its event.
    """

    parts: list[Any]
    slots: list[Slot]
    values: list[bytes]
    places: list[bytes]
    owners: list[int]

    def look_inside(self, index: int, way: Path, plan: _Plan) -> None:
        """Add those in a member of an event's payload, or in all of it."""
        holder, name, text = at_way(self.parts[index], way)
        found = spans(text, lambda path, _start: plan.is_personal((*way, *path), text))
        if found:
            self.slots.append((holder, name, text, found))
            for one in found:
                self.values.append(text[one.start : one.end])
                self.places.append(place_in(plan.kind, pointer_of((*way, *one.path))))
                self.owners.append(index)


class Finder:
    """Finds what a table says is personal.

    Where the members are known by name that are personal, or have something in them that is,
    nothing else of a payload is looked at.
    """

    def __init__(self, table: FieldTable) -> None:
        self._table = table
        self._plans: dict[str, _Plan | None] = {}

    def found(
        self, body: bytes, kinds: Sequence[str], more: Mapping[int, Sequence[str]] = {}
    ) -> PersonalValues:
        """The personal values of events of some kinds.

        ``more`` are JSON Pointers to values that are personal too, by the event's index.
        """
        plans = self._plans_of(kinds)
        found = PersonalValues(taken_apart(body), [], [], [], [])
        parts, slots, values, places, owners = found
        for index, kind in enumerate(kinds):
            plan = plans[kind]
            if index in more:
                fields = Fields.joined(None if plan is None else plan.fields, more[index])
                plan = _Plan(kind, fields, None)
            if plan is None:
                continue
            payload, members = parts[index].data, plan.members
            if members is None or payload.__class__ is not dict:
                found.look_inside(index, (), plan)
                continue
            for name in members if len(members) == 1 else filter(members.__contains__, payload):
                if name in payload:
                    place = members[name]
                    if place:
                        slots.append((payload, name, b"", None))
                        values.append(bytes(payload[name]))
                        places.append(place)
                        owners.append(index)
                    else:
                        found.look_inside(index, (name,), plan)
        return found

    def _plans_of(self, kinds: Sequence[str]) -> Mapping[str, _Plan | None]:
        plans = self._plans
        if not plans.keys() >= set(kinds):
            kept = {} if len(plans) > _KINDS_MAX else plans
            plans = self._plans = {**{kind: self._plan(kind) for kind in kinds}, **kept}
        return plans

    def _plan(self, kind: str) -> _Plan | None:
        fields = self._table.of(kind)
        if fields is None:
            return None
        places = {
            name: place_in(kind, pointer_of((name,))) if (name,) in fields.paths else b""
            for name in fields.names
        }
        return _Plan(kind, fields, places or None)
