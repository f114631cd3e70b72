"""Public figures of real runs, and other libraries over random ones, say the same."""

from __future__ import annotations

import csv
import json
import math
from collections import defaultdict
from itertools import combinations
from pathlib import Path

import evalconfidence
import evalsig
import numpy as np
import paired_eval
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats as oracle
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests

from refold.errors import UsageError
from refold.replay.metrics import Metric, Observation
from refold.replay.stats import mcnemar_exact, pass_at_k, pass_hat_k, wilson
from refold.replay.stats.clusters import ClusteredMean, clustered_mean
from refold.replay.stats.difference import paired_difference
from refold.replay.stats.several import always_valid, benjamini_hochberg, holm
from refold.replay.verdict import judge

DATA = Path(__file__).parents[4] / "shared" / "data"
TAU = DATA / "tau-bench" / "gpt-4o-airline.json"
GPQA = DATA / "gpqa-paired" / "gpqa_diamond_scores.csv"
MINI, NANO = "openai/gpt-5.4-mini-2026-03-17", "openai/gpt-5-nano-2025-08-07"

SCORE = Metric("score", "questions answered right", "higher", "share", 0.0, 1.0)
Scores = dict[str, list[float]]
tau = pytest.mark.skipif(not TAU.exists(), reason=f"{TAU} is not here")
gpqa = pytest.mark.skipif(not GPQA.exists(), reason=f"{GPQA} is not here")


def rewards() -> list[tuple[int, int]]:
    """Successes and tries of each of the 50 tasks of tau-bench."""
    of_task = defaultdict[int, list[int]](list)
    for trial in json.loads(TAU.read_text()):
        of_task[trial["task_id"]].append(int(trial["reward"]))
    return [(sum(tries), len(tries)) for tries in of_task.values()]


def scores(model: str) -> Scores:
    """What a model scored in its five runs of each of the 198 questions of GPQA."""
    of_item: Scores = defaultdict(list)
    with GPQA.open() as file:
        for row in csv.DictReader(file):
            if row["model_id"] == model:
                of_item[row["item_id"]].append(float(row["score"]))
    return of_item


def seen(scores: Scores) -> list[Observation]:
    return [Observation(item, item, value) for item, of in scores.items() for value in of]


def results(scores: Scores, model: str) -> list[evalconfidence.ItemResult]:
    return [
        evalconfidence.ItemResult(item_id=item, model_id=model, score=value, epoch=epoch)
        for item, of in scores.items()
        for epoch, value in enumerate(of, 1)
    ]


@tau
def test_pass_hat_k_of_tau_bench() -> None:
    """The published numbers of its airline tasks; and another library's, task by task."""
    tasks = rewards()
    found = [pass_hat_k(tasks, k) for k in (1, 2, 3, 4)]
    assert found == pytest.approx([0.420, 0.2733, 0.220, 0.200], abs=5e-4)
    for k in (1, 2, 3, 4):
        theirs = [paired_eval.pass_hat_k(won, tried, k) for won, tried in tasks]
        assert pass_hat_k(tasks, k) == pytest.approx(sum(theirs) / len(theirs))
    assert sum(0 < won < tried for won, tried in tasks) == 26
    ever = sum(won > 0 for won, _ in tasks) / 50
    assert [pass_at_k(tasks, k) for k in (1, 4)] == pytest.approx([0.42, ever])


@tau
def test_the_error_of_tau_bench_is_by_task() -> None:
    """0.052 by task, 0.035 as if its trials were independent."""
    tasks = rewards()
    by_trial = [(1.0, 1)] * sum(w for w, _ in tasks) + [(0.0, 1)] * sum(n - w for w, n in tasks)
    assert clustered_mean(tasks).error == pytest.approx(0.052, abs=5e-4)
    assert clustered_mean(by_trial).error == pytest.approx(0.035, abs=5e-4)


@gpqa
def test_gpqa_pairing_changes_the_verdict() -> None:
    """Difference 0.0586; errors 0.0214 naive, 0.0405 clustered, 0.0278 clustered and paired."""
    nano, mini = scores(NANO), scores(MINI)
    alone = [clustered_mean([(v, 1) for of in one.values() for v in of]) for one in (nano, mini)]
    apart = [clustered_mean([(sum(of), len(of)) for of in one.values()]) for one in (nano, mini)]
    assert unpaired(alone) == pytest.approx((0.0586, 0.0214), abs=1e-4)
    assert unpaired(apart) == pytest.approx((0.0586, 0.0405), abs=5e-5)
    verdict = judge(SCORE, seen(nano), seen(mini))
    assert verdict.difference == pytest.approx(0.0586, abs=5e-5)
    half = oracle.t.ppf(0.975, 197) * 0.0278
    assert verdict.low == pytest.approx(0.0586 - half, abs=2e-4)
    assert verdict.high == pytest.approx(0.0586 + half, abs=2e-4)
    assert (verdict.answer, verdict.items, verdict.clusters) == ("better", 198, 198)
    assert 0.0586 < 1.96 * 0.0405  # Which, unpaired, nothing could be said of.


