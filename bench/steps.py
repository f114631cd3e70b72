"""The steps of a graph whose state is a conversation: what a LangGraph checkpointer is to save.

Each turn is two steps, as a graph with one node has them: the user's message as input, the answer
of the node; each a write and a checkpoint whose ``messages`` are all of them so far. Imported by
subjects that have LangGraph's checkpoint package.
"""

from __future__ import annotations

import random
from typing import Any

from langchain_core.messages import AIMessage, BaseMessage, HumanMessage
from langgraph.checkpoint.base import empty_checkpoint

WORDS = 40


def save(saver: Any, turns: int, *, seed: int = 5) -> int:
    """Save so many turns in one thread; how many checkpoints these are."""
    chance = random.Random(seed)
    known = [f"w{n}" for n in range(3_000)]
    config: Any = {"configurable": {"thread_id": "1", "checkpoint_ns": ""}}
    messages: list[BaseMessage] = []
    seen: dict[str, Any] = {"__input__": {}}
    for step in range(2 * turns):
        text = " ".join(chance.choice(known) for _ in range(WORDS))
        kind = HumanMessage if step % 2 == 0 else AIMessage
        message = kind(text, id=f"{chance.getrandbits(128):032x}")
        task = f"{chance.getrandbits(128):032x}"
        if step:
            saver.put_writes(config, [("messages", [message])], task, "~__pregel_pull, model")
        messages = [*messages, message]
        node = "__start__" if step % 2 == 0 else "model"
        seen = {**seen, node: {f"branch:to:{node}": step + 1}}
        checkpoint = empty_checkpoint()
        versions: Any = {"messages": step + 1, "branch:to:model": step + 1, "__start__": step + 1}
        checkpoint["channel_values"] = {"messages": messages}
        checkpoint["channel_versions"] = versions
        checkpoint["versions_seen"] = seen
        checkpoint["updated_channels"] = ["messages"]
        metadata: Any = {"source": "loop", "step": step, "parents": {}}
        config = saver.put(config, checkpoint, metadata, versions)
    return 2 * turns
