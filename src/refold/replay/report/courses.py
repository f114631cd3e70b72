"""A conversation that a candidate went on with alone: the record, where it parts, what came of it.

After a divergence a simulated user says other things than were recorded. So what was said and done
then stands by itself, in its own order, before what was recorded there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from msgspec.structs import replace

from refold.core.recorded import Recorded
from refold.replay.actions import ConversationComparison, DecisionComparison
from refold.replay.arms import itself
from refold.replay.decision import decisions
from refold.replay.report.links import Link, anchor, event_anchor
from refold.replay.report.turns import TurnRow, conversation_rows, without_redacted

SIMULATED: Final = "Simulated user"
RECORDED_THERE: Final = "recorded.there"
"""What a note is of that says: from here on what was recorded follows."""


def course_rows(
    conversation: ConversationComparison,
    history: Sequence[Recorded],
    course: Sequence[Recorded],
) -> Iterator[TurnRow]:
    """The rows of a conversation and of the ``course`` on its branch, whose events these are.

    Where it parted stands a note; with a simulated user all that followed comes after that, each
    fault of theirs where it is, and then what was recorded. Without one the recorded users spoke
    on, and what both sides said to them stands side by side as before.
    """
    parted = next((one for one in course if one.type == "replay.diverged"), None)
    if parted is None:
        yield from conversation_rows(conversation, history)
        return
    own = list(_followed(course, parted))
    is_simulated = any(map(_is_simulated, course))
    if is_simulated:
        alone = [_recorded_alone(one) for one in conversation.decisions]
        conversation = replace(conversation, decisions=alone)
    rows = conversation_rows(conversation, history)
    for row in rows:
        yield row
        if row.link.text == parted.data["at"]:
            break
    yield from own if is_simulated else own[:1]
    if is_simulated and (rest := next(rows, None)) is not None:
        place = anchor(f"{event_anchor(conversation.stream, parted.id)}:recorded")
        yield TurnRow(Link(parted.id, place), "", "note", type=RECORDED_THERE)
        yield rest
    yield from rows


def _followed(course: Sequence[Recorded], parted: Recorded) -> Iterator[TurnRow]:
    """The note of a divergence, and all that came after it on the branch."""
    branch = parted.stream
    alone = without_redacted(itself(branch, decisions(course)), course)
    spoken = {one.id for one in course if _is_simulated(one)}
    is_after = False
    for row in conversation_rows(alone, course):
        is_after = is_after or row.link.text == parted.id
        if not is_after:
            continue
        if row.sides:
            sides = [replace(side, who="Candidate") for side in row.sides]
            yield replace(row, sides=sides, level="conditional")
        elif row.link.text in spoken and row.type:
            yield replace(row, data={**row.data, "party": SIMULATED})
        else:
            yield row


def _is_simulated(one: Recorded) -> bool:
    noted = one.noted("replay")
    return one.type == "user.utterance" and isinstance(noted, dict) and "user" in noted


def _recorded_alone(one: DecisionComparison) -> DecisionComparison:
    """What follows a divergence as it was recorded: the candidate answered somebody else there."""
    if one.level not in ("conditional", "excluded"):
        return one
    return replace(one, candidate=None, answer=one.at)
