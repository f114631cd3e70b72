"""Agents of frameworks as they stand: what one does with a turn, and where its tools are run.

Each is known by its class, so that nothing is imported that is not there. Tools are stood in for
where the framework runs any of them, whoever made them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import cache, partial
from importlib import import_module
from typing import Any, Final

from refold.errors import UsageError, refuse_unless
from refold.freerun.rerun import TurnTaker
from refold.tools import standing_in

_STEPS_MAX: Final = 100
"""So many steps a turn of a framework may take."""


def beginning(agent: Any) -> Callable[[], TurnTaker]:
    """What begins an agent anew, and gives what it does with what the user says.

    Raises :class:`~refold.errors.UsageError` for what is neither an agent nor begins one.
    """
    homes = {cls.__module__.partition(".")[0] for cls in type(agent).__mro__}
    for home, begin in _BEGIN.items():
        if home in homes:
            _tools_of(home)
            return partial(begin, agent)
    refuse_unless(
        callable(agent),
        "an agent of LangGraph, the OpenAI Agents SDK or pydantic-ai, or a function that gives one "
        "that takes what the user says",
        agent=agent,
    )

    def begun() -> TurnTaker:
        turn: TurnTaker = agent()
        if not callable(turn):
            raise UsageError(f"{agent!r:.60} gives no function of what the user says")
        return turn

    return begun


def _langgraph(graph: Any) -> TurnTaker:
    """A graph over ``messages``, its thread kept in memory, whatever saver it has."""
    saver = import_module("langgraph.checkpoint.memory").InMemorySaver()
    own = graph.copy({"checkpointer": saver})
    config = {"configurable": {"thread_id": "rerun"}, "recursion_limit": _STEPS_MAX}

    async def turn(said: str) -> None:
        await own.ainvoke({"messages": [{"role": "user", "content": said}]}, config)

    return turn


def _openai_agents(first: Any) -> TurnTaker:
    """An agent and those that it hands over to, without traces, which would be sent."""
    home = import_module("agents")
    quiet = home.RunConfig(tracing_disabled=True)
    now: dict[str, Any] = {"agent": first, "talk": []}

    async def turn(said: str) -> None:
        talk = [*now["talk"], {"role": "user", "content": said}]
        result = await home.Runner.run(now["agent"], talk, run_config=quiet, max_turns=_STEPS_MAX)
        now.update(agent=result.last_agent, talk=result.to_input_list())

    return turn


def _pydantic_ai(agent: Any) -> TurnTaker:
    """An agent that is given the messages so far."""
    talk: list[Any] = []

    async def turn(said: str) -> None:
        result = await agent.run(said, message_history=talk)
        talk[:] = result.all_messages()

    return turn


_BEGIN: Final[dict[str, Callable[[Any], TurnTaker]]] = {
    "langgraph": _langgraph,
    "agents": _openai_agents,
    "pydantic_ai": _pydantic_ai,
}


# -- where tools are run ---------------------------------------------------------------------------


@cache
def _tools_of(home: str) -> None:
    """Let the tools of a framework be stood in for."""
    for make in _TOOLS[home]():
        make()


def _langchain_tools() -> Iterator[Callable[[], None]]:
    base = import_module("langchain_core.tools").BaseTool
    message = import_module("langchain_core.messages").ToolMessage

    def told(tool: Any, given: Any, call_id: str | None) -> Any:
        text = standing_in.get()(tool.name, given, call_id)  # type: ignore[misc]
        return text if call_id is None else message(text, tool_call_id=call_id, name=tool.name)

    run, arun = base.run, base.arun

    def stood_in(tool: Any, tool_input: Any, *args: Any, **named: Any) -> Any:
        if standing_in.get() is None:
            return run(tool, tool_input, *args, **named)
        return told(tool, tool_input, named.get("tool_call_id"))

    async def stood_in_async(tool: Any, tool_input: Any, *args: Any, **named: Any) -> Any:
        if standing_in.get() is None:
            return await arun(tool, tool_input, *args, **named)
        return told(tool, tool_input, named.get("tool_call_id"))

    yield partial(setattr, base, "run", stood_in)
    yield partial(setattr, base, "arun", stood_in_async)


def _agents_tools() -> Iterator[Callable[[], None]]:
    cls = import_module("agents").FunctionTool

    async def told(tool: Any, context: Any, arguments: str) -> str:
        return standing_in.get()(tool.name, arguments, context.tool_call_id)  # type: ignore[misc]

    def got(tool: Any, name: str) -> Any:
        if name == "on_invoke_tool" and standing_in.get() is not None:
            # The same each time: the SDK looks whether it has changed.
            kept = object.__getattribute__(tool, "__dict__")
            return kept.setdefault("_refold_stands_in", partial(told, tool))
        return object.__getattribute__(tool, name)

    yield partial(setattr, cls, "__getattribute__", got)


def _pydantic_ai_tools() -> Iterator[Callable[[], None]]:
    places = {"function": "FunctionToolset", "fastmcp": "FastMCPToolset"}
    for module, name in places.items():
        with suppress(ImportError):
            cls = getattr(import_module(f"pydantic_ai.toolsets.{module}"), name)
            yield partial(setattr, cls, "call_tool", _calling(cls.call_tool))


def _calling(call_tool: Any) -> Any:
    async def called(toolset: Any, name: str, given: Any, context: Any, tool: Any) -> Any:
        if (instead := standing_in.get()) is None:
            return await call_tool(toolset, name, given, context, tool)
        return instead(name, given, context.tool_call_id)

    return called


_TOOLS: Final[dict[str, Callable[[], Iterator[Callable[[], None]]]]] = {
    "langgraph": _langchain_tools,
    "agents": _agents_tools,
    "pydantic_ai": _pydantic_ai_tools,
}
