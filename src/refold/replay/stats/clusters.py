"""Means over items that come in clusters: the share or the mean, and how far off it can be.

Decisions of one conversation resemble each other, and so do trials of one task: what is
independent is the cluster. Each is given as its ``(total, count)``: the sum over its items, and how
many they are. **A mean is over items**: the sum of the totals over the sum of the counts, so each
item weighs the same and a long conversation weighs more. (The mean of the clusters' own means would
let a conversation of one decision weigh as much as one of fifty.)
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

Cluster = tuple[float, int]
"""The sum over the items of one cluster, and their number (at least 1)."""


class ClusteredMean(NamedTuple):
    """A mean over items; its standard error and degrees of freedom are those of its clusters.

    ``error`` is None, and ``degrees`` 0, for fewer than two clusters: one tells nothing of others.
    """

    mean: float
    error: float | None
    degrees: float
    items: int
    clusters: int


def clustered_mean(clusters: Sequence[Cluster]) -> ClusteredMean:
    """The mean over the items of one or more clusters, with its cluster-robust standard error.

    The error is that of the jackknife, each cluster left out once: CR3 in MacKinnon, Nielsen and
    Webb 2023, "Fast and reliable jackknife and bootstrap methods for cluster-robust inference",
    Journal of Applied Econometrics 38. The degrees of freedom are those of Bell and McCaffrey 2002,
    "Bias reduction in standard errors for linear regression with multi-stage samples", Survey
    Methodology 28. For clusters of one size these are the usual correction ``G / (G - 1)`` and
    ``G - 1``; where one cluster holds half of all items, those two would promise 95 % and keep 70.
    """
    items = sum(count for _, count in clusters)
    mean = math.fsum(total for total, _ in clusters) / items
    if len(clusters) < 2:
        return ClusteredMean(mean, None, 0.0, items, len(clusters))
    weights = [count / items for _, count in clusters]
    residuals = [(total - mean * count) / items for total, count in clusters]
    left_out = math.fsum((r / (1 - w)) ** 2 for r, w in zip(residuals, weights, strict=True))
    error = math.sqrt(left_out * (len(clusters) - 1) / len(clusters))
    squares = math.fsum(w**2 for w in weights)
    leverages = [w**2 / (1 - w) for w in weights]
    crossed = math.fsum(leverages) ** 2 - math.fsum(v**2 for v in leverages)
    return ClusteredMean(mean, error, 1 / (squares + crossed), items, len(clusters))
