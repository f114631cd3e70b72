"""`refold compare --a --b`: two recorded agents that did the same tasks, from the shell."""

import json
from pathlib import Path

import pytest

from tests.cli.running import Refold


def record(run: Refold, category: str, rewards: list[int]) -> None:
    """A category of conversations, one a task, in the form of tau-bench's results."""
    told = [
        {
            "task_id": task,
            "trial": 0,
            "reward": float(reward),
            "info": {},
            "traj": [
                {"role": "user", "content": f"Task {task}"},
                {"role": "assistant", "content": "Done."},
            ],
        }
        for task, reward in enumerate(rewards)
    ]
    Path(f"{category}.json").write_text(json.dumps(told))
    assert run("import", "tau-bench", f"{category}.json", "--category", category).code == 0


def test_two_categories_are_paired_by_task(run: Refold) -> None:
    """Both did one, each alone one, neither one: in words and as JSON; 0 without a gate."""
    record(run, "first", [1, 1, 0, 0])
    record(run, "second", [1, 0, 1, 0, 1])
    named = ("compare", "--a", "first", "--b", "second", "--pair-by", "task")
    done = run(*named)
    assert done.code == 0, done
    assert "Do not ship it yet" in done.out.splitlines()[0]
    assert "succeeded: both 1, only a 1, only b 1, neither 1 (exact McNemar p = 1)" in done.out
    assert "1 on this side alone, left out: 4" in done.out
    (found,) = run(*named, "--json").lines
    assert found["outcomes"] == {"both": 1, "only_a": 1, "only_b": 1, "neither": 1, "p": 1.0}
    assert (found["pairs"], found["b"]["unpaired"]) == (4, 1)
    assert run(*named, "--fail-on", "worse").code == 4


def test_the_gate_is_over_two_records_too(run: Refold) -> None:
    """A second agent that does none of eight tasks is worse: 1; the other way round better: 0."""
    record(run, "first", [1] * 8)
    record(run, "second", [0] * 8)
    gate = ("--fail-on", "worse", "--summary", "out.md", "--junit", "out.xml")
    assert run("compare", "--a", "category=first", "--b", "second", *gate).code == 1
    assert "Do not ship it: worse" in Path("out.md").read_text()
    assert "<failure" in Path("out.xml").read_text()
    assert run("compare", "--a", "second", "--b", "first", *gate).code == 0


def test_a_report_and_checks_as_for_a_replay(run: Refold) -> None:
    """One page, a check as the metric that decides, each with what is behind it in the JSON."""
    record(run, "first", [1] * 8)
    record(run, "second", [0] * 8)
    named = ("compare", "--a", "first", "--b", "second", "--check", "says=done")
    done = run(*named, "--primary", "reward", "--report", "two.html", "--fail-on", "worse")
    assert done.code == 1, done
    page = Path("two.html").read_text()
    assert "<h1>Do not ship it: worse in the reward of a conversation.</h1>" in page
    assert "check:says=done" in page
    (found,) = run(*named, "--json").lines
    assert [one["task"] for one in found["tasks"]] == [str(task) for task in range(8)]
    assert found["tasks"][0]["b"][0]["values"]["check:says=done"] == 1.0


@pytest.mark.parametrize(
    "args",
    [
        ["--a", "first"],
        ["--a", "first", "--b", "second", "--margin", "2pt"],
        ["--a", "first", "--b", "second", "--ignore", "book/id"],
        ["--a", "first", "--b", "first"],
        ["--a", "first", "--b", "third"],
        ["--a", "first", "--b", "mood=good"],
        ["--a", "first", "--b", "second", "--variant", "x"],
        ["--a", "first", "--b", "second", "--pair-by", "customer"],
        ["--pair-by", "task"],
    ],
)
def test_what_cannot_be_compared_is_refused(run: Refold, args: list[str]) -> None:
    """One side, the same twice, nothing there, a condition that is none: exit 2, in a line."""
    record(run, "first", [1, 0])
    record(run, "second", [1, 1])
    done = run("compare", *args)
    assert done.code == 2, done
    assert len(done.err.splitlines()) == 1
