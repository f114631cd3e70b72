"""What the commands share: how one is declared, its common options, and how it opens a store."""

from __future__ import annotations

import os
import re
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, reduce, wraps
from inspect import cleandoc
from pathlib import Path
from shlex import quote
from typing import Any, Final, Literal

import click
from click.core import ParameterSource

import refold
from refold import times
from refold.cli import config, output
from refold.cli.errors import Run
from refold.cli.groups import Group
from refold.cli.private import GIVEN, open_store
from refold.cli.text import address
from refold.errors import NotFound, RefoldError, UsageError
from refold.times import not_reached, to_us

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

COUNT: Final = click.IntRange(min=0, max=2**63 - 1)
"""A version, a position or a number of things, as far as a store can count."""

READING: Final = "refold.reading"
_TYPED: Final = "refold.typed"
_PLACES: Final = "refold.places"


class _Option(click.Option):
    """An option whose errors say where its value stands, as the user wrote it."""

    def get_error_hint(self, ctx: click.Context | None) -> str:
        return super().get_error_hint(ctx) if ctx is None else f"'{typed(ctx, self)}'"

    def type_cast_value(self, ctx: click.Context, value: Any) -> Any:
        try:
            return super().type_cast_value(ctx, value)
        except RefoldError as error:
            error.message = _as_typed(ctx, self, error, is_its=True)
            raise


def typed(ctx: click.Context, parameter: click.Parameter) -> str:
    """Where the value of an option stands: its name as the user typed it, a variable, or a file.

    The first of its names where nobody said anything; what is no option by its place's name.
    """
    if isinstance(parameter, click.Argument) and parameter.metavar:
        return parameter.metavar.strip("[].")
    match ctx.get_parameter_source(str(parameter.name)):
        case ParameterSource.DEFAULT_MAP:
            place: str = ctx.meta[_PLACES][parameter.name]
            return place
        case ParameterSource.ENVIRONMENT:
            return next(filter(os.environ.get, _variables(parameter)), parameter.opts[0])
    said = ctx.meta.get(_TYPED, ())
    return next((name for name in parameter.opts if name in said), parameter.opts[0])


def _variables(parameter: click.Parameter) -> Sequence[str]:
    several = parameter.envvar or ()
    return [several] if isinstance(several, str) else several


def _as_typed(
    ctx: click.Context, parameter: click.Parameter, error: RefoldError, *, is_its: bool = False
) -> str:
    """An error that names an argument or an option, with the place where its value stands.

    ``is_its``: it is the option's own, whether or not it is named.
    """
    said = error.message
    if not isinstance(parameter, click.Option):
        return said
    place, option_ = typed(ctx, parameter), parameter.opts[0]
    names = {str(parameter.name).removeprefix("of_"), option_.removeprefix("--").replace("-", "_")}
    # Before a value as two words, else by itself.
    any_name = "|".join(map(re.escape, sorted(names)))
    with_value = rf"(?<![\w'\"-])(?:{any_name})=(?=([^\s,;:)])?)"
    said = re.sub(with_value, lambda found: place + (" " if found[1] else ""), said)
    if place in parameter.opts:
        return said
    if re.match(rf"{re.escape(option_)}(?![\w-])", said):
        return place + said.removeprefix(option_)
    is_its = is_its or bool(names & {*error.facts, error.facts.get("argument")})
    return f"{place}: {said}" if is_its and place not in said else said


option: Final = partial(click.option, cls=_Option, show_envvar=True)
"""``click.option``; help names the environment variable too."""
count_option: Final = partial(option, type=COUNT, metavar="N")


def int_option(name: str, least: int, most: int, *names: str, **how: Any) -> Decorator:
    """An option that takes a whole number of a range."""
    return option(name, *names, type=click.IntRange(least, most), metavar="N", **how)


def _note_json(ctx: click.Context, _option: click.Parameter, as_json: bool) -> None:
    ctx.ensure_object(Run).as_json = as_json


JSON: Final = click.Option(
    ["--json", "as_json"],
    envvar="REFOLD_JSON",
    show_envvar=True,
    is_flag=True,
    # Read first, so that the error of another option is JSON too.
    is_eager=True,
    expose_value=False,
    callback=_note_json,
    help="One JSON object a line.",
)


CONFIG: Final = click.Option(
    ["--config"],
    envvar="REFOLD_CONFIG",
    show_envvar=True,
    metavar="FILE",
    expose_value=False,
    help="Your settings, in place of every other file of them.",
)
_IGNORED: Final = "refold.ignored"
_FOUND: Final = (
    "{file}: ignored {keys}: a file found here does not say what code runs, who is asked or what "
    "lies elsewhere; if it is yours, --config {file}"
)


