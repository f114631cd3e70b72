"""The demo agent: a rule-based stand-in for a model at a clinic's reception.

It answers a chat request from its prompt's rules (:mod:`refold.demo.rules`) and from what it
understands of the messages (:mod:`refold.demo.listen`). The same request gives the same answer.
With a ``temperature`` above 0 the wording varies with the request, its ``seed`` included, and one
answer in about forty is a slip: it asks the caller to repeat, as a model might. No model is behind
it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final, NamedTuple

from refold.demo.listen import Slot, Talk, listen, text_of
from refold.demo.phrases import listed, phrase, slot_label
from refold.demo.rules import Rules, read_rules

MODEL: Final = "clinic-rules-1"
FINGERPRINT: Final = "rule-based-stand-in-not-a-model"
SLIP_ONE_IN: Final = 40
LOOKUPS_MAX: Final = 2
SILENCES_MAX: Final = 2
TROUBLES_MAX: Final = 2


ToolUse = tuple[str, dict[str, Any]]
"""A tool's name and arguments."""


class Reply(NamedTuple):
    """An answer: what is said, and which tools are called with which arguments."""

    text: str = ""
    calls: tuple[ToolUse, ...] = ()


class Desk(NamedTuple):
    """Everything a decision rests on."""

    rules: Rules
    talk: Talk
    tools: Collection[str]
    variety: int = 0

    def say(self, cue: str, *, call: ToolUse | None = None, **parts: Any) -> Reply:
        """A sentence, with a tool call where that tool is there."""
        text = phrase(cue, self.rules, variety=self.variety, **parts)
        calls = (call,) if call is not None and call[0] in self.tools else ()
        return Reply(text, calls)


Concern = Callable[[Desk], Reply | None]


def answer(request: Mapping[str, Any], asked: str) -> Reply:
    """What the demo agent says and does for a body of ``POST /v1/chat/completions``.

    ``asked`` is the request as text, for the choices that a model would sample.
    """
    messages = request["messages"]
    prompt = "\n".join(text_of(m) for m in messages if m.get("role") in ("system", "developer"))
    tools = {tool["function"].get("name") for tool in request.get("tools") or []}
    chance = _chance(asked) if request.get("temperature") else 0
    desk = Desk(read_rules(prompt), listen(messages), tools, chance % 97)
    if chance and chance % SLIP_ONE_IN == 0 and messages[-1].get("role") == "user":
        return desk.say("repeats")
    return decide(desk)


def decide(desk: Desk) -> Reply:
    """The answer of the first concern that has one."""
    for concern in CONCERNS:
        reply = concern(desk)
        if reply is not None:
            return reply
    return desk.say("repeats")


def _chance(asked: str) -> int:
    """A number that the request determines."""
    return int.from_bytes(hashlib.sha256(asked.encode()).digest()[:6], "big")


# -- what a single turn asks for ------------------------------------------------------------------


def _opening(desk: Desk) -> Reply | None:
    talk = desk.talk
    return None if talk.spoke or talk.last_text else desk.say("greets")


def _outcomes(desk: Desk) -> Reply | None:
    """What the tools just answered, where that is something to tell the caller."""
    for result in desk.talk.results:
        if result.error == "unavailable":
            return _trouble(desk, result.name, result.arguments)
        if result.error and result.name in ("cancel_appointment", "transfer_call"):
            return desk.say("still_trouble")
    done = {result.name: result for result in desk.talk.results if not result.error}
    if "transfer_call" in done:
        return desk.say("says_goodbye")
    if "request_nurse_callback" in done:
        return desk.say("nurse_will_call")
    if "book_appointment" in done:
        return _after_booking(desk, done["book_appointment"].value)
    if "cancel_appointment" in done:
        if desk.talk.booked is not None:
            return desk.say("moved", slot=slot_label(desk.talk.booked))
        return desk.say("cancelled", slot=slot_label(done["cancel_appointment"].value))
    return None


def _after_booking(desk: Desk, booked: Slot) -> Reply:
    """The old appointment goes last: a caller should never be left without one."""
    old = _upcoming(desk.talk)
    if desk.talk.goal == "move" and old is not None:
        return Reply("", (("cancel_appointment", {"appointment_id": old["appointment_id"]}),))
    return desk.say("booked", slot=slot_label(booked))


