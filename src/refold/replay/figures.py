"""The figures of a comparison: rates with their uncertainty, money, time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from decimal import Decimal

import msgspec

from refold.conversation.events import Usage
from refold.replay import stats
from refold.replay.actions import (
    LEVELS,
    NOT_COMPARED,
    SAME_ACTION,
    ConversationComparison,
    known,
    total_cost,
)
from refold.replay.decision import Action
from refold.replay.stats import Interval, Summary

BY_DECISION = "bootstrap over conversations, 95%"
BY_CONVERSATION = "Wilson, 95%"
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


class Accounting(msgspec.Struct, frozen=True):
    """What became of every decision that was to be asked: the rest adds up to ``decisions``.

    ``failed`` got no answer. ``missing`` were not asked, in conversations of which something was;
    ``never_begun`` are those of conversations of which nothing was asked.
    """

    decisions: int
    answered: int
    failed: int
    missing: int
    never_begun: int


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """A replay in figures.

    ``counts`` is how many decisions stand at each level, where never begun is missing too;
    ``accounting`` tells the two apart. ``by_decision`` is the share of answered
    decisions with the same action; turns of one conversation are not independent, so its interval
    resamples conversations. ``by_conversation`` is the share of conversations in which every
    action was the same, among those answered throughout. ``cost_delta`` and ``latency_delta`` are
    candidate less recorded over the decisions where both are known.
    """

    conversations: int
    decisions: int
    counts: dict[str, int]
    accounting: Accounting
    by_decision: Proportion
    by_conversation: Proportion
    recorded: Totals
    candidate: Totals
    cost_delta: Decimal | None
    latency_delta: Summary | None


class Paired(msgspec.Struct, frozen=True, kw_only=True):
    """Candidate against control, conversation by conversation: was every action the same?

    ``p`` is the exact McNemar test; ``difference`` the candidate's rate less the control's.
    ``smallest_effect`` is the difference that this many pairs would have shown with 80% power,
    ``pairs_needed`` how many pairs would show the difference seen; None where there is none.
    """

    pairs: int
    both: int
    only_candidate: int
    only_control: int
    neither: int
    discordant: int
    difference: float | None
    p: float
    smallest_effect: float | None
    pairs_needed: int | None


def figures(conversations: Sequence[ConversationComparison]) -> Figures:
    """The figures of some compared conversations."""
    every = [decision for conversation in conversations for decision in conversation.decisions]
    return Figures(
        conversations=len(conversations),
        decisions=len(every),
        counts={level: sum(c.counts[level] for c in conversations) for level in LEVELS},
        accounting=account(
            (len(c.decisions), sum(c.counts[level] for level in _ANSWERED), c.counts["failed"])
            for c in conversations
        ),
        by_decision=_by_decision([c.counts for c in conversations]),
        by_conversation=_by_conversation([c.same_action for c in conversations]),
        recorded=_totals([d.recorded for d in every]),
        candidate=_totals([d.candidate for d in every if d.candidate]),
        cost_delta=total_cost(d.cost_delta for d in every),
        latency_delta=stats.summarise(known(d.latency_delta_ms for d in every)),
    )


def account(outcomes: Iterable[tuple[int, int, int]]) -> Accounting:
    """The account of some conversations, each as how many decisions, answered and failed."""
    found = list(outcomes)
    decisions, answered, failed = (sum(one[place] for one in found) for place in range(3))
    never_begun = sum(every for every, answered, failed in found if answered + failed == 0)
    missing = decisions - answered - failed - never_begun
    return Accounting(decisions, answered, failed, missing, never_begun)


def paired(
    candidate: Iterable[ConversationComparison], control: Iterable[ConversationComparison]
) -> Paired:
    """The candidate against the control, over the conversations that both answered throughout."""
    controls = {c.stream: c.same_action for c in control}
    outcomes = Counter((c.same_action, controls.get(c.stream)) for c in candidate)
    both, neither = outcomes[True, True], outcomes[False, False]
    only_candidate, only_control = outcomes[True, False], outcomes[False, True]
    discordant = only_candidate + only_control
    pairs = both + discordant + neither
    discordant_rate = discordant / pairs if pairs else 0.0
    difference = (only_candidate - only_control) / pairs if pairs else None
    return Paired(
        pairs=pairs,
        both=both,
        only_candidate=only_candidate,
        only_control=only_control,
        neither=neither,
        discordant=discordant,
        difference=difference,
        p=stats.mcnemar_exact(only_candidate, only_control),
        smallest_effect=stats.mcnemar_smallest_effect(pairs, discordant_rate),
        pairs_needed=(
            stats.mcnemar_pairs_needed(difference, discordant_rate) if difference else None
        ),
    )


def _by_decision(counts: Iterable[dict[str, int]]) -> Proportion:
    clusters = [
        (sum(of[level] for level in SAME_ACTION), sum(of[level] for level in _ANSWERED))
        for of in counts
    ]
    successes, trials = stats.total(clusters)
    return _rate(successes, trials, stats.cluster_bootstrap(clusters), BY_DECISION)


def _by_conversation(outcomes: Iterable[bool | None]) -> Proportion:
    found = known(outcomes)
    successes, trials = sum(found), len(found)
    return _rate(successes, trials, stats.wilson(successes, trials), BY_CONVERSATION)


def _rate(successes: int, trials: int, interval: Interval, method: str) -> Proportion:
    return Proportion(successes, trials, successes / trials if trials else None, *interval, method)


def _totals(actions: Sequence[Action]) -> Totals:
    costs, usages = [a.cost for a in actions], known(a.usage for a in actions)
    return Totals(
        cost=total_cost(costs),
        cost_known=len(known(costs)),
        usage=total_usage(usages),
        usage_known=len(usages),
        latency=stats.summarise(known(a.latency_ms for a in actions)),
    )


def total_usage(usages: Sequence[Usage]) -> Usage | None:
    """Tokens added up; None for none."""
    if not usages:
        return None
    return Usage(
        input_tokens=sum(usage.input_tokens for usage in usages),
        output_tokens=sum(usage.output_tokens for usage in usages),
        cached_tokens=sum(usage.cached_tokens for usage in usages),
        cache_write_tokens=_sum_of(usage.cache_write_tokens for usage in usages),
        reasoning_tokens=_sum_of(usage.reasoning_tokens for usage in usages),
    )


def _sum_of(counts: Iterable[int | None]) -> int | None:
    """What is known of them added up; None where nothing is."""
    said = known(counts)
    return sum(said) if said else None