class Command(click.Command):
    """A command whose options may be set in a file, and that takes each of them once."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Arguments first, then the environment, then files; what those may not say is told."""
        if set(args) & set(ctx.help_option_names):
            return super().parse_args(ctx, args)
        ctx.meta[_TYPED] = {arg.partition("=")[0] for arg in args}
        given, _, order = self.make_parser(ctx).parse_args(list(args))
        ctx.meta[GIVEN] = given
        _check_once(ctx, order)
        options = _by_long_name(self)
        named = given.get("config") or os.environ.get("REFOLD_CONFIG") or None
        ctx.meta[config.NAMED_FILE] = named
        values, ignored = self._settings(ctx, options, named)
        said = {str(options[key].name): one for key, one in values.items()}
        ctx.default_map = {name: one.value for name, one in said.items()}
        ctx.meta[_PLACES] = {name: one.place for name, one in said.items()}
        left = super().parse_args(ctx, args)
        unsaid = {key: file for key, file in ignored.items() if not is_said(ctx, options[key])}
        ctx.meta[_IGNORED] = unsaid
        for file in {*unsaid.values()}:
            output.note(_FOUND.format(file=file, keys=", ".join(unsaid)))
        return left

    def invoke(self, ctx: click.Context) -> Any:
        """Run; an argument that the library names in an error is told as the option it came by."""
        try:
            return super().invoke(ctx)
        except UsageError as error:
            for one in self.params:
                error.message = _as_typed(ctx, one, error)
            raise

    def _settings(
        self, ctx: click.Context, options: config.Options, named: str | None
    ) -> config.Settings:
        root, parent = ctx.find_root().command, ctx.parent and ctx.parent.command
        assert isinstance(root, click.Group) and isinstance(parent, click.Group)
        siblings = () if parent is root else parent.commands.values()
        keys = [*options, *(key for one in siblings for key in _by_long_name(one))]
        table, tables = ctx.command_path.split()[1], root.list_commands(ctx)
        return config.settings(table, options, keys, tables=tables, named=named)


def is_said(ctx: click.Context, parameter: click.Parameter) -> bool:
    """Whether a value comes from the user, and not from the default."""
    return ctx.get_parameter_source(str(parameter.name)) is not ParameterSource.DEFAULT


def as_given(*names: str) -> list[str]:
    """The words that give these parameters again as the user gave them, wherever that was."""
    ctx = click.get_current_context()
    words: list[str] = []
    for one in ctx.command.params:
        if one.name not in names or not isinstance(one, click.Option) or not is_said(ctx, one):
            continue
        if one.is_flag:
            words += [one.opts[0]] * bool(ctx.params[one.name])
            continue
        for said in (ctx.meta[GIVEN], {one.name: one.value_from_envvar(ctx)}, ctx.default_map):
            if (raw := (said or {}).get(one.name)) is not None:
                several = raw if one.multiple else [raw]
                words += [word for each in several for word in (one.opts[0], str(each))]
                break
    return words


def no_effect(why: str, *names: str) -> None:
    """Refuse parameters that were given on the command line and would be ignored."""
    context = click.get_current_context()
    for one in context.command.params:
        source = context.get_parameter_source(str(one.name))
        if one.name in names and source is ParameterSource.COMMANDLINE:
            raise UsageError(f"{typed(context, one)} has no effect {why}: leave it out")


def ignored(key: str) -> str | None:
    """The file whose word on an option is not taken, where nothing else says it."""
    found: str | None = click.get_current_context().meta[_IGNORED].get(key)
    return found


def _by_long_name(command: click.Command) -> dict[str, click.Option]:
    return {
        name.removeprefix("--"): parameter
        for parameter in command.params
        if isinstance(parameter, click.Option)
        for name in parameter.opts
        if name.startswith("--")
    }


def _check_once(ctx: click.Context, order: list[click.Parameter]) -> None:
    """Refuse an option that was given twice, where only one of them could count."""
    for one, count in Counter(order).items():
        if count > 1 and isinstance(one, click.Option) and not one.multiple and not one.is_flag:
            raise click.UsageError(f"{typed(ctx, one)} was given {count} times: give it once")


def command(
    name: str,
    *,
    group: click.Group | None = None,
    said: str | None = None,
    variable: str = "REFOLD_URL",
    store: str = "refold.db",
) -> Callable[[Callable[..., Any]], click.Command]:
    """Decorator: a command with ``--db`` (given as ``url``) and ``--json`` (see ``output.show``).

    Its help is its docstring, or what is ``said``: its last paragraph is the example.
    Its settings and variables are named after its ``group`` (``REFOLD_<GROUP>_<OPTION>``), or after
    itself. ``store`` is where it works when neither ``--db`` nor ``variable`` says so.
    """

    def register(function: Callable[..., Any]) -> click.Command:
        made = click.command(name, cls=Command, **_help(said or function.__doc__))(function)
        _name_variables(made, name if group is None else str(group.name))
        made.params.append(
            click.Option(
                ["--db", "url"],
                envvar=variable,
                show_envvar=True,
                default=store,
                metavar="URL",
                help="The store: a path or sqlite:///path.",
            )
        )
        made.params += [CONFIG, JSON]
        if group is not None:
            group.add_command(made)
        return made

    return register


