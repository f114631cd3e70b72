"""`refold verify` and `refold prove`."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path
from typing import Final

import click
import msgspec

import refold
from refold.cli import output
from refold.cli.errors import FINDING, FINE
from refold.cli.jsontext import file_text
from refold.cli.options import command, count_option, new_file, opened, option
from refold.cli.reading import reading_options, stdout_name
from refold.cli.text import clean, counted

WHY: Final = "not asked for"
SHOWN_MAX: Final = 100


@command("verify")
@option("--deep", is_flag=True, help="Make every leaf again from the event that is stored.")
@option(
    "--against",
    multiple=True,
    metavar="FILE",
    help="A checkpoint that was kept elsewhere.",
)
@count_option("--jobs", help="So many processes make them.  [default: one for each processor]")
@option("--key", "keys", multiple=True, metavar="KEY", help="The verifying key, from elsewhere.")
@option("--print-verifier", is_flag=True, help="Print a program that a stranger verifies with.")
def verify_command(
    url: str,
    deep: bool,
    against: tuple[str, ...],
    jobs: int | None,
    keys: tuple[str, ...],
    print_verifier: bool,
) -> int:
    """Look whether a sealed log is what its signed heads say.

    Every tile is made again from the leaves, and every head from the tiles; with --deep every leaf
    from its event. What is found is printed, and so is what follows from finding nothing, and what
    does not. Exits with 1 where anything was found. A stranger checks proofs, checkpoints and
    exports without refold, by the one file that --print-verifier prints.

        refold verify --deep --against agents.checkpoint
        refold verify --key example.com/agents+a1b2c3d4+AcK…
        refold verify --print-verifier > refold_verify.py
    """
    from refold.audit import verify
    from refold.audit.one_file import verifier_text

    if print_verifier:
        output.line(verifier_text(), end="")
        return FINE
    texts = [file_text(file) for file in against]
    with opened(url) as store, output.progress("verifying") as tell:
        told = verify(
            store,
            deep=deep,
            against=texts,
            keys=keys,
            reopen=partial(refold.open, url, mode="read"),
            jobs=jobs or os.cpu_count() or 1,
            progress=lambda done, whole: tell(done, whole, ""),
        )
    said = f"{told.origin}: {counted(told.events, 'event')} sealed, {counted(told.heads, 'head')}"
    lines = [f"{output.styled('BAD ', fg='red')} {one.detail}" for one in told.findings]
    more = told.finding_count - len(told.findings)
    lines += [f"and {more:,} more"] * bool(more)
    claims = told.claims if not told.finding_count else ()
    lines += [f"{event} was redacted, see {by}" for event, by in told.redacted[:SHOWN_MAX]]
    result = "as they were sealed" if not told.finding_count else "NOT as they were sealed"
    shown = {**told._asdict(), "findings": [one._asdict() for one in told.findings]}
    output.show(shown, map(clean, [*lines, f"{said}: {result}", *(f"- {one}" for one in claims)]))
    return FINDING if told.finding_count else FINE


@command("prove")
@click.argument("event")
@option("--out", metavar="FILE", type=new_file("a proof", ".json"), help="Where it is written.")
@option(
    "--withhold",
    multiple=True,
    type=click.Choice(["payload", "metadata", "name"]),
    help="Do not disclose this.",
)
@reading_options
def prove_command(url: str, event: str, out: str | None, withhold: tuple[str, ...]) -> None:
    """Prove to a stranger that an event was sealed, and what it says.

    The proof is one JSON object: the newest signed head, the event's entry and its place in the
    tree, and the bytes that the entry commits to, but those that are withheld.

        refold prove call-42@7 --out proof.json
        refold prove call-42@7 --withhold metadata
    """
    from refold.audit import prove

    with opened(url, destination=out or stdout_name()) as store:
        proof = prove(store, event, withhold=dict.fromkeys(withhold, WHY))
    if out is None:
        output.json_block(proof)
        return
    Path(out).write_bytes(msgspec.json.encode(proof) + b"\n")
    size = int(proof["checkpoint"].split("\n")[1])
    shown = f"{event} is event {proof['index'] + 1:,} of {size:,} sealed: {out}"
    output.show({"event": event, "file": out, "index": proof["index"]}, clean(shown))
