"""The figures of a comparison: rates with their uncertainty, money, time."""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from statistics import fmean
from typing import Final

import msgspec

from refold.conversation.events import Usage
from refold.replay import stats
from refold.replay.accounting import Accounting, DecisionOutcomes, account
from refold.replay.actions import (
    LEVELS,
    NOT_COMPARED,
    SAME_ACTION,
    ConversationComparison,
    DecisionComparison,
    Level,
    known,
    total_cost,
)
from refold.replay.decision import Action
from refold.replay.decision import total_usage as total_usage
from refold.replay.led import standings
from refold.replay.placing import Course, CourseTally
from refold.replay.stats import Summary
from refold.replay.variant import NEXT_STEP, SIMULATED_USER

BY_DECISION = "clustered by conversation, 95%"
BY_CONVERSATION = "Wilson, 95%"
PARTINGS_SHOWN_MAX = 10
_ANSWERED = frozenset(LEVELS) - NOT_COMPARED


class Proportion(msgspec.Struct, frozen=True):
    """``successes`` of ``trials``, and between what ends the true rate lies, by ``method``.

    ``rate`` is None without trials.
    """

    successes: int
    trials: int
    rate: float | None
    low: float
    high: float
    method: str


class Tries(msgspec.Struct, frozen=True):
    """Requests beside those that were answered: of how many ``answers``, and how many requests.

    Their latency is in no figure; ``wait`` summarises the milliseconds from the first request of
    such an answer to the answer. ``usage`` is what they took as far as it is known; ``unknown`` of
    them may have been charged without a word, and then what those answers cost is not known.
    """

    answers: int
    requests: int
    usage: Usage | None
    unknown: int
    wait: Summary | None


class Totals(msgspec.Struct, frozen=True):
    """What one side took: sums over the decisions where it is known, and over how many.

    Where that is fewer than were answered, it took at least so much.
    ``cost`` is in US dollars; ``latency`` summarises milliseconds an answer.
    """

    cost: Decimal | None
    cost_known: int
    usage: Usage | None
    usage_known: int
    latency: Summary | None
    tries: Tries


class ByRecord(msgspec.Struct, frozen=True):
    """The rates split by what the record did: ``called`` a tool, or only ``spoke``.

    ``called`` is the share that made the same calls, ``spoke`` the share that only spoke as well,
    whatever it said. An agent that never calls has 0 and 1.
    """

    called: Proportion
    spoke: Proportion


class Baselines(msgspec.Struct, frozen=True):
    """What agents without any sense would reach, of 1: so much is no achievement.

    ``never_calls`` is the share of decisions of the record without a call, ``always_calls`` that
    with one call, of the ``commonest_tool``. None without decisions, or without any call.
    """

    never_calls: float | None
    commonest_tool: str | None
    always_calls: float | None


class SimulatedTurns(msgspec.Struct, frozen=True):
    """What a simulated user said, in how many ``turns``, and how many of them have which fault.

    None of it is held against the agent.
    """

    turns: int
    faults: dict[str, int]


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A replay in figures.

    ``counts`` is how many decisions stand at each level, where never begun is missing too, and so
    is what came after the plan; ``accounting`` tells them apart. ``by_decision`` is the share with
    the same action of the decisions that are assessed; turns of one conversation are not
    independent, so its interval is that of conversations. ``not_assessed`` are those where both
    only spoke, in other words: whether these say the same, a judge or a check must tell.
    ``by_record`` splits the rates, ``baselines`` is what they must be held against. ``broken`` is
    the share of broken answers, ``broken_recorded`` that of the record. ``by_conversation`` is the
    share of conversations in which every action was the same, among those answered throughout.
    ``cost_delta`` and ``latency_delta`` are candidate less recorded over the decisions where both
    are known, the samples of each averaged first. ``mode`` is how all of it was made. Where a
    candidate went on with its own answers, ``course`` says what became of every decision, and
    ``simulator`` what is at fault with who played the user; both are None where it did not.
    """

    conversations: int
    decisions: int
    counts: dict[str, int]
    accounting: Accounting
    by_decision: Proportion
    not_assessed: int
    by_record: ByRecord
    baselines: Baselines
    broken: Proportion
    broken_recorded: Proportion
    by_conversation: Proportion
    recorded: Totals
    candidate: Totals
    cost_delta: Decimal | None
    latency_delta: Summary | None
    mode: str = NEXT_STEP
    course: Course | None = None
    simulator: SimulatedTurns | None = None


class Parting(msgspec.Struct, frozen=True):
    """A decision that was another action: where, at which level, and the event of the answer.

    ``why`` says why a course of its own left the record there.
    """

    at: str
    level: Level
    answer: str | None
    why: str = ""


Holds = Callable[[DecisionComparison], bool | None]
"""Whether something holds of a decision that has an outcome; None leaves it out."""


def is_compared(decision: DecisionComparison) -> bool:
    """Whether a decision has an outcome: an answer, or the candidate's own limit."""
    return decision.level not in NOT_COMPARED


