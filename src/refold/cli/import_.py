"""`refold import`: one command a format, all alike."""

from __future__ import annotations

from inspect import getdoc
from typing import TYPE_CHECKING, Any, Final

import click

import refold
from refold.cli import output
from refold.cli.errors import FINDING, FINE
from refold.cli.options import command, group, option
from refold.cli.text import clean, counted

if TYPE_CHECKING:
    from refold.conversation.importers import Importer, ImportReport

LOSSES_SHOWN_MAX: Final = 20


class _Formats(click.Group):
    """A command a format, those of plug-ins among them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Their names."""
        from refold.conversation.importers import Importer

        return Importer.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a format, its importer loaded now."""
        from refold.conversation.importers import Importer

        if cmd_name not in self.list_commands(ctx):
            return None
        return _command(Importer.named(cmd_name))


@group(
    "import",
    cls=_Formats,
    example="""
refold import tau-bench gpt-4o-airline.json --tools airline-tools.json
refold import openai-chat chats/*.jsonl --category chat
zcat chats.jsonl.gz | refold import openai-chat -
""",
)
def import_command() -> None:
    """Bring recorded conversations into a store.

    Each conversation is stored whole or not at all, and importing again changes nothing. What is
    broken is named with its file and line, the rest goes on, and the exit code is 1.
    """


def _command(importer: Importer) -> click.Command:
    """The command that imports a format."""

    @command(importer.name, example=importer.example, table="import")
    @click.argument(
        "files",
        nargs=-1,
        required=True,
        metavar="FILE...",
        type=click.Path(exists=True, dir_okay=False, allow_dash=True),
    )
    @option("--category", metavar="NAME", help="How the streams' names begin.")
    @option(
        "--tools",
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        help="The tools that the agent was offered, as JSON, with their effects.",
    )
    def run(
        url: str, as_json: bool, files: tuple[str, ...], category: str | None, tools: str | None
    ) -> int:
        from refold.conversation.importers import import_files

        with (
            refold.open(url) as store,
            output.progress(f"import {importer.name}") as tell,
        ):
            report = import_files(
                store, importer, files, category=category, tools=tools, progress=tell
            )
        (_print_json if as_json else _print_plain)(report)
        return FINE if report.ok else FINDING

    run.help = getdoc(importer.read)
    return run


def _print_json(report: ImportReport) -> None:
    """The problems and losses as objects too, not as the rows that tuples become."""
    import msgspec

    said: dict[str, Any] = msgspec.to_builtins(report)
    said["problems"] = [problem._asdict() for problem in report.problems]
    said["loss"] = [loss._asdict() for loss in report.loss]
    output.json_line(said)


def _print_plain(report: ImportReport) -> None:
    for problem in report.problems:
        place = f"{problem.file}:{problem.line}" if problem.line else problem.file
        output.note(clean(f"{place}: {problem.message}"))
    if report.problem_count > len(report.problems):
        output.note(f"and {report.problem_count - len(report.problems)} problems more")
    for loss in report.loss[:LOSSES_SHOWN_MAX]:
        output.note(clean(f"{loss.where}: not kept: {loss.what} {loss.pointer}".rstrip()))
    if report.loss_count > LOSSES_SHOWN_MAX:
        output.note(f"and {report.loss_count - LOSSES_SHOWN_MAX} more not kept (--json has them)")
    events, problems = counted(report.events, "event"), counted(report.problem_count, "problem")
    branches = f", {report.branches:,} branches" if report.branches else ""
    output.line(
        f"{report.imported:,} imported ({events}){branches}, {report.unchanged:,} unchanged, "
        f"{report.failed:,} failed, {problems}"
    )
