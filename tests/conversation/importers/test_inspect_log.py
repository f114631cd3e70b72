"""Inspect eval logs: samples with their calls, scores and errors."""

import json
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation.events import Usage
from refold.conversation.importers import import_files
from tests.conversation.importers.inputs import real
from tests.conversation.importers.traces import of_type, said

CALL = {"id": "c1", "function": "bash", "arguments": {"cmd": "ls"}, "type": "function"}
USER = {"role": "user", "content": "attachment://a1", "source": "input"}
ASKS = {"role": "assistant", "content": "", "tool_calls": [CALL]}
RESULT: dict[str, Any] = {"role": "tool", "content": "", "tool_call_id": "c1", "function": "bash"}
RESULT |= {"error": {"type": "timeout", "message": "too slow"}}
SAYS = {"role": "assistant", "content": [{"type": "text", "text": "It is slow."}]}


def model(second: int, asked: list[Any], answer: Any) -> dict[str, Any]:
    at = f"2026-03-02T10:00:0{second}+00:00"
    output: dict[str, Any] = {
        "model": "m-1",
        "choices": [{"message": answer, "stop_reason": "stop"}],
    }
    output |= {"usage": {"input_tokens": 5, "output_tokens": 2}}
    made = {"event": "model", "timestamp": at, "completed": at, "model": "p/m", "input": asked}
    return {**made, "tools": [], "config": {"temperature": 0.1, "seed": None}, "output": output}


def log(run: str = "r1", **changed: Any) -> dict[str, Any]:
    sample = {
        "id": "s 1", "epoch": 2, "target": "x", "messages": [USER, ASKS, RESULT, SAYS],
        "attachments": {"a1": "List them"}, "scores": {"match": {"value": "P"}},
        "events": [
            model(0, [USER], ASKS),
            {"event": "tool", "id": "c1", "function": "bash", "arguments": {"cmd": "ls"},
             "timestamp": "2026-03-02T10:00:01+00:00", "completed": "2026-03-02T10:00:03+00:00",
             "result": "", "error": {"type": "timeout", "message": "too slow"}},
            model(4, [USER, ASKS, RESULT], SAYS),
        ],
    }  # fmt: skip
    return {"eval": {"task": "my-task", "run_id": run}, "samples": [{**sample, **changed}]}


def told(store: refold.Store, path: Path, document: Any) -> Any:
    path.write_text(json.dumps(document, indent=1))
    return import_files(store, "inspect", [path])


def test_the_samples_of_a_real_log(store: refold.Store) -> None:
    """Each is a stream, with its words, tokens, latency and score."""
    path = real("formats", "inspect", "2025-05-12T20-28-13-04-00_popularity.json")
    report = import_files(store, None, [path])
    assert (report.imported, report.loss, report.taken[0].format) == (3, [], "inspect")
    prompt, user, agent = said(store, "popularity-1-1")
    assert prompt[1].startswith("\nPlease note") and "my goals" in user[1]
    assert agent == ("agent", "Yes")
    [response] = of_type(store, "popularity-1-1", "model.response")
    assert response.usage == Usage(64, 2)
    assert (response.model, response.latency_ms) == ("gpt-4o-mini-2024-07-18", 656.751)
    scores = [of_type(store, f"popularity-{n}-1", "score.recorded")[0].value for n in (1, 2, 3)]
    assert scores == [1.0, 1.0, 0.0]


def test_results_without_their_calls_are_told(store: refold.Store) -> None:
    """The log holds errors of tools alone: each is an error, and that no call is there is told."""
    report = import_files(store, None, [real("formats", "inspect", "log_tool_call_error.json")])
    [stream] = [one.stream for one in store.streams()]
    results = of_type(store, stream, "tool.result")
    assert [one.is_error for one in results] == [True] * 11
    assert results[0].name == "bash"
    assert len(report.loss) == 11


def test_calls_of_tools_are_paired(store: refold.Store, tmp_path: Path) -> None:
    """With the time that the tool took, and its error; texts kept once are put in."""
    report = told(store, tmp_path / "l.json", log())
    assert report.loss == []
    assert said(store, "my_task-s_1-2") == [
        ("user", "List them"),
        ("call", "c1", "bash", {"cmd": "ls"}),
        ("result", "c1", ""),
        ("agent", "It is slow."),
    ]
    [result] = of_type(store, "my_task-s_1-2", "tool.result")
    assert (result.is_error, result.latency_ms) == (True, 2000.0)
    [setup] = of_type(store, "my_task-s_1-2", "agent.configured")
    assert (setup.model, setup.params) == ("p/m", {"temperature": 0.1})
    assert [one.value for one in of_type(store, "my_task-s_1-2", "score.recorded")] == [0.5]


def test_a_sample_without_its_steps(store: refold.Store, tmp_path: Path) -> None:
    """Its messages are all that is known: no response is made up."""
    told(store, tmp_path / "l.json", log(events=[]))
    assert len(said(store, "my_task-s_1-2")) == 4
    assert not of_type(store, "my_task-s_1-2", "model.response")


def test_another_run_of_the_task_is_kept_beside(store: refold.Store, tmp_path: Path) -> None:
    """The same sample of another run does not collide with it; again, it changes nothing."""
    told(store, tmp_path / "l.json", log())
    other = log("r2", scores={"match": {"value": "C"}})
    assert told(store, tmp_path / "m.json", other).imported == 1
    assert told(store, tmp_path / "m.json", other).unchanged == 1
    assert len(list(store.streams())) == 2


@pytest.mark.parametrize(
    ("changed", "end"),
    [
        ({}, ("completed", None)),
        ({"error": {"message": "boom"}}, ("error", "boom")),
        ({"limit": {"type": "token", "limit": 9}}, ("token limit", None)),
    ],
)
def test_how_a_sample_ended(
    store: refold.Store, tmp_path: Path, changed: Any, end: tuple[str, str | None]
) -> None:
    """Completed, with an error, or at a limit."""
    told(store, tmp_path / "l.json", log(**changed))
    [ended] = of_type(store, "my_task-s_1-2", "session.ended")
    assert (ended.reason, ended.error) == end


def test_a_score_that_is_no_number(store: refold.Store, tmp_path: Path) -> None:
    """It is told; the parts of one that has several are scores each."""
    scores = {"a": {"value": "good"}, "b": {"value": {"x": 1, "y": True}}}
    report = told(store, tmp_path / "l.json", log(scores=scores))
    named = [(s.name, s.value) for s in of_type(store, "my_task-s_1-2", "score.recorded")]
    assert named == [("b.x", 1.0), ("b.y", 1.0)]
    assert [one.pointer for one in report.loss] == ["/samples/0/scores/a"]


def test_a_header_without_samples_is_a_problem(store: refold.Store, tmp_path: Path) -> None:
    """There is no conversation in it."""
    report = told(store, tmp_path / "l.json", {"eval": {"task": "t"}, "status": "success"})
    assert (report.imported, report.failed) == (0, 1)


def test_a_sample_that_is_none(store: refold.Store, tmp_path: Path) -> None:
    """It is a problem, and no crash."""
    report = told(store, tmp_path / "l.json", {"eval": {"task": "t"}, "samples": ["odd"]})
    assert (report.imported, report.failed) == (0, 1)
