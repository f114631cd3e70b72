"""Two recorded agents that did the same tasks, paired by task: nothing has to be replayed.

Or two models, two prompts, two weeks: whatever two selections of conversations have in common.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from refold.conversation.attributes import OUTCOME, REWARD, Attributes
from refold.conversation.events import SessionEnded
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import NotFound, UsageError
from refold.replay.answer import Verdicts
from refold.replay.arms import (
    OF_THE_RECORD,
    PRIMARY,
    Question,
    check_cluster,
    check_question,
    verdicts,
)
from refold.replay.checks.scoring import recorded_values
from refold.replay.checks.seen import NamedCheck
from refold.replay.decision import Prices, check_prices
from refold.replay.metrics import METRICS, Metric, Observation
from refold.replay.pairing import Values
from refold.replay.stats import mcnemar_exact, pass_at_k, pass_hat_k
from refold.replay.variant import OPENED, checked_streams

TASK: Final = "task"
NAMED_MAX: Final = 20
RECORDED: Final = "recorded"
NOT_COMPARED: Final = (
    "recorded: nothing was asked again; each side is as it was recorded, task by task. What else "
    "differed between the two, such as who was served and when, is in the difference."
)


class RecordedTry(msgspec.Struct, frozen=True):
    """A conversation that did a task, as it was ``until`` a version (None: to its end).

    ``values`` has what each metric is of it by name, None where that is not known; a check that
    does not apply is not in it. ``cluster`` is what it is not independent of.
    """

    stream: str
    until: int | None
    cluster: str
    values: dict[str, float | None]


class RecordedTask(msgspec.Struct, frozen=True, kw_only=True):
    """A task that both sides did, with the conversations of each."""

    task: str
    a: list[RecordedTry]
    b: list[RecordedTry]

    def observed(self, side: str, metric: str) -> Iterator[Observation]:
        """What a metric is with ``a`` or ``b``."""
        for one in getattr(self, side):
            value, applies = one.values.get(metric), metric in one.values
            yield Observation(self.task, one.cluster, value, applies)


class RecordedArm(msgspec.Struct, frozen=True, kw_only=True):
    """One selection: how many conversations, of how many tasks (or what it is paired by).

    ``unpaired`` tasks are in this one alone, ``first_unpaired`` are some of them. Of
    ``without_key`` conversations it is not known which task they did. Neither is in any figure.
    ``pass_hat_k`` is, for each number of tries from 1 to the fewest of a task, the chance that all
    of so many end with a reward of 1 (as in tau-bench), ``pass_at_k`` that any does; empty where
    rewards are not 0 or 1.
    """

    conversations: int
    tasks: int
    unpaired: int
    first_unpaired: list[str]
    without_key: int
    pass_hat_k: list[float]
    pass_at_k: list[float]


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

    ``pairs`` counts the tasks that are in both, which are ``tasks``. ``outcomes`` is None where
    some were tried several times (then their tries are averaged first), or rewards are not 0 or 1.
    Of ``without_cluster`` conversations it is not known what they are clustered by: they are of
    their task alone.
    """

    mode: str = RECORDED
    not_measured: str = NOT_COMPARED
    pair_by: str
    pairs: int
    question: Question
    without_cluster: int
    a: RecordedArm
    b: RecordedArm
    outcomes: Outcomes | None
    verdicts: Verdicts
    tasks: list[RecordedTask]


def of_recorded(checks: Iterable[NamedCheck] = ()) -> dict[str, Metric]:
    """What is measured of a recorded conversation, by name; the checks last."""
    own = {name: METRICS[name] for name in (REWARD, OUTCOME, *OF_THE_RECORD)}
    own["cost"] = replace(own["cost"], says="what a conversation costs")
    return own | {check.metric.name: check.metric for check in checks}


def compare_recorded(
    store: Store,
    a: Iterable[str],
    b: Iterable[str],
    *,
    pair_by: str = TASK,
    question: Question | None = None,
    checks: Sequence[NamedCheck] = (),
    prices: Prices | None = None,
) -> RecordedComparison:
    """Compare the conversations ``b`` with the conversations ``a`` of the same tasks.

    They are paired by what they are known by (see
    :meth:`Attributes.by <refold.conversation.Attributes.by>`): the task, or the label or metadata
    ``pair_by`` names. Several conversations of one task are tries of it: their values are averaged
    first. Where a side is a mapping, as :attr:`Dataset.versions` is, each is looked at up to its
    version, but known by all that was said of it since. Without a ``question`` the reward decides,
    where both sides have some, else broken answers. ``checks`` are made of whole conversations.
    ``prices`` by model give a cost to answers without one. Raises
    :class:`~refold.errors.UsageError` for a conversation on both sides,
    :class:`~refold.errors.NotFound` where no two have a task in common.
    """
    check_store(store, call="compare_recorded", instead=OPENED)
    check_prices(prices)
    known = of_recorded(checks)
    check_question(question or Question(), known)
    selected = _selected(a, b)
    cluster = question.cluster if question is not None else None
    check_cluster(store, [*selected[0], *selected[1]], cluster)
    first, second = (_Side(store, one, pair_by, cluster, checks, prices or {}) for one in selected)
    tasks = [
        RecordedTask(task=task, a=first.tries[task], b=second.tries[task])
        for task in sorted(first.tries.keys() & second.tries.keys(), key=_in_order)
    ]
    if not tasks:
        names = "pair by task, customer, agent, prompt, a label, or what metadata says"
        raise NotFound(f"no {pair_by} is on both sides: {first}; {second}; {names}")
    rewards = [
        [_rewards(one) for one in side] for side in ((t.a for t in tasks), (t.b for t in tasks))
    ]
    if question is None:
        is_rewarded = all(
            any(reward is not None for of in side for reward in of) for side in rewards
        )
        question = Question(primary=REWARD if is_rewarded else PRIMARY)
    question = replace(question, cluster=question.cluster or pair_by)
    judged = verdicts(question, _Tasks("b", tasks), _Tasks("a", tasks), known)
    if not (first.has_outcomes or second.has_outcomes):
        judged = _without_outcome(judged)
    return RecordedComparison(
        pair_by=pair_by,
        pairs=len(tasks),
        question=question,
        without_cluster=first.without_cluster + second.without_cluster,
        a=first.told(tasks, rewards[0]),
        b=second.told(tasks, rewards[1]),
        outcomes=_outcomes(*rewards),
        verdicts=judged,
        tasks=tasks,
    )


