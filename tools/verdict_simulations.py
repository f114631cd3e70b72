"""How often a verdict is wrong where the truth is known, beside how often it says it may be.

``python -m tools.verdict_simulations [RUNS]`` prints the table of ``docs/explanation/replay.md``,
in some minutes for the 1,000 runs a row of that page. Seeded: as many runs give the same table.
What is drawn are the differences of two arms as replays give them: decisions in conversations of
unlike length, some conversations harder than others, conversations of one task alike.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from numpy.random import Generator

from refold.replay.stats import Cluster, Looks, share_interval
from refold.replay.stats.clusters import clustered_mean
from refold.replay.stats.difference import paired_difference
from refold.replay.stats.power import clusters_needed, smallest_effect
from refold.replay.stats.several import holm

RUNS = 1_000
CONFIDENCE = 0.95
NONE = "no promise"
SHARE = 1.0
"""The most by which a share can differ."""


class Row(NamedTuple):
    """What is drawn, in how many of 100 runs the thing counted should happen, and whether it does.

    ``limit`` says whether that is a limit ("at most", "at least") or what is predicted ("about").
    """

    name: str
    limit: str
    promised: float
    happens: Callable[[Generator], bool]


def arms(
    draw: Generator,
    clusters: int,
    *,
    difference: float = 0.0,
    rate: float = 0.25,
    varies: float = 0.0,
    conversations: int = 1,
    lengths: tuple[int, int] = (2, 24),
) -> list[Cluster]:
    """Two arms over the same decisions, as their differences in clusters.

    ``rate`` is about that of the control, and the candidate has ``difference`` more: by ``varies``
    more or less of it from cluster to cluster. A cluster is of so many ``conversations``, each of
    the shortest to the longest of ``lengths`` decisions.
    """
    found: list[Cluster] = []
    for _ in range(clusters):
        decisions = int(draw.integers(lengths[0], lengths[1] + 1, conversations).sum())
        low, high = varies + max(0.0, -difference), 1 - varies - max(0.0, difference)
        old = low + (high - low) * draw.beta(2, 2 * (1 - rate) / rate)
        new = old + difference + varies * draw.choice((-1.0, 1.0))
        found.append(
            (float(draw.binomial(decisions, new) - draw.binomial(decisions, old)), decisions)
        )
    return found


def is_seen(clusters: list[Cluster], looks: Looks = "one") -> bool:
    """Whether it is told from no difference."""
    found = paired_difference(clusters, confidence=CONFIDENCE, reach=SHARE, looks=looks)
    return found.p <= 1 - CONFIDENCE


def is_within(clusters: list[Cluster], margin: float) -> bool:
    """Whether all of the interval is within the margin: equivalent."""
    found = paired_difference(clusters, confidence=CONFIDENCE, reach=SHARE)
    return -margin <= found.low and found.high <= margin


def rows() -> Iterator[Row]:
    """The rows of the table."""
    yield from _false_alarms()
    yield from _few()
    yield from _wrongly_equivalent()
    yield from _as_predicted()


def _false_alarms() -> Iterator[Row]:
    def seen(clusters: int, rate: float = 0.25) -> Callable[[Generator], bool]:
        return lambda draw: is_seen(arms(draw, clusters, rate=rate))

    def most(name: str, happens: Callable[[Generator], bool]) -> Row:
        return Row(name, "at most", 5, happens)

    def wrongly(name: str, happens: Callable[[Generator], bool]) -> Row:
        return Row(f"the same, wrongly {name}", NONE, 0, happens)

    yield most("A/A, 100 conversations", seen(100))
    yield most("A/A, 200 conversations, 1 % broken answers", seen(200, rate=0.01))
    yield most("A/A, 50 tasks of 4 conversations, by task", lambda draw: _tasks(draw, 1))
    yield wrongly("by conversation", lambda draw: _tasks(draw, 4))
    yield most("A/A, 20 customers, one with half of all", _one_large)
    yield most("A/A, looked at after every 40 of 400", lambda draw: _peeks(draw, "any"))
    yield wrongly("by an interval for one look", lambda draw: _peeks(draw, "one"))
    yield most(
        "A/A, ten guardrails, any of them changed", lambda draw: min(_ps(draw, holm)) <= 0.05
    )
    yield wrongly("one by one", lambda draw: min(_ps(draw, list)) <= 0.05)


def _tasks(draw: Generator, apart: int) -> bool:
    """Fifty tasks, of which each arm gets some right and others wrong, in 4 conversations each."""
    clusters = []
    for _ in range(50):
        better = 0.2 * float(draw.choice((-1.0, 1.0)))
        of = [arms(draw, 1, difference=better)[0] for _ in range(4)]
        together = (math.fsum(total for total, _ in of), sum(count for _, count in of))
        clusters += of if apart > 1 else [together]
    return is_seen(clusters)


def _one_large(draw: Generator) -> bool:
    small = arms(draw, 19, varies=0.2)
    return is_seen([*small, *arms(draw, 1, varies=0.2, conversations=19)])


def _peeks(draw: Generator, looks: Looks) -> bool:
    clusters = arms(draw, 400, lengths=(8, 8))
    return any(is_seen(clusters[:n], looks) for n in range(40, 401, 40))


def _ps(draw: Generator, adjust: Callable[[list[float]], list[float]]) -> list[float]:
    drawn = (arms(draw, 40, lengths=(8, 8)) for _ in range(10))
    found = (paired_difference(one, confidence=CONFIDENCE, reach=SHARE).p for one in drawn)
    return adjust(list(found))


def _few() -> Iterator[Row]:
    def covers(clusters: int) -> Callable[[Generator], bool]:
        def holds(draw: Generator) -> bool:
            drawn = arms(draw, clusters, difference=0.2, varies=0.1)
            found = paired_difference(drawn, confidence=CONFIDENCE, reach=SHARE)
            return found.low <= 0.2 <= found.high

        return holds

    def holds_share(clusters: int) -> Callable[[Generator], bool]:
        def holds(draw: Generator) -> bool:
            lengths = draw.integers(4, 17, clusters)
            drawn = draw.binomial(lengths, draw.beta(6, 2, clusters))
            found = share_interval(
                [(float(w), int(n)) for w, n in zip(drawn, lengths, strict=True)]
            )
            return found.low <= 0.75 <= found.high

        return holds

    for n in (2, 3, 5, 6, 8, 10, 12, 17, 30):
        name = f"{n} conversations, the interval holds the difference"
        yield Row(name, "at least", 95, covers(n))
    for n in (2, 3, 5, 10, 20, 50):
        name = f"{n} conversations, the interval holds a single rate"
        yield Row(name, "at least", 95, holds_share(n))


def _wrongly_equivalent() -> Iterator[Row]:
    def wrongly(clusters: int) -> Callable[[Generator], bool]:
        return lambda draw: is_within(arms(draw, clusters, difference=0.05), 0.05)

    def rarely(draw: Generator) -> bool:
        # One conversation in twenty breaks altogether, with the candidate alone.
        return is_within([(10.0 * (draw.random() < 0.05), 10) for _ in range(100)], 0.05)

    yield Row("5 points worse, called equivalent within 5, of 60", "at most", 2.5, wrongly(60))
    yield Row("5 points worse, called equivalent within 5, of 200", "at most", 2.5, wrongly(200))
    yield Row("every 20th conversation broken, called equivalent within 5", "at most", 2.5, rarely)


def _as_predicted() -> Iterator[Row]:
    pilot = clustered_mean(arms(np.random.default_rng(1), 40_000, difference=0.05))
    deviation = (pilot.error or 0.0) * math.sqrt(pilot.clusters)
    effect = smallest_effect(deviation / 10, 99, confidence=CONFIDENCE)
    yield Row(
        "the smallest effect of 100 conversations is seen",
        "about",
        80,
        lambda draw: is_seen(arms(draw, 100, difference=effect)),
    )
    needed = clusters_needed(0.05, deviation, confidence=CONFIDENCE) or 0
    yield Row(
        f"5 points are seen with the {needed} needed",
        "about",
        80,
        lambda draw: is_seen(arms(draw, needed, difference=0.05)),
    )
    enough = clusters_needed(0.0, deviation, confidence=CONFIDENCE, margin=0.05) or 0
    yield Row(
        f"A/A is settled within 5 points with the {enough} needed",
        "about",
        80,
        lambda draw: is_seen(found := arms(draw, enough)) or is_within(found, 0.05),
    )


def frequency(row: Row, runs: int) -> float:
    """In how many of 100 runs it happened; each row has draws of its own."""
    draw = np.random.default_rng([len(row.name), *row.name.encode()])
    return 100 * sum(row.happens(draw) for _ in range(runs)) / runs


def main(runs: int = RUNS) -> None:
    """Print the table, row by row."""
    print("| what is drawn | promised | seen |")
    print("|---|---:|---:|")
    for row in rows():
        promise = row.limit if row.limit == NONE else f"{row.limit} {row.promised:g} %"
        print(f"| {row.name} | {promise} | {frequency(row, runs):.1f} % |", flush=True)


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
