"""The user's own code in a replay: what it asks its model is what the candidate is asked."""

from __future__ import annotations

from functools import partial
from typing import Any

from msgspec.structs import replace

from refold.event_loop import on_thread
from refold.freerun.frameworks import beginning
from refold.freerun.rerun import Rerun, RunOutcome
from refold.replay.candidate import ChatEndpoint, ModelFailure
from refold.replay.decision import Action
from refold.replay.request import ChatRequest


class OwnCode(ChatEndpoint):
    """An agent as it stands, its model calls sent to an endpoint, its tools stood in for.

    ``agent`` is a compiled graph of LangGraph, an ``Agent`` of the OpenAI Agents SDK or of
    pydantic-ai; or a function without arguments that begins an agent and gives what takes each
    turn of the user, sync or async. All else is as for :class:`~refold.replay.ChatEndpoint`;
    ``model`` is asked for in place of the code's own.

    At each decision the code is begun anew and led through the conversation so far: its model
    answers, and its tools give, what is on record. What it then asks its model, with its own prompt
    and tools, is sent to the endpoint. It reaches nothing itself, and its clock, chance and
    identifiers are the same each time, as far as :mod:`refold.freerun.pinned` says. Its tools are
    functions under ``refold.tool``, or the framework's. ``opening`` is what it says before the user
    has spoken, as who picks up a phone does.

    Raises :class:`~refold.errors.UsageError` for what is no agent. Where the code does not come to
    a question, the decision fails with the reason.
    """

    def __init__(
        self, agent: Any, base_url: str, *, opening: str | None = None, **endpoint: Any
    ) -> None:
        super().__init__(base_url, **endpoint)
        self._opening = opening
        self._begin = beginning(agent)

    async def ask(self, request: ChatRequest) -> Action:
        """Ask for what the code asks here."""
        if not any(message.get("role") == "user" for message in request.messages):
            return self._opened()
        came = await on_thread(partial(self._came, request))
        if came.answer is not None:
            return came.answer
        if came.asked is None:
            raise ModelFailure(came.refused, kind="error")
        model = came.asked.model if self.model is None else request.model
        at = {"at": request.at, "index": request.index, "began_us": request.began_us}
        return await super().ask(replace(came.asked, model=model, **at))

    def _opened(self) -> Action:
        if self._opening is None:
            raise ModelFailure(
                "nobody has spoken yet, and the code answers who speaks: give opening='…'",
                kind="error",
            )
        return Action(text=self._opening)

    def _came(self, request: ChatRequest) -> RunOutcome:
        return Rerun(request).run(self._begin)
