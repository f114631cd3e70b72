"""How near the simulator is: the recorded agents' own calls, and what the tools gave them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from examples.airline.facts import Facts, NotShownError, recorded_calls
from examples.airline.simulator import Airline
from refold.replay import Call


class Differing(NamedTuple):
    """A call that the simulator answers otherwise: in which stream, the what-th, and why."""

    stream: str
    number: int
    call: Call
    recorded: str
    simulated: str
    why: str


class Fidelity(NamedTuple):
    """How many calls there were of each tool, and those that are answered otherwise."""

    calls: Counter[str]
    differing: list[Differing]

    @property
    def share(self) -> float:
        """The share that is answered with the recorded text."""
        return 1 - len(self.differing) / self.calls.total()


def measure(histories: Mapping[str, Sequence[Any]], facts: Facts | None = None) -> Fidelity:
    """Perform the calls of each conversation in a simulation of its own.

    ``facts`` are by default what all of them show.
    """
    known = Facts.of(histories.values()) if facts is None else facts
    calls: Counter[str] = Counter()
    found: list[Differing] = []
    for stream, history in histories.items():
        airline = Airline(known)
        for number, (call, recorded) in enumerate(recorded_calls(history)):
            calls[call.name] += 1
            try:
                simulated, why = airline.perform(call)[0], "another result"
            except NotShownError as unknown:
                simulated, why = "", str(unknown)
            if simulated != recorded:
                found.append(Differing(stream, number, call, recorded, simulated, why))
    return Fidelity(calls, found)
