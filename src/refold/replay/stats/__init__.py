"""Statistics for paired comparisons, from the standard library alone: floats in, floats out.

Nothing here knows of conversations or answers. What is independent is the *cluster* (a
conversation, a task, a customer); its items are given as their sum and number. Nothing is drawn at
random: the same arguments give the same answer. What cannot be is refused:
:class:`~refold.errors.UsageError`.
"""

from refold.replay.stats.clusters import Cluster as Cluster
from refold.replay.stats.difference import Looks as Looks
from refold.replay.stats.exact import mcnemar_exact as mcnemar_exact
from refold.replay.stats.rates import CONFIDENCE as CONFIDENCE
from refold.replay.stats.rates import Interval as Interval
from refold.replay.stats.rates import Summary as Summary
from refold.replay.stats.rates import share_interval as share_interval
from refold.replay.stats.rates import summarise as summarise
from refold.replay.stats.rates import wilson as wilson
from refold.replay.stats.several import pass_at_k as pass_at_k
from refold.replay.stats.several import pass_hat_k as pass_hat_k
