"""`refold import`: finds out the format of each file; a command a format overrules it."""

from __future__ import annotations

from collections.abc import Iterator
from inspect import getdoc
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from refold.cli import output
from refold.cli.errors import FAILED, FINDING, FINE
from refold.cli.options import command, group, option, together
from refold.cli.private import open_store
from refold.cli.text import counted, suggestion

if TYPE_CHECKING:
    from refold.conversation.importers import ImportReport

LOSSES_SHOWN_MAX: Final = 20
_LOSSES: Final = (
    "a loss is what could not be taken as it is. The original stands where each line says, in the "
    "file and line (of a table: stream and version), at the JSON pointer: keep the source"
)
ANY: Final = "any"
"""The command that finds out the format; it may be left out."""
SQL: Final = "sql"
"""The command for a table of events."""


class _Source(click.Path):
    """A file to read, or ``-``."""

    def convert(self, value: Any, param: Any, ctx: Any) -> Any:
        """The path; a directory, and a pattern that the shell left as it is, are told as such."""
        if Path(value).is_dir():
            self.fail(f"{value} is a directory: name the files in it, as {value}/*", param, ctx)
        if value != "-" and not Path(value).exists():
            near = suggestion(value, import_command.list_commands(click.Context(import_command)))
            said = f"there is no file {value}, and no format of that name{near}"
            self.fail(f"no file matches {value}" if set("*?[") & set(value) else said, param, ctx)
        return super().convert(value, param, ctx)


_SOURCE: Final = _Source(allow_dash=True)
_files = together(
    click.argument("files", nargs=-1, required=True, metavar="FILE...", type=_SOURCE),
    option("--category", metavar="NAME", help="How the streams' names begin."),
    option(
        "--tools",
        type=click.Path(exists=True, dir_okay=False),
        metavar="FILE",
        help="The tools that the agent was offered, as JSON, with their effects.",
    ),
    option("--agent", metavar="NAME", help="Which agent it was, where the file does not say."),
    option("--model", metavar="NAME", help="Its model, where the file does not say."),
)


class _Formats(click.Group):
    """A command a format, those of plug-ins among them; without one, that for any."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        """Their names."""
        from refold.conversation.importers import Importer

        return [ANY, SQL, *Importer.names()]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """The command of a format, its importer loaded now."""
        made: click.Command | None = {ANY: import_any, SQL: import_sql}.get(cmd_name)
        return made or (_command(cmd_name) if cmd_name in self.list_commands(ctx) else None)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Those that may be given without a format, before the formats."""
        click.Command.format_options(import_any, ctx, formatter)
        self.format_commands(ctx, formatter)

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """A file in place of a format: that is found out. Options may stand before either."""
        names = (*self.list_commands(ctx), *ctx.help_option_names)
        if args and args[0] not in names:
            lenient = click.Context(import_any, ignore_unknown_options=True)
            said, _, _ = import_any.make_parser(lenient).parse_args([*args])
            first = next(iter(said.get("files", ())), "")
            is_format = first in names and not Path(first).exists()
            if is_format:
                args.remove(first)
            args = [first if is_format else ANY, *args]
        return super().parse_args(ctx, args)


@group("import", cls=_Formats)
def import_command() -> None:
    """Bring recorded conversations into a store.

    `refold import FILE...` finds out the format of each file and says which it took, and why;
    the name of a format before the files, or --format, overrules. Each conversation is stored
    whole or not at all, and importing again adds only what is new. What is broken is named with
    its file and line, the rest goes on, and the exit code is 1.

        refold import chats/*.jsonl --category chat
        refold import tau-bench gpt-4o-airline.json --tools airline-tools.json
        zcat chats.jsonl.gz | refold import -
    """


@command(ANY, group=import_command)
@_files
@option("--format", metavar="NAME", help="Take every file for this format.")
def import_any(url: str, files: tuple[str, ...], format: str | None, **how: Any) -> int:
    """Import files of any format that is known: `any` may be left out.

    The format is found out by what stands in the first MiB of each file, whatever its name.

        refold import any session.jsonl
        refold import session.jsonl --format openai-chat
    """
    return _imported(url, format, files, how)


@command(SQL, group=import_command)
@click.argument("place", metavar="FILE|URL")
@option("--table", default="events", metavar="NAME", help="The table of the events, or a view.")
@option(
    "--column",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="The column of a field: stream, version, type, data, metadata, time.",
)
def import_sql(url: str, place: str, table: str, column: tuple[str, ...]) -> int:
    """Import a table of events from a SQLite file or PostgreSQL, stream by stream.

    Its columns are by default stream_id, version, event_type, data, metadata and occurred_at;
    the last two may be missing. What else a row has is kept with its event, as its metadata row.
    Importing again adds the rows that are new. PostgreSQL is read by its URL, a password in
    PGPASSWORD or in ~/.pgpass, and needs the extra: pip install 'refold[postgres]'.

        refold import sql events.db
        refold import sql app.db --table history --column type=kind --column data=payload
        refold import sql postgresql://me@db.example/app --table audit.events
    """
    from refold.conversation.importers.sql_table import import_table

    columns = {field: name for field, _, name in (one.partition("=") for one in column)}
    with open_store(url) as store:
        report = import_table(store, place, table=table, columns=columns)
    output.show(_as_objects(report), _lines(report))
    return FAILED if report.interrupted else FINE if report.ok else FINDING


def _command(name: str) -> click.Command:
    """The command that imports a format."""
    from refold.conversation.importers import Importer

    importer = Importer.named(name)

    @command(name, group=import_command, said=getdoc(importer.read))
    @_files
    def run(url: str, files: tuple[str, ...], **how: Any) -> int:
        return _imported(url, importer, files, how)

    return run


def _imported(url: str, format: Any, files: tuple[str, ...], how: dict[str, Any]) -> int:
    from refold.conversation.importers import import_files

    label = f"import {getattr(format, 'name', format) or ANY}"
    with open_store(url) as store, output.progress(label) as tell:
        report = import_files(store, format, files, progress=tell, **how)
    if format is None:
        for one in report.taken:
            output.note(f"{one.file}: taken for {one.format}: {one.why}")
    output.show(_as_objects(report), _lines(report))
    return FINE if report.ok else FINDING


def _as_objects(report: ImportReport) -> dict[str, Any]:
    """The problems and losses as objects too, not as the rows that tuples become."""
    said = {name: getattr(report, name) for name in report.__struct_fields__}
    for key in ("taken", "problems", "loss"):
        said[key] = [one._asdict() for one in said[key]]
    return said


def _lines(report: ImportReport) -> Iterator[str]:
    places = [f"{one.file}:{one.line}" if one.line else one.file for one in report.problems]
    wrong = [f"{at}: {one.message}" for at, one in zip(places, report.problems, strict=True)]
    output.note_some(wrong, len(wrong), more="problems more", count=report.problem_count)
    lost = [f"{one.where}: loss: {one.what} {one.pointer}" for one in report.loss]
    more = "more losses (--json has them)"
    output.note_some(lost, LOSSES_SHOWN_MAX, more=more, count=report.loss_count)
    if lost:
        output.note(_LOSSES)
    events, problems = counted(report.events, "event"), counted(report.problem_count, "problem")
    grown = f", {report.grown:,} grown" if report.grown else ""
    branches = f", {report.branches:,} branches" if report.branches else ""
    yield (
        f"{report.imported:,} imported ({events}){grown}{branches}, "
        f"{report.unchanged:,} unchanged, {report.failed:,} failed, {problems}"
    )
