"""What the demo agent understands of a conversation: a fold of chat messages into a `Talk`.

Callers are understood by simple patterns, and the agent's own earlier sentences by those of
:mod:`refold.demo.phrases`, whichever prompt they were said under.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

from refold.demo.phrases import MONTHS, WEEKDAYS, cues_in, slot_label

Slot = dict[str, Any]

SILENCE: Final = "(silence)"
"""What the demo's voice line puts in the place of words when the caller says nothing."""
KEYPAD: Final = "(keypad) "
"""What stands before keys that the caller pressed."""

_MONTH: Final = "|".join(MONTHS)
_DAY: Final = "|".join(WEEKDAYS)
_BIRTH: Final = re.compile(rf"\b(\d{{1,2}})(?:st|nd|rd|th)? (?:of )?({_MONTH}),? (\d{{4}})\b")
_PHONE: Final = re.compile(r"\b(555-01\d\d)\b")
_NAME: Final = re.compile(
    r"(?:[Mm]y name is|[Nn]ame's|[Tt]his is|I am|I'm|[Ii]t's|[Ii]t is)"
    r" ([A-Z][\w'-]+ [A-Z][\w'-]+)"
)
_BARE_NAME: Final = re.compile(r"\b([A-Z][a-z'-]+ [A-Z][a-z'-]+)\b(?! \d)")
_DOCTOR: Final = re.compile(r"\b(?:Dr|Doctor)\.? ([A-Z]\w+)")
_YES: Final = re.compile(
    r"^(yes|yeah|yep|sure|ok|okay|please do|fine|perfect|great|go ahead|right)\b"
    r"|\b(that works|suits me|i'll take|sounds good)\b",
    re.IGNORECASE,
)
_NO: Final = re.compile(
    r"^(no|nope|not really|rather not)\b"
    r"|\b(doesn't suit|does not suit|can't make|anything (else|later))\b",
    re.IGNORECASE,
)
_ORDINALS: Final = ("first", "second", "third", "fourth", "fifth")
_TOPIC: Final = re.compile(
    r"\b(?:my|a|the|this|some) ((?:bad |sore |stiff |strange )?"
    r"(?:cough|headache|rash|throat|knee|fever|earache|chest pain|trouble breathing))\b",
    re.IGNORECASE,
)


