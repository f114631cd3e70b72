"""Results of tau-bench and tau2-bench: an agent and a simulated customer, rated by the task.

tau-bench's are an array of ``{task_id, trial, reward, info, traj}``, ``traj`` the OpenAI chat
messages (https://github.com/sierra-research/tau-bench); there are no times in it. tau2's are one
document with the run's setup, its tasks and its simulations
(https://github.com/sierra-research/tau2-bench, ``data_model/simulation.py`` and ``message.py``).
There the customer's model may call tools of its own: the agent sees neither calls nor results, so
they are events of the customer, ``customer.tool_call`` and ``customer.tool_result``. Cost and
tokens of the conversation are the agent's.
"""

from __future__ import annotations

from collections import Counter
from functools import partial
from typing import Any, Final

import msgspec
from msgspec.structs import replace

from refold.conversation import chat_shapes as shapes
from refold.conversation import events
from refold.conversation.importers.base import (
    Conversations,
    Found,
    Options,
    losses,
    read_all,
    read_each,
    read_parts,
)
from refold.conversation.importers.fields import FieldReader
from refold.conversation.importers.json_array import Value, checked
from refold.conversation.importers.source import ImportSource
from refold.conversation.openai_chat import pair
from refold.core.event import Event
from refold.errors import InvalidEvent

STOP_MARK: Final = "###STOP###"
"""What the simulated customer says when it is done."""
TRANSFER_TOOL: Final = "transfer_to_human_agents"
ERROR_MARK: Final = "Error"
"""How the content of a tool result begins when the tool failed."""


_TOLD: Final = frozenset({"role", "content", "tool_calls", "timestamp", "id", "tool_messages"})
_SETTLED: Final = ("user_id", "instruction")
_CUSTOMERS: Final[dict[type, str]] = {
    events.ToolCall: "customer.tool_call",
    events.ToolResult: "customer.tool_result",
}


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
    convert = partial(_bench, options.category or category, setup, source.run)
    return read_each(source, source.elements(), convert)


def _bench(
    category: str, agent: events.AgentConfigured, run: str, element: FieldReader, _value: Value
) -> Found:
    result = msgspec.convert(element.holder, TauResult)
    task = element.inside("info").inside("task")
    user_id, reward = task.typed("user_id", str), element.typed("reward", float)
    # What was settled before the first word: the task, and what the customer wants.
    settled = {key: task.holder[key] for key in _SETTLED if key in task.holder}
    beside = {key: value for key, value in element.holder.items() if key != "traj"}
    started = events.SessionStarted(
        parties=[events.Party("customer", id=user_id), events.Party("agent", agent.agent)],
        initial_state={"task_id": result.task_id, "trial": result.trial, **settled},
    )
    ended = events.SessionEnded(reason=_end(result.traj))
    found = [
        Event.of(started),
        *map(_marked, element.messages("traj", agent)),
        # All that the file says of the task and its rating, as it was.
        Event.of(ended, metadata={"tau_bench": beside}),
    ]
    if reward is not None:
        found.append(Event.of(events.ScoreRecorded("reward", reward, "tau-bench")))
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


def read_tau2(source: ImportSource, options: Options) -> Conversations:
    """Import results of tau2-bench: a JSON document with info, tasks and simulations.

    The streams are called CATEGORY-TASK-TRIAL; the category is by default the domain. The same
    tasks of another run are kept beside them, their names ending in the file's, or its folder's.
    Tokens and cost are the agent's; those of the simulated customer stand beside.

        refold import tau2-bench data/simulations/run-1/results.json
    """

    def read(value: Value) -> Conversations:
        document = value.read()
        simulations = document.get("simulations") if isinstance(document, dict) else None
        if not isinstance(simulations, list):
            raise ValueError("results of tau2 have simulations, a list")
        checked({key: document[key] for key in document.keys() - {"simulations"}})

        def found(one: Any, at: str) -> Found:
            run = FieldReader(one, [], at)
            made = _simulation(document, run, source, options)
            loss = losses(f"{source.name}:{value.line}", run.unread)
            return made._replace(file=source.name, line=value.line, loss=loss)

        yield from read_parts(source, value, simulations, "/simulations", found)

    return read_all(source, read, source.lines() if source.layout == "lines" else source.whole())


