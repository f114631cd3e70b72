"""What is measured: a metric as a value, and what an arm of a comparison gave for each item."""

from __future__ import annotations

from typing import Literal

import msgspec


class Metric(msgspec.Struct, frozen=True):
    """A figure that arms are compared by.

    ``says`` names it in plain words ("answers that are broken"). ``direction`` is which is better,
    None where neither is. ``low`` and ``high`` are the range that a value not known can lie in, 0
    and 1 of a share; None where it has no end.
    """

    name: str
    says: str
    direction: Literal["higher", "lower"] | None
    unit: Literal["share", "USD", "ms", "tokens", "count", ""]
    low: float | None = None
    high: float | None = None


class Observation(msgspec.Struct, frozen=True):
    """What one arm gave for an item; several of one item are samples.

    ``item`` is what both arms were asked (a decision as ``call-42@7``, a conversation, a task),
    ``cluster`` what is independent of others (the stream, or what is above it). ``value`` is None
    where it is not known, which is not 0.
    """

    item: str
    cluster: str
    value: float | None
