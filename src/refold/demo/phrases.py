"""What the demo agent says, and how such a sentence is recognised again.

Each cue has full wordings, a brief one, and the pattern that both the agent (reading the history)
and the demo's callers know it by. Every wording of a cue matches its pattern; a test holds it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime
from functools import lru_cache
from typing import Any, Final, NamedTuple

from refold.demo.rules import Rules


class Phrase(NamedTuple):
    """The wordings of one cue; the last one is the brief one."""

    pattern: str
    wordings: tuple[str, ...]


PHRASES: Final[Mapping[str, Phrase]] = {
    "greets": Phrase(
        r"how can i help|what can i do for you",
        (
            "Thank you for calling {clinic}.{recorded} How can I help?",
            "{clinic}, good day.{recorded} What can I do for you?",
            "{clinic}.{recorded} How can I help?",
        ),
    ),
    "asks_identity": Phrase(
        r"(may i have|could you (tell|give) me|and) your [\w ,]*(name|date of birth|phone number)",
        (
            "Certainly. May I have your {missing}, please?",
            "I can do that. Could you tell me your {missing}?",
            "May I have your {missing}?",
        ),
    ),
    "not_found": Phrase(
        r"(find|have) (no record|no patient|nobody) (with|under) (that|those)",
        (
            "I find no record with those details. Could you give me your {missing} once more?",
            "I have no patient under that name and date. Could you tell me your {missing} again?",
            "I find no record with that. May I have your {missing} again?",
        ),
    ),
    "offers": Phrase(
        r"(would that suit you|which would you like)\?",
        (
            "{lead} {slots}. {question}",
            "Let me see. {lead} {slots}. {question}",
            "{slots}. {question}",
        ),
    ),
    "no_slots": Phrase(
        r"no (other|free) (times?|appointments?)",
        (
            "I am afraid there is no other time in the next days. Please call again tomorrow.",
            "I see no free times beyond those. Please try again tomorrow.",
            "No other times, I am afraid.",
        ),
    ),
    "reads_back": Phrase(
        r"shall i (book|go ahead|change)",
        (
            "So that is {slot}{who}. Shall I go ahead?",
            "Let me read that back: {slot}{who}. Shall I book it?",
            "{slot}{who}. Shall I book it?",
        ),
    ),
    "booked": Phrase(
        r"(is|you are) booked",
        (
            "That is booked: {slot}.{policy}{more}",
            "You are booked for {slot}.{policy}{more}",
            "{slot} is booked.{policy}{more}",
        ),
    ),
    "moved": Phrase(
        r"(is|have) moved",
        (
            "Your appointment is moved to {slot}.{policy}{more}",
            "I have moved your appointment to {slot}.{policy}{more}",
            "It is moved to {slot}.{policy}{more}",
        ),
    ),
    "taken": Phrase(
        r"(just|already) (been )?taken",
        (
            "I am sorry, that time has just been taken.",
            "Someone was quicker: that one is already taken.",
            "That time was just taken.",
        ),
    ),
    "asks_cancel": Phrase(
        r"shall i cancel",
        (
            "I see your appointment on {slot}. Shall I cancel it?",
            "That would be {slot}. Shall I cancel that for you?",
            "{slot}. Shall I cancel it?",
        ),
    ),
    "cancelled": Phrase(
        r"is (now )?cancelled",
        (
            "Your appointment on {slot} is cancelled.{more}",
            "The appointment on {slot} is now cancelled.{more}",
            "{slot} is cancelled.{more}",
        ),
    ),
    "none_booked": Phrase(
        r"no upcoming appointment",
        (
            "I see no upcoming appointment under your name.{more}",
            "There is no upcoming appointment for you.{more}",
            "There is no upcoming appointment.{more}",
        ),
    ),
    "offers_nurse": Phrase(
        r"nurse (to )?call you back\?",
        (
            "I cannot give medical advice. Would you like a nurse to call you back?",
            "That is a question for a nurse. Shall I have a nurse call you back?",
            "No medical advice from me; shall a nurse call you back?",
        ),
    ),
    "refuses_advice": Phrase(
        r"cannot (give|offer) (you )?(any )?medical advice",
        (
            "I am sorry, I cannot give medical advice. Please speak to a doctor.",
            "I cannot offer you medical advice. A doctor can.",
            "I cannot give medical advice.",
        ),
    ),
    "advises": Phrase(
        r"usually (help|pass)",
        (
            "For {topic}, rest and plenty of water usually help.",
            "I would not worry: {topic} will usually pass with rest and water.",
            "Rest and water usually help.",
        ),
    ),
    "nurse_will_call": Phrase(
        r"nurse will call you",
        (
            "A nurse will call you back within two hours.{more}",
            "Thank you. A nurse will call you within two hours.{more}",
            "A nurse will call you back.{more}",
        ),
    ),
    "transfers_urgent": Phrase(
        r"nurse line",
        (
            "That should be looked at now. I am putting you through to the nurse line.",
            "Please stay on the line: I am connecting you to the nurse line.",
            "Connecting you to the nurse line.",
        ),
    ),
    "transfers": Phrase(
        r"(putting|put) you through|connecting you to a colleague",
        (
            "Of course, I am putting you through to a colleague.",
            "One moment, I will put you through.",
            "Putting you through.",
        ),
    ),
    "tries_first": Phrase(
        r"i can (book|make), move (or|and) cancel",
        (
            "I may be able to help: I can book, move or cancel appointments. What is it about?",
            "Before I do: I can make, move and cancel appointments myself. What do you need?",
            "I can book, move or cancel appointments. What is it about?",
        ),
    ),
    "no_person": Phrase(
        r"no(body| one) .*(free|available)",
        (
            "I am sorry, nobody else is free to talk just now.",
            "There is no one available to take your call at the moment.",
            "Nobody else is free now.",
        ),
    ),
    "warns": Phrase(
        r"(like to|want to) help.*(end|stop) th",
        (
            "I want to help, but I will have to end this call if you go on like that.",
            "I would like to help. Please stop that language, or I must end the call.",
            "I want to help; please stop that.",
        ),
    ),
    "unverified": Phrase(
        r"cannot (help|go on) (you )?without (finding|your)",
        (
            "I am sorry, I cannot help without finding your record. Please call again.",
            "I cannot go on without finding you in our records. Please call us again.",
            "I cannot help without finding your record.",
        ),
    ),
    "still_there": Phrase(
        r"(are you )?still there\?",
        ("Are you still there?", "Hello, are you still there?", "Still there?"),
    ),
    "gives_up": Phrase(
        r"cannot hear you",
        (
            "I cannot hear you, so I will end the call here. Please call again.",
            "I am sorry, I cannot hear you. Please call again. Goodbye.",
            "I cannot hear you. Goodbye.",
        ),
    ),
    "hours": Phrase(
        r"open (from )?monday to friday",
        (
            "We are open Monday to Friday, 8:00 to 17:00, at 12 Example Street.{more}",
            "The clinic is open from Monday to Friday, 8:00 to 17:00, at 12 Example Street.{more}",
            "Open Monday to Friday, 8:00 to 17:00.{more}",
        ),
    ),
    "kept": Phrase(
        r"(leave|left) (everything|it) as it is",
        (
            "No problem, I will leave everything as it is.{more}",
            "All right, I have left it as it is.{more}",
            "I will leave it as it is.{more}",
        ),
    ),
    "trouble": Phrase(
        r"system is (not answering|slow)",
        (
            "Our system is not answering just now. One moment, I will try again.",
            "The system is slow today. Let me try that once more.",
            "The system is slow, trying again.",
        ),
    ),
    "still_trouble": Phrase(
        r"still cannot reach",
        (
            "I still cannot reach our system. Please call again in half an hour.",
            "I am sorry, I still cannot reach the system. Please call again later.",
            "I still cannot reach the system; please call later.",
        ),
    ),
    "says_goodbye": Phrase(
        r"goodbye",
        (
            "Thank you for calling {clinic}. Goodbye.",
            "You are welcome. Goodbye.",
            "Goodbye.",
        ),
    ),
    "repeats": Phrase(
        r"(did not|could not) (catch|hear)|say that again",
        (
            "Sorry, I did not catch that. Could you say it again?",
            "I could not hear that well. Could you repeat it?",
            "Could you say that again?",
        ),
    ),
}

WEEKDAYS: Final = (
    "Monday",
    "Tuesday",
    "Wednesday",
    "Thursday",
    "Friday",
    "Saturday",
    "Sunday",
)
MONTHS: Final = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)

_PATTERNS: Final = {cue: re.compile(p.pattern, re.IGNORECASE) for cue, p in PHRASES.items()}

Variety = int
"""Which wording: 0 the first, any other number a choice among the full ones."""


@lru_cache(maxsize=4_096)
def cues_in(text: str) -> frozenset[str]:
    """What a sentence of the agent does: the cues whose pattern it matches."""
    return frozenset(cue for cue, pattern in _PATTERNS.items() if pattern.search(text))


def phrase(cue: str, rules: Rules, *, variety: Variety = 0, **parts: Any) -> str:
    """One wording of a cue, brief where the rules ask for it."""
    wordings = PHRASES[cue].wordings
    full = wordings[variety % (len(wordings) - 1)]
    chosen = wordings[-1] if rules.is_brief else full
    text = chosen.format(
        clinic=rules.clinic,
        recorded=_recorded(rules),
        policy=_policy(rules),
        more=_more(rules),
        **parts,
    )
    return text[:1].upper() + text[1:]


def slot_label(slot: Mapping[str, Any]) -> str:
    """A slot or appointment as it is said: ``Tuesday 3 March at 9:30 with Dr Hale``."""
    starts_at = datetime.fromisoformat(slot["starts_at"])
    day = f"{WEEKDAYS[starts_at.weekday()]} {starts_at.day} {MONTHS[starts_at.month - 1]}"
    return f"{day} at {starts_at.hour}:{starts_at:%M} with {slot['doctor']}"


def listed(items: list[str]) -> str:
    """``a``, ``a or b``, ``a, b or c``."""
    return items[0] if len(items) == 1 else f"{', '.join(items[:-1])} or {items[-1]}"


def _recorded(rules: Rules) -> str:
    return " This call is recorded." if rules.says_recorded else ""


def _policy(rules: Rules) -> str:
    if not rules.notice_hours:
        return ""
    return f" If you cannot come, please tell us {rules.notice_hours} hours ahead."


def _more(rules: Rules) -> str:
    return " Is there anything else?" if rules.asks_for_more else ""
