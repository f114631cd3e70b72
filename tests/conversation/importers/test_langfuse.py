"""Langfuse exports: the traces of eight frameworks, against Langfuse's own reading of them."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation.importers import import_files
from tests.conversation.importers.inputs import real
from tests.conversation.importers.traces import imported, of_type, said

SAMPLES = (
    "agno-2025-06-11", "crewai-2025-07-11", "google-adk-2025-08-28", "langgraph-js-2025-10-30",
    "llamaindex-2025-06-05", "openai-agents-2025-09-30", "pydantic-ai-2025-06-06",
    "vercel-aisdk-2025-11-17",
)  # fmt: skip
NAMES = {"model": "agent", "assistant": "agent", "system": "prompt"}
ITS_FAILURES = {
    # Messages recorded as Python's text of them, read here by the attributes beside them.
    "1f883bb9668167c0": "the answer is text alone, which its schema has no place for",
    "fc7f61b57ecebbaf": "as above",
    "b38a82eaa62b551e": "it has the tools and no message of the input",
    "ca136de468e156c9": "as above",
    # Text alone is an answer too.
    "231c43964b7e7e63": "the answer is text alone",
    "7ca8b22f6628d0c7": "input and answer are text alone",
    # A choice of the older conventions: it leaves the message inside as it was.
    "5cb389a3bdd21a6e": "the answer has no role and no content of its own",
    # The result's role is the name of the tool, which it leaves as it was.
    "0856a1825ccee968": "a tool's result has the role get_weather",
    # The outer call's input is {"prompt": …}; the inner one is read.
    "1dc6768109615657": "an input that is a prompt",
}


def told_by_oracle(messages: list[dict[str, Any]]) -> list[Any]:
    """What Langfuse's reading says, in the words of :func:`said`, calls by their name."""
    told: list[Any] = []
    for message in messages:
        role, text = message.get("role"), message.get("content")
        name = NAMES.get(str(role), role)
        for call in message.get("tool_calls", []):
            told.append(("call", call["name"], json.loads(call["arguments"])))
        if text and not message.get("tool_calls"):
            told.append((name, text))
    return told


@pytest.mark.parametrize("sample", SAMPLES)
def test_each_call_says_what_langfuse_reads_in_it(store: refold.Store, sample: str) -> None:
    """All that its normaliser reads in a call is said in the one conversation of the trace."""
    path = real("formats", "langfuse", f"{sample}.trace.json")
    oracle = json.loads(path.with_name(f"{sample}.chatml.json").read_text())
    report = import_files(store, "langfuse", [path])
    assert (report.imported, report.failed) == (1, 0)
    [stream] = [one.stream for one in store.streams()]
    told = [(one[0], *one[2:]) if one[0] == "call" else one for one in said(store, stream)]
    calls = [
        one
        for one in json.loads(path.read_text())["observations"]
        if one["type"] == "GENERATION" and one["id"] not in ITS_FAILURES
    ]
    for call in calls:
        read = oracle[call["id"]]
        assert read["input"]["success"] and read["output"]["success"]
        messages = [*read["input"]["data"], *read["output"]["data"]]
        # It takes the result of a call that has no id for words of the user.
        wanted = [one for one in told_by_oracle(messages) if '{"greeting"' not in str(one)]
        results = {str(one[2]) for one in said(store, stream) if one[0] == "result"}
        assert [w for w in wanted if w not in told and str(w[-1]) not in results] == []


def test_its_failures_are_failures() -> None:
    """Each entry of the oracle that is left out is one that Langfuse could not read, or misread."""
    for sample in SAMPLES:
        path = real("formats", "langfuse", f"{sample}.chatml.json")
        for own_id, read in json.loads(path.read_text()).items():
            if own_id in ITS_FAILURES:
                both = [
                    *read["input"].get("data", ["failed"]),
                    *read["output"].get("data", ["failed"]),
                ]
                known = ("system", "user", "assistant", "tool")
                is_odd = [not isinstance(one, dict) or one.get("role") not in known for one in both]
                assert any(is_odd), own_id


