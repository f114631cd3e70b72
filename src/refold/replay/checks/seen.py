"""What a check looks at, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import msgspec

from refold.conversation.fold import Conversation
from refold.conversation.state import ConversationState
from refold.core.history import History
from refold.core.recorded import Recorded, parts_of
from refold.errors import RefoldError, UsageError
from refold.replay.decision import Action, Decision, before
from refold.replay.faults import tools_by
from refold.replay.journal import answer_events
from refold.replay.metrics import Metric
from refold.replay.normalising import NOTHING_IGNORED, normal_arguments

Measured = bool | float | None
"""Whether something holds, or how much there is of it; None where it does not apply."""


@dataclass(frozen=True)
class Examined:
    """A conversation up to some point, and the ``answers`` that are looked at: its last, or all.

    ``is_whole`` says that it is a recorded conversation to its end. ``at`` names the place.
    """

    history: Sequence[Recorded]
    answers: Sequence[Action]
    at: str
    is_whole: bool

    @cached_property
    def state(self) -> ConversationState:
        """What the conversation has come to."""
        return Conversation.run(self.history).state

    @cached_property
    def stretches(self) -> list[list[str]]:
        """The calls made between two turns of the user, each as its tool and what it says.

        Of a single answer the stretch that it stands in.
        """
        found: list[list[str]] = [[]]
        for recorded in parts_of(self.history):
            if recorded.type == "user.utterance":
                found.append([])
            elif recorded.type == "tool.call":
                found[-1].append(call_key(recorded.event))
        return found if self.is_whole else found[-1:]


def call_key(call: Any) -> str:
    """A call as text that is the same for the same call."""
    said = normal_arguments(call, None, NOTHING_IGNORED)
    encode = msgspec.json.Encoder(order="deterministic", decimal_format="number").encode
    return f"{call.name} {encode(said).decode()}"


def at_decision(history: Sequence[Recorded], decision: Decision, action: Action) -> Examined:
    """What was recorded up to a decision, and an answer in the place of the recorded one."""
    seen = tuple(before(history, decision))
    known = History(decision.at.rpartition("@")[0], seen, decision.version, Conversation.registry)
    tools = tools_by(decision.configured)
    added = known.adding(*answer_events(action, f"answer-{decision.version}", tools))
    return Examined(list(added), [action], decision.at, is_whole=False)


@dataclass(frozen=True)
class NamedCheck:
    """A metric, and how it is measured; ``says`` of the metric is what it says of what is seen."""

    metric: Metric
    measure: Callable[[Examined], Measured]

    def value(self, seen: Examined) -> float | None:
        """What it gives; None where it does not apply.

        Raises :class:`UsageError` that says what failed and where, which is never "no".
        """
        try:
            found: object = self.measure(seen)
        except RefoldError:
            raise
        except Exception as error:
            raise UsageError(
                f"{self.metric.name} failed at {seen.at}: {type(error).__name__}: {error}",
                check=self.metric.name,
                at=seen.at,
            ) from error
        if found is None or isinstance(found, bool | int | float):
            return None if found is None else self._within(float(found), seen)
        raise UsageError(
            f"{self.metric.name} gave {found!r:.60} at {seen.at}: give True, False, a number, or "
            "None where it does not apply",
            check=self.metric.name,
            at=seen.at,
        )

    def _within(self, found: float, seen: Examined) -> float:
        low, high = self.metric.low, self.metric.high
        if (low is None or low <= found) and (high is None or found <= high):
            return found
        raise UsageError(
            f"{self.metric.name} gave {found:g} at {seen.at}: a share is from 0 to 1; say what the "
            'number counts by its attribute unit, or unit = ""',
            check=self.metric.name,
            at=seen.at,
        )
