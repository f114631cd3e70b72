"""What stands in for the tools of an agent that is run again, so that nothing outside is touched.

A *world* answers the tool calls of one conversation, from what was recorded of it or from what the
user declared: see :mod:`refold.freerun.recorded_world`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, Protocol

import msgspec

from refold.conversation.events import Effect, Tool
from refold.core.recorded import Recorded
from refold.replay.decision import Call

Source = Literal["recorded", "normalised", "fixed", "simulated", "live"]
"""Where an answer is from: recorded for the same arguments to the character of their JSON values,
recorded for the same in the tool's normal form, declared as fixed, a simulator, or the tool itself.

One that is ``live`` saw the world as it is now: what follows is contaminated by it.
"""
Cause = Literal["absent", "changed", "failed", "hidden"]
"""Why there is no answer: none is recorded for it; one is, but for the state that other writes had
left; what was declared for the tool failed; or the recorded one is redacted or erased."""


class ToolOutput(msgspec.Struct, frozen=True):
    """What the agent is told a tool gave, as text; ``at`` is the id of the recorded result."""

    output: str
    is_error: bool = False
    source: Source = "recorded"
    at: str | None = None


class Missed(msgspec.Struct, frozen=True):
    """Nothing may be told: the conversation cannot go on as the record would have it.

    ``why`` says in a sentence what was looked for, what was there, and what would help.
    """

    call: Call
    effect: Effect
    why: str
    cause: Cause = "absent"


class Unasked(msgspec.Struct, frozen=True):
    """A recorded result that nobody asked for; ``at`` is the id of its event."""

    call: Call
    at: str


class ToolWorld(Protocol):
    """Answers the tool calls of one conversation, in the order in which the agent makes them."""

    def answer(self, call: Call, /) -> ToolOutput | Missed:
        """What a tool gives for a call; raises nothing where there is no answer."""
        ...

    def unasked(self) -> list[Unasked]:
        """The recorded results that were not asked for until now, in the order of the record."""
        ...


WorldOf = Callable[[Sequence[Recorded], Sequence[Tool] | None], ToolWorld]
"""Makes the world of a recorded conversation; the tools are those that the candidate is offered,
None where they are those of the record."""
