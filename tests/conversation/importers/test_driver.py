"""What every import does, whatever the format."""

import gzip
import io
import json
import sys
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation.importers import Importer, import_files
from refold.conversation.importers import source as source_module
from refold.errors import InvalidEvent, Unavailable, UsageError
from tests.conversation.importers.inputs import line, tau_element

USER = {"role": "user", "content": "Hi"}


def chat(tmp_path: Path, *conversations: Any, name: str = "talk.jsonl") -> Path:
    path = tmp_path / name
    path.write_text("".join(json.dumps(conversation) + "\n" for conversation in conversations))
    return path


def counts(report: Any) -> tuple[int, int, int]:
    return report.imported, report.unchanged, report.failed


def everything(store: refold.Store) -> list[refold.Recorded]:
    return list(store.read_all())


def test_importing_again_changes_nothing(store: refold.Store, tmp_path: Path) -> None:
    """The second import finds every conversation there and appends nothing."""
    path = chat(tmp_path, [USER], [USER, USER])
    assert counts(import_files(store, "openai-chat", [path])) == (2, 0, 0)
    before = everything(store)
    again = import_files(store, "openai-chat", [path])
    assert (counts(again), again.events, again.ok) == ((0, 2, 0), 0, True)
    assert everything(store) == before


def test_where_a_file_lies_is_no_part_of_what_is_imported(
    store: refold.Store, tmp_path: Path
) -> None:
    """The same file in another folder is the same conversations."""
    (tmp_path / "other").mkdir()
    import_files(store, "openai-chat", [chat(tmp_path, [USER])])
    moved = chat(tmp_path / "other", [USER])
    assert counts(import_files(store, "openai-chat", [moved])) == (0, 1, 0)


def test_a_changed_conversation_is_an_error_and_is_left_as_it_was(
    store: refold.Store, tmp_path: Path
) -> None:
    """Other content under the same identity is told by name; its neighbours go on."""
    import_files(store, "openai-chat", [chat(tmp_path, [USER], [USER])])
    before = list(store.read("chat-talk-1"))
    changed = chat(tmp_path, [{"role": "user", "content": "Ho"}], [USER], [USER])
    report = import_files(store, "openai-chat", [changed])
    assert counts(report) == (1, 1, 1)
    assert [(p.file, p.line, p.stream) for p in report.problems] == [
        (str(changed), 1, "chat-talk-1")
    ]
    assert list(store.read("chat-talk-1")) == before


def test_a_stream_that_was_not_imported_is_left_alone(store: refold.Store, tmp_path: Path) -> None:
    """An import never adds to a history that was recorded here."""
    store.append("chat-talk-1", [refold.Event("x.y")])
    report = import_files(store, "openai-chat", [chat(tmp_path, [USER])])
    assert counts(report) == (0, 0, 1)
    assert report.problems[0].stream == "chat-talk-1"
    assert store.head("chat-talk-1") == 0


def test_a_broken_line_is_told_and_the_rest_goes_on(store: refold.Store, tmp_path: Path) -> None:
    """File and line of each broken conversation; the others are imported."""
    path = tmp_path / "talk.jsonl"
    good = json.dumps([USER]) + "\n"
    path.write_text(good + '{"messages": [\n' + "\n" + good + "12\n" + good)
    report = import_files(store, "openai-chat", [path])
    assert counts(report) == (3, 0, 2)
    assert [(p.file, p.line) for p in report.problems] == [(str(path), 2), (str(path), 5)]
    assert not report.ok


def test_an_event_that_cannot_be_stored_fails_its_conversation_alone(
    store: refold.Store, tmp_path: Path
) -> None:
    """A conversation is stored whole or not at all."""
    many = [USER] * 10_001
    report = import_files(store, "openai-chat", [chat(tmp_path, [USER], many, [USER])])
    assert counts(report) == (2, 0, 1)
    assert [(p.line, p.stream) for p in report.problems] == [(2, "chat-talk-2")]
    assert store.head("chat-talk-2") == -1


def test_two_conversations_of_one_name_in_one_run(store: refold.Store, tmp_path: Path) -> None:
    """The same again is unchanged, another one under the same id is a problem."""
    first, other = {"id": "a", "messages": [USER]}, {"id": "a", "messages": [USER, USER]}
    report = import_files(store, "openai-chat", [chat(tmp_path, first, first, other)])
    assert counts(report) == (1, 1, 1)
    assert [(p.line, p.stream) for p in report.problems] == [(3, "chat-a")]


