"""What the demo agent understands of a conversation: a fold of chat messages into a `Talk`.

What callers say is understood by the patterns of ``data/hearing.toml``, and the agent's own earlier
sentences by their cues, whichever prompt they were said under.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache, partial
from typing import Any, Final, NamedTuple

import msgspec

from refold.demo.tables import MONTHS, Slot, WordPattern, cues_in, read, slot_label, text

KEYPAD: Final = "(keypad) "
"""What the demo's voice line puts before keys that the caller pressed."""
_TABLE: Final = msgspec.toml.decode(text("hearing.toml"), type=dict[str, list[WordPattern]])
# What was said is heard again with every request of a conversation.
_heard: Final = lru_cache(maxsize=4_096)(partial(read, _TABLE["patterns"]))


class HeardResult(NamedTuple):
    """A tool's answer to one call."""

    tool: str = ""
    arguments: dict[str, Any] = {}
    result: dict[str, Any] = {}

    @property
    def error(self) -> str:
        """The code of the tool's error; empty when it worked."""
        return str(self.result.get("error", ""))


@dataclass
class Talk:
    """A conversation as the demo agent sees it, at one point.

    ``question``, ``answer`` and ``choice`` are of what was heard last; ``asked``
    are the cues of what the agent said last, ``results`` what tools gave back since anybody spoke,
    ``times`` how often each question was asked.
    """

    name: str = ""
    day: str = ""
    month: str = ""
    year: str = ""
    phone: str = ""
    goal: str = ""
    topic: str = "that"
    part_of_day: str = ""
    doctor: str = ""
    heard: str = ""
    question: str = ""
    answer: str = ""
    choice: int = 0
    times: Counter[str] = field(default_factory=Counter)
    asked: frozenset[str] = frozenset()
    patient: dict[str, Any] = field(default_factory=dict)
    lookups: list[dict[str, Any]] = field(default_factory=list)
    listing: dict[str, Any] = field(default_factory=dict)
    slots: list[Slot] = field(default_factory=list)
    offered: list[Slot] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)
    chosen: Slot | None = None
    is_confirmed: bool = False
    booked: Slot | None = None
    nurse_asked: bool = False
    results: list[HeardResult] = field(default_factory=list)

    @property
    def date_of_birth(self) -> str:
        """As tools take it: ``1985-03-04``; empty when it was not said."""
        if not self.year:
            return ""
        return f"{self.year}-{MONTHS.index(self.month) + 1:02}-{int(self.day):02}"


def listen(messages: Sequence[Mapping[str, Any]]) -> Talk:
    """What was said and done up to the end of ``messages`` (OpenAI chat messages)."""
    talk = Talk()
    calls: dict[str, tuple[str, dict[str, Any]]] = {}
    for message in messages:
        words = text_of(message)
        match message.get("role"):
            case "user":
                _hear(talk, words)
            case "assistant":
                _recall(talk, words)
                for call in message.get("tool_calls") or []:
                    said = call["function"]
                    calls[call["id"]] = (said["name"], _object(said["arguments"]))
            case "tool":
                name, arguments = calls.get(message.get("tool_call_id", ""), ("", {}))
                _learn(talk, HeardResult(name, arguments, _object(words)))
    return talk


def text_of(message: Mapping[str, Any]) -> str:
    """The text of a message, its parts joined where it has parts."""
    content = message.get("content") or ""
    if isinstance(content, str):
        return content
    return " ".join(str(part.get("text", "")) for part in content if isinstance(part, Mapping))


def _object(text: str) -> dict[str, Any]:
    try:
        value = json.loads(text)
    except ValueError:
        return {"error": "unreadable"}
    return value if isinstance(value, dict) else {"value": value}


def _hear(talk: Talk, text: str) -> None:
    """What the caller says: of themselves, of what they want, and to what the agent just said."""
    said = {"question": "", "answer": "", "choice": 0} | _heard(text)
    if said.get("goal", talk.goal) != talk.goal:
        talk.chosen = None
    for name, value in said.items():
        setattr(talk, name, value)
    talk.heard, talk.results = text, []
    talk.times[talk.question] += 1
    _hear_answer(talk)


def _hear_answer(talk: Talk) -> None:
    agrees, declines = talk.answer == "yes", talk.answer == "no"
    talk.is_confirmed = agrees and bool(talk.asked & {"asks_cancel", "reads_back"})
    if "offers_nurse" in talk.asked:
        talk.nurse_asked = agrees
    if "asks_cancel" in talk.asked and declines:
        talk.question, talk.goal = "drop", "done"
    if "offers" in talk.asked:
        talk.chosen = _choice(talk)
    if ("reads_back" in talk.asked and declines) or ("offers" in talk.asked and not talk.chosen):
        talk.chosen = None
        talk.refused += [slot["slot_id"] for slot in talk.offered if declines]


def _choice(talk: Talk) -> Slot | None:
    """Which of the slots offered the caller takes: by its place, its time, or with a yes."""
    if 0 < talk.choice <= len(talk.offered):
        return talk.offered[talk.choice - 1]
    named = [slot for slot in talk.offered if slot_label(slot).split()[4] in talk.heard]
    return next(iter(named or (talk.offered if talk.answer == "yes" else ())), None)


def _recall(talk: Talk, text: str) -> None:
    """What the agent itself said; a plea to repeat leaves open what was asked before."""
    if not text:
        return
    talk.results, cues = [], cues_in(text)
    if "repeats" not in cues:
        talk.asked = cues
        talk.offered = [slot for slot in talk.slots if slot_label(slot) in text]


def _learn(talk: Talk, result: HeardResult) -> None:
    """What a tool gave back."""
    talk.results.append(result)
    match result.tool, result.error:
        case "find_patient", "not_found":
            talk.lookups.append(result.arguments)
        case "find_patient", "":
            talk.patient = result.result
        case "list_slots", "":
            talk.listing, talk.slots = result.arguments, list(result.result.get("slots", []))
        case "book_appointment", "slot_taken":
            talk.refused.append(str(result.arguments.get("slot_id")))
            talk.chosen, talk.listing = None, {}
        case "book_appointment", "":
            talk.booked, talk.chosen = result.result, None
            # A move is done only when the old appointment is gone too.
            talk.goal = talk.goal if talk.goal == "move" else "done"
        case "cancel_appointment", "":
            talk.goal = "done"
        case "request_nurse_callback", "":
            talk.nurse_asked = False
