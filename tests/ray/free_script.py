"""A free run of this process, and one on a cluster, each over a store of its own; told as JSON.

``free_script.py HERE THERE USER``: two stores with the same conversations, and where the model is
that plays the user; the cluster is that of ``RAY_ADDRESS``.
"""

from __future__ import annotations

import json
import socket
import sys
from contextlib import suppress
from typing import Any

import refold
from refold.errors import OutsideRefused
from refold.freerun import Fixed, FreeRun, LiveRead, Simulated, ToolPolicies
from refold.freerun.policies import read_policies
from refold.ray import OnRay
from refold.replay import Action, Call, ChatEndpoint, Variant, compare, replay, select
from refold.replay.compare import json_pieces

AWAY = ("127.0.0.1", 9)
LOOK, PRICE = ("look", '{"day": "Tue"}'), ("price", '{"room": 4}')
BOOK, NOTE = ("book", '{"room": 4}'), ("note", '{"of": "B7"}')
LAST = [BOOK, NOTE, "Booked as B7.", "Bye."]
AS_RECORDED = [LOOK, PRICE, "Room 4 for 80. Shall I book it?", *LAST]
COURSES: list[list[Any]] = [
    AS_RECORDED,
    [LOOK, PRICE, "It is room 4, and 80 in all. Shall I?", *LAST],
    [("look", '{"day": "Wed"}'), "There is one on Wednesday. Would that do?"],
    [LOOK, PRICE, "Shall I book it?", ("book", '{"room": 5}'), "Booked: is there anything else?"],
    [LOOK, PRICE, "Shall I book it?", ("note", '{"of": "nothing"}'), "Done."],
    ["There is no room. Would you like another day?", "I am sorry."],
]
"""What the candidate does in each conversation, answer by answer."""


class Bookings:
    """Books what it is told to."""

    def __init__(self, history: Any) -> None:
        self.booked = sum(event.type == "tool.result" for event in history)

    def perform(self, call: Call) -> tuple[str, bool]:
        """The next number."""
        self.booked += 1
        return json.dumps({"booking": f"B{self.booked}"}), False


def look(day: str) -> str:
    """Look outside, where nobody is."""
    with suppress(ConnectionRefusedError):
        socket.create_connection(AWAY, timeout=5)
    return f"a room on {day}"


POLICIES = ToolPolicies(
    effects={"look": "read", "price": "read", "book": "write", "note": "write"},
    ignore=["book/request_id"],
    otherwise={"look": LiveRead(look), "book": Simulated(Bookings), "price": Fixed("80")},
)


def candidate(request: Any) -> Action:
    """Tries to tell somebody else, then answers; the control does what was recorded."""
    with suppress(OutsideRefused):
        socket.create_connection(AWAY, timeout=5)
    number = int(request.at.partition("@")[0].removeprefix("call-"))
    course = COURSES[number % len(COURSES)] if request.model == "other" else AS_RECORDED
    given = sum(message["role"] == "assistant" for message in request.messages)
    step = course[min(given, len(course) - 1)]
    if isinstance(step, str):
        return Action(text=step, latency_ms=1.0)
    return Action(calls=(Call(step[0], step[1], f"x{given}"),), latency_ms=1.0)


def came_to(store: refold.Store, on: OnRay | None, user: str) -> dict[str, Any]:
    """Run, compare, and tell of everything that is on record but ids and instants."""
    streams = select(store, category="call")
    policies = read_policies(f"{__file__}:POLICIES")
    mode = FreeRun(user=ChatEndpoint(user, model="user", api_key=""), tools=policies)
    variant, control = Variant(label="free", model="other"), Variant(label="control")
    said = replay(store, streams, variant, candidate, control=control, mode=mode, on=on)
    both = mode.stamped(variant), mode.stamped(control)
    verdict = b"".join(json_pieces(compare(store, streams, both[0], control=both[1])))
    plans = [[*store.read(f"replay~plan-{one.id}")] for one in both]
    branches = sorted({event.stream for event in store.read_all(categories=["call~"])})
    return {
        "answered": said.answered,
        "verdict": verdict.decode(),
        "branches": {one: [told(event) for event in store.read(one)] for one in branches},
        "plans": [[event.type for event in of] for of in plans],
        "contained": [of[-1].data for of in plans],
    }


def told(event: Any) -> list[Any]:
    """What an event says."""
    return [event.version, event.type, event.data, event.metadata]


def main(here: str, there: str, user: str) -> None:
    """Print what both came to."""
    with refold.open(here) as store:
        print(json.dumps(came_to(store, None, user)))
    with refold.open(there) as store:
        print(json.dumps(came_to(store, OnRay(there), user)))


if __name__ == "__main__":
    main(*sys.argv[1:])
