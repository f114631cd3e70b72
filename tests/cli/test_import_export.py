"""`refold import` and `refold export`: conversations in and out again."""

import json
import os
import sqlite3
import stat
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import refold
from tests.cli.running import Refold

CHAT: list[dict[str, Any]] = [
    {"role": "system", "content": "Be brief."},
    {"role": "user", "content": "Is Tuesday free?"},
    {
        "role": "assistant",
        "content": None,
        "tool_calls": [
            {"id": "c1", "type": "function", "function": {"name": "slots", "arguments": "{}"}}
        ],
    },
    {"role": "tool", "tool_call_id": "c1", "content": "09:00"},
    {"role": "assistant", "content": "Yes."},
]
SHARED = Path(__file__).parents[3] / "shared" / "data"


def lines(*conversations: object) -> str:
    """JSON lines."""
    return "".join(json.dumps(one) + "\n" for one in conversations)


def test_chats_go_in_and_come_out_as_they_were(run: Refold, tmp_path: Path) -> None:
    """Import counts on stdout, exit 0; export prints the messages as they were, in both forms."""
    (tmp_path / "chats.jsonl").write_text(lines(CHAT, CHAT[:2]))
    done = run("import", "openai-chat", "chats.jsonl", "--category", "chat", "--json")
    assert done.code == 0, done
    (report,) = done.lines
    assert (report["imported"], report["failed"], report["problems"]) == (2, 0, [])
    names = [line["stream"] for line in run("streams", "--json").lines]
    assert run("export", "openai-chat", *names).lines == [CHAT, CHAT[:2]]
    told = run("export", "openai-chat", "--category", "chat", "--json").lines
    assert [(line["stream"], line["messages"]) for line in told] == [
        (names[0], CHAT),
        (names[1], CHAT[:2]),
    ]


def test_importing_again_changes_nothing(run: Refold, tmp_path: Path) -> None:
    """The second import finds everything there."""
    (tmp_path / "chats.jsonl").write_text(lines(CHAT))
    run("import", "openai-chat", "chats.jsonl")
    before = run("log", "--json").out
    done = run("import", "openai-chat", "chats.jsonl")
    assert (done.code, run("log", "--json").out) == (0, before)
    assert "1 unchanged" in done.out


def test_a_broken_line_is_named_and_the_rest_goes_on(run: Refold, tmp_path: Path) -> None:
    """`file:line: why` on stderr, the other conversations stored, exit 1."""
    (tmp_path / "chats.jsonl").write_text(lines(CHAT) + '[{"role": \n' + lines(CHAT[:2]))
    done = run("import", "openai-chat", "chats.jsonl")
    assert done.code == 1
    assert done.err.startswith("chats.jsonl:2: ")
    assert len(run("streams", "--json").lines) == 2
    again = run("import", "openai-chat", "chats.jsonl", "--json")
    (problem,) = again.lines[0]["problems"]
    assert (again.code, problem["file"], problem["line"]) == (1, "chats.jsonl", 2)


def test_stdin_is_a_dash(process: Refold) -> None:
    """`-` reads conversations from stdin."""
    done = process("import", "openai-chat", "-", "--json", stdin=lines(CHAT))
    assert done.code == 0, done
    assert done.lines[0]["imported"] == 1


@pytest.mark.parametrize(
    "args",
    [
        ["import", "openai-chat", "gone.jsonl"],
        ["import", "openai-chat", "."],
        ["import", "openai-chat"],
        ["import", "vcon", "x"],
        ["import", "openai-chat", "x.jsonl", "--tools", "gone.json"],
        ["import", "openai-chat", "x.jsonl", "--tools", "x.jsonl"],
        ["import", "openai-chat", "x.jsonl", "--category", "a~b"],
        ["export", "openai-chat"],
        ["export", "openai-chat", "call-9"],
        ["export", "parquet", "call-1"],
    ],
)
def test_wrong_usage_of_import_and_export(
    run: Refold, call: str, tmp_path: Path, args: list[str]
) -> None:
    """A missing file, a directory, no file, an unknown format, wrong tools: exit 2."""
    (tmp_path / "x.jsonl").write_text("{]")
    done = run(*args)
    assert done.code == 2, done
    assert "Traceback" not in done.err


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("talks", "talks is a directory: name the files in it, as talks/*"),
        ("talks/*.jsonl", "no file matches talks/*.jsonl"),
    ],
)
def test_what_holds_no_files_is_told_in_a_line(
    run: Refold, tmp_path: Path, given: str, says: str
) -> None:
    """A directory, and a pattern that the shell found nothing for: what to give in its place."""
    (tmp_path / "talks").mkdir()
    done = run("import", given)
    assert (done.code, done.err.count("\n")) == (2, 1)
    assert says in done.err


