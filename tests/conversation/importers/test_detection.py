"""The format of a file is found out by what stands in it; a refusal says what to do."""

import json
import sys
from io import BytesIO, TextIOWrapper
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.conversation import Conversation
from refold.conversation.importers import Importer, import_files
from refold.conversation.importers.base import BUILT_IN
from refold.conversation.importers.detection import FORMATS
from refold.conversation.importers.elsewhere import GUIDE, likely
from refold.conversation.importers.source import START_BYTES, ImportSource, first_values
from tests.conversation.importers.inputs import line, real, tau_element

CHAT = [{"role": "user", "content": "Is it free?"}, {"role": "assistant", "content": "It is."}]
TRADE = {"date": "2025-11-01 10:00:00", "id": 0, "positions": {"X": 0, "CASH": 1}}
LANDMARKS: dict[str, Any] = {
    "ShareGPT": [{"id": "1", "conversations": [{"from": "human", "value": "Hi"}]}],
    "vCon": {"vcon": "0.0.1", "uuid": "u", "parties": [], "dialog": []},
    "OTLP": {"resourceSpans": [{"scopeSpans": []}]},
    "OpenTelemetry": [{"role": "user", "parts": [{"type": "text", "content": "Hi"}]}],
    "Langfuse": {"trace": {"id": "t"}, "observations": []},
    "LangSmith": {"id": "r", "run_type": "chain", "inputs": {}},
    "Vapi": {"message": {"type": "end-of-call-report", "artifact": {}}},
    "Retell": {"call_id": "c", "transcript_object": []},
    "Inspect": {"version": 2, "eval": {"task_id": "t"}, "samples": []},
    "SWE-agent": {"trajectory": [], "history": [], "info": {}},
    "ADK": {"id": "s", "events": [{"author": "user", "invocationId": "i"}]},
    "Gemini": {"contents": [{"role": "user", "parts": [{"text": "Hi"}]}]},
}


def taken(store: refold.Store, path: Path) -> tuple[str, str]:
    """What a file is taken for, and why."""
    report = import_files(store, None, [path])
    (one,) = report.taken
    assert (report.imported, report.failed) == (1, 0), report.problems
    return one.format, one.why


@pytest.mark.parametrize("indent", [None, 1])
@pytest.mark.parametrize("name", ["a.json", "a.jsonl", "a.txt", "a", "a.log.gz"])
@pytest.mark.parametrize(
    ("format_", "value"),
    [("openai-chat", CHAT), ("openai-chat", {"messages": CHAT}), ("tau-bench", [tau_element()])],
)
def test_the_format_is_that_of_the_content(
    store: refold.Store, tmp_path: Path, format_: str, value: Any, name: str, indent: int | None
) -> None:
    """Whatever a file is called, and however it is laid out."""
    (tmp_path / name).write_text(json.dumps(value, indent=indent))
    found, why = taken(store, tmp_path / name)
    assert found == format_
    assert why


def test_every_format_that_comes_along_is_in_the_table() -> None:
    """In one order, the more general the later; each is read where the table says."""
    assert list(BUILT_IN) == list(FORMATS)
    assert [Importer.named(name).name for name in FORMATS] == list(FORMATS)


def test_a_plug_in_says_what_it_knows(store: refold.Store, tmp_path: Path) -> None:
    """A format of a package beside refold is found out like a built-in one."""
    (tmp_path / "m.positions.jsonl").write_text(line(**TRADE))
    assert taken(store, tmp_path / "m.positions.jsonl")[0] == "ai-trader"


def test_files_of_several_formats_come_in_together(store: refold.Store, tmp_path: Path) -> None:
    """The format is that of each file, and stands with what came of it."""
    (tmp_path / "a.jsonl").write_text(line(messages=CHAT))
    (tmp_path / "b.json").write_text(json.dumps([tau_element()]))
    report = import_files(store, None, [tmp_path / "a.jsonl", tmp_path / "b.json"])
    assert [one.format for one in report.taken] == ["openai-chat", "tau-bench"]
    assert (report.format, report.imported) == ("", 2)
    assert {e.metadata["source"] for e in store.read_all()} == {"openai-chat", "tau-bench"}


def test_a_document_longer_than_what_is_looked_at(store: refold.Store, tmp_path: Path) -> None:
    """The start of it says what it is, though it does not end there."""
    long = tau_element()
    long["traj"] = [*long["traj"][:2], {"role": "user", "content": "x" * (2 * START_BYTES)}]
    (tmp_path / "m-airline.json").write_text(json.dumps([long]))
    assert taken(store, tmp_path / "m-airline.json")[0] == "tau-bench"
    assert len(store.fold("airline-0-0", Conversation).state.transcript[-1].text) > START_BYTES


