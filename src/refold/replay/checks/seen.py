"""What a check looks at, and what it gives."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from copy import copy, deepcopy
from dataclasses import dataclass
from functools import lru_cache
from itertools import takewhile
from typing import Any

import msgspec
from msgspec.structs import replace

from refold.conversation.fold import Conversation
from refold.conversation.state import ConversationState
from refold.core.history import History
from refold.core.recorded import Recorded, parts_of
from refold.errors import RefoldError, UsageError
from refold.replay.decision import Action, Call, Decision, is_of_answer
from refold.replay.faults import tools_by
from refold.replay.journal import answer_events
from refold.replay.metrics import Metric
from refold.replay.normalising import NOTHING_IGNORED, normal_arguments

Measured = bool | float | None
"""Whether something holds, or how much there is of it; None where it does not apply."""


@dataclass(frozen=True)
class Examined:
    """A conversation up to some point, and the ``answers`` that are looked at: its last, or all.

    ``at`` names the place. ``is_whole`` says that it is a recorded conversation to its end.
    ``state`` is what it has come to; ``stretches`` are the calls made between two turns of the
    user, each as its tool and what it says: of a single answer the stretch that it stands in.
    """

    history: Sequence[Recorded]
    answers: Sequence[Action]
    at: str
    state: ConversationState
    stretches: list[list[str]]
    is_whole: bool = False


def whole(stream: str, history: Sequence[Recorded], answers: Sequence[Action]) -> Examined:
    """A recorded conversation to its end."""
    state = Conversation.run(history).state
    return Examined(history, answers, stream, state, _went_on([[]], history), is_whole=True)


class SoFar:
    """A recorded conversation as it goes on: each of its events is read once."""

    def __init__(self, history: Sequence[Recorded]) -> None:
        self._history, self._seen = history, list[Recorded]()
        self._state, self._stretches = Conversation.initial(), list[list[str]]([[]])

    def answered(self, decision: Decision, action: Action) -> Examined:
        """What was recorded up to a decision, and an answer in the place of the recorded one.

        Decisions come in their order, and each as often as there are answers.
        """
        while (place := self._history[len(self._seen)]).version < decision.version:
            self._seen.append(place)
            self._state = Conversation.step(self._state, place)
            self._stretches = _went_on(self._stretches[-1:], [place])
        # Of a split event, what comes before the answer.
        parts = takewhile(lambda part: not is_of_answer(part), place.parts())
        seen = [*self._seen, *parts]
        tools, name = tools_by(decision.configured), decision.at.rpartition("@")[0]
        known = History(name, tuple(seen[-1:]), decision.version, Conversation.registry)
        added = known.adding(*answer_events(action, f"answer-{decision.version}", tools))
        seen += added.events[len(known) :]
        state = _apart(self._state)
        for one in seen[len(self._seen) :]:
            state = Conversation.step(state, one)
        calls = _went_on([[*self._stretches[-1]]], seen[len(self._seen) :])[-1:]
        return Examined(seen, [action], decision.at, state, calls)


def _apart(state: ConversationState) -> ConversationState:
    """The state with its own of what the events of an answer change."""
    changed = ("transcript", "early_interruptions", "tool_calls", "usage", "cost")
    own = {name: copy(getattr(state, name)) for name in changed}
    return replace(state, open_calls=deepcopy(state.open_calls), **own)


def _went_on(stretches: list[list[str]], events: Iterable[Recorded]) -> list[list[str]]:
    """The stretches of calls with those of further events."""
    for recorded in parts_of(events):
        if recorded.type == "user.utterance":
            stretches.append([])
        elif recorded.type == "tool.call":
            stretches[-1].append(call_key(recorded.event))
    return stretches


def call_key(call: Any) -> str:
    """A call as text that is the same for the same call."""
    return _key(Call(call.name, call.arguments, kind=call.kind))


@lru_cache(maxsize=4_096)
def _key(call: Call) -> str:
    said = normal_arguments(call, None, NOTHING_IGNORED)
    encode = msgspec.json.Encoder(order="deterministic", decimal_format="number").encode
    return f"{call.name} {encode(said).decode()}"


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