def test_a_file_that_is_not_there_makes_no_store(run: Refold, tmp_path: Path) -> None:
    """A typo in a file's name leaves no empty database behind."""
    run("import", "openai-chat", "gone.jsonl", "--db", "new.db")
    assert not (tmp_path / "new.db").exists()


def test_what_has_no_place_in_messages_is_named(run: Refold, call: str) -> None:
    """Losses go to stderr, or with `--json` into the object; stdout stays pure JSON."""
    done = run("export", "openai-chat", call)
    assert "session.started" in done.err
    (messages,) = done.lines
    assert [message["role"] for message in messages] == [
        "system",
        "user",
        "assistant",
        "tool",
        "assistant",
    ]
    quiet = run("export", "openai-chat", call, "--json")
    assert quiet.err == ""
    assert {"where": "call-1@0", "what": "session.started", "pointer": ""} in quiet.lines[0]["loss"]


def test_the_format_of_a_plug_in_is_a_command(run: Refold, tmp_path: Path) -> None:
    """An imported trading log is shown as events; its state is the book of the plug-in's fold."""
    first = {"date": "2025-10-01 10:00:00", "id": 0, "positions": {"AAPL": 0.0, "CASH": 100.0}}
    bought = {
        "date": "2025-10-01 11:00:00",
        "id": 1,
        "this_action": {"action": "buy", "symbol": "AAPL", "amount": 2},
        "positions": {"AAPL": 2.0, "CASH": 10.0},
    }
    (tmp_path / "m.positions.jsonl").write_text(lines(first, bought))
    done = run("import", "ai-trader", "m.positions.jsonl")
    assert done.code == 0, done
    (stream,) = (line["stream"] for line in run("streams", "--json").lines)
    (state,) = run("state", stream, "--fold", "refold_trading:TradingBook").lines
    assert state["shares"]["AAPL"] == "2.0"
    assert "trade.executed" in run("show", stream).out


def test_two_hundred_real_conversations(run: Refold) -> None:
    """tau-bench's 200 conversations go in without a problem and come out message for message."""
    file = SHARED / "tau-bench" / "gpt-4o-airline.json"
    if not file.exists():
        pytest.skip(f"{file.name} is not there")
    (report,) = run("import", "tau-bench", str(file), "--json").lines
    assert (report["imported"], report["problem_count"]) == (200, 0)
    exported = run("export", "openai-chat", "--category", "airline", "--json").lines
    found = {line["stream"]: line["messages"] for line in exported}
    for result in json.loads(file.read_bytes()):
        stream = f"airline-{result['task_id']}-{result['trial']}"
        assert found.pop(stream) == result["traj"]
    assert not found


def test_the_progress_bar_is_for_terminals(tmp_path: Path) -> None:
    """On a terminal the bar goes to stderr and stdout stays data; a pipe sees neither bar nor code.

    The terminal is a real one (a pty), so that this is what a person would see.
    """
    (tmp_path / "chats.jsonl").write_text(lines(*[CHAT] * 50))
    command = [sys.executable, "-m", "refold", "import", "openai-chat", "chats.jsonl", "--json"]
    ours, theirs = os.openpty()
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=theirs, timeout=60)
        os.set_blocking(ours, False)
        shown = os.read(ours, 1 << 16)
    finally:
        os.close(theirs)
        os.close(ours)
    assert json.loads(done.stdout)["imported"] == 50
    assert b"import openai-chat" in shown
    piped = subprocess.run(command, capture_output=True, timeout=60)
    assert piped.stderr == b""
    assert b"\x1b" not in piped.stdout


