"""What is asked for and would not be done is refused in one line, or told on stderr."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import click
import pytest

import refold
from refold.cli.main import main
from tests.cli.running import Ran, Refold
from tests.cli.test_settings import leaves


def refused(done: Ran, *words: str) -> None:
    """It ended with 2 and one line that holds these words; nothing was printed."""
    assert (done.code, done.out, len(done.err.splitlines())) == (2, "", 1), done
    for word in words:
        assert word in done.err


def _arguments(command: click.Command) -> list[str]:
    return ["x" for one in command.params if isinstance(one, click.Argument)]


SINGLE = [
    (path, option.opts[0])
    for path, command in leaves(main)
    for option in command.params
    if isinstance(option, click.Option) and not option.multiple and not option.is_flag
]


@pytest.mark.parametrize("path", sorted({path for path, _ in SINGLE}))
def test_an_option_of_which_one_counts_is_given_once(run: Refold, path: str) -> None:
    """For every option of every command: the first was ignored in silence."""
    command = dict(leaves(main))[path]
    for name in [name for where, name in SINGLE if where == path]:
        done = run(*path.split()[1:], *_arguments(command), name, "1", name, "2")
        refused(done, f"{name} was given 2 times")


CHOOSING = (
    *("--since", "--until", "--agent", "--prompt-version", "--recorded-model", "--tool"),
    *("--outcome", "--tag", "--with-error", "--dataset", "--sample", "--seed", "--stratify"),
)
VERIFIED = (
    *("--category", "--mode", "--db", "--json", "--config", "--cost-over", "--text", *CHOOSING),
    *("--actor", "--purpose", "--keyring"),
)
VALUES = {
    **dict.fromkeys(("--model", "--judge"), "openai:m"),
    **dict.fromkeys(("--prompt", "--judge-prompt"), "Be quick."),
    **{"--price": "m=1,2", "--param": "a=1", "--on": "ray"},
    **{"--junit": "out.xml", "--summary": "out.md", "--report": "out.html"},
}


def test_verify_takes_no_option_of_a_candidate(run: Refold, call: str) -> None:
    """Each that `refold replay` has or will have, on the command line; set elsewhere it rests."""
    command = dict(leaves(main))["refold replay"]
    names = [o.opts[0] for o in command.params if isinstance(o, click.Option)]
    left = [name for name in names if name not in VERIFIED]
    assert "--prompt" in left and "--workers" in left
    Path("tools.json").write_text("[]")
    kinds = {o.opts[0]: o.type for o in command.params}
    for name in left:
        value = VALUES.get(name, "tools.json" if name == "--tools" else "1")
        if isinstance(kind := kinds[name], click.Choice):
            value = str(kind.choices[-1])
        done = run("replay", call, "--mode", "verify", name, value)
        refused(done, f"{name} has no effect", "verify")
    done = run(
        "replay", call, "--mode", "verify", REFOLD_MODEL="openai:m", REFOLD_PROMPT="Be quick."
    )
    assert (done.code, done.err) == (0, "")


@pytest.mark.parametrize(
    ("args", "name"),
    [
        (("compare", "--variant", "x", "--prompt", "Be quick."), "--prompt"),
        (("compare", "--variant", "x", "--model", "openai:m"), "--model"),
        (("compare", "--variant", "x", "--label", "l"), "--label"),
        (("compare", "--control-run", "1"), "--control-run"),
        (("compare", "call-1", "--category", "call"), "--category"),
        (("schemas", "--type", "x", "--example", "{}", "--db", "refold.db"), "--db"),
        (("projections", "status", "--metrics", "--json"), "--json"),
    ],
)
def test_an_option_that_another_makes_useless_is_refused(
    run: Refold, call: str, args: tuple[str, ...], name: str
) -> None:
    """Rather than ignored."""
    done = run(*args)
    assert (done.code, done.out) == (2, ""), done
    assert f"{name} has no effect" in done.err


@pytest.mark.parametrize("option", ["--price", "--param"])
def test_a_name_is_given_one_value(run: Refold, call: str, option: str) -> None:
    """Of two only the last was taken."""
    one, two = ("m=1,2", "m=3,4") if option == "--price" else ("a=1", "a=2")
    done = run("replay", call, "--base-url", "http://127.0.0.1:9", option, one, option, two)
    refused(done, option, "twice")


@pytest.mark.parametrize("name", ["x.md", "x.json", "x", "refold.db"])
@pytest.mark.parametrize("command", ["compare", "demo"])
def test_a_report_is_html_by_its_name(run: Refold, call: str, command: str, name: str) -> None:
    """What it is not is refused, before anything is done or overwritten."""
    before = Path("refold.db").read_bytes()
    refused(run(command, "--report", name), name, ".html")
    assert Path("refold.db").read_bytes() == before
    assert not Path("refold-demo.db").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("show", "call-1", "--version", "999"), "there is no version 999 here: the last is 6"),
        (("state", "call-1", "--version", "999"), "there is no version 999 here: the last is 6"),
        (
            ("state", "call-1", "--fold", "portfolio", "--version", "7"),
            "there is no version 7 here",
        ),
        (("show", "call-1", "--position", "99"), "there is no position 99 here: the last is 7"),
    ],
)
def test_a_version_that_is_not_there_yet_is_told(
    run: Refold, call: str, args: tuple[str, ...], said: str
) -> None:
    """What is shown is up to the last, and one line on stderr says so."""
    done = run(*args)
    assert (done.code, len(done.err.splitlines())) == (0, 1), done
    assert said in done.err


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (("diff", "call-1@999", "call-1"), ("version 999", "the last is 6")),
        (("what-if", "call-1", "--without", "999"), ("999",)),
    ],
)
def test_a_version_that_a_comparison_needs_must_be_there(
    run: Refold, call: str, args: tuple[str, ...], words: tuple[str, ...]
) -> None:
    """Two sides are compared as they were named, or not at all."""
    refused(run(*args), *words)


@pytest.mark.parametrize("command", ["show", "state"])
@pytest.mark.parametrize("moment", ["--at", "--known-at"])
def test_a_time_before_a_stream_begins_is_told(
    run: Refold, call: str, command: str, moment: str
) -> None:
    """On stderr: the output is that of nothing."""
    done = run(command, call, moment, "2020-01-01")
    assert (done.code, len(done.err.splitlines())) == (0, 1)
    assert "had no events then" in done.err
    assert run(command, call).err == ""


def test_a_position_behind_the_log_is_told(run: Refold, call: str) -> None:
    """`log --after` prints nothing and says so."""
    done = run("log", "--after", "99")
    assert (done.code, done.out, done.err) == (0, "", "no events match\n")


def test_hints_name_the_store_that_they_are_about(run: Refold) -> None:
    """A command that is copied from the output works on the same store."""
    with refold.open("own.db") as store:
        store.append("a", [refold.Event("session.ended")])
    assert (
        "`refold projections run --db own.db`" in run("projections", "status", "--db", "own.db").out
    )
    assert run("projections", "run", "--once", "--db", "own.db").code == 0
    done = run("projections", "rebuild", "costs", "--db", "own.db")
    assert "`refold projections confirm costs --db own.db`" in done.out


def _folder(path: Path) -> None:
    path.mkdir()


FILES: dict[str, Callable[[Path], object]] = {
    "a folder": _folder,
    "bytes": lambda path: path.write_bytes(b"\xff\xfe\x00\x80"),
    "deep": lambda path: path.write_text("[" * 50_000),
    "a link to itself": lambda path: path.symlink_to(path.name),
    "nothing": lambda path: None,
    "empty": lambda path: path.write_bytes(b""),
}


@pytest.mark.parametrize("kind", FILES)
def test_no_file_that_a_command_takes_brings_a_traceback(run: Refold, call: str, kind: str) -> None:
    """Prompts, JSON, recordings, backups, stores: one line, and never a bug."""
    FILES[kind](Path("odd"))
    base = ("--base-url", "http://127.0.0.1:9", "--attempts", "1")
    for args in (
        ("replay", call, "--prompt", "@odd", *base),
        ("replay", call, "--tools", "odd", *base),
        ("append", "a", "--type", "session.ended", "--data", "@odd"),
        ("append", "a", "--type", "session.ended", "--metadata", "@odd"),
        ("schemas", "--type", "x", "--example", "@odd"),
        ("import", "openai-chat", "odd"),
        ("import", "tau-bench", "odd"),
        ("import", "openai-chat", "odd", "--tools", "odd"),
        ("restore", "odd", "--db", "new.db"),
        ("streams", "--db", "odd"),
        ("streams", "--config", "odd"),
    ):
        done = run(*args)
        assert done.code in (0, 1, 2, 3), (args, done)
        assert "Traceback" not in done.err, (args, done)
        assert "bug in refold" not in done.err, (args, done)
        assert done.code or kind in ("empty", "nothing"), (args, done)


@pytest.mark.parametrize(
    "args",
    [
        ("replay", "call-1", "--label", "\udcff"),
        ("replay", "call-1", "--model", "openai:\udcff"),
        ("replay", "call-1", "--param", "a=\udcff"),
        ("compare", "--label", "\udcff"),
        ("append", "a", "--type", "session.ended", "--key", "\udcff"),
        ("append", "\udcff", "--type", "session.ended"),
        ("show", "\udcff"),
        ("streams", "--db", "\udcff"),
        ("streams", "--config", "\udcff"),
    ],
)
def test_bytes_that_are_no_text_are_refused(run: Refold, call: str, args: tuple[str, ...]) -> None:
    """As a shell may pass them: they came out as a bug."""
    base = ("--base-url", "http://127.0.0.1:9", "--attempts", "1") if args[0] == "replay" else ()
    refused(run(*args, *base))


def test_the_state_before_any_event_is_of_the_fold_that_the_stream_has(run: Refold) -> None:
    """What money begins with is no empty conversation."""
    with refold.open("refold.db") as store:
        store.append("purse-1", [refold.Event("funds.deposited", {"amount": "1", "asset": "USDC"})])
    then = run("state", "purse-1", "--at", "2001-01-01")
    assert "had no events then" in then.err
    assert set(then.lines[0]) == set(run("state", "purse-1").lines[0])
