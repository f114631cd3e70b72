"""What rests on an event: what would be otherwise in its conversation, had it not happened."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from refold import Recorded, Store, diff_states
from refold.conversation import Conversation
from refold.conversation.what_if import Groundless, what_if
from refold.ledger.hindsight import by_guards, impossible
from refold.ui.glance import outline

WHAT_IF_EVENTS_MAX: Final = 2_000
"""It is told on a page for conversations that have no more events."""
CHANGES_MAX: Final = 50


class Resting(NamedTuple):
    """What follows where an event is left out of its stream.

    ``groundless`` are the events that rest on it, each with how; ``changes`` what would be
    otherwise in the outline of the state at the end, as JSON Patch; ``impossible`` what could not
    have happened then, each with why.
    """

    groundless: Sequence[Groundless]
    changes: Sequence[Any]
    impossible: Sequence[tuple[Recorded, str]]


def resting_on(store: Store, recorded: Recorded) -> Resting | None:
    """What rests on an event of a stream; None where the stream is too long to say so on a page."""
    branch = store.branch(recorded.stream)
    if len(branch) > WHAT_IF_EVENTS_MAX:
        return None
    found = what_if(branch, without=[str(recorded.version)])
    then, now = (outline(one.fold(Conversation).state) for one in (found.before, found.after))
    refused = [(one.event, str(one.rejection)) for one in impossible(found.before, found.after)]
    return Resting(
        found.groundless,
        diff_states(then, now)[:CHANGES_MAX],
        [*refused, *by_guards(found.before, found.after)],
    )
