"""Longer runs of the same tests: ``make soak`` sets ``REFOLD_SOAK``, and hears what was done."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

SOAKING = bool(os.environ.get("REFOLD_SOAK"))
FIGURES = os.environ.get("REFOLD_SOAK_FIGURES")
"""A folder for the counts of each process."""

_done: Counter[str] = Counter()


def bound(usual: T, soaking: T) -> T:
    """The first in ``make test``, the second in ``make soak``."""
    return soaking if SOAKING else usual


def counted(what: str, times: int = 1) -> None:
    """So many more of these have been done."""
    _done[what] += times


def write_figures() -> None:
    """Leave this process's counts where ``make soak`` looks for them."""
    if FIGURES and _done:
        Path(FIGURES, f"{os.getpid()}.json").write_text(json.dumps(_done))
