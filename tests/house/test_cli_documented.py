"""A command that is not documented does not exist: help, example, `--json`, and its page."""

import re
from collections.abc import Iterator

import click
import pytest

from tests.house.tree import ROOT

REFERENCE = ROOT / "docs" / "reference" / "cli.md"
# Of the example that is installed for the tests; its own page documents it.
PLUG_INS = {"ai-trader"}
# Click's own, and those of the page's table of all commands.
HELP, OF_ALL = {"--help"}, {"--db", "--config", "--json"}


def root_command() -> click.Command:
    """The command behind the entry point."""
    from refold.cli import main

    candidates = (value for value in vars(main).values() if isinstance(value, click.Group))
    return next(group for group in candidates if group.name in {"refold", "main", "cli"})


def walk(command: click.Command, path: str = "refold") -> Iterator[tuple[str, click.Command]]:
    """Each command below ``command`` with its full name, groups before what they hold."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command, info_name=path)
        for name in command.list_commands(context):
            if name in PLUG_INS:
                continue
            child = command.get_command(context, name)
            assert child is not None, f"{path} lists {name} and does not have it"
            yield from walk(child, f"{path} {name}")


def options_of(command: click.Command) -> set[str]:
    """The long names of a command's options that its help shows."""
    return {
        name
        for option in command.params
        if isinstance(option, click.Option) and not option.hidden
        for name in option.opts
        if name.startswith("--")
    }


ALL = "Options of every command"


def options_in(reference: str, head: str) -> set[str]:
    """The options that the table of a section lists: of each row what stands in its first cell."""
    _, _, section = f"\n{reference}".partition(f"\n## {head}\n")
    rows = re.findall(r"^\| (`--.*?) \|", section.partition("\n## ")[0], re.MULTILINE)
    return {name for row in rows for name in re.findall(r"`(--[\w-]+)", row)}


def problems(path: str, command: click.Command, reference: str) -> list[str]:
    """What a command lacks."""
    text = command.get_help(click.Context(command, info_name=path))
    is_leaf = not isinstance(command, click.Group)
    lacks = []
    if not command.help:
        lacks.append("help")
    if not re.search(r"^\s*Examples?\b", text, re.MULTILINE):
        lacks.append("an Example in its help")
    if is_leaf and "--json" not in options_of(command):
        lacks.append("--json")
    if not re.search(rf"\b{re.escape(path)}\b", reference):
        lacks.append(f"a place in {REFERENCE.name}")
    listed = options_in(reference, path) | (options_in(reference, ALL) & OF_ALL)
    lacks += [
        f"{name} in its table of {REFERENCE.name}"
        for name in sorted(options_of(command) - HELP - listed)
        if (path, name) != ("refold", "--version")  # Click's own too.
    ]
    return [f"{path} lacks {what}" for what in lacks]


def test_every_command_is_documented() -> None:
    """Each command has help with an example, `--json` when it is a leaf, and stands in cli.md."""
    reference = REFERENCE.read_text()
    commands = list(walk(root_command()))
    assert len(commands) > 1
    assert [hit for path, command in commands for hit in problems(path, command, reference)] == []


DOCUMENTED = """Do it.

\b
Example:
  refold do
"""


@click.command(help=DOCUMENTED)
@click.option("--json", "as_json", is_flag=True)
@click.option("--limit-events")
def complete(as_json: bool, limit_events: str) -> None: ...


@click.command()
@click.option("--dry")
def bare(dry: str) -> None: ...


@click.command(help=DOCUMENTED)
@click.option("--json", "as_json", is_flag=True)
@click.option("--spoken")
def spoken(as_json: bool, spoken: str) -> None: ...


NONE = [f"--{name} in its table of cli.md" for name in ("json", "limit-events")]
TABLE = """## Options of every command
| `--json` | | | |
## refold do
| `--limit-events N`, `--limit N` | | | |
| `--dry` | | | --spoken of |
## refold dot
| `--spoken` | | | |
"""


@pytest.mark.parametrize(
    ("command", "reference", "lacks"),
    [
        (complete, TABLE, []),
        (complete, TABLE.replace("-events", ""), ["--limit-events in its table of cli.md"]),
        (complete, TABLE.replace("`--json`", "--json"), ["--json in its table of cli.md"]),
        (complete, "--json --limit-events", ["a place in cli.md", *NONE]),
        (bare, TABLE, ["help", "an Example in its help", "--json"]),
        (spoken, TABLE, ["--spoken in its table of cli.md"]),
    ],
)
def test_what_a_command_lacks_is_named(
    command: click.Command, reference: str, lacks: list[str]
) -> None:
    """Each thing that is missing is reported by its name; a longer name does not stand for it."""
    assert problems("refold do", command, reference) == [f"refold do lacks {x}" for x in lacks]


def test_commands_inside_groups_are_walked() -> None:
    """A command of a group is named in full."""
    group = click.Group("refold", commands=[click.Group("export", commands=[complete])])
    assert [path for path, _ in walk(group)] == [
        "refold",
        "refold export",
        "refold export complete",
    ]
