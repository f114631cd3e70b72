"""States that a snapshot cannot hold.

A fold whose state was a class with a union of two structs could not be run at all: making its
snapshotter raised TypeError.
"""

from dataclasses import dataclass, field

import msgspec

import refold
from refold import Event


class Waiting(msgspec.Struct):
    """Nobody has answered."""


class Talking(msgspec.Struct):
    """Somebody has."""


@dataclass
class Call:
    """A state that msgspec cannot decode: nothing tells the two structs apart."""

    phase: Waiting | Talking = field(default_factory=Waiting)


def test_a_state_that_cannot_be_decoded_is_folded_each_time() -> None:
    """A fold works whatever its state is; only snapshots need one that can be stored."""
    fold = refold.Fold("call", Call)

    @fold.on("call.answered")
    def answered(call: Call, event: dict[str, object]) -> Call:
        call.phase = Talking()
        return call

    with refold.open("memory:") as store:
        store.append("call-1", [Event("call.answered")] * 1_000)
        states = [store.fold("call-1", fold).state for _ in range(2)]
    assert states == [Call(Talking()), Call(Talking())]
