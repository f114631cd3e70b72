"""What the tables call an agent and its version."""

from __future__ import annotations

from typing import Final

from refold.conversation.events import AgentConfigured

HASH_CHARS: Final = 12
"""How much of a prompt's hash names a version that nobody gave a name."""


def version_of(agent: AgentConfigured) -> str | None:
    """The version as configured, else the id of the prompt, else the start of its hash."""
    prompt = agent.prompt
    if agent.version or prompt is None:
        return agent.version
    return prompt.id or prompt.hash[:HASH_CHARS] or None