@pytest.mark.parametrize(
    ("sample", "costs"),
    [
        ("agno-2025-06-11", ["0.00003645", "0.000234449999"]),
        ("crewai-2025-07-11", ["0.0001269"]),
        ("langgraph-js-2025-10-30", ["0.0000835", "0.00024275"]),
        ("openai-agents-2025-09-30", ["0.00023", "0.000402"]),
        ("vercel-aisdk-2025-11-17", ["0.000927499999"]),
    ],
)
def test_costs_are_those_of_the_calls(store: refold.Store, sample: str, costs: list[str]) -> None:
    """A call that two layers record is told once, with the figures of the inner one."""
    import_files(store, "langfuse", [real("formats", "langfuse", f"{sample}.trace.json")])
    [stream] = [one.stream for one in store.streams()]
    responses = of_type(store, stream, "model.response")
    assert [one.cost for one in responses] == [Decimal(cost) for cost in costs]
    assert all(one.usage and one.latency_ms for one in responses)


@pytest.mark.parametrize("sample", SAMPLES)
def test_calls_are_paired(store: refold.Store, sample: str) -> None:
    """Each call has its result, from the next request or from the tool's own observation."""
    import_files(store, "langfuse", [real("formats", "langfuse", f"{sample}.trace.json")])
    [stream] = [one.stream for one in store.streams()]
    told = said(store, stream)
    called = [one[1] for one in told if one[0] == "call"]
    assert called == [one[1] for one in told if one[0] == "result"]


def test_who_and_which_session_are_kept(store: refold.Store) -> None:
    """The user is the subject, the session correlates, and each trace of it is a stream."""
    paths = [
        real("formats", "langfuse", f"{name}.trace.json")
        for name in ("llamaindex-2025-06-05", "pydantic-ai-2025-06-06")
    ]
    assert import_files(store, "langfuse", paths).imported == 2
    assert import_files(store, "langfuse", paths).unchanged == 2
    for one in store.streams():
        first = next(iter(store.read(one.stream)))
        assert first.metadata["subject"] == "user_123"
        assert first.metadata["correlation"] == "session_abc"


def test_scores_come_along(store: refold.Store) -> None:
    """With their rater and their time."""
    import_files(store, "langfuse", [real("formats", "langfuse", "crewai-2025-07-11.trace.json")])
    [stream] = [one.stream for one in store.streams()]
    scores = of_type(store, stream, "score.recorded")
    assert [(one.name, one.value, one.rater) for one in scores] == [
        ("toxicity", 0.8, "EVAL"),
        ("hallucination", 1.0, "EVAL"),
    ]


@pytest.mark.parametrize("document", [{"observations": 1}, {"observations": []}, [1], {"a": 1}])
def test_what_is_no_trace(store: refold.Store, tmp_path: Path, document: Any) -> None:
    """It is a problem."""
    report = imported(store, tmp_path / "t.jsonl", "langfuse", document)
    assert (report.imported, report.failed) == (0, 1)


def test_an_answer_in_no_known_shape_is_told(store: refold.Store, tmp_path: Path) -> None:
    """Neither silence nor a guess: the response stands without words, and the loss says so."""
    call: dict[str, Any] = {
        "id": "g",
        "type": "GENERATION",
        "name": "chat",
        "startTime": "2026-03-02T10:00:00Z",
    }
    call |= {"input": "Hi", "output": {"odd": 1}}
    report = imported(store, tmp_path / "t.jsonl", "langfuse", {"id": "t", "observations": [call]})
    assert said(store, "langfuse-t") == [("user", "Hi")]
    assert [(one.pointer, one.what) for one in report.loss] == [
        ("/observations/0/output", "the answer is in no shape that is known")
    ]