def _trouble(desk: Desk, name: str, arguments: dict[str, Any]) -> Reply:
    if "trouble" in desk.talk.asked:
        return desk.say("still_trouble")
    return desk.say("trouble", call=(name, arguments))


def _insulted(desk: Desk) -> Reply | None:
    if desk.talk.question != "insult" or not desk.rules.warns_abusive:
        return None
    if desk.talk.insults > 1:
        return desk.say("transfers", call=_transfer("duty manager", "abusive caller"))
    return desk.say("warns")


def _silent(desk: Desk) -> Reply | None:
    if not desk.talk.silences:
        return None
    return desk.say("still_there" if desk.talk.silences < SILENCES_MAX else "gives_up")


def _urgent(desk: Desk) -> Reply | None:
    if desk.talk.question != "urgent":
        return None
    if desk.rules.hands_urgent_over:
        return desk.say("transfers_urgent", call=_transfer("nurse line", "urgent symptoms"))
    return _advice_on(desk)


def _person(desk: Desk) -> Reply | None:
    if desk.talk.question != "human":
        return None
    if desk.rules.handover == "never":
        return desk.say("no_person")
    if desk.rules.handover == "after_trying" and desk.talk.asked_for_person < 2:
        return desk.say("tries_first")
    return desk.say("transfers", call=_transfer("reception", "caller asked for a person"))


def _nurse(desk: Desk) -> Reply | None:
    talk = desk.talk
    if talk.nurse_asked and not (
        desk.rules.offers_nurse and "request_nurse_callback" in desk.tools
    ):
        return desk.say("refuses_advice")
    if talk.nurse_asked:
        if not talk.name and talk.patient is None:
            return desk.say("asks_identity", missing="name")
        return Reply("", (("request_nurse_callback", {**_who(talk), "about": _topic(talk)}),))
    if "offers_nurse" in talk.asked and talk.answer == "no" and not talk.goal:
        return desk.say("kept")
    return None


def _advice(desk: Desk) -> Reply | None:
    return _advice_on(desk) if desk.talk.question == "advice" else None


def _advice_on(desk: Desk) -> Reply:
    if desk.rules.gives_advice:
        return desk.say("advises", topic=_topic(desk.talk))
    return desk.say("offers_nurse" if desk.rules.offers_nurse else "refuses_advice")


def _hours(desk: Desk) -> Reply | None:
    return desk.say("hours") if desk.talk.question == "hours" else None


def _leaving(desk: Desk) -> Reply | None:
    talk = desk.talk
    finished = talk.goal in ("", "done") and (talk.question == "bye" or talk.answer == "no")
    return desk.say("says_goodbye") if finished else None


# -- what the call is for -------------------------------------------------------------------------


def _dropped(desk: Desk) -> Reply | None:
    return desk.say("kept") if desk.talk.goal == "drop" else None


def _cancelling(desk: Desk) -> Reply | None:
    if desk.talk.goal != "cancel":
        return None
    # There is nothing to cancel before it is known whose appointment it is.
    asked = _identify(desk)
    if asked is not None:
        return asked
    booked = _upcoming(desk.talk)
    if booked is None:
        return desk.say("none_booked")
    if desk.rules.confirms and not desk.talk.is_confirmed:
        return desk.say("asks_cancel", slot=slot_label(booked))
    return Reply("", (("cancel_appointment", {"appointment_id": booked["appointment_id"]}),))


def _booking(desk: Desk) -> Reply | None:
    rules, talk = desk.rules, desk.talk
    if talk.goal not in ("book", "move"):
        return None
    steps: list[Concern] = [_offer, _read_back, _book]
    must_know = talk.goal == "move" or rules.verify == "first"
    late = _ask_name if rules.verify == "never" else _identify
    steps.insert(0 if must_know else 1, _identify if must_know else late)
    return next(reply for reply in (step(desk) for step in steps) if reply is not None)