def _simulation(
    document: dict[str, Any], run: FieldReader, source: ImportSource, options: Options
) -> Found:
    if not isinstance(run.holder, dict) or not isinstance(run.holder.get("messages"), list):
        raise InvalidEvent("a simulation is an object with messages")
    if not isinstance(task_id := run.holder.get("task_id"), str | int):
        raise InvalidEvent("a simulation has a task_id", path="/task_id")
    info = FieldReader(document, run.unread).inside("info")
    about, customer = info.inside("agent_info"), info.inside("user_info")
    where = info.inside("environment_info")
    policy, trial = where.typed("policy", str), run.holder.get("trial", 0)
    agent = events.AgentConfigured(
        prompt=None if policy is None else events.Prompt(policy),
        model=about.typed("llm", str),
        params=about.typed("llm_args", dict[str, Any]) or {},
        tools=list(options.tools),
        agent=about.typed("implementation", str),
    )
    parties = [events.Party("customer", customer.typed("implementation", str))]
    parties.append(events.Party("agent", agent.agent))
    settled = {"task_id": task_id, "trial": trial, **_task(document, task_id)}
    started = events.SessionStarted(parties=parties, initial_state=settled)
    beside = {key: value for key, value in run.holder.items() if key != "messages"}
    setup = {"timestamp": document.get("timestamp"), **info.holder}
    ended = events.SessionEnded(run.typed("termination_reason", str) or "unfinished")
    start_us, end_us = run.time("start_time"), run.time("end_time")
    said = _messages(run, agent)
    costs = [one.data.cost for one in said if isinstance(one.data, events.ModelResponse)]
    whole = run.amount("agent_cost")
    if whole and not any(costs):  # Not told answer by answer.
        said.append(Event.of(events.ModelResponse(cost=whole), occurred_at=end_us))
    made = [Event.of(started, metadata={"tau2": setup}, occurred_at=start_us)]
    made += [Event.of(agent, occurred_at=start_us), *said]
    if (cost := run.amount("user_cost")) is not None:
        told = {"cost": str(cost), "currency": "USD", "model": customer.typed("llm", str)}
        made.append(Event("customer.cost", told, occurred_at=end_us))
    made.append(Event.of(ended, metadata={"tau2": beside}, occurred_at=end_us))
    if (reward := run.inside("reward_info").typed("reward", float)) is not None:
        score = events.ScoreRecorded("reward", reward, "tau2-bench")
        made.append(Event.of(score, occurred_at=end_us))
    category = options.category or where.typed("domain_name", str) or source.stem
    return Found(f"{category.replace('-', '_')}-{task_id}-{trial}", made, run=source.run)


def _task(document: dict[str, Any], task_id: object) -> dict[str, Any]:
    """What was settled of the task before the first word."""
    tasks = document.get("tasks")
    for task in tasks if isinstance(tasks, list) else ():
        if isinstance(task, dict) and task.get("id") == task_id and "user_scenario" in task:
            return {"user_scenario": task["user_scenario"]}
    return {}


def _messages(run: FieldReader, agent: events.AgentConfigured) -> list[Event]:
    """The events of the messages; the agent's calls and the customer's each with their results."""
    made: list[Event] = []
    calls: dict[bool, Counter[str]] = {True: Counter(), False: Counter()}
    now_us: int | None = None
    for index, holder in enumerate(run.holder["messages"]):
        at = f"{run.at}/messages/{index}"
        if not isinstance(holder, dict):
            raise InvalidEvent("a message must be an object", path=f"/messages/{index}")
        inside = holder.get("tool_messages")
        for one in inside if isinstance(inside, list) else [holder]:
            message = FieldReader(one, run.unread, at)
            now_us = message.time("timestamp") or now_us
            own = _message(message, f"m{index}", agent)
            # What a customer calls the agent has no part in.
            is_customers = one.get("role") == "user" or one.get("requestor") == "user"
            pair(own, calls[is_customers], at, run.unread)
            beside = {key: value for key, value in one.items() if key not in _TOLD and value}
            for number, event in enumerate(own):
                metadata = {"tau2": beside} if beside and not number else None
                kind = _CUSTOMERS.get(type(event)) if is_customers else None
                said = Event(kind, msgspec.to_builtins(event)) if kind else Event.of(event)
                made.append(Event(said.type, said.data, said.schema, metadata, now_us))
    return made


def _message(message: FieldReader, own: str, agent: events.AgentConfigured) -> list[Any]:
    """What one message says; ``own`` is its id where it is the agent's."""
    said, role, text = message.holder, message.holder.get("role"), message.typed("content", str)
    if role == "tool":
        is_error = said.get("error") is True
        return [events.ToolResult(shapes.read_id(said.get("id")), said.get("content"), is_error)]
    calls = [_call(one) for one in message.typed("tool_calls", list[dict[str, Any]]) or ()]
    if role == "user":
        return [*([events.UserUtterance(text or "")] if text or not calls else []), *calls]
    if role != "assistant":
        raise InvalidEvent(f"there is no event for the role {shapes.as_said(role)}", path="/role")
    usage, cost = message.usage("usage"), message.amount("cost")
    seconds = message.typed("generation_time_seconds", float)
    told: list[Any] = []
    if usage is not None or cost:
        spent = events.ModelResponse(model=agent.model, usage=usage, cost=cost, message_id=own)
        told = [replace(spent, latency_ms=None if seconds is None else seconds * 1_000)]
    if text or not calls:
        told.append(events.AgentUtterance(text or "", message_id=own))
    return told + [replace(shapes.described(c, agent.tools), message_id=own) for c in calls]


def _call(item: dict[str, Any]) -> events.ToolCall:
    if not isinstance(item.get("name"), str):
        raise InvalidEvent("a tool call must name its function", path="/tool_calls")
    text = shapes.json_text(item.get("arguments") or {})
    parsed = shapes.parsed_arguments(text)
    return events.ToolCall(shapes.read_id(item.get("id")), item["name"], text, parsed)