@pytest.mark.parametrize(("variables", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
def test_colours_are_for_terminals_that_want_them(
    call: str, variables: dict[str, str], coloured: bool
) -> None:
    """A terminal gets colours, NO_COLOR turns them off; and the heading of a list, too."""
    refold_command = f"{sys.executable} -m refold"
    ours, theirs = os.openpty()
    try:
        done = subprocess.run(
            ["/bin/sh", "-c", f"{refold_command} show {call} && {refold_command} streams"],
            stdout=theirs,
            stderr=subprocess.PIPE,
            timeout=60,
            env={**os.environ, "TERM": "xterm", **variables},
        )
        os.set_blocking(ours, False)
        shown = os.read(ours, 1 << 16)
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.returncode == 0, done.stderr
    assert b"Is Tuesday free?" in shown
    assert (b"\x1b[" in shown) == coloured
    assert b"first words" in shown


def test_a_store_is_made_where_import_is_told_to(run: Refold, tmp_path: Path) -> None:
    """`--db` names the file that import makes; it is an ordinary file with a refold log."""
    (tmp_path / "chats.jsonl").write_text(lines(CHAT))
    assert run("import", "openai-chat", "chats.jsonl", "--db", "new.db").code == 0
    assert stat.S_ISREG((tmp_path / "new.db").stat().st_mode)
    with refold.open(tmp_path / "new.db", mode="read") as store:
        assert store.log_head() > 0


def test_a_table_of_events_moves_in_by_one_command(run: Refold, tmp_path: Path) -> None:
    """With its columns named; a database of another kind is refused, and says what to do."""
    with sqlite3.connect(tmp_path / "app.db") as db:
        db.execute("CREATE TABLE history(stream_id, version, kind, data)")
        db.execute("INSERT INTO history VALUES ('a-1', 1, 'said', '{}')")
    db.close()
    done = run("import", "sql", "app.db", "--table", "history", "--column", "type=kind")
    assert (done.code, "1 imported (1 event)" in done.out) == (0, True)
    refused = run("import", "sql", "mysql://me:secret@host/db")
    assert (refused.code, "PostgreSQL" in refused.err, "secret" in refused.err) == (2, True, False)


def test_one_conversation_that_cannot_be_read_leaves_the_others(
    run: Refold, tmp_path: Path
) -> None:
    """It is left out and named, and the exit code is 1; alone it is the error that it was."""
    # Appended by a program that does not know the class.
    broken = "import refold; refold.open('refold.db').append("
    broken += "'talk-1', [refold.Event('user.utterance', {'txt': 'Hi'})])"
    subprocess.run([sys.executable, "-c", broken], cwd=tmp_path, check=True)
    with refold.open(tmp_path / "refold.db") as store:
        store.append("talk-2", [refold.Event("user.utterance", {"text": "Hi"})])
    done = run("export", "openai-chat", "--category", "talk")
    assert done.code == 1
    assert json.loads(done.out) == [{"role": "user", "content": "Hi"}]
    assert "left out talk-1: talk-1@0 does not fit" in done.err
    assert run("export", "openai-chat", "talk-1").code == 2


def test_the_options_of_an_import_stand_in_its_help(run: Refold) -> None:
    """Those that may be given without a format; they were only in the help of `any`."""
    said = run("import", "--help").out
    assert all(name in said for name in ("--db", "--json", "--category", "--format", "tau2-bench"))


def test_a_format_may_stand_behind_options_and_is_told_where_it_is_misspelt(
    run: Refold, tmp_path: Path
) -> None:
    """A file of that name goes before a format; a category may be called as one is."""
    path = tmp_path / "chats.jsonl"
    path.write_text('{"messages": [{"role": "user", "content": "Hi"}]}\n')
    assert run("import", "--category", "codex", "openai-chat", str(path)).code == 0
    assert "codex-chats-1" in run("streams").out
    ran = run("import", "langfus", str(path))
    assert ran.code == 2
    assert "no file langfus, and no format of that name: did you mean langfuse" in ran.err
    assert "did you mean sql?" in run("import", "sqll", "x.db").err


def test_vcons_go_out_and_come_in_again(run: Refold, tmp_path: Path) -> None:
    """One a line; what is imported of them says the same, tool calls too."""
    (tmp_path / "chats.jsonl").write_text(lines(CHAT, CHAT[:2]))
    run("import", "openai-chat", "chats.jsonl", "--category", "chat")
    made = run("export", "vcon", "--category", "chat")
    assert (made.code, len(made.lines)) == (0, 2), made.err
    assert [one["body"] for one in made.lines[0]["dialog"]] == ["Is Tuesday free?", "Yes."]
    (tmp_path / "chats.vcon").write_text(made.out)
    (report,) = run("import", "vcon", "chats.vcon", "--category", "again", "--json").lines
    assert (report["imported"], report["failed"]) == (2, 0)
    told = run("export", "openai-chat", "--category", "again").lines
    assert sorted(map(len, told)) == [2, 5]
    assert CHAT in told
