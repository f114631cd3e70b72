"""Real graphs on the saver, beside the same graphs on LangGraph's own saver in memory."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.types import Command

import refold
from refold.langgraph import RefoldSaver
from tests.langgraph.graphs import desk, logging, nested, thread


@pytest.fixture
def store(tmp_path: Path) -> Iterator[refold.Store]:
    """A store in a file."""
    with refold.open(str(tmp_path / "agents.db")) as opened:
        yield opened


def played(saver: Any) -> list[Any]:
    """A conversation with an interrupt, time travel and forks; what the graph said of it all."""
    graph, at = desk(saver), thread()
    seen: list[Any] = [graph.invoke({"messages": [("user", "Nine?")]}, at)["messages"][-1].content]
    seen.append([task.interrupts[0].value for task in graph.get_state(at).tasks])
    seen.append(graph.invoke(Command(resume="yes"), at)["approved"])
    graph.invoke({"messages": [("user", "And ten?")]}, at)
    seen.append(graph.invoke(Command(resume="no"), at)["approved"])
    history = list(graph.get_state_history(at))
    asked = next(each for each in history if each.next == ("book",) and each.metadata["step"] == 1)
    seen.append(graph.invoke(Command(resume="later"), asked.config)["approved"])
    forked = graph.update_state(history[3].config, {"approved": ["by hand"]}, as_node="answer")
    seen.append(graph.get_state(forked).values["approved"])
    seen.append(graph.invoke(None, forked).get("approved"))
    seen += [told(each) for each in graph.get_state_history(at)]
    return seen


def told(snapshot: Any) -> Any:
    """A snapshot without its ids and times."""
    messages = [(each.type, each.content) for each in snapshot.values.get("messages", [])]
    rest = {name: value for name, value in snapshot.values.items() if name != "messages"}
    tasks = [(task.name, [each.value for each in task.interrupts]) for task in snapshot.tasks]
    step = snapshot.metadata["source"], snapshot.metadata["step"]
    return messages, rest, tasks, step, snapshot.next


def test_a_graph_runs_as_on_the_saver_in_memory(store: refold.Store) -> None:
    """Messages, interrupt, resume, history, time travel and update_state say the same."""
    assert played(RefoldSaver(store)) == played(InMemorySaver())


def test_a_graph_runs_so_on_an_event_loop(store: refold.Store) -> None:
    """The async methods are the same saver."""

    async def run(saver: Any) -> list[Any]:
        graph, at = desk(saver), thread()
        await graph.ainvoke({"messages": [("user", "Nine?")]}, at)
        await graph.ainvoke(Command(resume="yes"), at)
        history = [each async for each in graph.aget_state_history(at)]
        forked = await graph.aupdate_state(history[1].config, {"approved": ["by hand"]})
        await graph.ainvoke(None, forked)
        return [told(each) async for each in graph.aget_state_history(at, limit=5)]

    assert asyncio.run(run(RefoldSaver(store))) == asyncio.run(run(InMemorySaver()))


def test_a_graph_within_a_graph_is_interrupted_and_forked(store: refold.Store) -> None:
    """A subgraph has checkpoints of its own, in a namespace of the same thread."""

    def run(saver: Any) -> list[Any]:
        graph, at = nested(saver), thread()
        graph.invoke({"messages": [("user", "Nine?")]}, at)
        inner = graph.get_state(at, subgraphs=True).tasks[0].state
        seen = [inner.values["messages"][-1].content, inner.next]
        graph.invoke(Command(resume="yes"), at)
        asked = next(each for each in graph.get_state_history(at) if each.next == ("desk",))
        graph.invoke(None, asked.config)
        seen.append(graph.invoke(Command(resume="no"), at)["approved"])
        return seen + [told(each) for each in graph.get_state_history(at)]

    assert run(RefoldSaver(store)) == run(InMemorySaver())
    assert {each.stream for each in store.streams()} == {"thread-t", "thread-t~1"}


def test_another_process_goes_on_where_one_stopped(tmp_path: Path) -> None:
    """An interrupted thread is resumed from the file alone."""
    path = str(tmp_path / "agents.db")
    with refold.open(path) as store:
        desk(RefoldSaver(store)).invoke({"messages": [("user", "Nine?")]}, thread())
    with refold.open(path) as store:
        assert desk(RefoldSaver(store)).invoke(Command(resume="yes"), thread())["approved"] == [
            "yes"
        ]


@pytest.mark.parametrize("durability", ["sync", "async", "exit"])
@pytest.mark.parametrize("every", [2, 1_000])
def test_a_fork_of_a_reloaded_thread_has_none_of_the_branch_it_left(
    store: refold.Store, durability: str, every: int
) -> None:
    """A delta channel is made of the writes of its own ancestors: it says what a whole one says."""

    def run(tag: str, at: Any) -> None:
        # A saver of its own each time: what it knows is what the log says.
        graph = logging(RefoldSaver(store), tag, every=every)
        graph.invoke({"delta": [tag], "whole": [tag]}, at, durability=durability)

    graph = logging(RefoldSaver(store), "", every=every)
    run("first", thread())
    base = graph.get_state(thread()).config
    run("left", thread())
    run("fork", base)
    again = logging(RefoldSaver(store), "", every=every)
    ends = ["first", "first-one", "first-two", "fork", "fork-one", "fork-two"]
    assert again.get_state(thread()).values == {"delta": ends, "whole": ends}
    for each in again.get_state_history(thread()):
        assert each.values.get("delta", []) == each.values.get("whole", [])
    left = next(e for e in again.get_state_history(thread()) if "left-two" in e.values["delta"])
    assert left.values["delta"] == [*ends[:3], "left", "left-one", "left-two"]


def test_a_state_changed_by_hand_stays_out_of_the_branch_it_left(store: refold.Store) -> None:
    """update_state of an older checkpoint adds to its fork and to no other."""
    graph = logging(RefoldSaver(store), "run")
    graph.invoke({"delta": ["in"], "whole": ["in"]}, thread())
    old = next(each for each in graph.get_state_history(thread()) if each.next == ("two",))
    newest = graph.get_state(thread())
    graph.update_state(old.config, {"delta": ["hand"], "whole": ["hand"]}, as_node="one")
    again = logging(RefoldSaver(store), "run")
    assert again.get_state(newest.config).values == newest.values
    assert again.get_state(thread()).values["delta"] == ["in", "run-one", "hand"]
    assert again.invoke(None, thread())["delta"] == ["in", "run-one", "hand", "run-two"]