def _identify(desk: Desk) -> Reply | None:
    """Ask who is calling, look them up, or give up; None once they are known."""
    talk = desk.talk
    if talk.patient is not None:
        return None
    wanted = ["name", "date_of_birth", *(["phone"] if desk.rules.verify_by_phone else [])]
    missing = [what for what in wanted if what not in talk.identity]
    if missing:
        return desk.say("asks_identity", missing=_fields(missing))
    asked = {what: talk.identity[what] for what in wanted}
    if len(talk.lookups) >= LOOKUPS_MAX:
        return _not_verified(desk)
    if asked in talk.lookups:
        return desk.say("not_found", missing=_fields(wanted))
    return Reply("", (("find_patient", asked),))


def _not_verified(desk: Desk) -> Reply:
    if desk.rules.handover == "never":
        return desk.say("unverified")
    return desk.say("transfers", call=_transfer("reception", "identity not verified"))


def _ask_name(desk: Desk) -> Reply | None:
    known = desk.talk.patient is not None or desk.talk.name
    return None if known else desk.say("asks_identity", missing="name")


def _offer(desk: Desk) -> Reply | None:
    """List free slots or offer some of them; None once the caller has chosen."""
    talk = desk.talk
    if talk.chosen is not None:
        return None
    open_slots = [slot for slot in talk.slots if slot["slot_id"] not in talk.refused]
    wanted = _listing(desk)
    if _wishes(talk.listing) != _wishes(wanted) or (not open_slots and talk.slots):
        return Reply("", (("list_slots", wanted),))
    if not open_slots:
        return desk.say("no_slots")
    offered = [slot_label(slot) for slot in open_slots[: desk.rules.slots_offered]]
    lead = "The earliest is" if len(offered) == 1 else "I have"
    question = "Would that suit you?" if len(offered) == 1 else "Which would you like?"
    reply = desk.say("offers", lead=lead, slots=listed(offered), question=question)
    return reply._replace(text=_after_loss(desk) + reply.text)


def _after_loss(desk: Desk) -> str:
    if not desk.talk.lost_slot:
        return ""
    return phrase("taken", desk.rules, variety=desk.variety) + " "


def _listing(desk: Desk) -> dict[str, Any]:
    """The arguments of ``list_slots``: how many beyond those refused, and what was asked for."""
    talk = desk.talk
    wanted = {
        "count": desk.rules.slots_offered + len(talk.refused),
        "part_of_day": talk.part_of_day or desk.rules.part_of_day,
        "doctor": talk.doctor,
    }
    return {name: value for name, value in wanted.items() if value}


def _wishes(listing: dict[str, Any] | None) -> dict[str, Any] | None:
    """What was asked for but the number: a list that is long enough need not be fetched again."""
    if listing is None:
        return None
    return {name: value for name, value in listing.items() if name != "count"}


def _read_back(desk: Desk) -> Reply | None:
    talk = desk.talk
    if not desk.rules.confirms or talk.is_confirmed or talk.chosen is None:
        return None
    name = (talk.patient or {}).get("name") or talk.name
    return desk.say("reads_back", slot=slot_label(talk.chosen), who=f" for {name}" if name else "")


def _book(desk: Desk) -> Reply:
    talk = desk.talk
    assert talk.chosen is not None
    booking = {"slot_id": talk.chosen["slot_id"], **_who(talk)}
    return Reply("", (("book_appointment", booking),))


# -- small parts ----------------------------------------------------------------------------------


def _who(talk: Talk) -> dict[str, str]:
    return {"patient_id": talk.patient["patient_id"]} if talk.patient else {"name": talk.name}


def _topic(talk: Talk) -> str:
    return talk.topic or "that"


def _upcoming(talk: Talk) -> Slot | None:
    upcoming = (talk.patient or {}).get("upcoming") or []
    return upcoming[0] if upcoming else None


def _transfer(to: str, reason: str) -> ToolUse:
    return "transfer_call", {"to": to, "reason": reason}


def _fields(missing: list[str]) -> str:
    spoken = {"name": "full name", "date_of_birth": "date of birth", "phone": "phone number"}
    names = [spoken.get(what, what) for what in missing]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


CONCERNS: Final[tuple[Concern, ...]] = (
    _opening,
    _outcomes,
    _insulted,
    _silent,
    _urgent,
    _person,
    _nurse,
    _advice,
    _hours,
    _leaving,
    _dropped,
    _cancelling,
    _booking,
)
"""What the agent looks at, in this order; the first that has an answer gives it."""