@pytest.mark.parametrize(
    ("content", "says"),
    [
        (b"", "empty"),
        (b"\n \n", "no conversations"),
        (gzip.compress(b"[]", mtime=0), "gzip"),
        (b"\x28\xb5\x2f\xfd\x00", "zstd"),
        (b"PK\x03\x04", "zip"),
        (b"\xff\xfe[\x00]\x00", "UTF-8"),
        (b"\x00\x01\x02", "UTF-8"),
    ],
)
def test_a_file_that_holds_nothing_to_import(
    store: refold.Store, tmp_path: Path, content: bytes, says: str
) -> None:
    """Empty, compressed and binary files are told apart, and do not stop the others."""
    path = tmp_path / "odd.jsonl"
    path.write_bytes(content)
    report = import_files(store, "openai-chat", [path, chat(tmp_path, [USER])])
    assert counts(report) == (1, 0, 1)
    assert (report.problems[0].file, report.problems[0].line) == (str(path), 0)
    assert says in report.problems[0].message


@pytest.mark.parametrize("format", ["tau-bench", "openai-chat", "ai-trader"])
@pytest.mark.parametrize("seed", range(3))
def test_garbage_is_a_problem_and_never_a_crash(
    store: refold.Store, tmp_path: Path, format: str, seed: int
) -> None:
    """Bytes without sense are reported in every format."""
    import random

    path = tmp_path / "garbage.bin"
    path.write_bytes(bytes(b or 1 for b in random.Random(seed).randbytes(5_000)))
    report = import_files(store, format, [path])
    assert report.imported == 0
    assert report.failed >= 1


@pytest.mark.parametrize("format", ["tau-bench", "openai-chat", "ai-trader"])
def test_deep_nesting_is_a_problem_and_never_a_crash(
    store: refold.Store, tmp_path: Path, format: str
) -> None:
    """A hundred thousand brackets are reported in every format, in lines and in documents."""
    deep = "[" * 100_000 + "]" * 100_000
    for name in ("deep.json", "deep.jsonl"):
        (tmp_path / name).write_text(f'[{{"traj": {deep}, "messages": {deep}}}]')
        report = import_files(store, format, [tmp_path / name])
        assert (report.imported, report.failed) == (0, 1)


def test_missing_files_and_directories_are_problems(store: refold.Store, tmp_path: Path) -> None:
    """A path that cannot be read is told, and the others are imported."""
    missing = tmp_path / "none.jsonl"
    report = import_files(store, "openai-chat", [missing, tmp_path, chat(tmp_path, [USER])])
    assert counts(report) == (1, 0, 2)
    assert [p.file for p in report.problems] == [str(missing), str(tmp_path)]
    assert "no such file" in report.problems[0].message
    assert "directory" in report.problems[1].message


def test_a_byte_order_mark_and_blank_lines_are_passed_over(
    store: refold.Store, tmp_path: Path
) -> None:
    """Text from Windows editors is text: BOM, CRLF and empty lines."""
    path = tmp_path / "talk.jsonl"
    good = json.dumps([USER]).encode()
    path.write_bytes(b"\xef\xbb\xbf" + good + b"\r\n\r\n" + good)
    assert counts(import_files(store, "openai-chat", [path])) == (2, 0, 0)