def is_same_action(decision: DecisionComparison) -> bool:
    """Whether it did what was recorded: the same calls, or none as well; and is not broken."""
    return decision.level in SAME_ACTION


_SHARES: Mapping[str, Holds] = {
    "by_decision": lambda d: is_same_action(d) if d.is_assessed else None,
    "called": lambda d: is_same_action(d) if d.recorded.calls else None,
    "spoke": lambda d: None if d.recorded.calls else is_same_action(d),
    "broken": lambda d: bool(d.faults),
    "broken_recorded": lambda d: bool(d.recorded_faults),
}


class Tally:
    """What figures are made of, one conversation at a time: of each, no more than its counts.

    A conversation may come again, as another sample: it is independent of itself no more than its
    decisions are of each other, and was recorded once; its samples come together. ``parted`` are
    those with another action somewhere.
    """

    def __init__(self, mode: str = NEXT_STEP) -> None:
        self._counts: list[dict[str, int]] = []
        self._clusters: dict[str, _Clusters] = {name: _Clusters() for name in _SHARES}
        self._not_assessed = 0
        self._later: list[int] = []
        self._begun: list[bool] = []
        self._called: Counter[str | None] = Counter()
        self._streams: set[str] = set()
        self._same, self.parted = _Clusters(), set[str]()
        self.first_partings: list[Parting] = []
        self._course: CourseTally | None = None
        self._simulated, self._simulator_faults = 0, Counter[str]()
        self._mode = mode
        self._recorded, self._candidate = _Sums(), _Sums()
        self._cost_delta: Decimal | None = None
        self._latency_deltas = array("d")
        self._costs: dict[str, list[Decimal]] = {}
        self._latencies: dict[str, list[float]] = {}

    def add(self, conversation: ConversationComparison) -> None:
        """One more conversation."""
        self._counts.append(conversation.counts)
        self._later.append(sum(decision.is_later for decision in conversation.decisions))
        self._begun.append(conversation.is_begun)
        if (led := conversation.led) is not None:
            self._course = self._course or CourseTally()
            self._course.add(standings(conversation), is_unfinished=led.is_unfinished)
            self._simulated += led.simulated
            self._simulator_faults.update(led.simulator_faults)
        stream, is_first = conversation.stream, conversation.stream not in self._streams
        self._streams.add(stream)
        if is_first:
            self._average()
        self._same.add(stream, known([conversation.same_action]))
        place = conversation.first_divergence
        if place is not None and stream not in self.parted:
            self.parted.add(stream)
            if len(self.parted) <= PARTINGS_SHOWN_MAX:
                first = conversation.decisions[place]
                self.first_partings.append(Parting(first.at, first.level, first.answer, first.why))
        compared = [decision for decision in conversation.decisions if is_compared(decision)]
        self._not_assessed += sum(not decision.is_assessed for decision in compared)
        for name, holds in _SHARES.items():
            self._clusters[name].add(stream, known(map(holds, compared)))
        for decision in conversation.decisions:
            if is_first:
                self._called[_called(decision.recorded)] += 1
                self._recorded.add(decision.recorded)
            if decision.candidate is not None and is_compared(decision):
                self._candidate.add(decision.candidate)
            if decision.cost_delta is not None:
                self._costs.setdefault(decision.at, []).append(decision.cost_delta)
            if decision.latency_delta_ms is not None:
                self._latencies.setdefault(decision.at, []).append(decision.latency_delta_ms)

    def _average(self) -> None:
        """Count what differs at each decision of the conversation before, its samples averaged."""
        means = [sum(of, Decimal(0)) / len(of) for of in self._costs.values()]
        self._cost_delta = total_cost([self._cost_delta, *means])
        self._latency_deltas.extend(map(fmean, self._latencies.values()))
        self._costs, self._latencies = {}, {}

    def figures(self) -> Figures:
        """The figures of what was added."""
        self._average()
        counts: dict[str, int] = {level: sum(of[level] for of in self._counts) for level in LEVELS}
        shares = {name: _share(clusters) for name, clusters in self._clusters.items()}
        return Figures(
            conversations=len(self._streams),
            decisions=sum(counts.values()),
            counts=counts,
            accounting=account(
                DecisionOutcomes(
                    sum(of.values()),
                    sum(of[level] for level in _ANSWERED),
                    of["failed"],
                    later,
                    of["conditional"],
                    of["excluded"],
                    is_begun,
                )
                for of, later, is_begun in zip(self._counts, self._later, self._begun, strict=True)
            ),
            by_decision=shares["by_decision"],
            not_assessed=self._not_assessed,
            by_record=ByRecord(shares["called"], shares["spoke"]),
            baselines=_baselines(self._called),
            broken=shares["broken"],
            broken_recorded=shares["broken_recorded"],
            by_conversation=_share(self._same, may_be_alone=True),
            recorded=self._recorded.totals(),
            candidate=self._candidate.totals(),
            cost_delta=self._cost_delta,
            latency_delta=stats.summarise(self._latency_deltas),
            mode=self._mode,
            course=None if self._course is None else self._course.course(),
            simulator=self._simulator(),
        )

    def _simulator(self) -> SimulatedTurns | None:
        faults = dict(sorted(self._simulator_faults.items()))
        return SimulatedTurns(self._simulated, faults) if self._mode == SIMULATED_USER else None


