"""The airline's 14 tools over a state in memory, as their recorded results show that they work.

Nothing here reaches a service. A refusal is told in the words of the recorded tools; what the
record does not show raises :class:`~examples.airline.facts.NotShownError`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import Any, Final

from examples.airline.facts import Facts, NotShownError, Row
from refold.conversation.events import Effect
from refold.freerun.policies import Fixed, Simulated, ToolPolicies
from refold.replay import Call

NOW: Final = "2024-05-15T15:00:00"
"""When every conversation takes place."""
INSURANCE, BAG = 30, 50
"""Dollars for a passenger, and for a bag that is not free."""
RESERVATIONS: Final = ("HATHAT", "HATHAU", "HATHAV")
CERTIFICATES: Final = (3221322, 3221323, 3221324)
"""The numbers that are given next, in their order."""
_SUM: Final = re.compile(r"[0-9+\-*/(). ]+")

EFFECTS: Final[dict[str, Effect]] = {
    "book_reservation": "write",
    "calculate": "read",
    "cancel_reservation": "write",
    "get_reservation_details": "read",
    "get_user_details": "read",
    "list_all_airports": "read",
    "search_direct_flight": "read",
    "search_onestop_flight": "read",
    "send_certificate": "write",
    "think": "read",
    "transfer_to_human_agents": "irreversible",
    "update_reservation_baggages": "write",
    "update_reservation_flights": "write",
    "update_reservation_passengers": "write",
}


def of_conversation(history: Sequence[Any]) -> Airline:
    """A simulator that knows what the conversation itself shows."""
    return Airline(Facts.of([history]))


class RefusedError(Exception):
    """What a tool refuses, in its words."""


class Airline:
    """The tools of one conversation: a simulator as ``refold.freerun`` takes them.

    ``facts`` are what is known of the database when it begins; it is not changed.
    """

    def __init__(self, facts: Facts) -> None:
        self.facts = facts.copy()
        self._booked = self._certified = 0

    def perform(self, call: Call) -> tuple[str, bool]:
        """What a tool gives, as text; the recorded tools tell a refusal as any other result."""
        tools: dict[str, Callable[..., Any]] = {name: getattr(self, name) for name in EFFECTS}
        try:
            told = tools[call.name](**json.loads(call.arguments))
        except RefusedError as refused:
            return f"Error: {refused}", False
        return told if isinstance(told, str) else json.dumps(told), False

    # -- reads -------------------------------------------------------------------------------------

    def get_user_details(self, user_id: str) -> Row:
        """A user with what may be paid by and the reservations."""
        if user_id not in self.facts.users:
            raise NotShownError(f"no conversation read the user {user_id}")
        return self.facts.users[user_id]

    def get_reservation_details(self, reservation_id: str) -> Row:
        """A reservation."""
        if reservation_id not in self.facts.reservations:
            raise NotShownError(f"no conversation read the reservation {reservation_id}")
        return self.facts.reservations[reservation_id]

    def list_all_airports(self) -> Row:
        """Airports with their cities."""
        if not self.facts.airports:
            raise NotShownError("no conversation listed the airports")
        return self.facts.airports

    def search_direct_flight(self, **asked: str) -> list[Any]:
        """Flights of a day."""
        return self.facts.search("search_direct_flight", asked)

    def search_onestop_flight(self, **asked: str) -> list[Any]:
        """Pairs of flights of a day."""
        return self.facts.search("search_onestop_flight", asked)

    def calculate(self, expression: str) -> str:
        """A sum of plain numbers, to the cent."""
        if not _SUM.fullmatch(expression) or "**" in expression:
            raise RefusedError("invalid characters in expression")
        return str(round(float(eval(expression, {"__builtins__": {}})), 2))

    def think(self, **_: str) -> str:
        """Nothing happens."""
        return ""

    def transfer_to_human_agents(self, **_: str) -> str:
        """The customer is someone else's."""
        return "Transfer successful"

    # -- writes ------------------------------------------------------------------------------------

    def book_reservation(self, **asked: Any) -> Row:
        """A new reservation, where it is paid for to the dollar."""
        user, count = self.get_user_details(asked["user_id"]), len(asked["passengers"])
        flights = [self._flight(asked["cabin"], one, count) for one in asked["flights"]]
        price = count * sum(flight["price"] for flight in flights) + BAG * asked["nonfree_baggages"]
        price += INSURANCE * count if asked["insurance"] == "yes" else 0
        for paid in asked["payment_methods"]:
            self._check_payment(user, paid)
        if (paid_in_all := sum(paid["amount"] for paid in asked["payment_methods"])) != price:
            raise RefusedError(
                f"payment amount does not add up, total price is {price}, but paid {paid_in_all}"
            )
        for paid in asked["payment_methods"]:
            self._pay(user, paid["payment_id"], paid["amount"])
        own = RESERVATIONS[self._booked]
        self._booked += 1
        user["reservations"].append(own)
        self.facts.reservations[own] = made = {
            "reservation_id": own,
            **{key: asked[key] for key in ("user_id", "origin", "destination")},
            **{key: asked[key] for key in ("flight_type", "cabin")},
            "flights": flights,
            "passengers": asked["passengers"],
            "payment_history": asked["payment_methods"],
            "created_at": NOW,
            **{key: asked[key] for key in ("total_baggages", "nonfree_baggages", "insurance")},
        }
        return made

    def cancel_reservation(self, reservation_id: str) -> Row:
        """What was paid is paid back in the same way."""
        one = self.get_reservation_details(reservation_id)
        back = [{**paid, "amount": -paid["amount"]} for paid in one["payment_history"]]
        one["payment_history"] += back
        one["status"] = "cancelled"
        return one

    def update_reservation_flights(
        self, reservation_id: str, cabin: str, flights: Sequence[Row], payment_id: str
    ) -> Row:
        """Other flights or another cabin; the difference in price is paid, or paid back."""
        one = self.get_reservation_details(reservation_id)
        count = len(one["passengers"])
        kept = {(old["flight_number"], old["date"]): old for old in one["flights"]}
        made = [
            _shown(asked, old["price"], old)
            if (old := kept.get((asked["flight_number"], asked["date"]))) and cabin == one["cabin"]
            else self._flight(cabin, asked, count)
            for asked in flights
        ]
        more = sum(new["price"] for new in made) - sum(old["price"] for old in one["flights"])
        self._settle(one, payment_id, more * count)
        one["flights"] = made
        return one

    def update_reservation_baggages(
        self, reservation_id: str, total_baggages: int, nonfree_baggages: int, payment_id: str
    ) -> Row:
        """More bags are paid for; fewer are not paid back."""
        one = self.get_reservation_details(reservation_id)
        more = max(0, nonfree_baggages - one["nonfree_baggages"])
        self._settle(one, payment_id, BAG * more)
        one |= {"total_baggages": total_baggages, "nonfree_baggages": nonfree_baggages}
        return one

    def update_reservation_passengers(self, reservation_id: str, passengers: list[Row]) -> Row:
        """Other people, as many as there were."""
        one = self.get_reservation_details(reservation_id)
        if len(passengers) != len(one["passengers"]):
            raise RefusedError("number of passengers does not match")
        one["passengers"] = passengers
        return one

    def send_certificate(self, user_id: str, amount: int) -> str:
        """A certificate more to pay by."""
        user = self.get_user_details(user_id)
        own = f"certificate_{CERTIFICATES[self._certified]}"
        self._certified += 1
        user["payment_methods"][own] = {"source": "certificate", "amount": amount, "id": own}
        return f"Certificate {own} added to user {user_id} with amount {amount}."

    # -- flights and money -------------------------------------------------------------------------

    def _flight(self, cabin: str, asked: Row, count: int) -> Row:
        """A flight that is sold now: it must fly, with seats for all."""
        number, date = asked["flight_number"], asked["date"]
        if date < NOW[:10]:
            raise RefusedError(f"flight {number} not available on date {date}")
        if (flight := self.facts.flights.get((number, date))) is None:
            if (sold := self.facts.sold.get((number, date, cabin))) is None:
                raise NotShownError(f"no conversation saw {number} on {date} in {cabin}")
            return _shown(asked, sold["price"], sold)
        if flight["available_seats"][cabin] < count:
            raise RefusedError(f"not enough seats on flight {number}")
        return _shown(asked, flight["prices"][cabin], flight)

    def _check_payment(self, user: Row, paid: Row) -> None:
        own = user["payment_methods"].get(paid["payment_id"])
        if own is None:
            raise RefusedError(f"payment method {paid['payment_id']} not found")
        if own["source"] != "credit_card" and own["amount"] < paid["amount"]:
            raise RefusedError(f"not enough balance in payment method {paid['payment_id']}")

    def _settle(self, reservation: Row, payment_id: str, price: int) -> None:
        """Pay for a change; a certificate does not, and a gift card must hold it."""
        user = self.get_user_details(reservation["user_id"])
        own = user["payment_methods"].get(payment_id)
        if own is None:
            raise RefusedError("payment method not found")
        if own["source"] == "certificate":
            raise RefusedError("certificate cannot be used to update reservation")
        if own["source"] == "gift_card" and own["amount"] < price:
            raise RefusedError("gift card balance is not enough")
        self._pay(user, payment_id, price)
        if price:
            reservation["payment_history"].append({"payment_id": payment_id, "amount": price})

    def _pay(self, user: Row, payment_id: str, price: int) -> None:
        own = user["payment_methods"][payment_id]
        if own["source"] == "gift_card":
            own["amount"] -= price
        elif own["source"] == "certificate":
            del user["payment_methods"][payment_id]


def _shown(asked: Row, price: int, flight: Row) -> Row:
    """A flight as a reservation shows it."""
    return {
        **asked,
        "price": price,
        "origin": flight["origin"],
        "destination": flight["destination"],
    }


TOOLS: Final = ToolPolicies(
    effects=EFFECTS,
    otherwise={
        **{tool: Simulated(of_conversation) for tool in EFFECTS},
        "transfer_to_human_agents": Fixed("Transfer successful"),
    },
)
"""What answers a call that is not on record; a transfer to people is not simulated."""
