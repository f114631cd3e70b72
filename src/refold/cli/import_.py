"""`refold import`: one command a format, all alike."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import getdoc
from typing import TYPE_CHECKING, Any, Final

import click

import refold
from refold.cli import output
from refold.cli.errors import FINDING, FINE
from refold.cli.options import command, group, option
from refold.cli.text import counted

if TYPE_CHECKING:
    from refold.conversation.importers import ImportReport

LOSSES_SHOWN_MAX: Final = 20


class _Formats(click.Group):
    """A command a format, those of plug-ins among them."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Their names."""
        from refold.conversation.importers import Importer

        return Importer.names()

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a format, its importer loaded now."""
        return _command(cmd_name) if cmd_name in self.list_commands(ctx) else None


@group("import", cls=_Formats)
def import_command() -> None:
    """Bring recorded conversations into a store.

    Each conversation is stored whole or not at all, and importing again changes nothing. What is
    broken is named with its file and line, the rest goes on, and the exit code is 1.

        refold import tau-bench gpt-4o-airline.json --tools airline-tools.json
        refold import openai-chat chats/*.jsonl --category chat
        zcat chats.jsonl.gz | refold import openai-chat -
    """


def _command(name: str) -> click.Command:
    """The command that imports a format."""
    from refold.conversation.importers import Importer, import_files

    importer = Importer.named(name)

    @command(name, group=import_command, said=getdoc(importer.read))
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
    def run(url: str, files: tuple[str, ...], **how: Any) -> int:
        with refold.open(url) as store, output.progress(f"import {name}") as tell:
            report = import_files(store, importer, files, progress=tell, **how)
        output.show(_as_objects(report), _lines(report))
        return FINE if report.ok else FINDING

    return run


def _as_objects(report: ImportReport) -> dict[str, Any]:
    """The problems and losses as objects too, not as the rows that tuples become."""
    said = {name: getattr(report, name) for name in report.__struct_fields__}
    return said | {name: [one._asdict() for one in said[name]] for name in ("problems", "loss")}


def _lines(report: ImportReport) -> Iterator[str]:
    wrong = [
        f"{one.file}:{one.line}: {one.message}" if one.line else f"{one.file}: {one.message}"
        for one in report.problems
    ]
    output.note_some(wrong, len(wrong), more="problems more", count=report.problem_count)
    lost = [f"{one.where}: not kept: {one.what} {one.pointer}" for one in report.loss]
    more = "more not kept (--json has them)"
    output.note_some(lost, LOSSES_SHOWN_MAX, more=more, count=report.loss_count)
    events, problems = counted(report.events, "event"), counted(report.problem_count, "problem")
    branches = f", {report.branches:,} branches" if report.branches else ""
    yield (
        f"{report.imported:,} imported ({events}){branches}, {report.unchanged:,} unchanged, "
        f"{report.failed:,} failed, {problems}"
    )
