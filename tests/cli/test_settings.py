"""Where an option's value comes from: the flag, the environment, a file, the default."""

from pathlib import Path

import click
import pytest

from refold.cli.main import main
from tests.cli.running import CALL, Refold


def versions(run: Refold, *args: str, **env: str) -> int:
    """How many events `show` prints."""
    return len(run("show", "call-1", "--json", *args, **env).lines)


def test_a_flag_beats_the_environment_beats_the_file(
    run: Refold, call: str, tmp_path: Path
) -> None:
    """--version 0, REFOLD_SHOW_VERSION=1, refold.toml 2, pyproject.toml 3: each when first."""
    assert versions(run) == len(CALL)
    (tmp_path / "pyproject.toml").write_text("[tool.refold.show]\nversion = 3\n")
    assert versions(run) == 4
    (tmp_path / "refold.toml").write_text("[show]\nversion = 2\n")
    assert versions(run) == 3
    assert versions(run, REFOLD_SHOW_VERSION="1") == 2
    assert versions(run, "--version", "0", REFOLD_SHOW_VERSION="1") == 1


def test_the_store_is_named_everywhere_alike(run: Refold, tmp_path: Path) -> None:
    """`--db`, REFOLD_URL and `db` at the top of the file name the store of every command."""
    ended = ("append", "a", "--type", "session.ended")
    (tmp_path / "refold.toml").write_text('db = "c.db"\njson = true\n')
    assert run(*ended, "--db", "a.db").code == 0
    assert run(*ended, REFOLD_URL="b.db").code == 0
    assert run(*ended).lines[0]["position"] == 1
    assert sorted(path.name for path in tmp_path.glob("*.db")) == ["a.db", "b.db", "c.db"]
    (tmp_path / "refold.toml").unlink()
    assert run(*ended).code == 0
    assert (tmp_path / "refold.db").exists()


def test_json_by_environment_and_file_holds_for_errors_too(run: Refold, tmp_path: Path) -> None:
    """REFOLD_JSON=1 or `json = true` makes errors JSON as `--json` does."""
    assert run("log", "--db", "none.db", REFOLD_JSON="1").error["code"] == "not_found"
    (tmp_path / "refold.toml").write_text("json = true\n")
    assert run("log", "--db", "none.db").error["code"] == "not_found"
    assert run("log", "--limit", "x").error["code"] == "usage"


def test_lists_are_lists_in_the_file(run: Refold, call: str, tmp_path: Path) -> None:
    """An option that may be given several times is an array of TOML, words of a variable."""
    (tmp_path / "refold.toml").write_text('[log]\ntype = ["tool.call", "tool.result"]\n')
    assert len(run("log", "--json").lines) == 2
    (tmp_path / "refold.toml").unlink()
    assert len(run("log", "--json", REFOLD_LOG_TYPE="tool.call session.ended").lines) == 2


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("[show]\nverson = 1", "version"),
        ("[shwo]\nversion = 1", "show"),
        ("show = 1", "show"),
        ("versio = 1", "versio"),
        ("[show\n", "refold.toml"),
        ("[show]\nversion = 'x'", "refold.toml: [show] version"),
    ],
)
def test_a_setting_that_nothing_answers_to_is_refused(
    run: Refold, call: str, tmp_path: Path, text: str, hint: str
) -> None:
    """A wrong key, table, value or syntax in the file: exit 2 and its name, never ignored."""
    (tmp_path / "refold.toml").write_text(text)
    done = run("show", call)
    assert done.code == 2
    assert hint in done.err
    assert "Traceback" not in done.err


OF_REPLAY = [
    ("workers", "'many'"),
    ("margin", "'2 apples'"),
    ("primary", "'sadness'"),
    ("guardrail", "['sadness']"),
    ("guardrail", "['cost=much']"),
    ("fail-on", "['sadness']"),
    ("fail-on", "['kost>1']"),
    ("check", "['sadness']"),
    ("price", "['m=much']"),
    ("max-cost", "'much'"),
    ("param", "['{']"),
    ("model", "'m'"),
    ("junit", "'gone/out.xml'"),
    ("last", "'soon'"),
    ("cluster", "'sadness'"),
]


@pytest.mark.parametrize(("key", "value"), OF_REPLAY)
def test_a_wrong_value_is_told_by_where_it_stands(
    run: Refold, call: str, tmp_path: Path, key: str, value: str
) -> None:
    """The file, the table and the key; the variable; the option: whichever the user wrote."""
    (tmp_path / "refold.toml").write_text(f"[replay]\n{key} = {value}\n")
    done = run("replay", call, "--config", "refold.toml", REFOLD_API_KEY="k")
    assert done.code == 2, done
    assert f"refold.toml: [replay] {key}" in done.err, done.err
    assert "REFOLD_REPLAY_" not in done.err
    (tmp_path / "refold.toml").unlink()
    text = f'[tool.refold.replay]\n{key} = {value}\n[project]\nname = "x"\n'
    (tmp_path / "pyproject.toml").write_text(text)
    done = run("replay", call, REFOLD_API_KEY="k")
    assert f"pyproject.toml: [tool.refold.replay] {key}" in done.err, done.err
    (tmp_path / "pyproject.toml").unlink()
    own = {"param": "REFOLD_PARAM", "model": "REFOLD_MODEL"}
    variable = own.get(key, f"REFOLD_REPLAY_{key.upper().replace('-', '_')}")
    variable = variable.replace("_LAST", "_SINCE")
    word = value.strip("[]").strip("'")
    done = run("replay", call, **{variable: word, "REFOLD_API_KEY": "k"})
    assert done.code == 2, done
    assert variable in done.err, done.err
    done = run("replay", call, f"--{key}", word, REFOLD_API_KEY="k")
    assert done.code == 2, done
    assert "REFOLD_REPLAY_" not in done.err and ".toml" not in done.err


def test_help_needs_no_settings(run: Refold, process: Refold, tmp_path: Path) -> None:
    """A broken file does not keep anyone from reading the help."""
    (tmp_path / "refold.toml").write_text("[")
    assert run("--help").code == 0
    assert run("show", "--help").code == 0
    assert process("-h").code == 0


def test_another_tools_project_file_is_left_alone(run: Refold, call: str, tmp_path: Path) -> None:
    """A pyproject.toml without [tool.refold] changes nothing."""
    (tmp_path / "pyproject.toml").write_text('[project]\nname = "x"\n')
    assert versions(run) == len(CALL)


def leaves(group: click.Group, path: str = "refold") -> list[tuple[str, click.Command]]:
    """Every command that is not a group, with its full name."""
    context = click.Context(group, info_name=path)
    found: list[tuple[str, click.Command]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        if isinstance(command, click.Group):
            found += leaves(command, f"{path} {name}")
        else:
            found.append((f"{path} {name}", command))
    return found


def test_every_option_has_a_variable_that_its_help_names() -> None:
    """Each option of each command can be set by a REFOLD_… variable, and its help says which."""
    for path, command in leaves(main):
        context = click.Context(command, info_name=path)
        for option in command.params:
            if isinstance(option, click.Option):
                variables = option.get_help_extra(context).get("envvars", ())
                own = option.opts[0].removeprefix("--").replace("-", "_").upper()
                expected = ("REFOLD_URL", "REFOLD_DEMO_DB") if own == "DB" else f"_{own}"
                assert any(v.endswith(expected) for v in variables), (path, option.name, variables)
                assert variables[0].startswith("REFOLD_")
