"""Two conversations as a table of facts: what each came to, and whether that is equal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

from refold.conversation import Attributes, Conversation
from refold.conversation.events import ModelResponse, Usage
from refold.core.diff import diff_states
from refold.core.patch import Operation
from refold.core.recorded import Recorded, parts_of
from refold.replay.actions import NOT_COMPARED, ConversationComparison, compare_actions, known
from refold.replay.decision import DOLLARS, Action, Call, decisions, total_usage
from refold.replay.report.formatting import counted, number, value_text
from refold.replay.report.pairs import HIDDEN
from refold.replay.report.turns import TurnRow, redacted_ids

STATE_CHARS_MAX: Final = 300
SHARED: Final = frozenset({"", "same"})
"""The levels of turns that are the same."""
_UNTOLD: Final = NOT_COMPARED | {HIDDEN}


class FactTold(NamedTuple):
    """What a conversation came to in one respect: how it is read, and the value; None: unknown."""

    text: str = "not known"
    value: Any = None


class WhatCame(NamedTuple):
    """What a conversation came to. ``tools`` is an action with all its calls."""

    status: FactTold = FactTold()
    turns: FactTold = FactTold()
    tools: FactTold = FactTold()
    tokens: FactTold = FactTold()
    cost: FactTold = FactTold()
    money: FactTold = FactTold()
    state: FactTold = FactTold()
    outcome: FactTold = FactTold()


class ComparedFact(NamedTuple):
    """What two conversations came to in one respect, as it is read.

    ``is_equal`` is None where that is not known of both. ``changes`` lead from the state of ``a``
    to that of ``b``.
    """

    name: str
    a: str
    b: str
    is_equal: bool | None
    changes: Sequence[Operation] = ()


def facts(a: WhatCame, b: WhatCame, rows: Iterable[TurnRow]) -> list[ComparedFact]:
    """The facts of two conversations, whose turns beside each other are ``rows``."""
    return [
        ComparedFact(name, one.text, other.text, *_equal(name, one.value, other.value, rows))
        for name, one, other in zip(WhatCame._fields, a, b, strict=True)
    ]


def _equal(
    name: str, one: Any, other: Any, rows: Iterable[TurnRow]
) -> tuple[bool | None, Sequence[Operation]]:
    if name == "turns":
        levels = {row.level for row in rows} - SHARED
        return (None if levels and levels <= _UNTOLD else not levels), ()
    if one is None or other is None:
        return None, ()
    if name == "tools":
        return compare_actions(one, other).level == "same", ()
    if name == "state":
        changes = diff_states(one, other)
        return not changes, changes
    return one == other, ()


def came(history: Sequence[Recorded]) -> WhatCame:
    """What a recorded conversation came to; what nobody recorded of it is not known."""
    state, made = Conversation.run(history).state, decisions(history)
    parts = list(parts_of(history))
    responses = [one.to_class(ModelResponse) for one in parts if one.type == "model.response"]
    usages, is_whole = known(one.usage for one in responses), len(responses) >= len(made)
    costs = known(one.cost for one in responses)
    spoke = sum(one.role == "user" for one in state.transcript)
    calls = [call for one in made for call in one.action.calls]
    moved = state.money.effects or state.money.decisions or state.money.unmatched_reversals
    is_kept = state.initial_state or any(one.type == "state.patched" for one in parts)
    ended = f"{state.status}: {state.end_reason}" if state.end_reason else state.status
    outcome = Attributes.of(history).outcome
    return WhatCame(
        status=FactTold(ended, [state.status, state.end_reason]),
        turns=FactTold(f"{counted(spoke, 'turn')} of the user, {counted(len(made), 'answer')}"),
        tools=_tools(calls, is_known=not redacted_ids(history)),
        tokens=_tokens(usages, is_whole=is_whole and len(usages) == len(responses)),
        cost=_amounts(state.cost, is_whole=is_whole and len(costs) == len(responses)),
        money=_amounts(state.money.net, is_whole=True) if moved else FactTold(),
        state=FactTold(value_text(state.state, STATE_CHARS_MAX), state.state)
        if is_kept
        else FactTold(),
        outcome=FactTold() if outcome is None else FactTold(outcome, outcome),
    )


def answered(one: ConversationComparison, history: Sequence[Recorded] = ()) -> WhatCame:
    """What a replay's answers came to; it tells no state, money or outcome, as nothing was done."""
    every = [decision.candidate for decision in one.decisions]
    made = known(every)
    usages, costs = known(of.usage for of in made), known(of.cost for of in made)
    calls = [call for of in made for call in of.calls]
    is_whole = len(made) == len(every)
    return WhatCame(
        turns=FactTold(f"{number(len(made))} of {counted(len(every), 'answer')}"),
        tools=_tools(calls, is_known=is_whole and not redacted_ids(history)),
        tokens=_tokens(usages, is_whole=is_whole and len(usages) == len(made)),
        cost=_amounts(
            {DOLLARS: sum(costs, Decimal())} if costs else {},
            is_whole=is_whole and len(costs) == len(made),
        ),
    )


def _tools(calls: Sequence[Call], *, is_known: bool) -> FactTold:
    times = Counter(call.name for call in calls)
    said = [name if count == 1 else f"{name} × {count:,}" for name, count in times.items()]
    return FactTold(", ".join(said) or "none", Action(calls=tuple(calls)) if is_known else None)


def _tokens(usages: Sequence[Usage], *, is_whole: bool) -> FactTold:
    total = total_usage(usages)
    if total is None:
        return FactTold()
    said = f"{number(total.input_tokens)} in, {number(total.output_tokens)} out"
    value = (total.input_tokens, total.output_tokens)
    return FactTold(said, value) if is_whole else FactTold(f"at least {said}")


def _amounts(amounts: Mapping[str, Decimal], *, is_whole: bool) -> FactTold:
    said = [f"{amount.normalize():f} {currency}" for currency, amount in sorted(amounts.items())]
    if not said:
        return FactTold()
    return (
        FactTold(" + ".join(said), amounts)
        if is_whole
        else FactTold(f"at least {' + '.join(said)}")
    )
