"""The demo agent: a rule-based stand-in for a model at a clinic's reception.

It reads rules in its prompt (``data/prompt.toml``), listens to the conversation
(:mod:`refold.demo.listen`), and does what the first fitting row of ``data/turns.toml`` says. The
same request gives the same answer. With a ``temperature`` above 0 the wording varies with the
request, its ``seed`` included, and one answer in about forty is a slip: it asks the caller to
repeat, as a model might. No model is behind it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import lru_cache, reduce
from operator import or_
from typing import Any, Final, NamedTuple

import msgspec

from refold.demo.clinic import AGENT
from refold.demo.listen import HeardResult, Talk, listen, text_of
from refold.demo.tables import (
    Slot,
    When,
    WordPattern,
    holds,
    listed,
    phrase,
    read,
    slot_label,
    text,
)

MODEL: Final[str] = AGENT["model"]
SLIP_ONE_IN: Final = 40
LOOKUPS_MAX: Final = 2
Rules = dict[str, Any]
"""How the agent behaves, by the names in ``data/prompt.toml``."""
_FIELDS: Final = {"name": "full name", "date_of_birth": "date of birth", "phone": "phone number"}


class AgentTurn(msgspec.Struct, frozen=True):
    """What the agent does when the conditions hold: see ``data/turns.toml``."""

    when: When = {}
    say: str = ""
    use: str = ""
    give: dict[str, str] = {}
    slot: str = ""


class _Prompt(msgspec.Struct, frozen=True):
    defaults: Rules
    rules: tuple[WordPattern, ...]


class AgentReply(NamedTuple):
    """An answer: what is said, and which tools are called with which arguments."""

    text: str = ""
    calls: tuple[tuple[str, dict[str, Any]], ...] = ()


_PROMPT: Final = msgspec.toml.decode(text("prompt.toml"), type=_Prompt)
RULES: Final = _PROMPT.rules
DEFAULTS: Final = _PROMPT.defaults
"""How the agent behaves under an empty prompt."""
_TURNS: Final = msgspec.toml.decode(text("turns.toml"), type=dict[str, list[AgentTurn]])["turns"]


@lru_cache(maxsize=256)
def read_rules(prompt: str) -> Rules:
    """The rules that a prompt states; text that states none changes nothing."""
    said = [read(RULES, sentence) for sentence in re.split(r"[\n;]|\.(?=\s|$)", prompt)]
    return reduce(or_, said, DEFAULTS)


def answer(request: Mapping[str, Any], chance: int) -> AgentReply:
    """What the demo agent says and does for a body of ``POST /v1/chat/completions``.

    ``chance`` decides what a model would sample, where the request has a ``temperature``.
    """
    messages = request["messages"]
    prompt = "\n".join(text_of(m) for m in messages if m.get("role") in ("system", "developer"))
    tools = {tool["function"].get("name") for tool in request.get("tools") or []}
    facts = _facts(read_rules(prompt), listen(messages))
    chance = chance if request.get("temperature") else 0
    slips = chance and chance % SLIP_ONE_IN == 0 and messages[-1].get("role") == "user"
    turn = next(t for t in _TURNS if holds(t.when, facts) and (t.say or t.use in tools))
    return _reply(_TURNS[-1] if slips else turn, facts, tools, variety=chance % 97)


def _reply(turn: AgentTurn, facts: dict[str, Any], tools: set[str], *, variety: int) -> AgentReply:
    """A turn in words and calls; a tool that is not there is not called."""
    slot = slot_label(facts[turn.slot]) if turn.slot else ""
    said = phrase(turn.say, {**facts, "slot": slot}, variety=variety) if turn.say else ""
    repeated = facts["tool"], facts["arguments"]
    name, arguments = repeated if turn.use == "the_same" else (turn.use, turn.give)
    calls = ((name, arguments or facts[name]),) if name in tools else ()
    return AgentReply(said, calls)


# -- the facts: what conditions, wordings and tools are filled from --------------------------------


def _facts(rules: Rules, talk: Talk) -> dict[str, Any]:
    """Rules, talk, and what follows from them; under the name of a tool, its arguments."""
    last = talk.results[-1] if talk.results else HeardResult()
    return {
        **rules,
        **vars(talk),
        "times": talk.times[talk.question],
        **last._asdict(),
        "error": last.error,
        "lost_slot": any(result.error == "slot_taken" for result in talk.results),
        **_caller(rules, talk),
        **_slots(rules, talk),
    }


def _caller(rules: Rules, talk: Talk) -> dict[str, Any]:
    """Who is calling, as far as that is known and has to be known."""
    wanted = [what for what in _FIELDS if what != "phone" or rules["verify_by_phone"]]
    identity = {what: said for what in wanted if (said := getattr(talk, what))}
    moment_has_come = {"first": True, "before_booking": talk.chosen}.get(rules["verify"])
    must_know = talk.goal in ("cancel", "move") or (talk.goal == "book" and moment_has_come)
    patient_id, name = talk.patient.get("patient_id"), talk.patient.get("name") or talk.name
    upcoming: Slot = next(iter(talk.patient.get("upcoming") or ()), {})
    who = {"patient_id": patient_id} if patient_id else {"name": name}
    return {
        "called": name,
        "upcoming": upcoming,
        "must_know": must_know and not talk.patient,
        "wanted": listed([_FIELDS[what] for what in wanted], "and"),
        "missing": listed([_FIELDS[what] for what in wanted if what not in identity], "and"),
        "looked_up": identity in talk.lookups,
        "lookups_left": len(talk.lookups) < LOOKUPS_MAX,
        "find_patient": identity,
        "book_appointment": {"slot_id": (talk.chosen or {}).get("slot_id"), **who},
        "cancel_appointment": {"appointment_id": upcoming.get("appointment_id")},
        "request_nurse_callback": {**who, "about": talk.topic},
    }


def _slots(rules: Rules, talk: Talk) -> dict[str, Any]:
    """Which times to offer, and how to ask for them: beyond those refused, and as wished."""
    free = [slot for slot in talk.slots if slot["slot_id"] not in talk.refused]
    offers = [slot_label(slot) for slot in free[: rules["slots_offered"]]]
    wishes = {"part_of_day": talk.part_of_day or rules["part_of_day"], "doctor": talk.doctor}
    was_asked = all(talk.listing.get(wish, "") == value for wish, value in wishes.items())
    return {
        # A list that is long enough need not be fetched again.
        "must_list": not talk.listing or not was_asked or (talk.slots and not free),
        "offers": len(offers),
        "slots": listed(offers),
        "list_slots": {
            "count": rules["slots_offered"] + len(talk.refused),
            **{wish: value for wish, value in wishes.items() if value},
        },
    }
