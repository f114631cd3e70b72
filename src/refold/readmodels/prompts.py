"""The versions of prompts that were in force, and where."""

from __future__ import annotations

import msgspec

from refold.conversation.events import AgentConfigured
from refold.core.clock import rfc3339
from refold.core.recorded import parts_of
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.readmodels.columns import happened


class PromptVersion(msgspec.Struct, kw_only=True):
    """A prompt as it was in force: first and last configured when, for which agents, in what.

    ``hash`` is that of :class:`~refold.conversation.Prompt`; ``labels`` are the ids and versions
    that it went by, ``streams`` the conversations, in the order of the log.
    """

    hash: str
    text: str
    first_at: str
    last_at: str
    labels: list[str] = []
    agents: list[str] = []
    models: list[str] = []
    streams: list[str] = []


def prompt_versions(store: Store) -> list[PromptVersion]:
    """Every prompt that conversations were configured with, in the order of their first time.

    Of branches only those count that were recorded as it happened: what a replay asked was not in
    force.
    """
    check_store(store, call="prompt_versions", instead="give refold.open(…)")
    found: dict[str, PromptVersion] = {}
    of_stream: dict[str, dict[str, None]] = {}
    for recorded in parts_of(store.read_all(types=["agent.configured"])):
        agent = recorded.to_class(AgentConfigured)
        if agent.prompt is None or not happened(recorded):
            continue
        own, at = agent.prompt.hash, rfc3339(recorded.occurred_at_us)
        one = found.setdefault(
            own, PromptVersion(hash=own, text=agent.prompt.text, first_at=at, last_at=at)
        )
        one.first_at, one.last_at = min(one.first_at, at), max(one.last_at, at)
        name = agent.agent or recorded.noted("agent")
        held = {
            "labels": (agent.prompt.id, agent.version),
            "agents": (name,),
            "models": (agent.model,),
        }
        for field, values in held.items():
            known: list[str] = getattr(one, field)
            known += [value for value in values if value and value not in known]
        of_stream.setdefault(own, {})[recorded.stream] = None
    for own, streams in of_stream.items():
        found[own].streams = [*streams]
    return sorted(found.values(), key=lambda one: (one.first_at, one.hash))


def agent_versions(store: Store) -> dict[str, list[str]]:
    """The conversations under each version that agents were configured with, as they recorded it.

    By its name, in the order of the first time that each was in force; where several agents had
    versions, by the name of the agent and that of the version.
    """
    check_store(store, call="agent_versions", instead="give refold.open(…)")
    first_us: dict[tuple[str, str], int] = {}
    streams: dict[tuple[str, str], dict[str, None]] = {}
    for recorded in parts_of(store.read_all(types=["agent.configured"])):
        told = recorded.to_class(AgentConfigured)
        if told.version and happened(recorded):
            own = str(told.agent or recorded.noted("agent") or ""), told.version
            first_us[own] = min(first_us.get(own, at := recorded.occurred_at_us), at)
            streams.setdefault(own, {})[recorded.stream] = None
    is_one = len({agent for agent, _ in first_us}) < 2
    return {
        own[1] if is_one else f"{own[0] or 'unnamed'} {own[1]}": [*streams[own]]
        for own in sorted(first_us, key=first_us.__getitem__)
    }
