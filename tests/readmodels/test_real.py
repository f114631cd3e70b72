"""Recorded conversations: the rows against the whole history, and against the fold."""

from collections.abc import Iterator

import pytest

import refold
from refold.conversation import Conversation
from refold.conversation.importers import import_files
from refold.demo import Demo
from refold.projections import Projector
from refold.readmodels import built_in
from tests.conversation.importers.inputs import real
from tests.readmodels.naive import rows_of
from tests.readmodels.tables import Tables, caught_up, rows_in


@pytest.fixture(scope="module")
def airline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[refold.Store]:
    """The 200 recorded conversations of tau-bench, with their tools."""
    files = real("tau-bench", "gpt-4o-airline.json"), real("tau-bench", "airline-tools.json")
    with refold.open(tmp_path_factory.mktemp("airline") / "log.db") as store:
        assert import_files(store, "tau-bench", [files[0]], tools=files[1]).imported == 200
        yield store


@pytest.fixture(scope="module")
def clinic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[refold.Store]:
    """The calls of the demo, and two branches of each."""
    folder = tmp_path_factory.mktemp("clinic")
    with refold.open(folder / "demo.db") as store, Demo() as demo:
        demo.run(store, report_path=folder / "report.html")
        yield store


@pytest.fixture(scope="module")
def airline_rows(airline: refold.Store) -> Tables:
    return caught_up(airline)


@pytest.fixture(scope="module")
def clinic_rows(clinic: refold.Store) -> Tables:
    return caught_up(clinic)


def test_the_rows_of_the_recorded_conversations_are_right(
    airline: refold.Store, airline_rows: Tables
) -> None:
    """Every row of every table is what its events come to, worked out from the log alone."""
    assert airline_rows == rows_of(airline.read_all())


def test_the_rows_of_the_demo_are_right(clinic: refold.Store, clinic_rows: Tables) -> None:
    """The same for calls with interruptions, transfers, prices, latencies and branches."""
    assert clinic_rows == rows_of(clinic.read_all())


def test_the_known_figures_of_the_recorded_conversations(airline_rows: Tables) -> None:
    """200 conversations, 1,164 tool calls, 73 of which failed, by 50 tasks' customers."""
    assert len(airline_rows["conversations"]) == 200
    assert len(airline_rows["tool_calls"]) == 1_164
    assert sum(row["calls"] for row in airline_rows["tool_usage"]) == 1_164
    assert sum(row["errors"] for row in airline_rows["tool_usage"]) == 73
    assert sum(row["conversations"] for row in airline_rows["customers"]) == 200
    assert {row["score"] for row in airline_rows["conversations"]} == {0.0, 1.0}


def test_branches_are_left_out(clinic: refold.Store, clinic_rows: Tables) -> None:
    """What a replay or a what-if made up is in no table."""
    streams = [info.stream for info in clinic.streams()]
    branches = [stream for stream in streams if "~" in stream]
    assert len(branches) > 80
    listed = [row["stream"] for row in clinic_rows["conversations"]]
    assert listed == sorted(set(streams) - set(branches))
    assert not [row for row in clinic_rows["tool_calls"] if "~" in row["stream"]]
    assert not [row for row in clinic_rows["customer_conversations"] if "~" in row["stream"]]


@pytest.mark.parametrize("which", ["airline", "clinic"])
def test_the_rows_say_what_the_fold_says(which: str, request: pytest.FixtureRequest) -> None:
    """Where the fold of a conversation and its row say the same thing, they agree."""
    store: refold.Store = request.getfixturevalue(which)
    tables: Tables = request.getfixturevalue(f"{which}_rows")
    for row in tables["conversations"]:
        state = store.fold(row["stream"], Conversation).state
        agent = state.agent
        assert agent is not None
        assert row["channel"] == state.channel
        assert row["status"] == state.status
        assert row["end_reason"] == state.end_reason
        assert row["duration_ms"] == state.duration_ms
        assert row["cost"] == state.cost
        assert row["turns"] == len(state.transcript)
        assert row["tool_calls"] == len(state.tool_calls)
        assert row["answers"] == state.usage.responses
        assert row["output_tokens"] == state.usage.output_tokens
        assert row["interruptions"] == sum(turn.heard is not None for turn in state.transcript)
        assert (row["model"], row["agent"]) == (agent.model, agent.agent)
        calls = [call for call in tables["tool_calls"] if call["stream"] == row["stream"]]
        uses = [use for use in state.tool_calls if use.answer is not None]
        answered = [
            (use.event.name, use.event.effect, use.answer.event.is_error)
            for use in uses
            if use.answer is not None
        ]
        assert [(c["tool"], c["effect"], bool(c["is_error"])) for c in calls] == answered


def test_the_customers_of_the_demo_can_be_told_apart(clinic_rows: Tables) -> None:
    """Callers are known by their number, with the name they gave."""
    assert clinic_rows["customers"]
    assert {row["known_by"] for row in clinic_rows["customer_conversations"]} == {"party"}
    assert all(row["name"] for row in clinic_rows["customers"])


def test_a_packed_log_gives_the_same_rows(clinic: refold.Store, clinic_rows: Tables) -> None:
    """A rebuild after a compaction finds what was there before it."""
    assert clinic.compact().events > 1_000
    projector = Projector(clinic, built_in())
    for name in projector.projections:
        projector.rebuild(name)
    assert rows_in(projector) == clinic_rows