@pytest.mark.parametrize("text", LANDMARKS.values(), ids=LANDMARKS.keys())
def test_a_format_without_an_importer_is_named(
    store: refold.Store, tmp_path: Path, text: Any, request: pytest.FixtureRequest
) -> None:
    """One problem that names it and the how-to page, asked for or found out; nothing is stored."""
    path = tmp_path / "x.json"
    path.write_text(json.dumps(text))
    name = request.node.callspec.id.rpartition("-")[2]
    for asked in (None, "openai-chat", "tau-bench"):
        report = import_files(store, asked, [path])
        (problem,) = report.problems
        is_read = Importer.of(_source(path)) is not None
        assert GUIDE in problem.message or (is_read and asked is None)
        assert name in problem.message or is_read
    assert store.log_head() == 0


def _source(path: Path) -> ImportSource:
    with ImportSource.opened(str(path)) as source:
        return source


@pytest.mark.parametrize(
    "content", ["words", "1\n2\n", '{"a": 1}\n{"a": 2}\n', "[]", "{}", "\n", "[[1]]", "<a></a>"]
)
def test_what_nobody_knows_is_refused(store: refold.Store, tmp_path: Path, content: str) -> None:
    """With one problem, and the page that tells how to bring it."""
    (tmp_path / "x.txt").write_text(content)
    report = import_files(store, None, [tmp_path / "x.txt"])
    assert [GUIDE in one.message for one in report.problems] == [True]
    assert report.taken == []


def test_a_name_of_the_page_is_that_of_the_page() -> None:
    """What a refusal points to is there."""
    page = Path(__file__).parents[3] / "docs" / "how-to" / "bring-another-format.md"
    assert page.read_text().startswith("# Bring another format\n")
    assert "Bring another format" in GUIDE


class Slow(BytesIO):
    """A pipe that gives a few bytes at a time."""

    def read1(self, size: int | None = -1, /) -> bytes:
        return super().read(min(7, size) if size and size > 0 else 7)


@pytest.mark.parametrize("indent", [None, 2])
def test_a_document_on_a_pipe_is_one(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch, indent: int | None
) -> None:
    """Compact or pretty-printed: two conversations in an array are two."""
    content = json.dumps([{"messages": CHAT}, {"messages": CHAT}], indent=indent).encode()
    monkeypatch.setattr(sys, "stdin", TextIOWrapper(Slow(content)))
    report = import_files(store, None, ["-"])
    assert (report.imported, report.failed) == (2, 0)


def test_lines_are_lines_whatever_their_first_is(store: refold.Store, tmp_path: Path) -> None:
    """A line that is broken, or a list, does not make a document of the file."""
    for number, first in enumerate(['{"messages": [', json.dumps(CHAT), "["]):
        path = tmp_path / f"t{number}.jsonl"
        path.write_text(f"{first}\n" + line(messages=CHAT) * 3)
        assert import_files(store, "openai-chat", [path]).imported >= 3


@given(st.data())
def test_the_first_values_are_seen_wherever_the_text_is_cut(data: st.DataObject) -> None:
    """A cut costs no value before it; what is seen of the last is the beginning of it."""
    keys = st.sampled_from(["role", "content", 'q"}', "a,b"])
    leaves = st.none() | st.integers() | st.text(max_size=5) | st.sampled_from(['"', "\\", "[,"])
    one = st.dictionaries(keys, leaves | st.lists(leaves, max_size=3), min_size=1, max_size=3)
    values = data.draw(st.lists(one, min_size=1, max_size=5))
    text = json.dumps(values)
    cut = data.draw(st.integers(0, len(text)))
    seen = first_values(text[:cut].encode(), "array")
    whole = [value for n, value in enumerate(values) if len(json.dumps(values[: n + 1])) <= cut]
    assert seen[: len(whole)] == whole
    assert len(seen) <= len(whole) + 1
    for last in seen[len(whole) :]:
        assert last.items() <= values[len(whole)].items() or last


def test_nothing_looks_like_nothing() -> None:
    """Words and numbers are of no format."""
    samples: list[list[Any]] = [[], [1], ["a"], [{}], [[]]]
    assert [likely(values) for values in samples] == [""] * 5


@pytest.mark.parametrize(
    ("path", "named"),
    [
        ("swe-agent/function_calling_simple.traj", "a SWE-agent trajectory"),
        ("adk/123.session.json", "a Google ADK session"),
        (
            "langsmith/anthropic_managed_custom_tools.jsonl",
            "a log of calls to Anthropic's managed agents",
        ),
    ],
)
def test_a_real_file_without_an_importer_is_named(
    store: refold.Store, path: str, named: str
) -> None:
    """And where a recipe for it stands."""
    (problem,) = import_files(store, None, [real("formats", *path.split("/"))]).problems
    assert f"this looks like {named}: {GUIDE}" in problem.message