def test_a_tool_that_says_nothing_has_answered(store: refold.Store, tmp_path: Path) -> None:
    """Text that is empty is a result; null would say that there is none."""
    step = {"id": "x", "type": "TOOL", "name": "look", "startTime": "2026-03-02T10:00:00Z"}
    step |= {"input": "{}", "output": ""}
    imported(store, tmp_path / "t.jsonl", "langfuse", {"id": "t", "observations": [step]})
    (result,) = of_type(store, "langfuse-t", "tool.result")
    assert result.result == ""


def test_a_count_that_is_none_is_told_at_its_field(store: refold.Store, tmp_path: Path) -> None:
    """The loss points at the count; the usage is not told with 0 in its place."""
    step: dict[str, Any] = {"id": "g", "type": "GENERATION", "startTime": "2026-03-02T10:00:00Z"}
    step |= {"input": "Hi", "output": "Ho", "usageDetails": {"input": "many", "output": 2}}
    document = {"id": "t", "observations": [step]}
    report = imported(store, tmp_path / "t.jsonl", "langfuse", document)
    assert [(one.pointer, one.what) for one in report.loss] == [
        ("/observations/0/usageDetails/input", "'many' is not a number of tokens")
    ]
    (response,) = of_type(store, "langfuse-t", "model.response")
    assert response.usage is None


BY_ITS_END = (
    "endTime", "output", "statusMessage", "latency", "timeToFirstToken", "totalCost",
    "calculatedTotalCost",
)  # fmt: skip
"""What an observation has when it ends."""


def up_to(document: dict[str, Any], moment: str) -> dict[str, Any]:
    """A trace as it was exported at a moment: what had begun, and of that what had ended."""
    begun = [one for one in document["observations"] if one["startTime"] <= moment]
    open_ = dict.fromkeys(BY_ITS_END) | {"usageDetails": {}, "costDetails": {}, "level": "DEFAULT"}
    observed = [one if (one["endTime"] or "") <= moment else one | open_ for one in begun]
    return {**document, "observations": observed}


@pytest.mark.parametrize("sample", SAMPLES)
def test_a_trace_that_goes_on_comes_in_as_far_as_it_has_ended(sample: str, tmp_path: Path) -> None:
    """Exported at any moment, and again when it is whole: it is as if it came in at once."""
    document = json.loads(real("formats", "langfuse", f"{sample}.trace.json").read_text())
    path = tmp_path / "t.json"
    moments = {one[key] for one in document["observations"] for key in ("startTime", "endTime")}
    chosen = sorted(moments)[:: max(len(moments) // 6, 1)]
    told: list[Any] = []
    for moment in ["9999", *chosen]:
        with refold.open("memory:") as store:
            path.write_text(json.dumps(up_to(document, moment)))
            import_files(store, "langfuse", [path])
            path.write_text(json.dumps(document))
            report = import_files(store, "langfuse", [path])
            assert report.problems == []
            said = [(e.type, e.raw, e.occurred_at_us) for e in store.read_all()]
            # A score stands behind what there was when it came.
            told.append(sorted(said, key=lambda one: one[0] == "score.recorded"))
    assert told[1:] == [told[0]] * len(chosen)


def test_a_call_that_never_ended_is_told_where_its_trace_has(
    store: refold.Store, tmp_path: Path
) -> None:
    """Of a trace that is over nothing more will come; of one that goes on, what has ended does."""
    at = {"startTime": "2026-01-01T00:00:00Z"}
    root = {"id": "r", "type": "SPAN", "endTime": "2026-01-01T00:00:09Z", **at}
    call = {"id": "c", "parentObservationId": "r", "type": "GENERATION", "input": "Hi", **at}
    path = tmp_path / "t.json"
    path.write_text(json.dumps({"id": "T", "observations": [{**root, "endTime": None}, call]}))
    report = import_files(store, None, [path])
    assert [one.message for one in report.problems] == [
        "trace T: there is no call of a model or of a tool that has ended: it still goes on"
    ]
    path.write_text(json.dumps({"id": "T", "observations": [root, call]}))
    report = import_files(store, None, [path])
    assert (report.problems, report.imported) == ([], 1)
    assert "the answer is not recorded" in [one.what for one in report.loss]
