"""Which effects have no outcome yet: the pure half of an outbox."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from heapq import heappop, heappush
from operator import attrgetter
from typing import Literal

from refold.core.recorded import Recorded
from refold.errors import CodecError
from refold.outbox.effects import OUTCOMES, REQUESTED, Outcome, RequestedEffect, asked_by

Order = Literal["any", "stream"]


@dataclass
class Backlog:
    """The oldest effects without an outcome, at most ``effects_max`` of those that are wanted.

    Feed it the ``effect.*`` events in the order of the log. When it is full, it leaves out what
    is asked for next, and ``left_out_after`` says from where to read again once there is room.
    Requests past ``until`` are not its concern.
    """

    wanted: Callable[[RequestedEffect], bool]
    effects_max: int
    until: int | None = None
    open: dict[str, RequestedEffect] = field(default_factory=dict, init=False)
    left_out_after: int | None = field(default=None, init=False)
    _new: list[RequestedEffect] = field(default_factory=list, init=False)

    def note(self, recorded: Recorded) -> RequestedEffect | Outcome | None:
        """Take in one event; gives what it says.

        None: it is in a branch, which tells what might have been, or no outcome of a request, or
        one that cannot be read.
        """
        if "~" in recorded.stream:
            return None
        if recorded.type == REQUESTED:
            asked = asked_by(recorded)
            self._add(asked)
            return asked
        try:
            outcome: Outcome = recorded.to_class(OUTCOMES[recorded.type])
        except CodecError:
            return None
        if not outcome.effect:
            return None
        self.open.pop(outcome.effect, None)
        return outcome

    def take_new(self) -> list[RequestedEffect]:
        """What is open and was not given out before, oldest first."""
        new, self._new = self._new, []
        return [asked for asked in new if asked.id in self.open]

    def has_room(self) -> bool:
        """Whether to read again what was left out."""
        return self.left_out_after is not None and len(self.open) <= self.effects_max // 2

    def read_again(self) -> int:
        """The position after which to read, from now on, what was left out."""
        after, self.left_out_after = self.left_out_after, None
        assert after is not None
        return after

    def settled_to(self, position: int) -> int:
        """Of what was read to a position: up to where every wanted effect has its outcome."""
        places = [position, *(asked.position - 1 for asked in self.open.values())]
        places += [p for p in (self.until, self.left_out_after) if p is not None]
        return min(places)

    def _add(self, asked: RequestedEffect) -> None:
        past = self.until is not None and asked.position > self.until
        if past or self.left_out_after is not None or asked.id in self.open:
            return
        if not self.wanted(asked):
            return
        if len(self.open) >= self.effects_max:
            self.left_out_after = asked.position - 1
            return
        self.open[asked.id] = asked
        self._new.append(asked)


class Schedule:
    """Which effect comes next, and when; times are seconds of one clock, given as arguments.

    In order ``stream`` the effects of a stream wait for one another, in order ``any`` for none.
    """

    def __init__(self, order: Order) -> None:
        # What must not be performed together has the same lane.
        self._lane: Callable[[RequestedEffect], str] = attrgetter(
            "stream" if order == "stream" else "id"
        )
        self._lanes: dict[str, deque[RequestedEffect]] = {}
        self._due: list[tuple[float, int, RequestedEffect]] = []

    def add(self, asked: RequestedEffect, at_s: float) -> None:
        """An effect to perform at a time, or when those before it are finished."""
        lane = self._lanes.setdefault(self._lane(asked), deque())
        lane.append(asked)
        if len(lane) == 1:
            self.again(asked, at_s)

    def again(self, asked: RequestedEffect, at_s: float) -> None:
        """An effect that was taken, to perform at a later time."""
        heappush(self._due, (at_s, asked.position, asked))

    def take(self, now_s: float) -> RequestedEffect | None:
        """The next effect whose time has come."""
        return heappop(self._due)[2] if self._due and self._due[0][0] <= now_s else None

    def finish(self, asked: RequestedEffect, now_s: float) -> None:
        """An effect that was taken and is done with: the next of its stream may come."""
        lane = self._lanes[self._lane(asked)]
        lane.popleft()
        if lane:
            self.again(lane[0], now_s)
        else:
            del self._lanes[self._lane(asked)]

    @property
    def next_s(self) -> float | None:
        """The time of the next effect; None when none waits for a time."""
        return self._due[0][0] if self._due else None

    @property
    def is_empty(self) -> bool:
        """Whether every effect is finished."""
        return not self._lanes
