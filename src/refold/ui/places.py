"""The conversations behind the figures of a replay: one list of them, how long all others are."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from contextlib import closing
from typing import Any, Final, NamedTuple, cast
from urllib.parse import urlencode

from refold import Recorded
from refold.errors import NotFound
from refold.replay.actions import LEVELS, ConversationComparison
from refold.replay.compare import AnsweredBeside, Comparison, Conversations
from refold.replay.figures import Figures, Tally
from refold.replay.report import render
from refold.replay.report.links import Link, anchor
from refold.replay.report.lists import BESIDE_RECORD, OF_CONTROL, Lists, place_of
from refold.replay.report.paging import Pack, Paged
from refold.replay.report.turns import Read, nothing_read
from refold.replay.variant import REPLAY_MARK, branch_name

CONVERSATIONS: Final = "conversations"
CHANGE: Final = "change:"
_ASSESSED: Final = ("other-action", "same-action")
_GROUPS: Final[Mapping[str, Sequence[str]]] = {
    "assessed": _ASSESSED,
    "throughout": ("other-throughout", "same-throughout"),
    "left-out": (*("failed", "missing", "never-begun", "later", "conditional", "excluded"),),
    "called": ("called:other", "called:same"),
    "spoke": ("spoke:other", "spoke:same"),
    "levels": [f"level:{level}" for level in LEVELS],
    "noise": [OF_CONTROL + name for name in _ASSESSED],
}
"""What figures lead to that are made of several lists."""
_ALONE: Final = ("not-assessed", "tried-again", *(f"recorded:{name}" for name in BESIDE_RECORD))
_NAMES: Final = frozenset(
    side + name for side in ("", OF_CONTROL) for of in (*_GROUPS.values(), _ALONE) for name in of
)
"""The lists there are whatever was measured; one that nothing was added to is empty."""


class KeptList(Paged):
    """A list of which all is kept in ``items``, or no more than how long it is."""

    def __init__(self, pack: Pack, *, is_kept: bool) -> None:
        super().__init__(pack, 0)
        self.items: list[str] = []
        self._is_kept = is_kept

    def add(self, item: str, name: str = "") -> None:  # noqa: ARG002
        """One more."""
        self.count += 1
        if self._is_kept:
            self.items.append(item)


class ListBehind(NamedTuple):
    """One of the lists behind a figure: how long it is, and the items that are shown."""

    name: str
    length: int
    items: Sequence[str]


class _At(defaultdict[str, Paged]):
    """The lists by name; those ``wanted`` are kept, all of them where it is None."""

    def __init__(self, pack: Pack, wanted: Sequence[str] | None) -> None:
        super().__init__()
        self._pack, self._wanted = pack, wanted

    def __missing__(self, name: str) -> KeptList:
        is_kept = self._wanted is None or name in self._wanted
        self[name] = made = KeptList(self._pack, is_kept=is_kept)
        return made


class PlacesBehind(Lists):
    """The lists of a comparison, each item a link to the page where that is seen.

    ``wanted`` is the figure whose lists are kept, "" for none, None for all; ``root`` is where the
    pages are. ``runs`` are the figures of each sample, by what it was in the run and its number.
    """

    def __init__(self, comparison: Comparison, wanted: str | None, root: str) -> None:
        with closing(Pack()) as pack:  # Nothing is packed.
            super().__init__(comparison.verdicts, pack, has_control=comparison.control is not None)
            self.at = _At(pack, None if wanted is None else names_behind(wanted))
            self.rows = KeptList(pack, is_kept=wanted in (None, CONVERSATIONS))
            is_kept = wanted is None or wanted.startswith(CHANGE)
            self.patterns = type(self.patterns)(lambda: KeptList(pack, is_kept=is_kept))
        self._root, self._comparison = root, comparison
        self._terms = cast("Conversations", comparison.conversations).terms
        self._tallies = defaultdict[tuple[str, int], Tally](Tally)

    def add(
        self, pair: AnsweredBeside, history: Sequence[Recorded], read: Read = nothing_read
    ) -> None:
        """One more conversation, with what both sides answered."""
        super().add(pair, history, read)
        of_control = pair.against if self._comparison.control is not None else []
        for role, of in (("candidate", pair.candidate), ("control", of_control)):
            for one in of:
                sample = int(one.branch.rpartition("-")[2])
                self._tallies[role, sample].add(one)
                self.at[f"run:{role}:{sample}"].add(place_of(self.conversation(one.branch)))

    @property
    def runs(self) -> dict[tuple[str, int], Figures]:
        """The figures of each sample."""
        return {of: self._tallies[of].figures() for of in sorted(self._tallies)}

    def lists(self, figure: str) -> list[ListBehind]:
        """Those that a figure leads to; :class:`~refold.errors.NotFound` where there is none."""
        sides = ((one, side) for one in self.verdicts for side in ("", *one.sides, "unknown"))
        known = _NAMES | {self.behind(one.metric, side) for one, side in sides} | self.at.keys()
        named = {name: self.at[name] for name in names_behind(figure) if name in known}
        if figure == CONVERSATIONS:
            named = {CONVERSATIONS: self.rows}
        if figure.startswith(CHANGE):
            changes = enumerate(self.patterns.found, 1)
            named = {f"{CHANGE}{number}": one.places for number, one in changes}
            named = {name: one for name, one in named.items() if name == figure}
        if not named:
            raise NotFound(f"no figure leads to {figure!r}")
        return [ListBehind(name, one.count, items_of(one)) for name, one in named.items()]

    @staticmethod
    def bar(counts: Mapping[str, int]) -> str:
        """How many decisions stand at each level, drawn."""
        return render.macro("pieces.html", "small_bar", counts)

    def event(self, stream: str, event_id: str) -> Link:
        """An event's id, as a link to where both sides are seen at it."""
        return Link(event_id, None, f"{self._seen(stream, at=event_id)}#{anchor(event_id)}")

    def conversation(self, stream: str) -> Link:
        """A conversation, or one branch of it, as a link to both sides."""
        return Link(stream, None, self._seen(stream))

    def _seen(self, stream: str, **more: str) -> str:
        recorded, mark, _ = stream.partition(REPLAY_MARK)
        samples = self._terms.get(recorded) or self._comparison.samples
        first = branch_name(recorded, self._comparison.variant, min(samples))
        pair = {"a": recorded, "b": stream if mark else first}
        return f"{self._root}/compare?{urlencode(pair | more)}"

    def _count(
        self, side: str, one: ConversationComparison, stream: str, places: Mapping[str, str]
    ) -> None:
        if side:
            stream = one.branch
            places = {each.at: place_of(self.event(stream, each.at)) for each in one.decisions}
        super()._count(side, one, stream, places)

    def _show(self, *_: Any, **__: Any) -> None:
        """The turns have a page of their own."""


def names_behind(figure: str) -> Sequence[str]:
    """The names of the lists that a figure leads to."""
    side = OF_CONTROL if figure.startswith(OF_CONTROL) else ""
    return [side + name for name in _GROUPS.get(figure.removeprefix(side), ())] or [figure]


def items_of(some: Paged) -> list[str]:
    """What is kept of a list."""
    return some.items if isinstance(some, KeptList) else []
