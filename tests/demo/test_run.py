"""The demo as a whole: real events, reproducible, idempotent, and quick to say no."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold.demo import Demo
from refold.demo.run import DemoResult
from refold.errors import UsageError
from refold.replay import verify

MEASURED = {"latency_ms"}
"""What differs from run to run: it is measured."""


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def demo() -> Iterator[Demo]:
    with Demo() as running:
        yield running


@pytest.fixture(scope="module")
def progress() -> list[tuple[str, int, int]]:
    """What was told while ``result`` was made: the step, how many are done, of how many."""
    return []


@pytest.fixture(scope="module")
def result(demo: Demo, folder: Path, progress: list[tuple[str, int, int]]) -> DemoResult:
    return demo.run(
        folder / "demo.db",
        report_path=folder / "report.html",
        progress=lambda step, done, total: progress.append((step, done, total)),
    )


def streams(result: DemoResult) -> list[str]:
    return [conversation.stream for conversation in result.comparison.conversations]


def told(store: refold.Store, stream: str) -> list[tuple[str, Any, int]]:
    """A call's events without what is measured."""
    return [
        (
            event.type,
            {k: v for k, v in event.data.items() if k not in MEASURED},
            event.occurred_at_us,
        )
        for event in store.read(stream)
    ]


def test_it_records_calls_of_every_kind(result: DemoResult) -> None:
    """Forty calls or more, five intents, tool errors, interruptions, transfers."""
    recorded = result.recorded
    assert recorded.calls >= 40
    assert set(recorded.intents) == {"book", "move", "cancel", "advice", "human"}
    assert min(recorded.tool_errors, recorded.interruptions, recorded.turns) > 0
    assert recorded.ends.keys() == {"completed", "transferred"}
    assert recorded.reused == 0


def test_what_it_records_verifies(result: DemoResult, folder: Path) -> None:
    """Fold, exporter and log agree on every call."""
    with refold.open(folder / "demo.db", mode="read") as store:
        verified = verify(store, streams(result))
    assert verified.mismatches == []
    assert verified.decisions == result.comparison.figures.decisions


def test_the_changed_prompt_changes_tools_and_arguments(result: DemoResult) -> None:
    """Every level but the failures is there, and the noise floor is near the ceiling."""
    figures, control = result.comparison.figures, result.comparison.control
    assert min(figures.counts[level] for level in ("same", "words", "arguments", "tools")) > 0
    assert figures.counts["failed"] == figures.counts["missing"] == 0
    assert control is not None
    assert control.figures.by_decision.successes > figures.by_decision.successes
    assert control.figures.counts["words"] > 0
    assert "another run" not in result.comparison.not_measured


def test_the_shown_call_is_seen_half_way_and_without_an_event(result: DemoResult) -> None:
    """The state grows, and the what-if takes away what one tool gave back."""
    half, end = result.half_way, result.at_end
    assert half.version < end.version
    assert len(half.state.transcript) < len(end.state.transcript)
    assert (half.state.status, end.state.status) == ("open", "ended")
    without = result.what_if.without
    assert without.id in [line.id for line in result.transcript]
    assert {operation["op"] for operation in result.what_if.patch} == {"add", "remove"}


def test_its_result_is_json(result: DemoResult) -> None:
    """Everything that the command line prints can be printed as JSON."""
    said = msgspec.json.decode(msgspec.json.encode(result))
    assert said["comparison"]["figures"]["decisions"] == result.comparison.figures.decisions
    assert "stand-in" in said["note"]


def test_a_second_run_asks_nothing_and_says_the_same(
    demo: Demo, result: DemoResult, folder: Path
) -> None:
    """The calls and every answer are found; the same comparison gives the same report."""
    again = demo.run(folder / "demo.db", report_path=folder / "again.html")
    assert again.requests == 0
    assert again.recorded.reused == again.recorded.calls == result.recorded.calls
    assert again.comparison == result.comparison
    assert (folder / "again.html").read_bytes() == (folder / "report.html").read_bytes()


def test_a_seed_gives_the_same_calls_in_any_store(
    demo: Demo, result: DemoResult, folder: Path
) -> None:
    """Everything recorded is reproducible but the measured latencies."""
    other = refold.open("memory:")
    again = demo.run(other, report_path=folder / "memory.html")
    assert again.store is None
    with refold.open(folder / "demo.db", mode="read") as store:
        for stream in streams(result):
            assert told(store, stream) == told(other, stream)
    assert again.comparison.figures.counts == result.comparison.figures.counts


def test_calls_that_were_cut_off_stay_and_a_whole_set_is_made(demo: Demo, folder: Path) -> None:
    """A stream that is no whole call of the demo is neither used nor touched."""
    store = refold.open("memory:")
    store.append("call-701", [refold.Event("user.utterance", {"text": "Mine."})])
    result = demo.run(store, report_path=folder / "beside.html")
    assert streams(result)[0] == "call-701-2"
    assert store.head("call-701") == 0


@pytest.mark.parametrize("seed", [-1, 10_000])
def test_a_seed_out_of_range_is_refused(demo: Demo, tmp_path: Path, seed: int) -> None:
    """Before anything is opened or written."""
    with pytest.raises(UsageError) as refused:
        demo.run(tmp_path / "demo.db", seed=seed, report_path=tmp_path / "report.html")
    assert refused.value.value == seed
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["missing/report.html", "."])
def test_a_report_that_cannot_be_written_is_refused_first(
    demo: Demo, tmp_path: Path, name: str
) -> None:
    """Before the calls are recorded, not after."""
    with pytest.raises(UsageError) as refused:
        demo.run(tmp_path / "demo.db", report_path=tmp_path / name)
    assert refused.value.path == str(tmp_path / name)
    assert list(tmp_path.iterdir()) == []


def test_progress_is_told_step_by_step(
    result: DemoResult, progress: list[tuple[str, int, int]]
) -> None:
    """Each step counts up to its total, and the steps come in order."""
    steps = list(dict.fromkeys(step for step, _, _ in progress))
    assert steps == ["record", "replay"]
    for step in steps:
        counts = [(done, total) for name, done, total in progress if name == step]
        assert counts == sorted(counts)
        assert counts[-1][0] == counts[-1][1]


def test_the_report_shows_where_own_answers_lead(result: DemoResult) -> None:
    """What agrees at every decision and goes wrong by itself is found; other words are not."""
    wrong, same = result.own_ways
    page = Path(result.report).read_text()
    for shown, is_found_by_decision in ((wrong, False), (same, True)):
        next_step, free_run = shown.comparisons
        assert (next_step.mode, free_run.mode) == ("next-step", "free-run")
        assert (next_step.partings > 0, free_run.partings > 0) == (
            *(is_found_by_decision, not is_found_by_decision),
        )
        course = free_run.figures.course
        assert course is not None
        assert course.is_whole
        assert course.same == course.conversations - free_run.partings
        assert shown.says in page
        assert f"{free_run.partings} of {course.conversations} conversations" in page
