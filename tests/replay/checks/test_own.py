"""A user's own checks: functions in a file or a module, and installed metrics."""

from __future__ import annotations

from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

import refold
from refold.conversation.state import ConversationState
from refold.errors import UsageError
from refold.replay import Action, ChatRequest, compare
from refold.replay.checks import reading
from refold.replay.checks.reading import read_check
from refold.replay.metrics import observations
from tests.replay.stories import VARIANT, as_recorded, record, run

POLICY = '''
def speaks_of_a_gate(state, history):
    """The gate is named.

    Only where the agent speaks at all.
    """
    said = [turn.text for turn in state.transcript if turn.role == "agent"]
    return "gate" in said[-1] if said else None


def raises(state, history):
    return len(history) / 0


def odd(state, history):
    return "yes"
'''


@pytest.fixture
def policy(tmp_path: Path) -> str:
    path = tmp_path / "policy.py"
    path.write_text(POLICY)
    return str(path)


def calls_made(state: ConversationState, history: list[refold.Recorded]) -> int:
    """How many calls were made so far."""
    return len(state.tool_calls)


calls_made.unit = "count"  # type: ignore[attr-defined]
calls_made.direction = "lower"  # type: ignore[attr-defined]


def silent(request: ChatRequest) -> Action:
    return Action(text="One moment.")


def test_a_function_is_asked_at_each_decision(policy: str) -> None:
    """It sees the record up to there and the answer; None is no observation."""
    store = refold.open("memory:")
    record(store, "call-1")
    run(store, silent)
    check = read_check(f"{policy}:speaks_of_a_gate")
    compared = compare(store, ["call-1"], VARIANT, checks=[check]).conversations
    found = [(one.item, one.value) for one in observations(compared, check.metric)]
    assert found == [("call-1@2", 0.0), ("call-1@5", 0.0)]
    recorded = {one.at: one.recorded_scores for of in compared for one in of.decisions}
    assert recorded == {"call-1@2": {}, "call-1@5": {check.metric.name: 1.0}}
    assert (check.metric.name, check.metric.says) == (
        "check:speaks_of_a_gate",
        "The gate is named",
    )


@pytest.mark.parametrize(
    ("function", "said"),
    [("raises", "ZeroDivisionError.*division by zero"), ("odd", "'yes'.*True, False")],
)
def test_an_exception_is_an_error_and_never_no(policy: str, function: str, said: str) -> None:
    """It says which check failed, at which event, and how."""
    store = refold.open("memory:")
    record(store, "call-1")
    run(store, as_recorded)
    with pytest.raises(UsageError, match=said) as refused:
        list(
            compare(
                store, ["call-1"], VARIANT, checks=[read_check(f"{policy}:{function}")]
            ).conversations
        )
    assert refused.value.facts == {"check": f"check:{function}", "at": "call-1@2"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("{policy}:missing", "missing"),
        ("nowhere.py:rule", "no file nowhere.py"),
        ("no_such_module_of_mine:rule", "no_such_module_of_mine"),
        ("refold:__version__", "not a function"),
    ],
)
def test_what_is_not_there_is_said(policy: str, text: str, said: str) -> None:
    """A file, a module, or a function in it."""
    with pytest.raises(UsageError, match=said):
        read_check(text.format(policy=policy))


def test_a_package_brings_a_metric_by_entry_point(monkeypatch: pytest.MonkeyPatch) -> None:
    """Under its own name, with the unit and direction that it has."""
    point = EntryPoint("calls_made", f"{__name__}:calls_made", reading.GROUP)
    monkeypatch.setattr(reading, "entry_points", lambda group: [point])
    monkeypatch.setattr(EntryPoint, "load", lambda self: calls_made)
    store = refold.open("memory:")
    record(store, "call-1")
    run(store, as_recorded)
    check = read_check("calls_made")
    compared = compare(store, ["call-1"], VARIANT, checks=[check]).conversations
    assert [one.value for one in observations(compared, check.metric)] == [1.0, 1.0]
    metric = check.metric
    assert (metric.name, metric.unit, metric.direction) == ("calls_made", "count", "lower")
    assert metric.says == "How many calls were made so far"


def test_a_field_that_does_not_count_makes_no_difference() -> None:
    """Of one tool, or of every tool; a field without a tool is refused."""
    store = refold.open("memory:")
    record(store, "call-1")

    def other_id(request: ChatRequest) -> Action:
        action = as_recorded(request)
        calls = [(c.name, c.arguments.replace("B1", "B2")) for c in action.calls]
        return Action(text=action.text, calls=tuple(refold.replay.Call(*c) for c in calls))

    run(store, other_id)
    for ignore, level in (([], "arguments"), (["lookup/id"], "same"), (["*/id"], "same")):
        compared = compare(store, ["call-1"], VARIANT, ignore=ignore)
        assert compared.conversations[0].decisions[0].level == level
    with pytest.raises(UsageError, match="TOOL/FIELD"):
        compare(store, ["call-1"], VARIANT, ignore=["id"])


def test_a_number_that_is_no_share_is_refused(tmp_path: Path) -> None:
    """A count without a unit would be 600 points of something."""
    path = tmp_path / "words.py"
    path.write_text("def words(state, history):\n    return 597\n")
    store = refold.open("memory:")
    record(store, "call-1")
    run(store, silent)
    with pytest.raises(UsageError, match="a share is from 0 to 1"):
        compare(store, ["call-1"], VARIANT, checks=[read_check(f"{path}:words")])
    path = tmp_path / "counted.py"
    path.write_text("def words(state, history):\n    return 597\nwords.unit = ''\n")
    check = read_check(f"{path}:words")
    (compared,) = compare(store, ["call-1"], VARIANT, checks=[check]).conversations
    assert [one.scores[check.metric.name] for one in compared.decisions] == [597.0, 597.0]
