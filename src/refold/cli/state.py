"""`refold state`."""

from __future__ import annotations

from typing import Any

import click
import msgspec

from refold.cli import output
from refold.cli.loading import fold_for, fold_option
from refold.cli.options import command, events_until, moment_options, opened, option
from refold.cli.reading import reading_options
from refold.cli.suggest import resolved
from refold.cli.text import clean
from refold.errors import UsageError


@command("state")
@click.argument("stream")
@fold_option
@moment_options
@option("--with-version", is_flag=True, help="Say beside it which version and position it is of.")
@reading_options
def state_command(
    url: str, stream: str, fold_name: str | None, with_version: bool, **moment: Any
) -> None:
    """Print the state that a stream folds to, now or then.

    T is RFC 3339, a date (its start, UTC) or an age (30m, 2h, 7d). --at asks what had happened by
    then, --known-at what the log knew by then.

        refold state call-42 --fold conversation
        refold state call-42 --version 7 | jq .usage
        refold state account-7 --fold bank:balance --known-at 2d
    """
    with opened(url) as store:
        stream = resolved(store, stream)
        events = events_until(store, stream, **moment)
        fold = fold_for(fold_name, events or store.read(stream))
        folded = store.fold(stream, fold, **moment)
    if not events:
        output.note(f"{clean(stream)} had no events then: this is the state that it began with")
    try:
        value: Any = msgspec.to_builtins(folded.state, str_keys=True)
    except TypeError as error:
        raise UsageError(f"the state of fold {fold.name!r} is not JSON: {error}") from error
    if with_version:
        value = {"stream": stream, "fold": fold.name, **folded._asdict(), "state": value}
    output.json_block(value)
