"""Settings that are found in a folder may be a stranger's: neither code nor keys follow them."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import click
import pytest

import refold
from refold.cli.config import BYTES_MAX, OWN
from refold.cli.main import main
from tests.cli.endpoints import says, serving
from tests.cli.running import CALL, Refold
from tests.cli.test_settings import leaves
from tests.support.soak import bound

EVIL = "from pathlib import Path\nPath('RAN').touch()\n"
KEY = {"OPENAI_API_KEY": "sk-s3cret-7"}


class Heard:
    """A service that notes what it is sent and refuses all of it."""

    def __init__(self) -> None:
        self.requests: list[str] = []
        self.url = ""


@pytest.fixture
def heard() -> Iterator[Heard]:
    """A host that a stranger would like to hear from."""
    heard = Heard()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"])).decode()
            heard.requests.append(f"{self.headers}{body}")
            self.send_error(400)

        def log_message(self, format: str, *args: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    heard.url = f"http://127.0.0.1:{server.server_port}/v1"
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield heard
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The user's own settings, in their folder of settings."""
    folder = tmp_path_factory.mktemp("config")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(folder))
    (folder / "refold").mkdir()
    return folder / "refold" / "refold.toml"


REPLAY = ("replay", "call-1", "--model", "openai:m", "--prompt", "Be quick.", "--attempts", "1")


@pytest.mark.parametrize("name", ["refold.toml", "pyproject.toml"])
def test_no_key_and_no_word_goes_where_a_found_file_says(
    run: Refold, call: str, tmp_path: Path, heard: Heard, name: str
) -> None:
    """Nor to the usual service in its place: the conversation may not be meant for it."""
    table = "replay" if name == "refold.toml" else "tool.refold.replay"
    (tmp_path / name).write_text(f'[{table}]\nbase-url = "{heard.url}"\n')
    done = run(*REPLAY, **KEY)
    assert (done.code, heard.requests) == (2, [])
    assert done.err.count(f"{name}: ignored base-url") == 1
    assert done.err.splitlines()[-1].startswith(f"error: {name} names whom to ask")


def test_a_key_goes_where_the_user_says(
    run: Refold, call: str, tmp_path: Path, heard: Heard, own: Path
) -> None:
    """On the command line, in the environment, in the file they name or in their own folder."""
    text = f'[replay]\nbase-url = "{heard.url}"\n'
    (tmp_path / "refold.toml").write_text('[replay]\nbase-url = "http://127.0.0.1:9/v1"\n')
    (tmp_path / "named.toml").write_text(text)
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "pyproject.toml").write_text(text.replace("[", "[tool.refold.", 1))
    named = ("--config", "named.toml"), ("--config", "sub/pyproject.toml")
    for args in (("--base-url", heard.url), *named):
        assert "ignored" not in run(*REPLAY, *args, **KEY).err
    for variable, value in (("REFOLD_BASE_URL", heard.url), ("REFOLD_CONFIG", "named.toml")):
        assert "ignored" not in run(*REPLAY, **KEY, **{variable: value}).err
    own.write_text(text)
    assert "ignored" not in run(*REPLAY, **KEY).err
    assert len(heard.requests) == 6 * 2  # two decisions
    assert all("Bearer sk-s3cret-7" in request for request in heard.requests)


@pytest.mark.parametrize(
    ("text", "args", "code"),
    [
        ('[projections]\nfrom = ["evil:x"]', ("projections", "status"), 0),
        ('[projections]\nfrom = "evil"', ("projections", "status"), 0),
        ('[schemas]\nfrom = ["evil"]', ("schemas",), 0),
        ('[state]\nfold = "evil:x"', ("state", "call-1"), 0),
        ('[diff]\nfold = "evil:x"', ("diff", "call-1", "call-1"), 0),
        ('[what-if]\nfold = "evil:x"', ("what-if", "call-1", "--without", "3"), 0),
    ],
)
def test_code_that_a_found_file_names_is_not_run(
    run: Refold,
    call: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    text: str,
    args: tuple[str, ...],
    code: int,
) -> None:
    """The command does without it and says so, once, in one line; named by the user it runs."""
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    (tmp_path / "evil.py").write_text(EVIL)
    (tmp_path / "refold.toml").write_text(text)
    done = run(*args)
    assert not (tmp_path / "RAN").exists()
    (note,) = done.err.splitlines()
    assert note.startswith("refold.toml: ignored f")
    assert done.code == code
    run(*args, "--config", "refold.toml")
    assert (tmp_path / "RAN").exists()


def test_modules_of_a_folder_hide_none_of_ours(call: str, process: Refold, tmp_path: Path) -> None:
    """A stranger's `jinja2.py` is not what a report is made with."""
    for name in ("jinja2", "rich", "httpx2", "tomllib", "graphlib"):
        (tmp_path / f"{name}.py").write_text(EVIL)
    script = "import sys; sys.path.pop(0); from refold.cli.main import main; main(sys.argv[1:])"
    for args in (["projections", "run", "--once"], ["state", call], ["schemas"], ["import"]):
        subprocess.run([sys.executable, "-c", script, *args], capture_output=True, check=False)
    assert not (tmp_path / "RAN").exists()


