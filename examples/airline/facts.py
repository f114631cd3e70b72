"""What recorded conversations show of the airline's database before they changed it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import Any, Final, Self

from refold.conversation import Conversation
from refold.replay import Call

Row = dict[str, Any]
WRITES: Final = frozenset((
    "book_reservation", "cancel_reservation", "send_certificate", "update_reservation_baggages",
    "update_reservation_flights", "update_reservation_passengers",
))  # fmt: skip
SEARCHES: Final = ("search_direct_flight", "search_onestop_flight")


class NotShownError(LookupError):
    """The record does not show what an answer would rest on, and nothing is made up."""


@dataclass
class Facts:
    """Users and reservations by id, flights by number and date, searches by what was asked.

    Every conversation began with the same database. What it read before it changed something is
    of that; of a flight that was sold, its result shows the price in the cabin that was sold.
    """

    users: dict[str, Row] = field(default_factory=dict)
    reservations: dict[str, Row] = field(default_factory=dict)
    flights: dict[tuple[str, str], Row] = field(default_factory=dict)
    sold: dict[tuple[str, str, str], Row] = field(default_factory=dict)
    searches: dict[tuple[str, ...], list[Any]] = field(default_factory=dict)
    airports: Row = field(default_factory=dict)

    @classmethod
    def of(cls, histories: Iterable[Sequence[Any]]) -> Self:
        """What these conversations show, each an event history."""
        facts = cls()
        for history in histories:
            facts.learn(history)
        return facts

    def copy(self) -> Self:
        """The same facts, with users and reservations of their own to be changed."""
        users, reservations = deepcopy((self.users, self.reservations))
        return replace(self, users=users, reservations=reservations)

    def learn(self, history: Sequence[Any]) -> None:
        """Read one more conversation; what it has changed itself is not what was there before."""
        changed: set[str] = set()
        for call, text in recorded_calls(history):
            given, told = json.loads(call.arguments), _read(text)
            if call.name in WRITES:
                changed |= _touched(given, told if isinstance(told, dict) else {})
                if isinstance(told, dict):
                    self._learn_sold(given.get("cabin"), told["flights"])
            elif call.name in SEARCHES:
                self.searches[_asked(call.name, given)] = told
                for flight in _flights(told):
                    # Of a next day's second leg it shows the seats and prices of the first day.
                    if flight.get("date", given["date"]) == given["date"]:
                        self.flights[flight["flight_number"], given["date"]] = flight
            elif call.name == "get_user_details" and given["user_id"] not in changed:
                self.users.setdefault(given["user_id"], told)
            elif call.name == "get_reservation_details" and given["reservation_id"] not in changed:
                self.reservations.setdefault(given["reservation_id"], told)
            elif call.name == "list_all_airports":
                self.airports = told

    def _learn_sold(self, cabin: str | None, flights: list[Row]) -> None:
        for flight in flights if cabin else ():
            self.sold[flight["flight_number"], flight["date"], str(cabin)] = flight

    def search(self, tool: str, given: Row) -> list[Any]:
        """What a search found."""
        if (key := _asked(tool, given)) not in self.searches:
            raise NotShownError(f"no conversation searched {' '.join(key)}")
        return self.searches[key]


def recorded_calls(history: Sequence[Any]) -> Iterator[tuple[Call, str]]:
    """Each call of a tool and the text that it gave."""
    for use in Conversation.run(history).state.tool_calls:
        if use.answer is not None:
            yield Call(use.event.name, use.event.arguments), str(use.answer.event.result)


def _asked(tool: str, given: Row) -> tuple[str, ...]:
    return tool, given["origin"], given["destination"], given["date"]


def _flights(found: Any) -> Iterator[Row]:
    """The flights of a search; one with a stop finds pairs."""
    for item in found if isinstance(found, list) else ():
        yield from item if isinstance(item, list) else [item]


def _read(text: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _touched(given: Row, told: Row) -> set[str]:
    """The reservation that a write changes, and the user where it was not paid by a card alone."""
    paid_by = [*given.get("payment_methods", ()), given]
    by_card = [str(one.get("payment_id", "credit_card")).startswith("credit") for one in paid_by]
    changes_user = "user_id" in given or not all(by_card)
    named = [given.get("reservation_id"), told.get("reservation_id")]
    named += [given.get("user_id"), told.get("user_id")] if changes_user else []
    return {name for name in named if name}
