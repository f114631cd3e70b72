"""What is promised of verdicts holds where the truth is known, and what would break it is seen."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from tools.verdict_simulations import NONE, Row, frequency, rows

RUNS = 80
ERRORS = 3.5
"""How many standard errors of so many runs a frequency may be off."""


def is_kept(row: Row, promised: float, seen: float) -> bool:
    """Whether the frequency seen, in 100 runs, is what was promised, as far as chance allows."""
    spread = ERRORS * math.sqrt(max(promised * (100 - promised), 200) / RUNS)
    over, under = seen > promised + spread, seen < promised - spread
    return not {"at most": over, "at least": under, "about": over or under}[row.limit]


@pytest.mark.parametrize("row", [one for one in rows() if one.limit != NONE], ids=lambda r: r.name)
def test_what_is_promised_is_kept(row: Row) -> None:
    """False alarms, ends of intervals and power, as often as the page says."""
    assert is_kept(row, row.promised, frequency(row, RUNS))


@pytest.mark.parametrize("row", [one for one in rows() if one.limit == NONE], ids=lambda r: r.name)
def test_what_is_done_wrongly_is_seen(row: Row) -> None:
    """Conversations for tasks, one look for many, one metric for ten: more than 5 % alarms."""
    assert not is_kept(row._replace(limit="at most"), 5, frequency(row, RUNS))


def test_the_page_has_every_row() -> None:
    """With the promise that is tested here; what was seen is from more runs."""
    page = (Path(__file__).parents[3] / "docs" / "explanation" / "replay.md").read_text()
    for row in rows():
        promise = NONE if row.limit == NONE else f"{row.limit} {row.promised:g} %"
        assert f"| {row.name} | {promise} | " in page
