"""Values of recorded conversations, and of the answers of a replay at each decision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from statistics import fmean
from typing import Final

from msgspec.structs import replace

from refold.conversation.attributes import Attributes
from refold.core.recorded import Recorded
from refold.replay.actions import ConversationComparison, known
from refold.replay.checks.seen import Examined, NamedCheck, at_decision
from refold.replay.decision import Decision, Prices, decisions, priced_decisions
from refold.replay.faults import faults_of, offered_by

_GOOD: Final = frozenset({"completed", "success", "succeeded", "resolved", "passed", "good", "yes"})
_OPEN: Final = frozenset({"unknown", "open"})


def scored(
    compared: ConversationComparison,
    history: Sequence[Recorded],
    recorded: Iterable[Decision],
    checks: Sequence[NamedCheck],
) -> ConversationComparison:
    """A comparison with what each check gives of both answers, where it applies to them."""
    if not checks:
        return compared
    of = {decision.at: decision for decision in recorded}
    return replace(
        compared,
        decisions=[
            one
            if one.is_later
            else replace(
                one,
                scores=(
                    {}
                    if one.candidate is None
                    else dict(_scores(checks, at_decision(history, of[one.at], one.candidate)))
                ),
                recorded_scores=dict(
                    _scores(checks, at_decision(history, of[one.at], one.recorded))
                ),
            )
            for one in compared.decisions
        ],
    )


def recorded_values(
    stream: str,
    history: Sequence[Recorded],
    checks: Iterable[NamedCheck] = (),
    prices: Prices | None = None,
) -> dict[str, float | None]:
    """What each metric is for a recorded conversation, by its name; None where it is not known.

    ``broken_answers`` is the share of its answers, ``cost`` the sum and ``latency_ms`` the mean of
    them. ``outcome`` is 1 for a label or an end that says that all is well (completed, success,
    resolved, …), 0 for any other. A check that does not apply has no value here.
    """
    made = priced_decisions(decisions(history), prices or {})
    told = Attributes.of(history)
    costs = [one.action.cost for one in made]
    latencies = known(one.action.latency_ms for one in made)
    broken = [bool(faults_of(one.action, offered_by(one.configured))) for one in made]
    said = (told.outcome or "unknown").lower()
    return {
        "broken_answers": fmean(broken) if broken else None,
        "cost": float(sum(known(costs))) if costs and None not in costs else None,
        "latency_ms": fmean(latencies) if latencies else None,
        "outcome": None if said in _OPEN else float(said in _GOOD),
        "reward": told.reward,
        **dict(
            _scores(checks, Examined(history, [one.action for one in made], stream, is_whole=True))
        ),
    }


def _scores(checks: Iterable[NamedCheck], seen: Examined) -> Iterator[tuple[str, float]]:
    for check in checks:
        if (value := check.value(seen)) is not None:
            yield check.metric.name, value
