"""What of a stream's events is disclosed in evidence, and why the rest is not."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Final, NamedTuple

from refold.audit.entry import METADATA, NAME, PAYLOAD
from refold.audit.proving import ORDINALS
from refold.core.recorded import Recorded

LATER: Final = "it came after the event that this evidence is about"


class Disclosure(NamedTuple):
    """What to withhold, each with the reason, and what to disclose all the same.

    Each is ``payload``, ``metadata`` or ``name`` (of every event), an event's id, or a type.
    """

    withhold: Mapping[str, str]
    disclose: Collection[str]

    def withheld(self, recorded: Recorded, *, is_later: bool) -> dict[int, str]:
        """By ordinal, why something of an event is withheld; ``is_later``: it is not the matter."""
        whole = [LATER] if is_later else []
        whole += [self.withhold[one] for one in _names(recorded) if one in self.withhold]
        if any(one in self.disclose for one in _names(recorded)):
            whole = []
        told = dict.fromkeys((PAYLOAD, METADATA), whole[-1]) if whole else {}
        return told | {
            ORDINALS[what]: why for what, why in self.withhold.items() if what in ORDINALS
        }

    @property
    def tells_name(self) -> bool:
        """Whether the stream's name is disclosed."""
        return not any(ORDINALS.get(what) == NAME for what in self.withhold)


def _names(recorded: Recorded) -> tuple[str, str, str]:
    return recorded.id, recorded.origin_id, recorded.type