def _name_variables(made: click.Command, table: str) -> None:
    """Give every option that has none the variable of its long name."""
    for parameter in made.params:
        if isinstance(parameter, click.Option) and parameter.envvar is None:
            words = f"refold {table} {parameter.opts[0].removeprefix('--')}"
            parameter.envvar = words.upper().replace(" ", "_").replace("-", "_")


def group(
    name: str, *, cls: type[click.Group] | None = None
) -> Callable[[Callable[..., Any]], click.Group]:
    """Decorator: a group of commands; its docstring ends with an example too."""

    def register(function: Callable[..., Any]) -> click.Group:
        return click.group(name, cls=cls or Group, **_help(function.__doc__))(function)

    return register


def _help(said: str | None) -> dict[str, Any]:
    text, _, example = cleandoc(said or "").rpartition("\n\n")
    # \b keeps the lines as they are.
    lines = ["\b", "Example:", *(f"  {line.strip()}" for line in example.splitlines())]
    return {"help": text, "epilog": "\n".join(lines)}


def together(*options: Decorator) -> Decorator:
    """Decorator: several options or arguments, shown in this order."""
    return lambda function: reduce(lambda made, add: add(made), reversed(options), function)


@contextmanager
def opened(
    url: str, *, mode: Literal["read", "write"] = "read", destination: str = "", **how: Any
) -> Iterator[refold.Store]:
    """A store to read from: a missing file is an error, never made.

    ``destination`` is where what is read leaves the program to: recorded of protected values. A
    stream or category that is not there is an error that names the nearest that are.
    """
    how["given"] = click.get_current_context().meta.get(READING, {})
    with open_store(url, **{"mode": mode, "destination": destination, **how}) as store:
        try:
            yield store
        except NotFound as error:
            if isinstance(error.__cause__, NotFound):
                raise  # Told by one inside of this.
            from refold.cli.suggest import with_suggestion

            raise with_suggestion(store, error) from error


def named_store() -> str:
    """`` --db URL`` where the command was called with one, for a hint at the next command."""
    context = click.get_current_context()
    if context.get_parameter_source("url") is not ParameterSource.COMMANDLINE:
        return ""
    return f" --db {quote(address(context.params['url']))}"


def read_by(read: Callable[[str], Any]) -> Callable[[object], Any]:
    """The type of an option: what a function makes of its text.

    A file of settings may hold a number or a date in its place.
    """
    return wraps(read)(lambda value: read(str(value)))


def _instant_us(given: str) -> int:
    try:
        ago = given.strip().removesuffix("ago").rstrip()
        return to_us(ago, now_us=time.time_ns() // 1_000)
    except UsageError as error:
        raise click.BadParameter(f"{error.message}, or an age (2h, 7d)") from error


def new_file(what: str, *endings: str) -> Callable[[object], Any]:
    """The type of an option: the name of a file that can be made, told before the work is done.

    It would hold ``what``, and so ends in one of the ``endings``, if there are any.
    """

    def read(path: str) -> str:
        if not Path(path).parent.is_dir() or Path(path).is_dir():
            raise UsageError(f"{path} cannot be written: name a file in a folder", path=path)
        if endings and Path(path).suffix.lower() not in endings:
            wanted = f"give it a name that ends in {endings[0]}"
            raise UsageError(f"{path} would hold {what}: {wanted}", path=path)
        return path

    return read_by(read)


INSTANT: Final = read_by(_instant_us)
"""RFC 3339, a date or an age such as ``2h``, as microseconds UTC."""
time_option: Final = partial(option, type=INSTANT, metavar="T")
report_option: Final = partial(
    option,
    "--report",
    metavar="FILE",
    type=new_file("HTML", ".html", ".htm"),
    help="Write the comparison as one HTML file.",
)


moment_options: Final = together(
    count_option("--version", help="Up to this version."),
    count_option("--position", help="Up to this log position."),
    time_option("--at", "occurred_until", help="What had happened by then."),
    time_option("--known-at", "recorded_until", help="What was known by then."),
)
"""The options of time travel, named as the moments of ``Store.fold``."""


def events_until(store: refold.Store, stream: str, **moment: Any) -> list[refold.Recorded]:
    """The events of a stream up to a moment; told where it has not come so far."""
    if said := not_reached(store, stream, version=moment["version"], position=moment["position"]):
        output.note(said)
    return times.events_until(store, stream, **moment)
