"""Branches are left out of every read model: the rows say what happened, not what might have.

A branch also holds only the events after its fork, so its own events alone would count it wrong.
"""

from __future__ import annotations

from refold.core.recorded import Recorded


def is_branch(recorded: Recorded) -> bool:
    """Whether an event stands in a branch, whose name has a ``~``."""
    return "~" in recorded.stream
