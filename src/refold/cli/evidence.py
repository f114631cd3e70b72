"""`refold evidence`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from refold.cli import output
from refold.cli.options import command, new_file, opened, option
from refold.cli.reading import reading_options
from refold.cli.seal import key_option, signing_key
from refold.cli.text import clean
from refold.cli.verify import WHY


@command("evidence")
@click.argument("what", metavar="STREAM|EVENT")
@option(
    "--out",
    required=True,
    metavar="FILE",
    type=new_file("a bundle", ".zip"),
    help="Where it is written.",
)
@option(
    "--withhold",
    multiple=True,
    metavar="WHAT[=WHY]",
    help="Do not disclose this: payload, metadata, name, an event's id, a type, or /a/pointer to "
    "personal values, also behind an id or a type.",
)
@option("--disclose", multiple=True, metavar="WHAT", help="An event's id or a type, all the same.")
@key_option
@reading_options
def evidence_command(
    url: str, what: str, out: str, withhold: Sequence[str], disclose: Sequence[str], file: str
) -> None:
    """Make a bundle of evidence about a conversation or one event.

    A zip: a page to be read, the proof of each event of the stream under the newest signed head,
    what shows that none was left out, and the program that verifies all of it, signed by the log's
    key. Payloads are disclosed unless they are withheld; of one event, what came after
    it is withheld.

        refold evidence call-42 --out call-42.zip
        refold evidence call-42@7 --out refund.zip --withhold model.request="trade secret"
        refold evidence call-42 --out call-42.zip --withhold user.utterance/text="her own words"
        refold verify call-42.zip --key example.com/agents+a1b2c3d4+AcK…
    """
    from refold.audit import evidence_bundle

    reasons = [one.partition("=") for one in withhold]
    with opened(url, destination=out) as store:
        bundle = evidence_bundle(
            store,
            what,
            signing_key(file, None),
            withhold={name: why or WHY for name, _, why in reasons},
            disclose=disclose,
        )
    Path(out).write_bytes(bundle)
    shown = {"about": what, "file": out, "bytes": len(bundle)}
    output.show(shown, clean(f"evidence of {what}: {out} ({len(bundle):,} bytes)"))