_SEVERAL: Final = "several calls"


def _called(action: Action) -> str | None:
    """The tool of an answer with one call; None for one without any."""
    return action.calls[0].name if len(action.calls) == 1 else _SEVERAL if action.calls else None


def _baselines(called: Counter[str | None]) -> Baselines:
    count = called.total()
    tools = Counter({name: times for name, times in called.items() if name not in (None, _SEVERAL)})
    tool, times = next(iter(tools.most_common(1)), (None, None))
    return Baselines(
        never_calls=called[None] / count if count else None,
        commonest_tool=tool,
        always_calls=None if times is None else times / count,
    )


class _Clusters:
    """How often something holds, and of how many, by conversation."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, int]] = {}

    def add(self, stream: str, told: Sequence[bool]) -> None:
        holds, count = self._found.get(stream, (0, 0))
        self._found[stream] = holds + sum(told), count + len(told)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        return iter(self._found.values())


def _share(found: Iterable[tuple[int, int]], *, may_be_alone: bool = False) -> Proportion:
    """A share with its interval; Wilson's where no cluster has more than one of the trials."""
    clusters = [*found]
    successes, trials = (sum(cluster[place] for cluster in clusters) for place in (0, 1))
    is_alone = may_be_alone and all(count <= 1 for _, count in clusters)
    interval = stats.wilson(successes, trials) if is_alone else stats.share_interval(clusters)
    method = BY_CONVERSATION if is_alone else BY_DECISION
    return Proportion(successes, trials, successes / trials if trials else None, *interval, method)


class _Sums:
    """What one side took, added up answer by answer."""

    def __init__(self) -> None:
        self._cost: Decimal | None = None
        self._usage: Usage | None = None
        self._cost_known = self._usage_known = 0
        self._latencies, self._waits = array("d"), array("d")
        self._lost: Usage | None = None
        self._tried = self._requests = self._unknown = 0

    def add(self, action: Action) -> None:
        if action.cost is not None:
            self._cost = total_cost([self._cost, action.cost])
            self._cost_known += 1
        if action.usage is not None:
            self._usage = total_usage(known([self._usage, action.usage]))
            self._usage_known += 1
        self._latencies.extend(known([action.latency_ms]))
        if action.attempts > 1:
            self._tried += 1
            self._requests += action.attempts - 1
            self._unknown += action.lost_unknown
            self._lost = total_usage(known([self._lost, action.lost_usage]))
            self._waits.extend(known([action.wait_ms]))

    def totals(self) -> Totals:
        return Totals(
            cost=self._cost,
            cost_known=self._cost_known,
            usage=self._usage,
            usage_known=self._usage_known,
            latency=stats.summarise(self._latencies),
            tries=Tries(
                answers=self._tried,
                requests=self._requests,
                usage=self._lost,
                unknown=self._unknown,
                wait=stats.summarise(self._waits),
            ),
        )
