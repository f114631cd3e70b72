"""`refold verify` and `refold prove`."""

from __future__ import annotations

import os
from collections.abc import Sequence
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
from refold.cli.seal import key_option, signing_key
from refold.cli.text import clean, counted
from refold.errors import UsageError

WHY: Final = "not asked for"
SHOWN_MAX: Final = 100
ADVICE: Final = (
    "keep this store as it is, and let nobody write to it: it shows what was done. What was sealed "
    "is in a backup alone: `refold restore BACKUP --db again.db`, and verify that one as this"
)
OF_SIGNATURES: Final = (
    "a signature that is not found is that of a forgery, or of another log: see that the --key and "
    "the --against are of this one, and that no key has taken its place (`refold seal --new-key`)"
)


@command("verify")
@click.argument("files", nargs=-1, metavar="[FILE]...")
@option("--deep", is_flag=True, help="Make every leaf again from the event that is stored.")
@option(
    "--against",
    multiple=True,
    metavar="FILE",
    help="A checkpoint that was kept elsewhere.",
)
@count_option("--jobs", help="So many processes make them.  [default: one for each processor]")
@option(
    "--key",
    "keys",
    multiple=True,
    metavar="KEY",
    help="The verifying key from elsewhere, or a file.",
)
@option("--print-verifier", is_flag=True, help="Print a program that a stranger verifies with.")
def verify_command(
    url: str,
    files: tuple[str, ...],
    deep: bool,
    against: tuple[str, ...],
    jobs: int | None,
    keys: tuple[str, ...],
    print_verifier: bool,
) -> int:
    """Look whether a sealed log, or files, are what signed heads say.

    Every tile is made again from the leaves, and every head from the tiles; with --deep every leaf
    from its event, and where the keyring is given each personal value is opened. What is found is
    printed, and so is what follows from finding nothing, and what does not. Exits with 1 where
    anything was found. A stranger checks proofs, checkpoints, exports and bundles of evidence
    without refold, by the one file that --print-verifier prints. The same checks files that are
    named here: the first --key is the log's, the others are witnesses'.

        refold verify --deep --against agents.checkpoint
        refold verify --key example.com/agents+a1b2c3d4+AcK…
        refold verify call-42.zip --key example.com/agents+a1b2c3d4+AcK…
        refold verify --print-verifier > refold_verify.py
    """
    from refold.audit import verify
    from refold.audit.one_file import verifier_text

    if print_verifier:
        output.line(verifier_text(), end="")
        return FINE
    if files:
        if not keys or deep:
            raise UsageError("files are verified by the --key that you trust, and without --deep")
        return _verified(files, keys, against)
    texts = [file_text(file) for file in against]
    with opened(url) as store, output.progress("verifying") as tell:
        told = verify(
            store,
            deep=deep,
            against=texts,
            keys=[*map(_key_text, keys)],
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
    found = {one.what for one in told.findings}
    for advice in [ADVICE] * bool(found - {"signature"}) + [OF_SIGNATURES] * ("signature" in found):
        output.note(advice)
    return FINDING if told.finding_count else FINE


def _key_text(key: str) -> str:
    """A verifying key as text, which may stand in a file."""
    if Path(key).is_file():
        return file_text(key)
    if "+" not in key:
        raise UsageError(f"--key {key} is no file, and no verifying key, which is name+id+base64")
    return key


def _verified(files: Sequence[str], keys: Sequence[str], against: Sequence[str]) -> int:
    """Say of each file whether it is verified, and what."""
    from refold.audit.evidence.checking import check_file

    code = FINE
    for file in files:
        checked = check_file(Path(file), keys=keys, against=against)
        code = max(code, FINE if checked.is_verified else FINDING)
        word = "verified" if checked.is_verified else "NOT VERIFIED"
        lines = [*(f"  {one}" for one in checked.details), f"{file}: {word}: {checked.said}"]
        output.show({"file": file, **checked._asdict()}, map(clean, lines))
    return code


@command("prove")
@click.argument("event")
@option(
    "--out", metavar="FILE", type=new_file("a proof", ".json", ".cbor"), help="Where it is written."
)
@option(
    "--withhold",
    multiple=True,
    metavar="WHAT",
    help="Do not disclose payload, metadata, name, or the personal values at a /json/pointer.",
)
@option(
    "--format",
    "form",
    type=click.Choice(["json", "cose"]),
    default="json",
    help="A proof for the verifier, or a COSE receipt (RFC 9942) in FILE and its entry beside it.",
)
@key_option
@reading_options
def prove_command(
    url: str, event: str, out: str | None, withhold: tuple[str, ...], form: str, file: str
) -> None:
    """Prove to a stranger that an event was sealed, and what it says.

    The proof is one JSON object: the newest signed head, the event's entry and its place in the
    tree, and the bytes that the entry commits to, but those that are withheld.

        refold prove call-42@7 --out proof.json
        refold prove call-42@7 --withhold metadata
        refold prove call-42@7 --format cose --out receipt.cbor
    """
    from refold.audit import prove

    if form == "cose":
        _receipt(url, event, out, withhold, file)
        return
    with opened(url, destination=out or stdout_name()) as store:
        proof = prove(store, event, withhold=dict.fromkeys(withhold, WHY))
    if out is None:
        output.json_block(proof)
        return
    Path(out).write_bytes(msgspec.json.encode(proof) + b"\n")
    size = int(proof["checkpoint"].split("\n")[1])
    shown = f"{event} is event {proof['index'] + 1:,} of {size:,} sealed: {out}"
    output.show({"event": event, "file": out, "index": proof["index"]}, clean(shown))


def _receipt(url: str, event: str, out: str | None, withhold: tuple[str, ...], file: str) -> None:
    """Write a COSE receipt, and the entry that it is of beside it."""
    from refold.audit.receipts import cose_receipt

    if out is None or withhold:
        raise UsageError("a receipt discloses nothing, and is binary: --out FILE, no --withhold")
    with opened(url) as store:
        made = cose_receipt(store, event, signing_key(file, None))
    entry = Path(out).with_suffix(".entry")
    Path(out).write_bytes(made.receipt)
    entry.write_bytes(made.entry)
    shown = f"a receipt of {event}: {out}, of the entry {entry}"
    output.show({"event": event, "file": out, "entry": str(entry)}, clean(shown))
