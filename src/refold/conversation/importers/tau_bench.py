"""tau-bench results: an array of conversations with their task, trial and reward.

Each element is ``{task_id, trial, reward, info, traj}``, ``traj`` the OpenAI chat messages
(https://github.com/sierra-research/tau-bench). There are no times in it.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, Final

import msgspec

from refold.conversation.events import (
    AgentConfigured,
    Party,
    ScoreRecorded,
    SessionEnded,
    SessionStarted,
    ToolResult,
)
from refold.conversation.importers.importer import Found, Importer, Options, Problem
from refold.conversation.importers.json_array import Element
from refold.conversation.importers.source import Source
from refold.conversation.importers.streams import stream_name
from refold.conversation.importers.tools import with_effects
from refold.conversation.openai_chat import from_messages
from refold.core.event import Event
from refold.errors import InvalidEvent

RATER: Final = "tau-bench"
STOP_MARK: Final = "###STOP###"
"""What the simulated customer says when it is done."""
TRANSFER_TOOL: Final = "transfer_to_human_agents"
ERROR_MARK: Final = "Error"
"""How the content of a tool result begins when the tool failed."""


class Result(msgspec.Struct):
    """An element, as far as it is read by name; the whole of it is kept beside."""

    task_id: int | str
    trial: int
    traj: list[Any]
    reward: float | None = None
    info: dict[str, Any] = {}


def import_tau_bench(source: Source, options: Options) -> Iterator[Found | Problem]:
    """The conversations of a results file, in streams ``<category>-<task>-<trial>``.

    The category is by default the end of the file's name: ``airline`` for
    ``gpt-4o-airline.json``.
    """
    category = options.category or source.stem.rpartition("-")[2]
    for element in source.elements():
        try:
            if element.error:
                raise ValueError(element.error)
            yield _found(element, category, options)
        except InvalidEvent as error:
            place = f"traj{error.path}" if error.path else "traj"
            yield _problem(source, element, f"{error.reason} ({place})")
        except (ValueError, RecursionError) as error:
            yield _problem(source, element, str(error))


TAU_BENCH: Final = Importer(
    "tau-bench",
    import_tau_bench,
    """Import results of tau-bench: a JSON array of conversations with task, trial and reward.

    The streams are called CATEGORY-TASK-TRIAL; the category is by default the end of the file's
    name (airline for gpt-4o-airline.json).""",
    "refold import tau-bench gpt-4o-airline.json --tools airline-tools.json",
)


def _problem(source: Source, element: Element, why: str) -> Problem:
    return Problem(source.name, element.line, f"element {element.number}: {why}")


def _found(element: Element, category: str, options: Options) -> Found:
    whole = msgspec.json.decode(element.raw)
    result = msgspec.convert(whole, Result)
    beside = {key: value for key, value in whole.items() if key != "traj"}
    user_id = _user_id(result)
    events = [
        SessionStarted(parties=_parties(user_id), initial_state=_initial_state(result)),
        *_conversation(result, options),
        # All that the file says of the task and its rating, as it was.
        Event.of(SessionEnded(reason=_end(result)), metadata={"tau_bench": beside}),
        *_score(result),
    ]
    metadata = {} if user_id is None else {"subject": user_id}
    stream = stream_name(category, f"{result.task_id}-{result.trial}")
    return Found(stream, events, element.line, metadata)


def _conversation(result: Result, options: Options) -> list[Any]:
    events = [_marked(event) for event in from_messages(result.traj)]
    if not options.tools:
        return events
    tools = list(options.tools)
    for index, event in enumerate(events):
        if isinstance(event.data, AgentConfigured):
            configured = msgspec.structs.replace(event.data, tools=tools)
            events[index] = Event.of(configured, metadata=event.metadata)
            return with_effects(events, tools)
    return [AgentConfigured(tools=tools), *with_effects(events, tools)]


def _marked(event: Event) -> Event:
    """A tool result whose content says that the tool failed is marked as an error."""
    result = event.data
    if not isinstance(result, ToolResult) or not isinstance(result.result, str):
        return event
    if not result.result.startswith(ERROR_MARK):
        return event
    return Event.of(msgspec.structs.replace(result, is_error=True), metadata=event.metadata)


def _user_id(result: Result) -> str | None:
    user_id = _task(result).get("user_id")
    return user_id if isinstance(user_id, str) else None


def _parties(user_id: str | None) -> list[Party]:
    return [Party(role="customer", id=user_id), Party(role="agent")]


def _initial_state(result: Result) -> dict[str, Any]:
    """What was settled before the first word: the task, and what the customer wants."""
    task = {key: value for key, value in _task(result).items() if key in ("user_id", "instruction")}
    return {"task_id": result.task_id, "trial": result.trial, **task}


def _task(result: Result) -> Mapping[str, Any]:
    task = result.info.get("task")
    return task if isinstance(task, dict) else {}


def _end(result: Result) -> str:
    """How it ended: the customer was done, a person took over, or the steps ran out."""
    last = result.traj[-1] if result.traj else {}
    if last.get("role") == "user" and STOP_MARK in str(last.get("content")):
        return "completed"
    if last.get("role") == "tool" and last.get("name") == TRANSFER_TOOL:
        return "transferred"
    return "unfinished"


def _score(result: Result) -> list[ScoreRecorded]:
    if result.reward is None:
        return []
    return [ScoreRecorded(name="reward", value=result.reward, rater=RATER)]
