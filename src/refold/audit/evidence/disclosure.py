"""What of a stream's events is disclosed in evidence, and why the rest is not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Final, NamedTuple

from refold.audit.entry import METADATA, NAME, PAYLOAD
from refold.audit.proving import ORDINALS, with_what_names
from refold.core.recorded import Recorded
from refold.errors import UsageError

LATER: Final = "it came after the event that this evidence is about"


class Disclosure(NamedTuple):
    """What to withhold, each with the reason, and what to disclose all the same.

    Each is an event's id, or a type; to withhold also ``payload``, ``metadata`` or ``name``, of
    every event, or a JSON Pointer to personal values, of every event or behind an id or a type.
    """

    withhold: Mapping[str, str]
    disclose: Collection[str]

    def withheld(self, recorded: Recorded, *, is_later: bool) -> dict[int, str]:
        """By ordinal, why something of an event is withheld; ``is_later``: it is not the matter.

        What is said of its id counts before what is said of its type, and that before the rest;
        of the same, withholding. With the name goes what tells it, whatever is said of that.
        """
        return with_what_names(recorded, self._chosen(recorded, is_later=is_later))

    def fields(self, recorded: Recorded) -> dict[str, str]:
        """By pointer, why personal values of an event are withheld."""
        return {pointer: self.withhold[what] for what, pointer in self._pointers(recorded)}

    def _pointers(self, recorded: Recorded) -> Iterator[tuple[str, str]]:
        """What is withheld by a pointer into an event, and the pointer."""
        names = [name for some in _names(recorded) for name in some]
        for what in self.withhold:
            for name in () if what in names else ("", *names):
                if what.startswith(f"{name}/"):
                    yield what, what.removeprefix(name)

    def _chosen(self, recorded: Recorded, *, is_later: bool) -> dict[int, str]:
        told = {ORDINALS[what]: why for what, why in self.withhold.items() if what in ORDINALS}
        for names in _names(recorded):
            for name in names:
                if name in self.withhold:
                    return dict.fromkeys((PAYLOAD, METADATA), self.withhold[name]) | told
            if any(name in self.disclose for name in names):
                return {what: why for what, why in told.items() if what == NAME}
        return (dict.fromkeys((PAYLOAD, METADATA), LATER) if is_later else {}) | told

    def check(self, history: Iterable[Recorded]) -> None:
        """Refuse with UsageError what is the name of nothing: it would be disclosed."""
        known = {name for one in history for names in _names(one) for name in names}
        for name in (*self.withhold, *self.disclose):
            is_withheld = name in ORDINALS or name.startswith(("/", *(f"{one}/" for one in known)))
            if name not in known and (name in self.disclose or not is_withheld):
                of_all = ", ".join(ORDINALS)
                why = (
                    f"{name!r} is no id and no type of an event here (nor {of_all}, or a pointer, "
                    "to withhold)"
                )
                raise UsageError(why, argument="withhold" if name in self.withhold else "disclose")

    def check_fields(self, history: Iterable[Recorded], led: Collection[tuple[str, str]]) -> None:
        """Refuse with UsageError a pointer that led to nothing, by those that did."""
        found = {what: False for what in self.withhold if "/" in what}
        for one in history:
            for what, pointer in self._pointers(one):
                found[what] |= (one.id, pointer) in led
            found |= dict.fromkeys(found.keys() & {*_names(one)[0], *_names(one)[1]}, True)
        for what in (what for what, was_there in found.items() if not was_there):
            raise UsageError(f"{what!r} leads to no value that is disclosed", argument="withhold")

    @property
    def of_others(self) -> dict[int, str]:
        """Why something is withheld of events elsewhere: they may name the stream."""
        return {} if self.tells_name else {PAYLOAD: self.withhold["name"]}

    @property
    def tells_name(self) -> bool:
        """Whether the stream's name is disclosed."""
        return not any(ORDINALS.get(what) == NAME for what in self.withhold)


def _names(recorded: Recorded) -> tuple[tuple[str, str], tuple[str]]:
    return (recorded.id, recorded.origin_id), (recorded.type,)
