"""Print docs/reference/cli.md, made from the commands.

Run it after changing one: ``.venv/bin/python tools/cli_reference.py >docs/reference/cli.md``.
"""

import sys
from collections.abc import Iterator
from inspect import cleandoc

import click

from refold.cli.main import main

COMMON = ("--db", "--config", "--json")
PLUG_INS = {"ai-trader"}
"""Commands that are here because `make setup` installs the plug-in of the examples."""
HEAD = """# Command line

Made from the commands by `tools/cli_reference.py`; do not edit.

`refold` and `python -m refold` are the same program. `refold COMMAND --help` says what stands here.

```console
$ refold append call-42 --type user.utterance --data '{"text": "Is Tuesday free?"}' --expected none
call-42@0, position 1
$ refold show call-42
...
   0  ...  user  Is Tuesday free?
unfinished: nobody answered
$ refold show call-42 --json
{"position":1,"stream":"call-42","version":0,"id":"call-42@0","type":"user.utterance","schema":1,...}
```

## What goes where

Data goes to stdout, problems, notes and progress to stderr; a progress bar is shown only where
stderr is a terminal. `-` is stdin. Colours are for terminals, and `NO_COLOR` turns them off.
`--json` prints one JSON object a line (`refold state` and `refold export` print the JSON value
itself), and makes an error one object on stderr:

<!-- exits 2 -->
```console
$ refold show call-42 --db none.db --json
{"error": {"code": "not_found", "retry": "never", "message": "...", "path": "none.db"}}
```

An event is always the same object: `position`, `stream`, `version`, `id`, `type`, `schema`,
`occurred_at`, `recorded_at`, `data`, `metadata`.

## Exit codes

| code | what it says |
|---|---|
| 0 | fine |
| 1 | a finding: each command says which |
| 2 | wrong usage: an option, an event, a stream or a file that is not as it must be |
| 3 | the store or a service failed |
| 4 | a gate that cannot tell |
| 130 | interrupted |
| 141 | the reader of stdout went away, as in `refold log \\| head` |

## Options of every command

| option | variable | default | what it does |
|---|---|---|---|
| `--db URL` | `REFOLD_URL` | `refold.db` | The store: a path or `sqlite:///path`. |
| `--config FILE` | `REFOLD_CONFIG` | | Your settings, in place of every other file of them. |
| `--json` | `REFOLD_JSON` | | One JSON object a line. |

Only `append`, `import` and `demo` make a store that is missing.

## Settings

An option is taken from the command line, else from its environment variable, else from a file of
settings, else its default. These files are read, the first that says something of an option counts:

1. the file that `--config` or `REFOLD_CONFIG` names; then no other is read
2. `refold.toml` or, where there is none, `[tool.refold]` of `pyproject.toml` in the current folder
3. `refold.toml` in your folder of settings (`~/.config/refold/` on Linux)

`db` and `json` may stand at the top, for every command; other options stand in a table named
after their command. A list is an array in the file and words in a variable. A key that nothing
answers to, and a value that its option cannot have, is an error. An option that is given twice is
one too, where it takes one value.

A file that is found in the current folder may have come with somebody else's files. So it does
not say what code is run (`from`, and a `fold` that is not built in), who is asked and gets your
key (`base-url`), or which files outside the folder are read or written, but for the store's
(`db`). What it says of these is ignored, which one line on stderr tells; `refold replay` then
asks nobody. Where the file is yours, name it: `--config refold.toml`.

```toml
# file: refold.toml
db = "agents.db"

[replay]
workers = 8
param = ["temperature=0"]

[log]
limit = 100
```"""


def page() -> str:
    """The whole page."""
    return "\n\n".join([HEAD, *sections(main, "refold")]) + "\n"


def sections(group: click.Group, path: str) -> Iterator[str]:
    """The sections of a group's commands."""
    context = click.Context(group, info_name=path)
    for name in group.list_commands(context):
        if name in PLUG_INS:
            continue
        command = group.get_command(context, name)
        if command is None:
            raise LookupError(f"{path} lists {name} and does not have it")
        yield section(command, f"{path} {name}")
        if isinstance(command, click.Group):
            yield from sections(command, f"{path} {name}")


def section(command: click.Command, path: str) -> str:
    """A command: how it is called, what it does, its options, an example."""
    context = click.Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    parts = [f"## {path}", f"```text\n{usage}\n```", said(command.help or "")]
    if rows := list(option_rows(command, path)):
        head = "| option | variable | default | what it does |\n|---|---|---|---|"
        parts.append("\n".join([head, *rows]))
    example = cleandoc(command.epilog or "").removeprefix("\b\n").removeprefix("Example:\n")
    parts.append("Example:\n\n```text\n" + cleandoc(example) + "\n```")
    return "\n\n".join(parts)


def option_rows(command: click.Command, path: str) -> Iterator[str]:
    """A row of the table for each option that is not every command's."""
    context = click.Context(command, info_name=path)
    for option in command.params:
        if not isinstance(option, click.Option) or set(option.opts) & set(COMMON):
            continue
        metavar = "" if option.is_flag else option.make_metavar(context)
        variables = option.get_help_extra(context).get("envvars", ())
        text, _, default = (option.help or "").partition("  [default: ")
        if isinstance(option.default, str | int | float) and not isinstance(option.default, bool):
            default = f"`{option.default}`"
        cells = (
            ", ".join(f"`{f'{name} {metavar}'.rstrip()}`" for name in option.opts),
            ", ".join(f"`{variable}`" for variable in variables),
            default.rstrip("]"),
            text,
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def said(text: str) -> str:
    """Paragraphs of a docstring, each on one line."""
    return "\n\n".join(" ".join(part.split()) for part in cleandoc(text).split("\n\n"))


if __name__ == "__main__":
    sys.stdout.write(page())
