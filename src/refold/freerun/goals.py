"""What the user of a recorded conversation wanted and knew: proposed from the record, then edited.

A goal is an event of its conversation, ``goal.stated``; the last one counts.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import msgspec

from refold.conversation.events import GoalStated
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import UsageError
from refold.freerun.user import HeardLine, heard_in
from refold.privacy.envelope import WITHHELD, is_withheld
from refold.replay.candidate import Candidate, ChatEndpoint, ModelFailure, action_of
from refold.replay.request import ChatRequest

BY_RULES: Final = "rules"
ASKED: Final = (
    "Below is what was said between a customer and an agent. Say what the customer wanted and "
    'knew, as one JSON object and nothing else: {"text": "what they want, in a few sentences", '
    '"facts": {"name of a fact": "its value"}, "wants": ["each thing that they want"]}. Take '
    "facts only from what the customer said."
)
_VALUE: Final = r"(?P<value>[\w.+-]+@[\w-]+(?:\.[\w-]+)+|[\w-]*\d[\w-]*)"
_NAMED: Final = re.compile(
    r"\b(?P<name>(?:(?!(?:my|the|an?|in|within|for|of|with|and)\b)[a-z]+[ _-])?(?:id|number|code|"
    r"confirmation|reference|email|phone|zip|birthday|birth|account|reservation|"
    r"order|ticket|address|dob))s?\b"
    r"(?:(?:number|id|is|are|was|within)(?![\w@-])|[(:=,\s])*+['\"(#]?" + _VALUE,
    re.IGNORECASE,
)
_IS_SOMEBODY: Final = re.compile(r"\b(?:you are|i am|i'm|you) '?([a-z]+_[a-z]+_\d+)", re.IGNORECASE)
_DATE: Final = re.compile(
    r"\b(?:\d{4}-\d\d-\d\d|(?:january|february|march|april|may|june|july|august|september|october|"
    r"november|december) \d{1,2})\b",
    re.IGNORECASE,
)
_WANTS: Final = re.compile(
    r"\b(want|wants|need|needs|like to|cancel|book|change|move|refund|know|ask|complain|find|check|"
    r"get|add|remove|upgrade|downgrade|help)\b",
    re.IGNORECASE,
)
_SENTENCE: Final = re.compile(r"(?<=[.!?])\s+|\n+")
_UNSURE: Final = re.compile(r"\bif\b|\bunless\b|\?$", re.IGNORECASE)


def goal_of(history: Iterable[Recorded]) -> GoalStated:
    """The goal of a conversation: the last that was stated, or what rules propose.

    Raises :class:`~refold.errors.UsageError` where none is stated, and what was said is hidden.
    """
    events = list(history)
    stated = [one for one in events if one.type == "goal.stated"]
    return stated[-1].to_class(GoalStated) if stated else proposed(events)


def proposed(history: Iterable[Recorded]) -> GoalStated:
    """A goal by rules: what the user said of what they want, and the facts that they gave."""
    return goal_in([one.text for one in _heard(history) if one.role == "user"])


def goal_in(texts: Sequence[str]) -> GoalStated:
    """The goal that texts of a user tell, or the instructions of a task."""
    sentences = [one.strip() for text in texts for one in _SENTENCE.split(text) if one.strip()]
    wants = [one for one in sentences if _WANTS.search(one) and not _UNSURE.search(one)]
    told = " ".join(texts[:1] if len(texts) > 1 else texts)
    return GoalStated(
        text=told, facts=dict(_facts("\n".join(texts))), wants=wants[:WANTS_MAX], by=BY_RULES
    )


WANTS_MAX: Final = 8


def _facts(text: str) -> Iterator[tuple[str, str]]:
    for found in _IS_SOMEBODY.findall(text):
        yield "user id", found
    for match in _NAMED.finditer(text):
        yield " ".join(match["name"].lower().replace("_", " ").split()), match["value"]
    for number, date in enumerate(dict.fromkeys(_DATE.findall(text)), 1):
        yield ("date" if number == 1 else f"date {number}"), date


def ask_goal(history: Iterable[Recorded], candidate: Candidate, *, by: str) -> GoalStated:
    """A goal that a model proposes; :class:`ModelFailure` where it gives none.

    It is not told what is redacted or erased. :class:`~refold.errors.UsageError` where what was
    said is withheld from who reads, or nothing of the user's is left.
    """
    events = list(history)
    said = "\n".join(f"{one.role}: {one.text}" for one in _heard(events))
    messages = [{"role": "system", "content": ASKED}, {"role": "user", "content": said}]
    model = getattr(candidate, "model", None)
    answered = candidate(ChatRequest(messages=messages, model=model))
    if not isinstance(candidate, ChatEndpoint):
        answered = action_of(answered)  # type: ignore[arg-type]
    text = re.sub(r"^```\w*\n|\n```$", "", answered.text.strip())  # type: ignore[union-attr]
    try:
        goal = msgspec.json.decode(text, type=GoalStated, strict=False)
    except msgspec.DecodeError as error:
        why = f"{by} gave no goal of {events[0].stream} as JSON: {error}: {text[:200]!r}"
        raise ModelFailure(f"{why}; try again, or another model", kind="garbage") from error
    return msgspec.structs.replace(goal, by=by)


def _heard(history: Iterable[Recorded]) -> list[HeardLine]:
    """What was said, without what nobody can read any more."""
    events = list(history)
    every = heard_in(events)
    heard = [one for one in every if not is_withheld(one.text)]
    if any(one.text == WITHHELD for one in every):
        raise UsageError(
            f"what was said in {events[0].stream} is withheld: say who reads, and by which keys "
            "(--actor NAME --keyring FILE, or [privacy] of refold.toml)",
            code="withheld",
            stream=events[0].stream,
        )
    if len(heard) < len(every) and not any(one.role == "user" for one in heard):
        raise UsageError(
            f"what the user of {events[0].stream} said is redacted or erased: state their goal "
            "(`refold goals --from FILE`, state_goal), or leave the conversation out",
            stream=events[0].stream,
        )
    return heard


def state_goal(store: Store, stream: str, goal: GoalStated, *, actor: str | None = None) -> bool:
    """Put a goal on record, unless it is the last one already; whether it was put there."""
    events = list(store.read(stream))
    stated = [one for one in events if one.type == "goal.stated"]
    if stated and stated[-1].to_class(GoalStated) == goal:
        return False
    at = [stream, events[-1].version, goal]
    key = "goal-" + hashlib.sha256(msgspec.json.encode(at)).hexdigest()
    store.append(stream, [goal], metadata={"actor": actor} if actor else None, key=key)
    return True
