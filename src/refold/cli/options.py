"""What the commands share: how one is declared, its common options, and how it opens a store."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial, wraps
from itertools import takewhile
from pathlib import Path
from typing import Any, Final, Literal, TypeVar

import click
import msgspec

import refold
from refold.cli import config
from refold.cli.errors import Run
from refold.errors import NotFound, UsageError
from refold.times import parse_instant

S = TypeVar("S")
Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

COUNT: Final = click.IntRange(min=0, max=2**63 - 1)
"""A version, a position or a number of things, as far as a store can count."""

option: Final = partial(click.option, show_envvar=True)
"""``click.option``; help names the environment variable too."""


class Command(click.Command):
    """A command whose options may be set in a file."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Arguments first, then the environment, then the file."""
        if not set(args) & set(ctx.help_option_names):
            ctx.default_map = self._configured(ctx)
        return super().parse_args(ctx, args)

    def _configured(self, ctx: click.Context) -> dict[str, Any] | None:
        settings = config.load(Path())
        root = ctx.find_root()
        if settings is None or not isinstance(root.command, click.Group):
            return None
        names = {
            name.removeprefix("--"): parameter.name or name
            for parameter in self.params
            for name in parameter.opts
            if name.startswith("--")
        }
        table = ctx.command_path.split()[1]
        commands = root.command.list_commands(root)
        found = config.defaults(settings, command=table, commands=commands, options=names)
        return {names[key]: value for key, value in found.items()}


def command(
    name: str,
    *,
    example: str,
    table: str | None = None,
    variable: str = "REFOLD_URL",
    store: str = "refold.db",
) -> Callable[[Callable[..., Any]], click.Command]:
    """Decorator: a command with ``--db`` (given as ``url``) and ``--json`` (as ``as_json``).

    The lines of ``example`` end its help. ``table`` is what its settings and variables are named
    after (``REFOLD_<TABLE>_<OPTION>``), by default ``name``. ``store`` is where it works when
    neither ``--db`` nor ``variable`` says so.
    """

    def register(function: Callable[..., Any]) -> click.Command:
        made = click.command(name, cls=Command, epilog=_epilog(example))(function)
        _name_variables(made, table or name)
        made.params += [_store_option(variable, store), _json_option()]
        return made

    return register


def _name_variables(made: click.Command, table: str) -> None:
    """Give every option that has none the variable of its long name."""
    for parameter in made.params:
        if isinstance(parameter, click.Option) and parameter.envvar is None:
            words = f"refold {table} {parameter.opts[0].removeprefix('--')}"
            parameter.envvar = words.upper().replace(" ", "_").replace("-", "_")


def group(
    name: str, *, example: str, cls: type[click.Group] = click.Group
) -> Callable[[Callable[..., Any]], click.Group]:
    """Decorator: a group of commands with an example at the end of its help."""

    def register(function: Callable[..., Any]) -> click.Group:
        return click.group(name, cls=cls, epilog=_epilog(example))(function)

    return register


def _epilog(example: str) -> str:
    # \b keeps the lines as they are.
    return "\b\nExample:\n" + "\n".join(f"  {one}" for one in example.strip().splitlines())


@contextmanager
def opened(
    url: str,
    *,
    mode: Literal["read", "write"] = "read",
    registry: refold.Registry | None = None,
) -> Iterator[refold.Store]:
    """A store to read from: a missing file is an error, never made.

    A stream or category that is not in it is an error that names the nearest that are.
    """
    made = partial(refold.open, url, mode=mode)
    with made() if registry is None else made(registry=registry) as store:
        try:
            yield store
        except NotFound as error:
            from refold.cli.suggest import with_suggestion

            raise with_suggestion(store, error) from error


def instant(_ctx: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """Callback of an option: RFC 3339, a date or an age such as ``2h`` as microseconds UTC."""
    if value is None:
        return None
    text = value.strip().removesuffix("ago").rstrip()
    try:
        return parse_instant(text, now_us=time.time_ns() // 1_000)
    except UsageError as error:
        raise click.BadParameter(f"{error.message}, or an age (2h, 7d)") from error


def new_file(_ctx: click.Context, _option: click.Parameter, value: str | None) -> str | None:
    """Callback of an option: a file that can be made is named, said before the work is done."""
    if value is not None and (not Path(value).parent.is_dir() or Path(value).is_dir()):
        raise UsageError(f"{value} cannot be written: name a file in a folder", path=value)
    return value


class Moment(msgspec.Struct, frozen=True, kw_only=True):
    """Up to where a stream is looked at; all that are given hold.

    ``version`` and ``position`` are inclusive; ``at_us`` is by when it happened, ``known_at_us``
    by when the log knew it.
    """

    version: int | None = None
    position: int | None = None
    at_us: int | None = None
    known_at_us: int | None = None

    def events(self, store: refold.Store, stream: str) -> list[refold.Recorded]:
        """The events of the stream up to this moment."""
        found: Iterable[refold.Recorded] = store.read(stream, to_version=self.version)
        found = takewhile(self._was_known, found)
        return [e for e in found if self.at_us is None or e.occurred_at_us <= self.at_us]

    def folded(self, store: refold.Store, stream: str, fold: refold.Fold[S]) -> refold.Folded[S]:
        """The state of the stream at this moment."""
        return store.fold(
            stream,
            fold,
            version=self.version,
            position=self.position,
            recorded_until=self.known_at_us,
            occurred_until=self.at_us,
        )

    def _was_known(self, recorded: refold.Recorded) -> bool:
        # Neither clock nor position goes back along a stream, so the first that is late ends it.
        if self.position is not None and recorded.position > self.position:
            return False
        return self.known_at_us is None or recorded.recorded_at_us <= self.known_at_us


def moment_options(function: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: the options of time travel, given to the command as ``moment``."""

    @option("--version", type=COUNT, metavar="N", help="Up to this version.")
    @option("--position", type=COUNT, metavar="N", help="Up to this log position.")
    @option("--at", callback=instant, metavar="T", help="What had happened by then.")
    @option("--known-at", callback=instant, metavar="T", help="What was known by then.")
    @wraps(function)
    def with_moment(
        *args: Any,
        version: int | None,
        position: int | None,
        at: int | None,
        known_at: int | None,
        **kwargs: Any,
    ) -> Any:
        moment = Moment(version=version, position=position, at_us=at, known_at_us=known_at)
        return function(*args, moment=moment, **kwargs)

    return with_moment


def _store_option(variable: str, store: str) -> click.Option:
    return click.Option(
        ["--db", "url"],
        envvar=variable,
        show_envvar=True,
        default=store,
        metavar="URL",
        help="The store: a path or sqlite:///path.",
    )


def _errors_too(ctx: click.Context, _option: click.Parameter, as_json: bool) -> bool:
    if isinstance(ctx.obj, Run):
        ctx.obj.as_json = as_json
    return as_json


def _json_option() -> click.Option:
    return click.Option(
        ["--json", "as_json"],
        envvar="REFOLD_JSON",
        show_envvar=True,
        is_flag=True,
        # Read first, so that the error of another option is JSON too.
        is_eager=True,
        callback=_errors_too,
        help="One JSON object a line.",
    )
