"""The `refold` command: which commands there are, and how a run ends."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from refold._version import __version__
from refold.cli import errors
from refold.cli.text import suggestion


class Root(click.Group):
    """The whole program: imports a command when it is called, and ends with the documented codes.

    ``lazy`` maps a command's name to the module of this package that has it, as ``name`` with
    underscores and ``_command`` behind it, and to its one-line summary.
    """

    def __init__(self, *args: Any, lazy: Mapping[str, tuple[str, str]], **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.lazy = lazy

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """In the order that they are used in, not by letter."""
        return list(self.lazy)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command, imported now; near names are suggested where there is none."""
        if cmd_name.startswith("-"):
            return None
        if cmd_name not in self.lazy:
            names = [*self.lazy, "--help", "--version"]
            ctx.fail(f"there is no command {cmd_name!r}{suggestion(cmd_name, names)}")
        module = import_module(f"refold.cli.{self.lazy[cmd_name][0]}")
        command = getattr(module, f"{cmd_name.replace('-', '_')}_command")
        assert isinstance(command, click.Command)
        return command

    def format_commands(
        self,
        ctx: click.Context,  # noqa: ARG002
        formatter: click.HelpFormatter,
    ) -> None:
        """The summaries of the table: help must not import what it lists."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary) for name, (_, summary) in self.lazy.items()])

    def main(self, args: Sequence[str] | None = None, **extra: Any) -> NoReturn:  # type: ignore[override]
        """Run and exit; ``args`` are those of the process by default."""
        # Python has no file for what the caller closed, and takes one of these for the other.
        sys.stdout, sys.stderr = (
            file or os.fdopen(os.open(os.devnull, os.O_WRONLY), "w")
            for file in (sys.stdout, sys.stderr)
        )
        given = sys.argv[1:] if args is None else list(args)
        run = errors.Run.of(given)
        extra.update(prog_name="refold", standalone_mode=False, obj=run)
        sys.exit(errors.exit_code(lambda: super(Root, self).main(given, **extra), run))


@click.group(
    "refold",
    cls=Root,
    context_settings={
        "help_option_names": ["-h", "--help"],
        "max_content_width": 100,
        "show_default": True,
    },
    epilog="""\b
Example:
  refold demo
  refold import openai-chat chats.jsonl
  refold streams
  refold show chat-1 --version 4
""",
    lazy={
        "demo": ("demo", "Record, rewind, replay and compare 44 made-up calls."),
        "run": ("run", "Run a program and record each model call that it makes."),
        "import": ("import_", "Bring recorded conversations into a store."),
        "export": ("export", "Print conversations in another format."),
        "append": ("append", "Add events to the end of a stream."),
        "streams": ("streams", "List the streams of a store."),
        "prompts": ("prompts", "Show which prompts were in force when, and how they differ."),
        "datasets": ("datasets", "Keep named lists of conversations, in versions."),
        "label": ("label", "Label or score a conversation."),
        "ui": ("ui", "Look at a store in the browser."),
        "serve": ("serve", "Serve a store to programs in any language, by HTTP and JSON."),
        "tokens": ("tokens", "Show, make and revoke the tokens that `refold serve` asks for."),
        "show": ("show", "Show a stream, now or as it was."),
        "state": ("state", "Print the state that a stream folds to, now or then."),
        "log": ("log", "Print the whole log in order."),
        "what-if": (
            "what_if",
            "Show what changes without some events of a stream, or with others.",
        ),
        "bisect": ("bisect", "Find the event, prompt or version that first made something so."),
        "diff": ("diff", "Show how one stream differs from another."),
        "replay": ("replay", "Ask another prompt or model the recorded questions."),
        "replays": ("replays", "List the replays that a store holds."),
        "goals": ("goals", "Say what the users of recorded conversations wanted and knew."),
        "compare": (
            "compare",
            "Compare replayed conversations with the recorded, and say whether to ship the change.",
        ),
        "gate": ("gate", "Replay, judge, and exit with what a pipeline needs to know."),
        "schemas": ("schemas", "Show which schemas a store holds and what they are read as."),
        "projections": ("projections", "Keep tables from the events, and set them right."),
        "feed": ("feed", "Send the events to Kafka, and show how far that has come."),
        "seal": ("seal", "Seal a log, so that anyone can check that nothing was changed."),
        "checkpoint": ("seal", "Seal what stands, and print the newest head of the log, signed."),
        "prove": ("verify", "Prove to a stranger that an event was sealed, and what it says."),
        "evidence": ("evidence", "Make a bundle of evidence about a conversation or one event."),
        "verify": ("verify", "Look whether a sealed log, or files, are what signed heads say."),
        "access": ("access", "Show who read protected values, and who was not let."),
        "redact": ("redact", "Take a value out of events, and whatever repeats it."),
        "erase": ("erase", "Erase a person: their key, and what stands in the clear."),
        "hold": ("hold", "Place and release legal holds, and list those in force."),
        "retention": ("retention", "Show how long what is kept, and empty what is past its time."),
        "keys": ("keys", "Show, make and turn the keys of personal values."),
        "init": ("init", "Make a store, and the roles of those who share it."),
        "doctor": ("doctor", "Check a store from end to end."),
        "stats": ("stats", "Show what each part of a store takes."),
        "sql": ("sql", "Ask in SQL, of all events and of the read models."),
        "compact": ("compact", "Pack old events, to a third or less."),
        "partitions": (
            "partitions",
            "Keep the months of a store in PostgreSQL: made ahead, taken out, brought back.",
        ),
        "archive": ("archive", "Write the old months of a store in PostgreSQL to files."),
        "backup": ("backup", "Copy a store to a new file."),
        "copy": ("copy", "Copy a store into another: journal, file, PostgreSQL."),
        "restore": ("backup", "Make a store from a backup."),
    },
)
@click.version_option(__version__, message="refold %(version)s")
def main() -> None:
    """Record what an agent saw and did; rewind it, branch it, replay it, compare it.

    Data goes to stdout, progress to stderr. Every option can also be set by the environment
    variable that its help names, or in a file of settings (refold.toml, or --config behind the
    command).

    Exit codes: 0 fine; 1 a finding (a difference, a conflict, a failed check); 2 wrong usage;
    3 the store or a service failed; 4 a gate that cannot tell; 130 interrupted.
    """
