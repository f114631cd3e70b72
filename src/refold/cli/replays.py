"""The replays that a store holds, found by the names of their branches."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

import refold
from refold.errors import NotFound, UsageError

if TYPE_CHECKING:
    from refold.replay import Variant

_BRANCH: Final = re.compile(r"(.+)~replay-([0-9a-f]{12})-(\d{1,9})")
LISTED_MAX: Final = 10


@dataclass
class Replay:
    """A variant and, by sample, the streams that it was tried on."""

    variant: Variant
    streams: dict[int, list[str]] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """Its id, label, and how much there is of it."""
        label = f" ({self.variant.label})" if self.variant.label else ""
        count = max(len(streams) for streams in self.streams.values())
        return f"{self.variant.id}{label}, {count} conversations"


def replays(store: refold.Store) -> dict[str, Replay]:
    """Every replay of a store by the id of its variant."""
    found: dict[str, Replay] = {}
    for info in store.streams():
        named = _BRANCH.fullmatch(info.stream)
        if named is None:
            continue
        stream, variant_id, sample = named[1], named[2], int(named[3])
        if variant_id not in found:
            found[variant_id] = Replay(_variant_on(store, info.stream))
        found[variant_id].streams.setdefault(sample, []).append(stream)
    return found


def one_of(found: dict[str, Replay], wanted: str | None) -> Replay:
    """The replay of an id, the beginning of one, or a label; without any, the only one there is."""
    if not found:
        raise NotFound("there is no replay in this store: run `refold replay` first")
    if wanted is None:
        matches = list(found.values())
    else:
        matches = [
            replay
            for variant_id, replay in found.items()
            if variant_id.startswith(wanted) or replay.variant.label == wanted
        ]
    match matches:
        case [replay]:
            return replay
        case []:
            raise NotFound(f"no replay is called {wanted!r}: {_listed(found.values())}")
    raise UsageError(f"several replays fit: name one with --variant: {_listed(matches)}")


def _listed(some: Iterable[Replay]) -> str:
    titles = [replay.title for replay in some]
    more = [f"and {len(titles) - LISTED_MAX} more"] if len(titles) > LISTED_MAX else []
    return "; ".join(titles[:LISTED_MAX] + more)


def _variant_on(store: refold.Store, branch: str) -> Variant:
    """The variant that a branch was made with, by what its replay recorded about itself."""
    from refold.replay import Variant

    for recorded in store.read(branch):
        if recorded.type == "replay.started":
            return msgspec.convert(recorded.data["variant"], Variant)
    raise NotFound(f"{branch} does not say what its replay changed: replay it again", stream=branch)
