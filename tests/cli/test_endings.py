"""How a run ends: exit codes, errors as text and JSON, pipes, interruption, bugs."""

import json
import os
import shlex
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import refold
from refold.cli import errors
from refold.cli.main import main
from refold.errors import (
    CodecError,
    Conflict,
    Corrupt,
    InvalidEvent,
    NotFound,
    OutcomeUnknown,
    Overloaded,
    ProofError,
    RefoldError,
    Rejected,
    Unavailable,
    UnknownEventType,
    UsageError,
)
from tests.cli.running import Refold

LIMIT_S = 60


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (Conflict(stream="a", expected=1, actual=2), 1),
        (Rejected("no"), 1),
        (ProofError("no"), 1),
        (UsageError("no"), 2),
        (InvalidEvent("no"), 2),
        (NotFound("no"), 2),
        (CodecError("no"), 2),
        (UnknownEventType("no"), 2),
        (Unavailable("no"), 3),
        (OutcomeUnknown("no"), 3),
        (Corrupt("no"), 3),
        (Overloaded("no"), 3),
    ],
)
def test_every_error_has_its_exit_code(
    error: RefoldError, code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    """1 for a finding, 2 for wrong usage, 3 where the store failed; one line, no traceback."""

    def fail() -> int:
        raise error

    assert errors.exit_code(fail, errors.Run(as_json=False)) == code
    assert capsys.readouterr().err == f"error: {error.message}\n"


def test_an_error_as_json_has_code_retry_message_and_facts(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """With `--json` the error is one object on stderr; facts that are no JSON become text."""

    def fail() -> int:
        raise Conflict(stream="a", expected=refold.NO_STREAM, actual=2)

    errors.exit_code(fail, errors.Run(as_json=True))
    (line,) = capsys.readouterr().err.splitlines()
    error = json.loads(line)["error"]
    assert error.pop("message")
    assert error == {
        "code": "conflict",
        "retry": "redecide",
        "stream": "a",
        "expected": "no stream",
        "actual": 2,
    }


@pytest.mark.parametrize("as_json", [False, True])
def test_what_the_operating_system_refuses_is_told(
    as_json: bool, capsys: pytest.CaptureFixture[str]
) -> None:
    """One line, or one object with `--json`: 3, and no traceback.

    With `--json` the object had no place for `retry`, and the command ended with a traceback.
    """

    def refused() -> int:
        raise PermissionError(13, "Permission denied", "stop.db")

    assert errors.exit_code(refused, errors.Run(as_json=as_json)) == 3
    (said,) = capsys.readouterr().err.splitlines()
    assert "Permission denied" in said
    if as_json:
        assert json.loads(said)["error"]["code"] == "os"


def test_an_interruption_exits_with_130(capsys: pytest.CaptureFixture[str]) -> None:
    """Ctrl-C ends a command with 130 and no traceback."""

    def interrupted() -> int:
        raise KeyboardInterrupt

    assert errors.exit_code(interrupted, errors.Run(as_json=False)) == 130
    assert "Traceback" not in capsys.readouterr().err


def test_a_bug_shows_its_traceback_and_is_no_finding(capsys: pytest.CaptureFixture[str]) -> None:
    """What nobody expected keeps its traceback, and does not end like a finding."""

    def broken() -> int:
        raise ZeroDivisionError

    assert errors.exit_code(broken, errors.Run(as_json=False)) == 3
    assert "ZeroDivisionError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "hint"),
    [
        (["shwo"], "show"),
        (["show"], "STREAM"),
        (["show", "a", "--vresion", "1"], "--vresion"),
        (["show", "a", "--version", "-1"], "--version"),
        (["log", "--limit", "x"], "--limit"),
        (["streams", "--limit", "99999999999999999999"], "--limit"),
    ],
)
def test_wrong_usage_names_what_is_wrong(run: Refold, args: list[str], hint: str) -> None:
    """A command, argument or option that is not as it must be: exit 2, one line, its name in it."""
    done = run(*args)
    assert done.code == 2
    assert hint in done.err
    assert len(done.err.splitlines()) == 1
    assert run(*args, "--json").error["code"] == "usage"


def test_reading_never_makes_a_store(run: Refold, tmp_path: Path) -> None:
    """Every command that reads says that the file is missing, exits with 2 and makes none."""
    for args in (
        ["streams"],
        ["show", "a"],
        ["state", "a"],
        ["log"],
        ["what-if", "a", "--without", "0"],
        ["diff", "a", "b"],
        ["doctor"],
    ):
        done = run(*args, "--db", "none.db", "--json")
        assert (done.code, done.error["code"], done.error["path"]) == (2, "not_found", "none.db")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_refold_database_is_refused(run: Refold, tmp_path: Path) -> None:
    """A directory, another kind of file, another program's database: exit 2, naming the path."""
    (tmp_path / "folder").mkdir()
    (tmp_path / "notes.txt").write_text("not a database, just a long enough line of text" * 99)
    with sqlite3.connect(tmp_path / "other.db") as other:
        other.execute("CREATE TABLE t (x)")
    other.close()
    before = {name: (tmp_path / name).read_bytes() for name in ("notes.txt", "other.db")}
    for name in ("folder", "notes.txt", "other.db", "gone/x.db"):
        for args in (["log"], ["append", "a", "--type", "session.ended"]):
            done = run(*args, "--db", name, "--json")
            assert done.code == 2
            assert name.split("/")[0] in done.error["message"]
    assert before == {name: (tmp_path / name).read_bytes() for name in before}


def test_a_store_of_an_unknown_kind_is_refused(run: Refold) -> None:
    """A URL that no backend answers to: exit 2 with the URL."""
    done = run("log", "--db", "oracle://x/y", "--json")
    assert (done.code, done.error["url"]) == (2, "oracle://x/y")


@contextmanager
def without_privileges() -> Iterator[None]:
    """Root may write anything; so root is nobody for a while."""
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


def test_a_file_that_cannot_be_written_is_refused(
    run: Refold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Appending to a read-only file exits with 2 and says what to look at; reading it works."""
    append = ("append", "a", "--type", "session.ended", "--json")
    with TemporaryDirectory() as folder:
        monkeypatch.chdir(folder)
        Path(folder).chmod(0o755)
        store = Path(folder, "kept.db")
        assert run(*append, "--db", str(store)).code == 0
        assert run("log", "--db", str(store)).code == 0
        store.chmod(0o444)
        Path(folder).chmod(0o555)
        with without_privileges():
            refused = run(*append, "--db", str(store))
            read = run("log", "--db", str(store), "--json")
        Path(folder).chmod(0o755)
    assert (refused.code, refused.error["code"]) == (2, "not_writable"), refused
    assert (read.code, len(read.out.splitlines())) == (0, 1), read


def test_a_damaged_file_fails_the_doctor(run: Refold, call: str, tmp_path: Path) -> None:
    """Bytes overwritten in the middle of the file: a failed check and exit 1, no traceback."""
    assert run("doctor").code == 0
    assert all(line["good"] for line in run("doctor", "--json").lines)
    store = tmp_path / "refold.db"
    bytes_ = bytearray(store.read_bytes())
    bytes_[8192:20480] = b"\xff" * 12288
    store.write_bytes(bytes_)
    done = run("doctor", "--json")
    assert done.code == 1, done
    assert not all(line["good"] for line in done.lines)


def test_a_closed_pipe_ends_the_command_quietly(tmp_path: Path) -> None:
    """A reader that goes away early: no message, no traceback, the code of SIGPIPE."""
    with refold.open(tmp_path / "refold.db") as store:
        store.append("a", [refold.Event("x.y", {"n": n}) for n in range(5_000)])
    command = subprocess.Popen(
        [sys.executable, "-m", "refold", "log", "--json"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert command.stdout is not None and command.stderr is not None
    assert command.stdout.readline()
    command.stdout.close()
    assert command.wait(LIMIT_S) == 141
    assert command.stderr.read() == b""
    command.stderr.close()


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_output_that_cannot_be_written_is_an_error(call: str) -> None:
    """A full disk under stdout: exit 3, not a silence that looks like success."""
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "refold", "log"],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            timeout=LIMIT_S,
        )
    assert done.returncode == 3
    assert done.stderr.startswith("error: ")


def _interrupted(command: subprocess.Popen[bytes]) -> int:
    """The exit code after SIGINT, sent again where it fell between Python's check and the read."""
    for _ in range(LIMIT_S):
        command.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            return command.wait(1)
    raise TimeoutError("SIGINT did not end the command")


def test_ctrl_c_ends_a_waiting_command() -> None:
    """SIGINT while the command waits for stdin: exit 130, no traceback."""
    command = subprocess.Popen(
        [sys.executable, "-m", "refold", "append", "a", "--type", "session.ended", "--data", "-"],
        stdin=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    )
    assert command.stdin is not None and command.stderr is not None
    command.stdin.write(b"{" * 200_000)  # more than a pipe holds: returns when it is being read
    assert _interrupted(command) == 130
    assert b"Traceback" not in command.stderr.read()
    command.stdin.close()
    command.stderr.close()


def test_python_m_refold_is_the_same_program(process: Refold) -> None:
    """`python -m refold --version` prints the version of the package."""
    done = process("--version")
    assert (done.code, done.out, done.err) == (0, f"refold {refold.__version__}\n", "")


def test_every_command_is_summarised_as_its_own_help_is() -> None:
    """The summaries of the table that `--help` prints are the first lines of the commands."""
    import click

    context = click.Context(main, info_name="refold")
    for name, (_, summary) in main.lazy.items():
        command = main.get_command(context, name)
        assert command is not None
        assert command.get_short_help_str(limit=100) == summary


def test_an_interruption_is_an_error_as_json_too(capsys: pytest.CaptureFixture[str]) -> None:
    """With `--json` it is told as every other ending is."""

    def interrupted() -> int:
        raise KeyboardInterrupt

    assert errors.exit_code(interrupted, errors.Run(as_json=True)) == 130
    assert json.loads(capsys.readouterr().err)["error"]["code"] == "interrupted"


@pytest.mark.parametrize("args", [(), ("import",), ("export",), ("projections",)])
def test_a_group_without_a_command_shows_its_help(run: Refold, args: tuple[str, ...]) -> None:
    """As help, not as an error."""
    done = run(*args)
    assert (done.code, done.out) == (2, "")
    assert done.err.startswith("Usage: refold")


def _in_a_shell(command: str) -> subprocess.CompletedProcess[str]:
    program = f"{shlex.quote(sys.executable)} -m refold {command}"
    return subprocess.run(
        ["sh", "-c", program], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )


def test_a_closed_stdout_is_written_to_by_nobody(call: str) -> None:
    """`>&-`: no traceback, and the code of what was done."""
    for command in (f"state {call} >&-", "streams --json >&-", "--help >&-"):
        done = _in_a_shell(command)
        assert (done.returncode, done.stderr) == (0, "")


def test_an_error_never_comes_out_as_data() -> None:
    """`2>&-`: what nobody hears does not go to stdout in its place."""
    done = _in_a_shell("streams --db none.db 2>&-")
    assert (done.returncode, done.stdout) == (2, "")