def _words(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


GOALS: Final = {
    "drop": _words(r"\b(never ?mind|forget it|leave it (as it is|after all))\b"),
    "cancel": _words(r"\bcancel\b"),
    "move": _words(r"\b(move|reschedule|change) (my|the|an) (appointment|booking)|\breschedul"),
    "book": _words(r"\b(book|make|need|get|like|see)\b.*\b(appointment|doctor|dr|check-?up)\b"),
}
"""What a call is for; the latest one heard holds."""
QUESTIONS: Final = {
    "insult": _words(r"\b(useless|stupid|idiot|idiotic|rubbish|shut up)\b"),
    "urgent": _words(r"\bchest pain|can(no|')t breathe|trouble breathing|bleeding (badly|a lot)"),
    "human": _words(r"\b(a (real |living )?person|a human|someone real|a colleague|the manager)\b"),
    "advice": _words(
        r"\b(should i|what can i|can i take|is (it|that|this) (serious|normal|bad)|do you think)\b"
    ),
    "hours": _words(r"\b(opening hours|are you open|do you open|do you close|where are you)\b"),
    "bye": _words(r"\b(goodbye|bye|that('s| is| will be) all|nothing else|thanks?|thank you)\b"),
}
"""What a single turn asks; the first one heard is answered."""


@dataclass(slots=True)
class Talk:
    """A conversation as the demo agent sees it, at one point."""

    name: str = ""
    birth: str = ""
    phone: str = ""
    goal: str = ""
    question: str = ""
    topic: str = ""
    part_of_day: str = ""
    doctor: str = ""
    silences: int = 0
    insults: int = 0
    asked_for_person: int = 0
    asked: frozenset[str] = frozenset()
    answer: str = ""
    patient: dict[str, Any] | None = None
    lookups: list[dict[str, Any]] = field(default_factory=list)
    listing: dict[str, Any] | None = None
    slots: list[Slot] = field(default_factory=list)
    offered: list[Slot] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    chosen: Slot | None = None
    is_confirmed: bool = False
    booked: Slot | None = None
    nurse_asked: bool = False
    results: list[Result] = field(default_factory=list)
    lost_slot: bool = False
    spoke: bool = False
    last_text: str = ""

    @property
    def identity(self) -> dict[str, str]:
        """What the caller said of themselves so far."""
        said = {"name": self.name, "date_of_birth": self.birth, "phone": self.phone}
        return {what: value for what, value in said.items() if value}


@dataclass(frozen=True, slots=True)
class Result:
    """A tool's answer to one call."""

    name: str
    arguments: dict[str, Any]
    value: dict[str, Any]

    @property
    def error(self) -> str:
        """The code of the tool's error; empty when it worked."""
        return str(self.value.get("error", ""))


def listen(messages: Sequence[Mapping[str, Any]]) -> Talk:
    """What was said and done up to the end of ``messages`` (OpenAI chat messages)."""
    talk = Talk()
    calls: dict[str, tuple[str, dict[str, Any]]] = {}
    for message in messages:
        text = text_of(message)
        match message.get("role"):
            case "user":
                _hear(talk, text)
            case "assistant":
                _recall(talk, text)
                calls.update(_calls_of(message))
            case "tool":
                name, arguments = calls.get(str(message.get("tool_call_id")), ("", {}))
                _learn(talk, Result(name, arguments, _object(text)))
    return talk


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message, its parts joined where it has parts."""
    content = message.get("content")
    if isinstance(content, str):
        return content
    parts = content if isinstance(content, list) else []
    return " ".join(str(part.get("text", "")) for part in parts if isinstance(part, Mapping))


def birth_in(text: str) -> str:
    """A date of birth such as ``4 March 1985`` as ``1985-03-04``; empty when there is none."""
    match = _BIRTH.search(text)
    if match is None:
        return ""
    return f"{match[3]}-{MONTHS.index(match[2]) + 1:02}-{int(match[1]):02}"


def _calls_of(message: Mapping[str, Any]) -> Iterable[tuple[str, tuple[str, dict[str, Any]]]]:
    for call in message.get("tool_calls") or []:
        function = call.get("function") or {}
        name = str(function.get("name", ""))
        yield str(call.get("id")), (name, _object(str(function.get("arguments", ""))))


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {"error": "unreadable"}
    return value if isinstance(value, dict) else {"value": value}


# -- the caller -----------------------------------------------------------------------------------


def _hear(talk: Talk, text: str) -> None:
    talk.results, talk.question, talk.answer, talk.last_text = [], "", "", text
    if text.startswith(SILENCE):
        talk.silences += 1
        return
    talk.silences = 0
    if text.startswith(KEYPAD):
        _pressed(talk, text.removeprefix(KEYPAD).strip())
        return
    talk.question = _first(QUESTIONS, text)
    talk.insults += talk.question == "insult"
    talk.asked_for_person += talk.question == "human"
    _hear_details(talk, text)
    _hear_goal(talk, text)
    talk.answer = "yes" if _YES.search(text) else "no" if _NO.search(text) else ""
    _hear_answer(talk, text)


def _pressed(talk: Talk, keys: str) -> None:
    """1 means yes, or the first of what was offered; 2 means no, or the second."""
    if "offers" in talk.asked and keys.isdigit() and 1 <= int(keys) <= len(talk.offered):
        _choose(talk, talk.offered[int(keys) - 1])
    else:
        talk.answer = {"1": "yes", "2": "no"}.get(keys, "")
        _hear_answer(talk, "")


def _hear_details(talk: Talk, text: str) -> None:
    if name := _NAME.search(text):
        talk.name = name[1]
    elif talk.asked & {"asks_identity", "not_found"} and (bare := _BARE_NAME.search(text)):
        talk.name = bare[1]
    talk.birth = birth_in(text) or talk.birth
    if phone := _PHONE.search(text):
        talk.phone = phone[1]
    if topic := _TOPIC.search(text):
        talk.topic = topic[1].lower()
    if doctor := _DOCTOR.search(text):
        talk.doctor = f"Dr {doctor[1]}"
    for part in ("morning", "afternoon"):
        if re.search(rf"\b{part}s?\b", text, re.IGNORECASE):
            talk.part_of_day = part


def _hear_goal(talk: Talk, text: str) -> None:
    goal = _first(GOALS, text)
    if goal and goal != talk.goal:
        talk.goal = goal
        talk.chosen, talk.is_confirmed = None, False


def _hear_answer(talk: Talk, text: str) -> None:
    if "asks_cancel" in talk.asked:
        talk.is_confirmed = talk.answer == "yes"
        if talk.answer == "no":
            talk.goal = "drop"
    elif "reads_back" in talk.asked:
        talk.is_confirmed = talk.answer == "yes"
        if talk.answer == "no":
            _refuse(talk)
    elif "offers" in talk.asked:
        _hear_choice(talk, text)
    elif "offers_nurse" in talk.asked:
        talk.nurse_asked = talk.answer == "yes"


def _hear_choice(talk: Talk, text: str) -> None:
    for place, word in enumerate(_ORDINALS[: len(talk.offered)]):
        if re.search(rf"\b{word}( one)?\b", text, re.IGNORECASE):
            return _choose(talk, talk.offered[place])
    named = [slot for slot in talk.offered if _names(slot, text)]
    if named:
        _choose(talk, named[0])
    elif talk.answer == "yes" and talk.offered:
        _choose(talk, talk.offered[0])
    elif talk.answer == "no":
        _refuse(talk)
    return None


def _names(slot: Slot, text: str) -> bool:
    """Whether a text says this slot's time (``9:30``), and no other day than its own."""
    label = slot_label(slot)
    day, time = label.split()[0], label.split(" at ")[1].split()[0]
    other_day = re.search(rf"\b({_DAY})\b", text)
    return bool(re.search(rf"(?<!\d){time}\b", text)) and (not other_day or other_day[1] == day)


def _choose(talk: Talk, slot: Slot) -> None:
    talk.chosen, talk.is_confirmed = slot, False


def _refuse(talk: Talk) -> None:
    talk.refused += [slot["slot_id"] for slot in talk.offered]
    talk.chosen, talk.is_confirmed = None, False


def _first(patterns: Mapping[str, re.Pattern[str]], text: str) -> str:
    return next((name for name, pattern in patterns.items() if pattern.search(text)), "")


# -- the agent itself and its tools ---------------------------------------------------------------


def _recall(talk: Talk, text: str) -> None:
    talk.results, talk.spoke = [], True
    if not text:
        return
    talk.asked = cues_in(text)
    said = [slot for slot in talk.slots if slot_label(slot).lower() in text.lower()]
    if "reads_back" in talk.asked and said:
        talk.chosen, talk.offered = said[0], said[:1]
    elif "kept" in talk.asked and talk.goal == "drop":
        talk.goal = "done"
    elif "offers" in talk.asked:
        talk.offered, talk.lost_slot = said, False


def _learn(talk: Talk, result: Result) -> None:
    talk.results.append(result)
    learn = _LEARNING.get(result.name)
    if learn is not None:
        learn(talk, result)


def _learn_patient(talk: Talk, result: Result) -> None:
    if result.error == "not_found":
        talk.lookups.append(result.arguments)
    elif not result.error:
        talk.patient = result.value


def _learn_slots(talk: Talk, result: Result) -> None:
    if not result.error:
        talk.listing, talk.slots = result.arguments, list(result.value.get("slots", []))


def _learn_booking(talk: Talk, result: Result) -> None:
    if result.error == "slot_taken":
        talk.refused.append(str(result.arguments.get("slot_id")))
        talk.chosen, talk.is_confirmed, talk.listing, talk.lost_slot = None, False, None, True
    elif not result.error:
        talk.booked, talk.chosen, talk.is_confirmed = result.value, None, False
        # A move is done only when the old appointment is gone too.
        talk.goal = talk.goal if talk.goal == "move" else "done"


def _learn_cancellation(talk: Talk, result: Result) -> None:
    if not result.error:
        talk.goal, talk.is_confirmed = "done", False


def _learn_callback(talk: Talk, result: Result) -> None:
    if not result.error:
        talk.nurse_asked = False


_LEARNING: Final[Mapping[str, Callable[[Talk, Result], None]]] = {
    "find_patient": _learn_patient,
    "list_slots": _learn_slots,
    "book_appointment": _learn_booking,
    "cancel_appointment": _learn_cancellation,
    "request_nurse_callback": _learn_callback,
}