def test_a_line_over_the_limit_is_told_and_skipped(
    store: refold.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A line is held in memory, so its length has a bound; the next one is read."""
    monkeypatch.setattr(source_module, "VALUE_BYTES_MAX", 100)
    long = [{"role": "user", "content": "x" * 5_000}]
    report = import_files(store, "openai-chat", [chat(tmp_path, [USER], long, [USER])])
    assert counts(report) == (2, 0, 1)
    assert [p.line for p in report.problems] == [2]


def test_the_standard_input_is_a_source(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``-`` reads JSON lines from the standard input."""
    piped = io.TextIOWrapper(io.BytesIO((json.dumps([USER]) + "\n").encode() * 2))
    monkeypatch.setattr(sys, "stdin", piped)
    told: list[tuple[int, int | None]] = []
    report = import_files(
        store, "openai-chat", ["-"], progress=lambda done, total: told.append((done, total))
    )
    assert counts(report) == (2, 0, 0)
    assert store.head("chat-stdin-2") >= 0
    assert {total for _, total in told} == {None}


def test_progress_goes_up_to_the_whole(store: refold.Store, tmp_path: Path) -> None:
    """Progress is in bytes over all files, never goes back and ends at the total."""
    paths = [chat(tmp_path, [USER], [USER]), chat(tmp_path, [USER], name="more.jsonl")]
    told: list[tuple[int, int | None]] = []
    import_files(store, "openai-chat", paths, progress=lambda *at: told.append(at))
    total = sum(path.stat().st_size for path in paths)
    done = [at for at, _ in told]
    assert done == sorted(done)
    assert told[-1] == (total, total)


def test_what_was_imported_says_so(store: refold.Store, tmp_path: Path) -> None:
    """Source and origin stand in the metadata of every event."""
    import_files(store, "openai-chat", [chat(tmp_path, [USER])])
    assert {(e.metadata["source"], e.metadata["origin"]) for e in everything(store)} == {
        ("openai-chat", "imported")
    }


def test_a_category_begins_the_names_of_the_streams(store: refold.Store, tmp_path: Path) -> None:
    """With another category the same file is imported beside."""
    path = chat(tmp_path, [USER])
    import_files(store, "openai-chat", [path])
    import_files(store, "openai-chat", [path], category="trial")
    assert [info.stream for info in store.streams()] == ["chat-talk-1", "trial-talk-1"]


def test_a_category_of_several_words_is_one_word(store: refold.Store, tmp_path: Path) -> None:
    """A name such as gpt-4o may be the category: a stream's ends at its first hyphen."""
    assert import_files(store, "openai-chat", [chat(tmp_path, [USER])], category="gpt-4o").ok
    assert [info.stream for info in store.streams()] == ["gpt_4o-talk-1"]


@pytest.mark.parametrize("bad_id", ["a~b", "a\nb", "x" * 300])
def test_an_id_that_cannot_name_a_stream_is_a_problem(
    store: refold.Store, tmp_path: Path, bad_id: str
) -> None:
    """A branch's ``~``, a control character or too long an id is told, not altered."""
    path = chat(tmp_path, {"id": bad_id, "messages": [USER]}, [USER])
    report = import_files(store, "openai-chat", [path])
    assert counts(report) == (1, 0, 1)
    assert report.problems[0].line == 1


def test_wrong_calls_are_refused(store: refold.Store, tmp_path: Path) -> None:
    """An unknown format, no paths, a category that is none, a tools file that is none."""
    path = chat(tmp_path, [USER])
    with pytest.raises(UsageError):
        import_files(store, "parchment", [path])
    with pytest.raises(UsageError):
        import_files(store, "openai-chat", [])
    for category in ("~", "a~"):
        with pytest.raises(UsageError):
            import_files(store, "openai-chat", [path], category=category)
    for tools in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UsageError):
            import_files(store, "openai-chat", [path], tools=tools)
    with pytest.raises(InvalidEvent):
        import_files(store, "openai-chat", [path], category="")
    assert everything(store) == []


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        "[1]",
        "[{}]",
        '[{"name": "f", "effect": "maybe"}]',
        '[{"name":"f","parameters":1}]',
    ],
)
def test_a_broken_tools_file_is_refused(store: refold.Store, tmp_path: Path, text: str) -> None:
    """Tools are checked before anything is imported; the error names the file."""
    tools = tmp_path / "tools.json"
    tools.write_text(text)
    with pytest.raises(UsageError) as refused:
        import_files(store, "openai-chat", [chat(tmp_path, [USER])], tools=tools)
    assert refused.value.path == str(tools)


def test_an_import_that_the_store_stopped_goes_on_where_it_was(tmp_path: Path) -> None:
    """When the store cannot write, the import ends with its error; again, it does the rest."""
    path = chat(tmp_path, [USER], [USER])
    with refold.open(tmp_path / "log.db") as store:
        import_files(store, "openai-chat", [chat(tmp_path, [USER], name="first.jsonl")])
    with (
        refold.open(tmp_path / "log.db", mode="read") as readonly,
        pytest.raises((Unavailable, UsageError)),
    ):
        import_files(readonly, "openai-chat", [path])
    with refold.open(tmp_path / "log.db") as store:
        assert counts(import_files(store, "openai-chat", [path])) == (2, 0, 0)