def test_a_fold_of_ours_may_be_named_by_any_file(run: Refold, call: str, tmp_path: Path) -> None:
    """It is no code of theirs."""
    (tmp_path / "refold.toml").write_text('[state]\nfold = "portfolio"\nwith-version = true\n')
    done = run("state", call)
    assert (done.err, done.lines[0]["fold"]) == ("", "ledger-portfolio")


def test_files_outside_the_folder_are_neither_read_nor_written_for_a_stranger(
    run: Refold, call: str, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, heard: Heard
) -> None:
    """By an absolute name, by dots, or through a link that came with the rest."""
    secret = tmp_path_factory.mktemp("home") / "id_rsa"
    secret.write_text("s3cret of home")
    (tmp_path / "link.txt").symlink_to(secret)
    (tmp_path / "here.txt").write_text("Be quick.")
    args = ("replay", call, "--base-url", heard.url, "--attempts", "1", "--samples", "1")
    dots = os.path.relpath(secret)
    for name in (str(secret), f"@{secret}", dots, "link.txt"):
        (tmp_path / "refold.toml").write_text(f"[replay]\nprompt = '{name}'\n")
        assert "refold.toml: ignored prompt" in run(*args, **KEY).err
    report = secret.with_suffix(".html")
    (tmp_path / "refold.toml").write_text(f"[compare]\nreport = '{report}'\n")
    assert "refold.toml: ignored report" in run("compare").err
    assert not report.exists()
    (tmp_path / "refold.toml").write_text("[replay]\nprompt = 'here.txt'\n")
    assert "ignored" not in run(*args, **KEY).err
    assert "Be quick." in heard.requests[-1]
    assert "s3cret of home" not in "".join(heard.requests)


def test_the_users_own_settings_come_below_those_of_the_folder(
    run: Refold, call: str, tmp_path: Path, own: Path
) -> None:
    """The folder's are nearer; with --config there are no others."""
    own.write_text("[show]\nversion = 1\njson = true\n")
    assert len(run("show", call).lines) == 2
    (tmp_path / "refold.toml").write_text("[show]\nversion = 2\n")
    assert len(run("show", call).lines) == 3
    (tmp_path / "named.toml").write_text("json = true\n")
    assert len(run("show", call, "--config", "named.toml").lines) == len(CALL)


def test_every_option_that_imports_or_asks_is_the_users_own() -> None:
    """What is added later is seen here: modules, attributes and URLs, but for the store's."""
    for path, command in leaves(main):
        for option in command.params:
            if isinstance(option, click.Option) and option.name != "url":
                said = f"{option.metavar} {option.help}".upper()
                runs = option.metavar == "CHECK"
                if runs or any(one in said for one in ("MODULE", "IMPORT ", "URL", "HOST")):
                    assert option.opts[0].removeprefix("--") in OWN, (path, option.opts)


def test_a_group_has_one_table(run: Refold, call: str, tmp_path: Path) -> None:
    """What one of its commands takes does not stop another that has no such option."""
    (tmp_path / "own.toml").write_text('[projections]\nfrom = ["refold.readmodels:built_in"]\n')
    assert run("projections", "run", "--once", "--config", "own.toml").code == 0
    done = run("projections", "confirm", "calls", "--config", "own.toml")
    assert "knows no" not in done.err


def _a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


ODD_FILES: dict[str, Callable[[Path], object]] = {
    "bytes": lambda path: path.write_bytes(b"\xff\xfe\x00refold"),
    "deep": lambda path: path.write_text("db = " + "[" * 50_000),
    "deep tables": lambda path: path.write_text("[" + "tool.refold." * 3_000 + "x]\n"),
    "a folder": lambda path: path.mkdir(),
    "a link to itself": _a_link_to_itself,
    "a link to nothing": lambda path: path.symlink_to("nothing"),
    "a pipe": os.mkfifo,
    "huge": lambda path: path.write_bytes(b"#refold" + b"x" * BYTES_MAX),
    "a text for a table": lambda path: path.write_text('tool = "tool.refold"\nstreams = "x"\n'),
    "a text for our table": lambda path: path.write_text('tool.refold = "x"\nstreams = "x"\n'),
    "a list of tables": lambda path: path.write_text("[[streams]]\n[[tool.refold]]\n"),
    "not TOML": lambda path: path.write_text("refold = ["),
}


@pytest.mark.parametrize("kind", ODD_FILES)
@pytest.mark.parametrize("name", ["refold.toml", "pyproject.toml", "named.toml"])
def test_any_file_of_settings_is_read_or_refused_in_one_line(
    run: Refold, call: str, tmp_path: Path, name: str, kind: str
) -> None:
    """Whatever it is: never a traceback, never a wait."""
    ODD_FILES[kind](tmp_path / name)
    named = ("--config", name) if name == "named.toml" else ()
    if kind == "a pipe" and named:
        return  # The user may well name one: <(…).
    done = run("streams", *named)
    said = done.err.splitlines()
    assert (done.code, len(said)) in ((2, 1), (0, 0)), done
    assert done.code == 2 or name == "pyproject.toml"
    assert not said or (said[0].startswith("error: ") and name in said[0])


