"""Values of recorded conversations, and of the answers of a replay at each decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Final, NamedTuple

from msgspec.structs import replace

from refold.conversation.attributes import Attributes
from refold.core.recorded import Recorded
from refold.replay.actions import ConversationComparison, DecisionComparison, known
from refold.replay.checks.seen import Examined, NamedCheck, SoFar, whole
from refold.replay.decision import Action, Decision, Prices, decisions, priced_decisions
from refold.replay.faults import faults_of, offered_by
from refold.replay.judge import Judgements, JudgeUsed

_GOOD: Final = frozenset({"completed", "success", "succeeded", "resolved", "passed", "good", "yes"})
_OPEN: Final = frozenset({"unknown", "open"})


class Scoring(NamedTuple):
    """What answers are scored by: checks, and what a judge has said of them."""

    checks: Sequence[NamedCheck] = ()
    judgements: Judgements | None = None

    def scored(
        self,
        compared: ConversationComparison,
        history: Sequence[Recorded],
        recorded: Iterable[Decision],
        branch: Iterable[Recorded] = (),
    ) -> ConversationComparison:
        """A comparison with what each gives, of both answers where it applies to them.

        ``branch`` holds the candidate's, and what people said of them.
        """
        if self.checks:
            compared = _checked(compared, history, recorded, self.checks)
        return compared if self.judgements is None else self.judgements.scored(compared, branch)

    @property
    def used(self) -> JudgeUsed | None:
        """Who judged."""
        return None if self.judgements is None else self.judgements.used

    @property
    def said(self) -> list[str]:
        """What there is to be said of that, in sentences."""
        return [] if self.used is None else [self.used.said()]


UNSCORED: Final = Scoring()


def _checked(
    compared: ConversationComparison,
    history: Sequence[Recorded],
    recorded: Iterable[Decision],
    checks: Sequence[NamedCheck],
) -> ConversationComparison:
    of = {decision.at: decision for decision in recorded}
    so_far = SoFar(history)

    def values(at: str, action: Action | None) -> dict[str, float | None]:
        return {} if action is None else _scores(checks, so_far.answered(of[at], action))

    def told(one: DecisionComparison) -> DecisionComparison:
        scores, recorded_scores = (values(one.at, said) for said in (one.candidate, one.recorded))
        return replace(one, scores=scores, recorded_scores=recorded_scores)

    decisions = [one if one.is_later else told(one) for one in compared.decisions]
    return replace(compared, decisions=decisions)


def recorded_values(
    stream: str,
    history: Sequence[Recorded],
    known_by: Attributes,
    checks: Sequence[NamedCheck] = (),
    prices: Prices | None = None,
) -> dict[str, float | None]:
    """What each metric is for a recorded conversation, by its name; None where it is not known.

    Outcome and reward are those that it is ``known_by``, whenever that was said.
    ``broken_answers`` is the share of its answers, ``cost`` the sum and ``latency_ms`` the mean of
    them. ``outcome`` is 1 for a label or an end that says that all is well (completed, success,
    resolved, …), 0 for any other. A check that does not apply has no value here.
    """
    made = priced_decisions(decisions(history), prices or {})
    costs = [one.action.cost for one in made]
    latencies = known(one.action.latency_ms for one in made)
    broken = [bool(faults_of(one.action, offered_by(one.configured))) for one in made]
    said = (known_by.outcome or "unknown").lower()
    return {
        "broken_answers": fmean(broken) if broken else None,
        "cost": float(sum(known(costs))) if costs and None not in costs else None,
        "latency_ms": fmean(latencies) if latencies else None,
        "outcome": None if said in _OPEN else float(said in _GOOD),
        "reward": known_by.reward,
        **(_scores(checks, whole(stream, history, [one.action for one in made])) if checks else {}),
    }


def _scores(checks: Iterable[NamedCheck], seen: Examined) -> dict[str, float | None]:
    found = {check.metric.name: check.value(seen) for check in checks}
    return {name: value for name, value in found.items() if value is not None}