def test_reports_list_a_bounded_number_of_problems(
    store: refold.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All problems are counted, the first 10,000 listed."""
    path = tmp_path / "bad.jsonl"
    path.write_text("{\n" * 10_050)
    report = import_files(store, "openai-chat", [path])
    assert (report.problem_count, report.failed, len(report.problems)) == (10_050, 10_050, 10_000)


def test_any_reason_not_to_read_a_file_is_told(store: refold.Store, tmp_path: Path) -> None:
    """A name that no file can have is a problem like a missing file."""
    report = import_files(store, "openai-chat", ["x" * 5_000, chat(tmp_path, [USER])])
    assert counts(report) == (1, 0, 1)


def test_formats_do_not_share_their_keys(store: refold.Store, tmp_path: Path) -> None:
    """The same stream from two formats is a conflict, not a silent mixture."""
    (tmp_path / "chat.json").write_text(json.dumps([tau_element(7, 1)]))
    assert import_files(store, "tau-bench", [tmp_path / "chat.json"]).imported == 1
    other = tmp_path / "x.jsonl"
    other.write_text(line(id="7-1", messages=[USER]))
    assert counts(import_files(store, "openai-chat", [other])) == (0, 0, 1)


TRADE = line(date="2025-11-01 10:00:00", id=0, positions={"X": 0, "CASH": 1})
LOOKS = {
    "tau-bench": ("results.json", json.dumps([tau_element()])),
    "openai-chat": ("talk.jsonl", json.dumps([USER]) + "\n"),
    "ai-trader": ("m.positions.jsonl", TRADE),
}


@pytest.mark.parametrize("given", LOOKS)
@pytest.mark.parametrize("asked", LOOKS)
def test_a_file_of_another_format_names_its_importer(
    store: refold.Store, tmp_path: Path, given: str, asked: str
) -> None:
    """One problem a file, however many lines it has, and nothing is imported."""
    name, text = LOOKS[given]
    (tmp_path / name).write_text(text if given == "tau-bench" else text * 3)
    report = import_files(store, asked, [tmp_path / name])
    if given == asked:
        assert "looks like" not in str(report.problems)
        return
    (problem,) = report.problems
    assert f"this looks like {given}" in problem.message
    assert (counts(report), store.log_head()) == ((0, 0, 1), 0)


def test_a_plug_in_that_cannot_be_loaded_is_named(
    store: refold.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It stops nothing but itself, and takes no built-in format's place."""
    installed = tmp_path / "odd-1.dist-info"
    installed.mkdir()
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: odd\nVersion: 1\n")
    (installed / "entry_points.txt").write_text(
        "[refold.importers]\nodd = no_such_module:read\nopenai-chat = no_such_module:read\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    assert Importer.names().count("openai-chat") == Importer.names().count("odd") == 1
    path = chat(tmp_path, [USER])
    with pytest.raises(UsageError, match="no_such_module"):
        import_files(store, "odd", [path])
    assert import_files(store, "openai-chat", [path, chat(tmp_path, 12, name="n")]).imported == 1


def test_a_broken_line_of_the_right_format_names_no_other(
    store: refold.Store, tmp_path: Path
) -> None:
    """Words in a conversation that look like another format's are no hint once one was read."""
    path = tmp_path / "talk.jsonl"
    path.write_text(line(id="a", messages=[USER], positions={}) + "{\n")
    report = import_files(store, "openai-chat", [path])
    assert counts(report) == (1, 0, 1)
    assert "looks like" not in report.problems[0].message


@pytest.mark.parametrize(
    ("content", "format", "says"),
    [
        (
            b'{"messages": [{"role": "user", "content": "Hi"}]',
            None,
            "not JSON: line 1, column 49: ",
        ),
        (b"# A text\nof words", None, "not JSON: line 1, column 1: "),
        (b'[{"role": "user"},\n {"role" 1}]', None, "not JSON: line 2, column 10: "),
        (b'{"a": 1,\n "b" 2}', "tau2-bench", "not JSON: line 2, column 6: "),
        (b'{"a": 1,\n "b" 2}', "openai-chat", "not JSON: line 2, column 6: "),
        (b'{"a": 1,\n "b" 2}', "langfuse", "not JSON: line 2, column 6: "),
        (b'{"a": "\xe9"}', None, "no UTF-8 text: line 1, column 8: save the file as UTF-8"),
        (b'{"a": NaN}', None, "NaN is no JSON number"),
        (gzip.compress(b"[]", mtime=0), None, "zcat '"),
        (b"SQLite format 3\x00" + b"\x01" * 90, None, "refold import sql '"),
        (b"\xff\xfe{\x00", None, "UTF-16, not UTF-8 text: save it as UTF-8"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", None, "give the JSON that it was made from"),
        (b" \n", None, "the file is empty"),
    ],
)
def test_what_is_no_json_says_where_and_what_to_do(
    store: refold.Store, tmp_path: Path, content: bytes, format: str | None, says: str
) -> None:
    """By line and column of the file, whichever format it was taken for."""
    path = tmp_path / "an odd.json"
    path.write_bytes(content)
    (problem,) = import_files(store, format, [path]).problems
    assert says in problem.message


def test_a_format_that_is_not_there_names_the_nearest(store: refold.Store, tmp_path: Path) -> None:
    """And then all that there are."""
    with pytest.raises(UsageError, match="did you mean langfuse or langsmith"):
        import_files(store, "langfus", [tmp_path])
