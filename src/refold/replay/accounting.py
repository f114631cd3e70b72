"""What became of all that was to be asked: nothing is left out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

import msgspec


class Accounting(msgspec.Struct, frozen=True):
    """What became of every decision that was to be asked: the rest adds up to ``decisions``.

    ``answered`` has an outcome, an answer or the candidate's own limit; ``failed`` got no answer.
    ``missing`` were not asked, or not come to, in conversations that were begun;
    ``never_begun`` are those of conversations of which nothing was asked. ``later`` were not to be:
    the conversation went on with them after the plan, and no verdict takes them in. Where a
    candidate went on with its own answers, ``conditional`` follow its first other action, and
    ``excluded`` could not be come to.
    """

    decisions: int
    answered: int
    failed: int
    missing: int
    never_begun: int
    later: int = 0
    conditional: int = 0
    excluded: int = 0

    @property
    def is_complete(self) -> bool:
        """Whether all that was to be asked was."""
        return not self.missing and not self.never_begun


class DecisionOutcomes(NamedTuple):
    """What became of the decisions of a conversation: how many there are, and of them what.

    ``is_begun`` where something was answered, also where that was cut off before any was come to.
    """

    decisions: int
    answered: int
    failed: int
    later: int
    conditional: int
    excluded: int
    is_begun: bool


def account(outcomes: Iterable[DecisionOutcomes]) -> Accounting:
    """The account of some conversations."""
    found = list(outcomes)
    decisions, answered, failed, later, conditional, excluded = (
        sum(one[place] for one in found) for place in range(6)
    )
    never_begun = sum(one.decisions - one.later for one in found if not one.is_begun)
    missing = decisions - answered - failed - never_begun - later - conditional - excluded
    return Accounting(
        decisions, answered, failed, missing, never_begun, later, conditional, excluded
    )
