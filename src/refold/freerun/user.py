"""Who speaks after a divergence: a stand-in for the user, and the faults that are its own.

In public reports a quarter of what is called an agent's failure is that of the simulated user. So
what it says is held against its goal by rules, and what is wrong with it is put on record beside
it, and counted apart.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from refold.conversation.events import AgentUtterance, GoalStated, SimulatorFaulted, UserUtterance
from refold.core.recorded import Recorded
from refold.replay.request import ChatRequest

STOP: Final = "###STOP###"
"""What a simulated user says when it has nothing more to say, as in tau-bench."""
SILENT: Final = "it said nothing"
AGREED: Final = "Yes, please."
PROMPT: Final = (
    "You are the customer in a conversation with an agent. Say what the customer says next, in a "
    "sentence or two, and nothing else. You want what stands under Goal. You know what stands "
    "under Facts and nothing else: where you are asked for anything else, say that you do not "
    f"know. Never speak as the agent. When the agent has done what you want, or surely will not, "
    f"say {STOP}."
)
_QUESTION: Final = re.compile(
    r"\?|\b(please|could you) (provide|tell|give|share|confirm|let)", re.I
)
_ANYTHING_ELSE: Final = re.compile(r"(anything|something) else|further (help|assist)", re.I)
_CONFIRMS: Final = re.compile(
    r"\b(confirm|proceed|go ahead|shall i|should i|would you like|do you want|is that (right|ok)|"
    r"are you (sure|happy)|agree)\b",
    re.I,
)
_FOR_THE_AGENT: Final = re.compile(
    r"\bas an ai\b|\bhow (can|may) i (help|assist) you|^(agent|assistant|customer service):|"
    r"\bi('ve| have) (cancell?ed|booked|updated|processed|refunded|upgraded) your\b|"
    r"\bi (can|will) (look up|cancel|book|update|process) (that|it|your\b.{0,80}) for you\b|"
    r"\byour (booking|reservation|order|refund|appointment) has been\b|"
    r"\b(could|can) you (please )?provide (me with )?your\b",
    re.I | re.M,
)
_NOT_KNOWN: Final = re.compile(
    r"\b(don't|do not|can't|cannot|didn't) (know|remember|recall|have)|not sure|no idea", re.I
)
# Each run of letters is looked at from its beginning alone: it may be a file of many.
_VALUE: Final = re.compile(r"(?<![\w.+-])[\w.+-]++@[\w-]+(?:\.[\w-]+)+|(?<![\w-])[\w-]++")
_WORD: Final = re.compile(r"[^\W\d_]{3,}")
_COMMON: Final = frozenset(
    re.findall(
        r"\w+",
        "you your yours the and for from with that this want wants would like please need have has "
        "are was were will can could not but any all one its his her their them they she about "
        "into only also what when where which who how there here then than been being get got make",
    )
)


class HeardLine(NamedTuple):
    """Words of one side: ``user`` or ``agent``."""

    role: str
    text: str


class UserSaid(NamedTuple):
    """What a simulated user says next, whether that was its last, and what is wrong with it."""

    text: str
    is_end: bool
    faults: list[SimulatorFaulted]


def heard_in(events: Iterable[Recorded]) -> list[HeardLine]:
    """What was said in a history, in order."""
    heard = []
    for one in events:
        if one.type == "user.utterance":
            heard.append(HeardLine("user", one.to_class(UserUtterance).text))
        elif one.type == "agent.utterance":
            heard.append(HeardLine("agent", one.to_class(AgentUtterance).text))
    return heard


def user_request(
    goal: GoalStated, heard: Sequence[HeardLine], *, model: str | None = None
) -> ChatRequest:
    """What a model is asked that plays the user: to it the agent is the other side."""
    facts = "\n".join(f"- {name}: {value}" for name, value in goal.facts.items()) or "- none"
    system = f"{PROMPT}\n\nGoal:\n{goal.text}\n\nFacts:\n{facts}"
    roles = {"user": "assistant", "agent": "user"}
    said = [{"role": roles[one.role], "content": one.text} for one in heard if one.text]
    return ChatRequest(messages=[{"role": "system", "content": system}, *said], model=model)


# -- a stand-in of rules --------------------------------------------------------------------------


def rule_user(goal: GoalStated, heard: Sequence[HeardLine]) -> str:
    """What a user of simple rules says next: the same conversation, the same words.

    It gives the facts that it is asked for, agrees where it is asked to, says what it wants and was
    not said yet, and ends when there is no more of that.
    """
    asked = heard[-1].text if heard and heard[-1].role == "agent" else ""
    own = [one.text for one in heard if one.role == "user"]
    wants = [want for want in goal.wants if not is_mentioned(want, own)]
    facts = [f"My {n} is {v}." for n, v in goal.facts.items() if _is_asked(n, asked)]
    new = [fact for fact in facts if fact not in own[-1:]]
    if facts and (new or not wants):
        return " ".join(facts) if own[-1:] != [" ".join(facts)] else f"I said it: {facts[0]} {STOP}"
    is_open = not _ANYTHING_ELSE.search(asked)
    if is_open and _CONFIRMS.search(asked) and AGREED not in own[-2:]:
        return AGREED
    if wants:
        return wants[0]
    if is_open and _QUESTION.search(asked):
        said = "I do not know that."
        return said if said not in own[-2:] else f"That is all that I can tell you. {STOP}"
    return f"That is all, thank you. {STOP}"


def is_mentioned(want: str, said: Iterable[str]) -> bool:
    """Whether words of a user bring up what they want: half of what it is about."""
    about = set(content_words(want))
    found = about & {word for text in said for word in content_words(text)}
    return not about or len(found) * 2 >= len(about)


def content_words(text: str) -> Iterator[str]:
    """The words of a text that say something, without their endings."""
    for word in _WORD.findall(text.lower()):
        if word not in _COMMON:
            yield word.removesuffix("s").removesuffix("ing").removesuffix("ed")


def _is_asked(name: str, asked: str) -> bool:
    """Whether the agent asks for a fact by its name."""
    if not _QUESTION.search(asked):
        return False
    words = [word for word in re.findall(r"\w+", name.lower()) if word not in ("my", "the", "of")]
    heard = asked.lower()
    return bool(words) and all(word in heard for word in words)


# -- its own faults -------------------------------------------------------------------------------


def checked(goal: GoalStated, heard: Sequence[HeardLine], text: str) -> UserSaid:
    """What a simulated user said, and what is wrong with that by its goal and by what it heard.

    Who says nothing has ended the conversation.
    """
    said = text.replace(STOP, "").strip()
    is_silent = not text.strip()
    is_end = STOP in text or is_silent
    asked = heard[-1].text if is_end and _is_early(heard) else ""
    spoken = _FOR_THE_AGENT.search(said)
    found = (
        SimulatorFaulted("invents_facts", ", ".join(_invented(goal, heard, said))),
        SimulatorFaulted("forgets_goal", _forgotten(goal, heard, said, is_end=is_end)),
        SimulatorFaulted("ends_early", asked or SILENT * is_silent),
        SimulatorFaulted("answers_for_agent", "" if spoken is None else spoken[0]),
    )
    return UserSaid(said, is_end, [fault for fault in found if fault.detail])


def _invented(goal: GoalStated, heard: Sequence[HeardLine], said: str) -> list[str]:
    """Identifiers, numbers, dates and addresses that nobody has given before."""
    known = " ".join([goal.text, *goal.facts, *goal.facts.values(), *(one.text for one in heard)])
    there = set(_values(known))
    return [value for value in dict.fromkeys(_values(said)) if value not in there]


def _values(text: str) -> Iterator[str]:
    """What a text says exactly: words with digits, and numbers by themselves, as they are known."""
    for word in _VALUE.findall(text.replace(",", "").lower()):
        found = word if "@" in word else word.strip("-")
        if not re.search(r"[\d@]", found):
            continue
        if re.search(r"[a-z_@]", found) and not re.fullmatch(r"\d+(st|nd|rd|th|am|pm|k)", found):
            yield found
        else:
            yield from (run.lstrip("0") for run in re.findall(r"\d+", found) if len(run) > 1)


def _forgotten(goal: GoalStated, heard: Sequence[HeardLine], said: str, *, is_end: bool) -> str:
    """What it was to know and says that it does not; at the end what it never asked for."""
    asked = heard[-1].text if heard and heard[-1].role == "agent" else ""
    if _NOT_KNOWN.search(said):
        known = [name for name in goal.facts if _is_asked(name, asked)]
        missed = [name for name in known if goal.facts[name].lower() not in said.lower()]
        if missed:
            return missed[0]
    own = [*(one.text for one in heard if one.role == "user"), said]
    left = [want for want in goal.wants if is_end and not is_mentioned(want, own)]
    return left[0] if left else ""


def _is_early(heard: Sequence[HeardLine]) -> bool:
    """Whether the agent waits for an answer that is not whether there is anything else."""
    asked = heard[-1].text if heard and heard[-1].role == "agent" else ""
    return bool(_QUESTION.search(asked)) and not _ANYTHING_ELSE.search(asked)
