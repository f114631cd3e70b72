"""`refold redact`."""

from __future__ import annotations

from typing import Any

import click

from refold.cli import output
from refold.cli.choosing import Choice, choosing, chosen
from refold.cli.errors import FINDING, FINE
from refold.cli.options import command, option, read_by
from refold.cli.removing import checked, lines_of, removing, removing_options, shown, span_of
from refold.cli.text import counted


@command("redact")
@click.argument("where", nargs=-1, metavar="[EVENT|STREAM]...")
@option("--field", default="", metavar="NAME|POINTER", help="This value; /parties/0/name too.")
@option("--span", type=read_by(span_of), metavar="FROM:TO", help="This part of its text.")
@option("--match", metavar="REGEX", help="What of it is like this; of any text without a field.")
@option("--category", metavar="NAME", help="Streams of this category.")
@choosing()
@option("--despite-floor", is_flag=True, help="Even where a rule of retention keeps the event.")
@removing_options
def redact_command(
    url: str, where: tuple[str, ...], category: str | None, wanted: Choice | None, **given: Any
) -> int:
    """Take a value out of events, and whatever repeats it.

    It goes from the event, from later requests that repeat it, to any depth of JSON in strings,
    from streamed answers, branches, and other streams of the same subject; in its place stands
    [redacted]. All proofs of a sealed log hold, and say what was redacted. It is recorded before it
    goes and after it went. A hold refuses it, and so does a floor of retention. What is said again
    later is not covered: redact again. Exits with 1 where a part of the storage may hold it still.

        refold redact call-1@3 --field text --reason "asked by mail" --by ann --dry-run
        refold redact call-1@3 --field text --span 10:25 --reason "card number"
        refold redact call-1 --match '([0-9]{4} ?){4}' --reason "card numbers"
    """
    from refold.privacy.redaction import redact

    names = list(where)
    if wanted is not None or category is not None or not names:
        names += chosen(url, (), category, wanted)
    what = {name: given.pop(name) for name in ("field", "span", "match", "dry_run")}
    with removing(url, "redaction", **given) as (store, how):
        told = redact(store, names, **what, **how)
    events = counted(len(told.changes), "event")
    state = "would change" if what["dry_run"] else f"redacted {told.redaction}".rstrip()
    lines = [*lines_of(told.changes), *checked(told.checks), f"{events} {state}"]
    output.show({"redaction": told.redaction, **shown(told)}, lines)
    return FINE if told.is_done else FINDING
