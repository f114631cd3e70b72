"""tau-bench results: an array of conversations with their task, trial and reward.

Each element is ``{task_id, trial, reward, info, traj}``, ``traj`` the OpenAI chat messages
(https://github.com/sierra-research/tau-bench). There are no times in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any, Final

import msgspec

from refold.conversation.chat_shapes import Unread
from refold.conversation.events import (
    AgentConfigured,
    Party,
    ScoreRecorded,
    SessionEnded,
    SessionStarted,
    ToolResult,
)
from refold.conversation.importers.importer import (
    Found,
    Importer,
    Options,
    Problem,
    chat_events,
    read_each,
    read_field,
)
from refold.conversation.importers.json_array import Value
from refold.conversation.importers.source import Source
from refold.core.event import Event

RATER: Final = "tau-bench"
STOP_MARK: Final = "###STOP###"
"""What the simulated customer says when it is done."""
TRANSFER_TOOL: Final = "transfer_to_human_agents"
ERROR_MARK: Final = "Error"
"""How the content of a tool result begins when the tool failed."""


class Result(msgspec.Struct):
    """What an element must say; the whole of it is kept beside."""

    task_id: int | str
    trial: int
    traj: list[Any]


def import_tau_bench(source: Source, options: Options) -> Iterator[Found | Problem]:
    """The conversations of a results file, in streams ``<category>-<task>-<trial>``.

    The category is by default the end of the file's name: ``airline`` for
    ``gpt-4o-airline.json``.
    """
    convert = partial(_found, options=options, category=source.stem.rpartition("-")[2])
    return read_each(source, source.elements(), convert)


TAU_BENCH: Final = Importer(
    "tau-bench",
    import_tau_bench,
    """Import results of tau-bench: a JSON array of conversations with task, trial and reward.

    The streams are called CATEGORY-TASK-TRIAL; the category is by default the end of the file's
    name (airline for gpt-4o-airline.json).""",
    "refold import tau-bench gpt-4o-airline.json --tools airline-tools.json",
)


def _found(value: Value, unread: list[Unread], *, options: Options, category: str) -> Found:
    whole = msgspec.json.decode(value.raw)
    result = msgspec.convert(whole, Result)
    info = read_field(whole, "info", partial(msgspec.convert, type=dict[str, Any]), unread) or {}
    task = info["task"] if isinstance(info.get("task"), dict) else {}
    user_id = task["user_id"] if isinstance(task.get("user_id"), str) else None
    reward = read_field(whole, "reward", partial(msgspec.convert, type=float), unread)
    agent = AgentConfigured(tools=list(options.tools))
    events = [
        SessionStarted(
            parties=[Party(role="customer", id=user_id), Party(role="agent")],
            initial_state=_initial_state(result, task),
        ),
        *map(_marked, chat_events(result.traj, "/traj", agent, unread)),
        # All that the file says of the task and its rating, as it was.
        Event.of(SessionEnded(reason=_end(result)), metadata={"tau_bench": _beside(whole)}),
    ]
    if reward is not None:
        events.append(ScoreRecorded(name="reward", value=reward, rater=RATER))
    stream = options.stream(category, f"{result.task_id}-{result.trial}")
    return Found(stream, events, metadata={} if user_id is None else {"subject": user_id})


def _beside(whole: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in whole.items() if key != "traj"}


def _initial_state(result: Result, task: Mapping[str, Any]) -> dict[str, Any]:
    """What was settled before the first word: the task, and what the customer wants."""
    said = {key: value for key, value in task.items() if key in ("user_id", "instruction")}
    return {"task_id": result.task_id, "trial": result.trial, **said}


def _marked(event: Event) -> Event:
    """A tool result whose content says that the tool failed is marked as an error."""
    result = event.data
    if not isinstance(result, ToolResult) or not isinstance(result.result, str):
        return event
    if not result.result.startswith(ERROR_MARK):
        return event
    return Event.of(msgspec.structs.replace(result, is_error=True), metadata=event.metadata)


def _end(result: Result) -> str:
    """How it ended: the customer was done, a person took over, or the steps ran out."""
    last = result.traj[-1] if result.traj else {}
    if last.get("role") == "user" and STOP_MARK in str(last.get("content")):
        return "completed"
    if last.get("role") == "tool" and last.get("name") == TRANSFER_TOOL:
        return "transferred"
    return "unfinished"
