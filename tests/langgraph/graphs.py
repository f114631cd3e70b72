"""Graphs as users build them, with no model behind them."""

import operator
from collections.abc import Sequence
from typing import Annotated, Any, TypedDict

from langchain_core.messages import AIMessage
from langgraph.channels.delta import DeltaChannel
from langgraph.graph import END, START, MessagesState, StateGraph
from langgraph.types import interrupt


class Desk(MessagesState):
    """A conversation in which a human approves what costs money."""

    approved: list[str]
    files: Annotated[dict[str, str], operator.or_]


def desk(saver: Any) -> Any:
    """Answers, asks a human before it books, and books."""

    def answer(state: Desk) -> dict[str, Any]:
        said = state["messages"][-1].content
        return {
            "messages": [AIMessage(f"You said: {said}", id=f"a{len(state['messages'])}")],
            "files": {f"note-{len(state['messages'])}.txt": str(said) * 20},
        }

    def book(state: Desk) -> dict[str, Any]:
        decision = interrupt({"book": state["messages"][-1].content})
        return {"approved": [*state.get("approved", []), decision]}

    builder = StateGraph(Desk)
    builder.add_node("answer", answer)
    builder.add_node("book", book)
    builder.add_edge(START, "answer")
    builder.add_edge("answer", "book")
    builder.add_edge("book", END)
    return builder.compile(checkpointer=saver)


def nested(saver: Any) -> Any:
    """A graph whose one node is the desk."""
    builder = StateGraph(Desk)
    builder.add_node("desk", desk(None))
    builder.add_edge(START, "desk")
    return builder.compile(checkpointer=saver)


def joined(current: list[str] | None, writes: Sequence[list[str]]) -> list[str]:
    """The reducer of a delta channel."""
    return [*(current or []), *(entry for write in writes for entry in write)]


def logging(saver: Any, tag: str, *, every: int = 1_000) -> Any:
    """One log in a delta channel and in a whole one, by two nodes one after the other."""

    class Logs(TypedDict):
        delta: Annotated[list[str], DeltaChannel(joined, list, snapshot_frequency=every)]
        whole: Annotated[list[str], operator.add]

    def node(name: str) -> Any:
        return lambda state: {"delta": [f"{tag}-{name}"], "whole": [f"{tag}-{name}"]}

    builder = StateGraph(Logs)
    builder.add_node("one", node("one"))
    builder.add_node("two", node("two"))
    builder.add_edge(START, "one")
    builder.add_edge("one", "two")
    builder.add_edge("two", END)
    return builder.compile(checkpointer=saver)


def thread(name: str = "t", **more: Any) -> Any:
    """The config of a thread."""
    return {"configurable": {"thread_id": name, **more}}