def _without_outcome(judged: Verdicts) -> Verdicts:
    """The verdicts, where all that is known of outcomes is that each conversation ended."""
    ends = [one for one in judged.rest if one.metric.name == OUTCOME]
    rest = [one for one in judged.rest if one not in ends]
    return replace(judged, rest=rest, unknown=[*judged.unknown, *ends])


def _selected(*sides: Iterable[str]) -> list[dict[str, int | None]]:
    """Each side's streams, with the version that each is looked at up to; none is on both."""
    found = [
        {stream: side.get(stream) if isinstance(side, Mapping) else None for stream in names}
        for side, names in ((one, checked_streams(one)) for one in sides)
    ]
    if both := found[0].keys() & found[1].keys():
        raise UsageError(
            f"{min(both)} is on both sides: a conversation cannot be set against itself",
            stream=min(both),
        )
    return found


class _Side:
    """One selection as it was read: its ``tries`` by task."""

    def __init__(
        self,
        store: Store,
        streams: Mapping[str, int | None],
        pair_by: str,
        cluster: str | None,
        checks: Sequence[NamedCheck],
        prices: Prices,
    ) -> None:
        self.tries = defaultdict[str, list[RecordedTry]](list)
        self.without_cluster = self._without_key = 0
        self.has_outcomes = False
        self._conversations, self._pair_by = len(streams), pair_by
        for stream, until in streams.items():
            history = list(store.read(stream))
            held = history if until is None else history[: until + 1]
            known_by = Attributes.of(history)
            self.has_outcomes |= known_by.outcome not in (None, SessionEnded().reason)
            self.has_outcomes |= OUTCOME in known_by.labels
            if (key := known_by.by(pair_by)) is None:
                self._without_key += 1
                continue
            of = known_by.by(cluster) if cluster else key
            self.without_cluster += of is None
            values = recorded_values(stream, held, known_by, checks, prices)
            self.tries[key].append(RecordedTry(stream, until, of or key, values))

    def __str__(self) -> str:
        """What there is, where nothing fits."""
        some = ", ".join(sorted(self.tries)[:NAMED_MAX]) or f"none with a {self._pair_by}"
        return f"of {self._conversations} conversations there are {some}"

    def told(self, tasks: Iterable[RecordedTask], rewards: list[Values]) -> RecordedArm:
        """How much of it was paired."""
        alone = sorted(self.tries.keys() - {one.task for one in tasks})
        return RecordedArm(
            conversations=self._conversations,
            tasks=len(self.tries),
            unpaired=len(alone),
            first_unpaired=alone[:NAMED_MAX],
            without_key=self._without_key,
            pass_hat_k=_by_tries(rewards, pass_hat_k),
            pass_at_k=_by_tries(rewards, pass_at_k),
        )


def _in_order(task: str) -> tuple[bool, int, str]:
    """Numbers as numbers, before names."""
    return not task.isdecimal(), len(task) if task.isdecimal() else 0, task


class _Tasks(NamedTuple):
    """A side as an arm: a task is the item, its conversations are samples of it."""

    name: str
    tasks: list[RecordedTask]

    def of(self, metric: str) -> Iterator[Observation]:
        """All that is known of a metric."""
        for task in self.tasks:
            yield from task.observed(self.name, metric)


def _rewards(tries: Iterable[RecordedTry]) -> Values:
    return [one.values[REWARD] for one in tries]


def _by_tries(
    tries: list[Values], chance: Callable[[list[tuple[int, int]], int], float]
) -> list[float]:
    if not all(reward in (0, 1) for of in tries for reward in of):
        return []
    counts = [(of.count(1), len(of)) for of in tries]
    return [chance(counts, k) for k in range(1, min(map(len, tries)) + 1)]


def _outcomes(a: list[Values], b: list[Values]) -> Outcomes | None:
    tried = [[*one, *other] for one, other in zip(a, b, strict=True)]
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
