"""The mode of a replay in which a candidate goes on with its own answers."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Final, Literal

from msgspec.structs import replace

from refold.errors import refuse_unless
from refold.freerun.outside import places_of
from refold.freerun.policies import ToolPolicies, code_told
from refold.freerun.recorded_world import from_record
from refold.freerun.running import FreeRunning
from refold.freerun.world import WorldOf
from refold.replay.candidate import Candidate
from refold.replay.clients import candidate_of
from refold.replay.running import RunningReplay
from refold.replay.variant import FREE_RUN, SIMULATED_USER, Variant

RULES: Final = "rules"


class FreeRun:
    """``replay(…, mode=FreeRun())``: each conversation goes on with the candidate's own answers.

    It is told what the recorded user said, in order, until it does something else than was
    recorded; what follows is conditional. Its tool calls are answered from the record and as
    ``tools`` says, or by ``worlds``, and touch nothing. With a ``user``, that speaks from the first
    divergence on, by the goal of the conversation (see :mod:`refold.freerun.goals`): ``"rules"``,
    which is the same every time, or an endpoint or function as a candidate is; ``named`` is what a
    function is called on record. Meanwhile the process reaches nothing but the models and what
    ``allow`` names (see :mod:`refold.freerun.outside`): the plan says in the end what it reached.
    """

    def __init__(
        self,
        *,
        tools: ToolPolicies | None = None,
        worlds: WorldOf | None = None,
        user: Literal["rules"] | Candidate | None = None,
        named: str | None = None,
        allow: Iterable[str] = (),
    ) -> None:
        self._policies = tools or ToolPolicies()
        self._worlds = worlds or from_record(self._policies)
        # Now, and not where it begins: an agent's own code may declare tools as it goes.
        own = {} if worlds is None else {"worlds": code_told(worlds)}
        self.tool_policies = {**self._policies.told, **own} or None
        self._user = user if user is None or user == RULES else candidate_of(user)
        self._allow = _checked(allow)
        self.user = named or _name(self._user)

    def stamped(self, variant: Variant) -> Variant:
        """The variant that the answers of this mode are kept as: another with other policies."""
        mode = FREE_RUN if self._user is None else SIMULATED_USER
        return replace(variant, mode=mode, user=self.user, tool_policies=self.tool_policies)

    def running(self) -> Callable[..., RunningReplay]:
        """What makes a run of it."""
        return partial(
            FreeRunning,
            policies=self._policies,
            worlds=self._worlds,
            user=self.user,
            speaks=self._user if callable(self._user) else None,
            allow=self._allow,
        )


def _checked(allow: Iterable[str]) -> list[str]:
    """What may be reached too, each a URL or host:port; refused now, and not where a run begins."""
    refuse_unless(not isinstance(allow, str), "a list of URLs or host:port", allow=allow)
    listed = [*allow]
    for url in listed:
        list(places_of(url))
    return listed


def _name(user: object) -> str | None:
    """What stands on record for who plays the user."""
    if user is None or user == RULES:
        return None if user is None else RULES
    said = [getattr(user, "url", None), getattr(user, "model", None)]
    return " ".join(filter(None, said)) or getattr(user, "__qualname__", type(user).__qualname__)
