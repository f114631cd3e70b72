"""tau-bench results: an array of conversations with their task, trial and reward.

Each element is ``{task_id, trial, reward, info, traj}``, ``traj`` the OpenAI chat messages
(https://github.com/sierra-research/tau-bench). There are no times in it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from refold.conversation import events
from refold.conversation.importers.base import Conversations, Found, Options, read_each
from refold.conversation.importers.fields import FieldReader
from refold.conversation.importers.json_array import Value
from refold.conversation.importers.source import ImportSource
from refold.core.event import Event

RATER: Final = "tau-bench"
STOP_MARK: Final = "###STOP###"
"""What the simulated customer says when it is done."""
TRANSFER_TOOL: Final = "transfer_to_human_agents"
ERROR_MARK: Final = "Error"
"""How the content of a tool result begins when the tool failed."""


class TauResult(msgspec.Struct):
    """What an element must say; the whole of it is kept beside."""

    task_id: int | str
    trial: int
    traj: list[Any]


def read_tau_bench(source: ImportSource, options: Options) -> Conversations:
    """Import results of tau-bench: a JSON array of conversations with task, trial and reward.

    The streams are called CATEGORY-TASK-TRIAL; the category is by default the end of the file's
    name, and what stands before it the agent's (airline and gpt-4o for gpt-4o-airline.json). The
    same tasks of another agent are kept beside them, their names ending in the file's.

        refold import tau-bench gpt-4o-airline.json --tools airline-tools.json
    """
    agent, _, category = source.stem.rpartition("-")
    setup = events.AgentConfigured(agent=options.agent or agent or None, tools=list(options.tools))
    convert = partial(_found, options.category or category, setup, source.run)
    return read_each(source, source.elements(), convert)


def _found(
    category: str, agent: events.AgentConfigured, run: str, element: FieldReader, _value: Value
) -> Found:
    result = msgspec.convert(element.holder, TauResult)
    task = element.inside("info").inside("task")
    user_id = task.typed("user_id", str)
    reward = element.typed("reward", float)
    # What was settled before the first word: the task, and what the customer wants.
    settled = {
        key: value for key, value in task.holder.items() if key in ("user_id", "instruction")
    }
    beside = {key: value for key, value in element.holder.items() if key != "traj"}
    found: list[Any] = [
        events.SessionStarted(
            parties=[
                events.Party(role="customer", id=user_id),
                events.Party(role="agent", name=agent.agent),
            ],
            initial_state={"task_id": result.task_id, "trial": result.trial, **settled},
        ),
        *map(_marked, element.messages("traj", agent)),
        # All that the file says of the task and its rating, as it was.
        Event.of(events.SessionEnded(reason=_end(result.traj)), metadata={"tau_bench": beside}),
    ]
    if reward is not None:
        found.append(events.ScoreRecorded(name="reward", value=reward, rater=RATER))
    stream = f"{category}-{result.task_id}-{result.trial}"
    metadata = {} if user_id is None else {"subject": user_id}
    return Found(stream, found, metadata=metadata, run=run)


def _marked(event: Event) -> Event:
    """A tool result whose content says that the tool failed is marked as an error."""
    match event.data:
        case events.ToolResult(result=str(text)) if text.startswith(ERROR_MARK):
            return Event.of(replace(event.data, is_error=True), metadata=event.metadata)
    return event


def _end(traj: list[Any]) -> str:
    """How it ended: the customer was done, a person took over, or the steps ran out."""
    match traj[-1] if traj else {}:
        case {"role": "user", "content": content} if STOP_MARK in str(content):
            return "completed"
        case {"role": "tool", "name": name} if name == TRANSFER_TOOL:
            return "transferred"
    return "unfinished"
