"""Longer runs of the same tests: ``make soak`` sets ``REFOLD_SOAK``."""

import os
from typing import TypeVar

T = TypeVar("T")

SOAKING = bool(os.environ.get("REFOLD_SOAK"))


def bound(usual: T, soaking: T) -> T:
    """The first in ``make test``, the second in ``make soak``."""
    return soaking if SOAKING else usual