@gpqa
def test_gpqa_agrees_with_another_library() -> None:
    """Evalconfidence averages the runs of a question and pairs them too."""
    nano, mini = scores(NANO), scores(MINI)
    theirs = evalconfidence.compare(results(nano, NANO), results(mini, MINI))
    verdict = judge(SCORE, seen(nano), seen(mini))
    ends = sorted(abs(end) for end in theirs.ci_diff)
    assert [verdict.low, verdict.high] == pytest.approx(ends, rel=1e-9)
    assert verdict.p == pytest.approx(theirs.p_value, rel=1e-6)


def unpaired(arms: list[ClusteredMean]) -> tuple[float, float]:
    """Difference and error of two arms that share no item."""
    first, second = arms
    return first.mean - second.mean, math.hypot(first.error or 0, second.error or 0)


@given(st.integers(0, 2**32 - 1), st.integers(17, 60), st.floats(-0.5, 0.5))
@settings(max_examples=40)
def test_paired_means_are_scipys_and_other_libraries(seed: int, count: int, true: float) -> None:
    """One value a cluster and more than 16: the paired t test, wherever it is told."""
    differences = np.random.default_rng(seed).normal(true, 1, count)
    got = paired_difference([(d, 1) for d in differences], confidence=0.95, reach=0.0)
    expected = oracle.ttest_1samp(differences, 0)
    ends = expected.confidence_interval(0.95)
    assert got.p == pytest.approx(expected.pvalue, rel=1e-6)
    assert (got.low, got.high) == pytest.approx((ends.low, ends.high), abs=1e-9)


@given(st.integers(0, 2**32 - 1), st.integers(17, 60), st.integers(1, 4))
@settings(max_examples=25)
def test_a_verdict_is_evalconfidences(seed: int, count: int, runs: int) -> None:
    """Runs of a question averaged, questions paired: the same difference, ends and p."""
    drawn = np.random.default_rng(seed).normal(0.5, 0.2, (2, count, runs)).tolist()
    first, second = ({f"q{n}": of for n, of in enumerate(arm)} for arm in drawn)
    free = Metric("score", "scores", "higher", "")
    verdict = judge(free, seen(first), seen(second))
    theirs = evalconfidence.compare(results(first, "a"), results(second, "b"))
    assert verdict.difference == pytest.approx(theirs.diff)
    assert (verdict.low, verdict.high) == pytest.approx(theirs.ci_diff, rel=1e-6)
    assert verdict.p == pytest.approx(theirs.p_value, rel=1e-6)


@given(st.integers(0, 2**32 - 1), st.integers(20, 300))
@settings(max_examples=25)
def test_a_confidence_sequence_is_evalsigs(seed: int, count: int) -> None:
    """Tuned alike (its rho is 1), as wide after any number of values."""
    drawn = np.random.default_rng(seed).normal(0, 1, count)
    theirs = evalsig.confidence_sequence(drawn, alpha=0.05, rho=1.0)
    log = -2 * math.log(0.05)
    half, _ = always_valid(0.0, count, 0.95, planned=log + math.log(log) + 1)
    assert half * float(oracle.sem(drawn)) == pytest.approx(theirs.half_width)


@given(st.integers(0, 80), st.integers(0, 80))
def test_mcnemar_is_statsmodels(up: int, down: int) -> None:
    """Exact, for any counts."""
    expected = mcnemar([[5, up], [down, 7]], exact=True).pvalue
    assert mcnemar_exact(up, down) == pytest.approx(expected, rel=1e-9)


@given(st.integers(0, 300), st.integers(1, 300))
def test_wilson_is_another_librarys(won: int, lost: int) -> None:
    """As paired-eval has it, with its z of 1.96."""
    theirs = paired_eval.wilson_ci(won, won + lost)
    assert wilson(won, won + lost) == pytest.approx(theirs, abs=1e-3)


@given(st.lists(st.floats(0, 1), min_size=1, max_size=12))
def test_adjusted_ps_are_statsmodels_and_other_libraries(ps: list[float]) -> None:
    """Holm's and Benjamini and Hochberg's, in the order given, ties and all."""
    for ours, name in ((holm(ps), "holm"), (benjamini_hochberg(ps), "fdr_bh")):
        assert ours == pytest.approx(multipletests(ps, method=name)[1], abs=1e-12)
    assert holm(ps) == pytest.approx(paired_eval.holm_adjust(ps), abs=1e-12)
    theirs = evalsig.benjamini_hochberg(np.array(ps)).p_adjusted
    assert benjamini_hochberg(ps) == pytest.approx(theirs, abs=1e-12)


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), min_size=1, max_size=6))
def test_pass_k_counts_the_sets_of_tries(outcomes: list[tuple[int, int]]) -> None:
    """Each set of k tries of a task looked at: all of them right, or any of them."""
    tasks = [(won, won + lost) for won, lost in outcomes if won + lost]
    fewest = min((tried for _, tried in tasks), default=0)
    for k in range(1, fewest + 1):
        every = [list(combinations([1] * won + [0] * (n - won), k)) for won, n in tasks]
        all_right = [sum(map(all, sets)) / len(sets) for sets in every]
        any_right = [sum(map(any, sets)) / len(sets) for sets in every]
        assert pass_hat_k(tasks, k) == pytest.approx(sum(all_right) / len(tasks))
        assert pass_at_k(tasks, k) == pytest.approx(sum(any_right) / len(tasks))
    with pytest.raises(UsageError):
        pass_hat_k(tasks, fewest + 1)