ODD_VALUES = (
    "true", "-1", "0", "99999999999999999999", "1.5", "nan", "inf", '""', '"x"', '"@x"', '"-"',
    '"a\\u0000b"', '"\\u001b[2J"', "[]", '["x", "x"]', "[[1]]", "[{}]", "{}", "{a = {b = 1}}",
    "2026-03-01", "2026-03-01T09:00:00Z", "09:00:00", f'"{"x" * 5_000}"',
)  # fmt: skip


SLOW = {
    "refold demo": ODD_VALUES[11:16:4],
    "refold replay": ODD_VALUES[::6],
    "refold gate": ODD_VALUES[3::6],
}
"""Where each run takes a while, a few are enough."""
FEW = bound(4, len(ODD_VALUES))
"""Of an option that another command has too: as many in one command, others in the next."""


# The commands of `import` have the same options, and one code: one of them, and that of tables.
TRIED = {
    path: command
    for path, command in leaves(main)
    if not path.startswith("refold import ") or path.endswith((" openai-chat", " sql"))
}


def options(path: str) -> list[click.Option]:
    """Those of a command that can be set; to follow is to go on until it is ended."""
    found = [one for one in TRIED[path].params if isinstance(one, click.Option)]
    return [one for one in found if one.opts[0] not in ("--config", "--base-url", "--follow")]


def declared(option: click.Option) -> str:
    """What an option is, wherever it stands; each command has an object of its own."""
    return f"{option.opts} {option.type.to_info_dict()} {option.multiple} {option.help}"


@cache
def tried() -> dict[str, list[tuple[str, str]]]:
    """Of each command which options are set to which values.

    Every value to each option, in the first command that has it; in others that have the same,
    the next few values.
    """
    turns: Counter[str] = Counter()
    found: dict[str, list[tuple[str, str]]] = {}
    for path in TRIED:
        for option in options(path):
            values = SLOW.get(path) or next_values(turns, declared(option))
            found.setdefault(path, []).extend((option.opts[0][2:], value) for value in values)
    return found


def next_values(turns: Counter[str], what: str) -> list[str]:
    """All of them at first, then a few after those that were had."""
    start = turns[what]
    turns[what] += FEW if start else len(ODD_VALUES)
    return [ODD_VALUES[at % len(ODD_VALUES)] for at in range(start, turns[what])]


def test_every_value_is_given_to_every_option() -> None:
    """Somewhere; and in each command each of its options is given some."""
    given: dict[str, set[str]] = {}
    for path in TRIED:
        for option in options(path):
            values = {value for key, value in tried()[path] if key == option.opts[0][2:]}
            assert values, (path, option.opts)
            if path not in SLOW:
                given.setdefault(declared(option), set()).update(values)
    assert [what for what in given if given[what] != {*ODD_VALUES}] == []


@pytest.mark.parametrize("path", TRIED)
def test_any_value_of_any_key_is_taken_or_refused(
    run: Refold, call: str, tmp_path: Path, path: str
) -> None:
    """Each command with each of its options set to odd values: no traceback, no odd code."""
    words = path.split()[1:]
    arguments = {"streams": [call], "stream": [call], "before": [call], "after": [call]}
    arguments |= {"files": ["x.json"], "file": ["x.json"], "names": ["calls"], "name": ["calls"]}
    (tmp_path / "x.json").write_text("{}")
    given = [
        word
        for one in TRIED[path].params
        if isinstance(one, click.Argument)
        for word in arguments.get(str(one.name), ["x"])
    ]
    given += ["--once"] if path == "refold projections run" else []
    with serving(says("Yes.")) as endpoint:
        for key, value in tried().get(path, []):
            text = f"[{words[0]}]\n{key} = {value}\n"
            (tmp_path / "refold.toml").write_text(text)
            done = run(*words, *given, "--config", "refold.toml", REFOLD_BASE_URL=endpoint.url)
            assert done.code in (0, 1, 2, 3, 4), (text, done)
            assert "bug in refold" not in done.err, (text, done)
            assert "Traceback" not in done.err, (text, done)


def test_a_store_is_left_alone_where_settings_are_wrong(run: Refold, tmp_path: Path) -> None:
    """The file is read before anything is made."""
    (tmp_path / "refold.toml").write_text("[append]\nuntyped = 1\n")
    assert run("append", "a", "--type", "session.ended").code == 2
    assert not (tmp_path / "refold.db").exists()
    (tmp_path / "refold.toml").write_text("[append]\nuntyped = true\n")
    assert run("append", "a", "--type", "session.ended").code == 0
    with refold.open("refold.db") as store:
        assert store.head("a") == 0
