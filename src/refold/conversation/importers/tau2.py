"""tau2-bench results: one document with the run's setup, its tasks and its simulations.

Shapes are those of https://github.com/sierra-research/tau2-bench (``data_model/simulation.py`` and
``message.py``). The customer is simulated by a model that may call tools of its own: the agent
sees neither calls nor results, so they are events of the customer, ``customer.tool_call`` and
``customer.tool_result``. Cost and tokens of the conversation are the agent's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Final

import msgspec
from msgspec import structs

from refold.conversation import chat_shapes as shapes
from refold.conversation import events
from refold.conversation.importers.base import (
    Conversations,
    Found,
    Options,
    losses,
    read_all,
    read_parts,
)
from refold.conversation.importers.fields import FieldReader
from refold.conversation.importers.json_array import Value, checked
from refold.conversation.importers.source import ImportSource
from refold.conversation.openai_chat import pair
from refold.core.event import Event
from refold.errors import InvalidEvent

RATER: Final = "tau2-bench"
_TOLD: Final = frozenset({"role", "content", "tool_calls", "timestamp", "id", "tool_messages"})


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
            made = _found(document, run, source, options)
            loss = losses(f"{source.name}:{value.line}", run.unread)
            return made._replace(file=source.name, line=value.line, loss=loss)

        yield from read_parts(source, value, simulations, "/simulations", found)

    return read_all(source, read, source.lines() if source.layout == "lines" else source.whole())


def _found(
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
    made = [
        Event.of(started, metadata={"tau2": setup}, occurred_at=start_us),
        Event.of(agent, occurred_at=start_us),
        *said,
    ]
    if (cost := run.amount("user_cost")) is not None:
        told = {"cost": str(cost), "currency": "USD", "model": customer.typed("llm", str)}
        made.append(Event("customer.cost", told, occurred_at=end_us))
    made.append(Event.of(ended, metadata={"tau2": beside}, occurred_at=end_us))
    if (reward := run.inside("reward_info").typed("reward", float)) is not None:
        score = events.ScoreRecorded("reward", reward, RATER)
        made.append(Event.of(score, occurred_at=end_us))
    category = (options.category or where.typed("domain_name", str) or source.stem).replace(
        "-", "_"
    )
    return Found(f"{category}-{task_id}-{trial}", made, run=source.run)


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
    calls: Counter[str] = Counter()
    customers: Counter[str] = Counter()
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
            pair([event.data for event in own], calls, at, run.unread)
            pair(_of_customer(own), customers, at, run.unread)
            beside = {key: value for key, value in one.items() if key not in _TOLD and value}
            for event in own:
                metadata = {"tau2": beside} if beside and event is own[0] else None
                made.append(replace(event, metadata=metadata, occurred_at=now_us))
    return made


def _message(message: FieldReader, own: str, agent: events.AgentConfigured) -> list[Event]:
    """The events of one message; ``own`` is its id where it is the agent's."""
    said, role = message.holder, message.holder.get("role")
    text, is_users = message.typed("content", str), said.get("requestor") == "user"
    if role == "tool":
        result = events.ToolResult(shapes.read_id(said.get("id")), said.get("content"))
        result = structs.replace(result, is_error=said.get("error") is True)
        return [_customers("tool_result", result) if is_users else Event.of(result)]
    calls = [_call(one) for one in message.typed("tool_calls", list[dict[str, Any]]) or ()]
    if role == "user":
        words = [Event.of(events.UserUtterance(text or ""))] if text or not calls else []
        return [*words, *(_customers("tool_call", call) for call in calls)]
    if role != "assistant":
        raise InvalidEvent(f"there is no event for the role {role!r:.50}", path="/role")
    usage, cost = message.usage("usage"), message.amount("cost")
    seconds = message.typed("generation_time_seconds", float)
    told: list[Any] = []
    if usage is not None or cost:
        spent = events.ModelResponse(model=agent.model, usage=usage, cost=cost, message_id=own)
        told = [structs.replace(spent, latency_ms=None if seconds is None else seconds * 1_000)]
    if text or not calls:
        told.append(events.AgentUtterance(text or "", message_id=own))
    told += [structs.replace(shapes.described(c, agent.tools), message_id=own) for c in calls]
    return [Event.of(one) for one in told]


def _call(item: dict[str, Any]) -> events.ToolCall:
    if not isinstance(item.get("name"), str):
        raise InvalidEvent("a tool call must name its function", path="/tool_calls")
    text = shapes.json_text(item.get("arguments") or {})
    parsed = shapes.parsed_arguments(text)
    return events.ToolCall(shapes.read_id(item.get("id")), item["name"], text, parsed)


def _customers(kind: str, event: events.ToolCall | events.ToolResult) -> Event:
    """A call or a result that is the customer's: the agent has no part in it."""
    return Event(f"customer.{kind}", msgspec.to_builtins(event))


def _of_customer(made: list[Event]) -> Iterator[events.ToolCall | events.ToolResult]:
    kinds = {"customer.tool_call": events.ToolCall, "customer.tool_result": events.ToolResult}
    return (msgspec.convert(e.data, kinds[e.type]) for e in made if e.type in kinds)
