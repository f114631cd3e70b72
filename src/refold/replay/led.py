"""A conversation that a candidate went on with alone, beside its record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from msgspec.structs import replace

from refold.conversation.events import SimulatorFaulted
from refold.core.recorded import Recorded
from refold.replay.actions import (
    AS_RECORDED,
    LEVELS,
    ConversationComparison,
    DecisionComparison,
    Terms,
    compare_decision,
)
from refold.replay.course import Led, record_of
from refold.replay.decision import Action, Decision
from refold.replay.journal import StoredAnswer
from refold.replay.placing import PlacedDecision, Went, placed, went

INFRASTRUCTURE: Final = "infrastructure"
NOT_ASKED: Final = "not asked"
AFTER_THE_PLAN: Final = "after the plan"


def compare_course(
    stream: str,
    branch: str,
    record: tuple[Sequence[Recorded], Sequence[Decision]],
    events: Sequence[Recorded],
    terms: Terms = AS_RECORDED,
    price: Callable[[Action, Decision], Action] = lambda action, _: action,
    *,
    later: Iterable[Decision] = (),
) -> ConversationComparison:
    """A conversation's decisions against the course on its branch, whose ``events`` these are.

    ``record`` is its history and the decisions in it; ``price`` gives an action its cost. Every one
    is compared as far as the course went as recorded, and is conditional, excluded, failed or
    missing from there on.
    """
    history, made = record
    course = went(one for one in events if one.stream == branch)
    every = placed(record_of(history, made).turns, course, terms)
    every = [
        one if one.action is None else one._replace(action=price(one.action, one.decision))
        for one in every
    ]
    compared = [_compared(one, terms) for one in every]
    after = [compare_decision(one, None, terms) for one in later]
    compared += [replace(one, is_later=True, why=AFTER_THE_PLAN) for one in after]
    counts = Counter(decision.level for decision in compared)
    first = next((one.decision.index for one in every if one.standing == "diverged"), None)
    is_whole = all(one.standing in ("comparable", "diverged", "conditional") for one in every)
    return ConversationComparison(
        stream=stream,
        branch=branch,
        decisions=compared,
        counts={level: counts[level] for level in LEVELS},
        same_action=first is None if is_whole and every else None,
        first_divergence=first,
        led=_led(events, branch, course),
    )


def _compared(one: PlacedDecision, terms: Terms) -> DecisionComparison:
    match one.standing:
        case "comparable" | "diverged":
            found = compare_decision(one.decision, _answer(one), terms)
            return replace(found, why=one.why)
        case "failed":
            return replace(compare_decision(one.decision, _answer(one), terms), why=INFRASTRUCTURE)
        case "conditional" | "excluded":
            found = compare_decision(one.decision, None, terms)
            said = (one.action, one.answer)
            return replace(
                found, level=one.standing, why=one.why, candidate=said[0], answer=said[1]
            )
    return replace(compare_decision(one.decision, None, terms), why=NOT_ASKED)


def _answer(one: PlacedDecision) -> StoredAnswer | None:
    return None if one.answer is None else StoredAnswer(one.answer, one.action, one.why or None)


def _led(events: Sequence[Recorded], branch: str, course: Went) -> Led:
    tools, faults = Counter[str](), Counter[str]()
    simulated = conditional = 0
    is_parted = False
    for one in events:
        if one.stream != branch:
            continue
        said = one.noted("replay")
        noted = said if isinstance(said, dict) else {}
        is_parted = is_parted or one.type == "replay.diverged"
        conditional += is_parted and one.type == "model.response"
        simulated += one.type == "user.utterance" and "user" in noted
        if one.type == "tool.result" and "source" in noted:
            tools[noted["source"]] += 1
        if one.type == "simulator.faulted":
            faults[one.to_class(SimulatorFaulted).kind] += 1
    parted = course.parted
    return Led(
        parted=None if parted is None else parted.reason,
        detail=None if parted is None else parted.detail,
        answers=sum(map(len, course.answers.values())),
        conditional=conditional,
        tools=dict(sorted(tools.items())),
        simulated=simulated,
        simulator_faults=dict(sorted(faults.items())),
        is_unfinished=course.is_unfinished,
    )


def standings(compared: ConversationComparison) -> list[tuple[str, str]]:
    """Each decision of a course as what it is to it, and why."""
    first = compared.first_divergence
    return [_standing(one, first) for one in compared.decisions]


def _standing(one: DecisionComparison, first: int | None) -> tuple[str, str]:
    match one.level:
        case "conditional":
            return "conditional", ""
        case "excluded" | "failed" | "missing":
            return "excluded", one.why
    return ("diverged", one.why) if one.index == first else ("comparable", "")
