"""Two recorded agents that did the same tasks, paired by task: nothing has to be replayed.

Or two models, two prompts, two weeks: whatever two selections of conversations have in common.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Set
from typing import Final

import msgspec
from msgspec.structs import replace

from refold.conversation.attributes import OUTCOME, REWARD, Attributes
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import NotFound, UsageError
from refold.replay.answer import Verdicts
from refold.replay.arms import (
    OF_THE_RECORD,
    PRIMARY,
    Arm,
    Question,
    check_cluster,
    check_question,
    verdicts,
)
from refold.replay.checks.scoring import recorded_values
from refold.replay.decision import Prices, check_prices
from refold.replay.metrics import METRICS, Metric, Observation
from refold.replay.stats import mcnemar_exact, pass_hat_k
from refold.replay.variant import OPENED, checked_streams

TASK: Final = "task"
NAMED_MAX: Final = 20
_METRICS: Final = (REWARD, OUTCOME, *OF_THE_RECORD)
RECORDED: Final[dict[str, Metric]] = {name: METRICS[name] for name in _METRICS} | {
    "cost": replace(METRICS["cost"], says="what a conversation costs")
}
"""What is measured of a recorded conversation, by name."""


class RecordedArm(msgspec.Struct, frozen=True, kw_only=True):
    """One selection: how many conversations, of how many tasks (or what it is paired by).

    ``unpaired`` tasks are in this one alone, ``first_unpaired`` are some of them. Of
    ``without_key`` conversations it is not known which task they did. Neither is in any figure.
    ``pass_hat_k`` is, for each number of tries from 1 to the fewest of a task, the chance that all
    of so many end with a reward of 1 (as in tau-bench); empty where rewards are not 0 or 1.
    """

    conversations: int
    tasks: int
    unpaired: int
    first_unpaired: list[str]
    without_key: int
    pass_hat_k: list[float]


class Outcomes(msgspec.Struct, frozen=True, kw_only=True):
    """Tasks that each side tried once, with a reward of 0 or 1: who did them; ``p`` by McNemar.

    ``p`` is the chance of a split as uneven as ``only_a`` to ``only_b`` if both are as good.
    """

    both: int
    only_a: int
    only_b: int
    neither: int
    p: float


class RecordedComparison(msgspec.Struct, frozen=True, kw_only=True):
    """Two selections of recorded conversations, task by task; ``b`` is judged against ``a``.

    ``pairs`` counts the tasks that are in both. ``outcomes`` is None where some were tried several
    times (then their tries are averaged first), or rewards are not 0 or 1.
    """

    pair_by: str
    pairs: int
    a: RecordedArm
    b: RecordedArm
    outcomes: Outcomes | None
    verdicts: Verdicts


def compare_recorded(
    store: Store,
    a: Iterable[str],
    b: Iterable[str],
    *,
    pair_by: str = TASK,
    question: Question | None = None,
    prices: Prices | None = None,
) -> RecordedComparison:
    """Compare the conversations ``b`` with the conversations ``a`` of the same tasks.

    They are paired by what they are known by (see
    :meth:`Attributes.by <refold.conversation.Attributes.by>`): the task, or the label or metadata
    ``pair_by`` names. Several conversations of one task are tries of it: their values are averaged
    first. Where a side is a mapping, as :attr:`Dataset.versions` is, each is looked at up to its
    version, but known by all that was said of it since. Without a ``question`` the reward decides,
    where both sides have some, else broken answers. ``prices`` by model give a cost to answers
    without one. Raises :class:`~refold.errors.UsageError` for a conversation on both sides,
    :class:`~refold.errors.NotFound` where no two have a task in common.
    """
    check_store(store, call="compare_recorded", instead=OPENED)
    check_prices(prices)
    sides = [
        {stream: side.get(stream) if isinstance(side, Mapping) else None for stream in names}
        for side, names in ((one, checked_streams(one)) for one in (a, b))
    ]
    if both := sides[0].keys() & sides[1].keys():
        raise UsageError(
            f"{min(both)} is on both sides: a conversation cannot be set against itself",
            stream=min(both),
        )
    cluster = question.cluster if question is not None else None
    check_cluster(store, [*sides[0], *sides[1]], cluster)
    first, second = (_Side(store, side, pair_by, cluster, prices or {}) for side in sides)
    paired = first.rewards.keys() & second.rewards.keys()
    if not paired:
        raise NotFound(f"no {pair_by} is on both sides: {first}; {second}")
    for side in (first, second):
        side.arm.keep(paired)
    is_rewarded = all(
        any(reward is not None for key in paired for reward in side.rewards[key])
        for side in (first, second)
    )
    question = question or Question(primary=REWARD if is_rewarded else PRIMARY)
    check_question(question, RECORDED)
    if question.cluster is None:
        question = replace(question, cluster=pair_by)
    return RecordedComparison(
        pair_by=pair_by,
        pairs=len(paired),
        a=first.told(paired),
        b=second.told(paired),
        outcomes=_outcomes(first, second, paired),
        verdicts=verdicts(question, second.arm, first.arm, _METRICS, RECORDED, is_complete=True),
    )


class _Side:
    """One selection as it is read: its ``arm``, and the ``rewards`` of each try by task."""

    def __init__(
        self,
        store: Store,
        streams: Mapping[str, int | None],
        pair_by: str,
        cluster: str | None,
        prices: Prices,
    ) -> None:
        self.arm, self.rewards = Arm(), defaultdict[str, list[float | None]](list)
        self._conversations, self._pair_by, self._without_key = len(streams), pair_by, 0
        for stream, until in streams.items():
            history = list(store.read(stream))
            held = history if until is None else history[: until + 1]
            known_by = Attributes.of(history)
            if (key := known_by.by(pair_by)) is None:
                self._without_key += 1
                continue
            self.rewards[key].append(known_by.reward)
            of = (known_by.by(cluster) if cluster else None) or key
            values = recorded_values(stream, held, prices=prices)
            for name in _METRICS:
                self.arm.note(name, Observation(key, of, values[name]))

    def __str__(self) -> str:
        """What there is, where nothing fits."""
        some = ", ".join(sorted(self.rewards)[:NAMED_MAX]) or f"none with a {self._pair_by}"
        return f"of {self._conversations} conversations there {some}"

    def told(self, paired: Set[str]) -> RecordedArm:
        """How much of it was paired."""
        alone = sorted(self.rewards.keys() - paired)
        return RecordedArm(
            conversations=self._conversations,
            tasks=len(self.rewards),
            unpaired=len(alone),
            first_unpaired=alone[:NAMED_MAX],
            without_key=self._without_key,
            pass_hat_k=self._pass_hat_k(paired),
        )

    def _pass_hat_k(self, paired: Set[str]) -> list[float]:
        tries = [self.rewards[key] for key in paired]
        if not all(reward in (0, 1) for of in tries for reward in of):
            return []
        counts = [(of.count(1), len(of)) for of in tries]
        return [pass_hat_k(counts, k) for k in range(1, min(map(len, tries)) + 1)]


def _outcomes(first: _Side, second: _Side, paired: Set[str]) -> Outcomes | None:
    tried = [[*first.rewards[key], *second.rewards[key]] for key in paired]
    if not all(len(of) == 2 and set(of) <= {0, 1} for of in tried):
        return None
    counts = Counter((a == 1, b == 1) for a, b in tried)
    only_a, only_b = counts[True, False], counts[False, True]
    return Outcomes(
        both=counts[True, True],
        only_a=only_a,
        only_b=only_b,
        neither=counts[False, False],
        p=mcnemar_exact(only_a, only_b),
    )
