"""`refold seal` and `refold checkpoint`."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import refold
from refold.cli import output
from refold.cli.jsontext import file_text
from refold.cli.options import command, no_effect, option, together
from refold.cli.projections import closed_by_terminate
from refold.cli.text import clean, counted
from refold.errors import NotFound
from refold.times import rfc3339

if TYPE_CHECKING:
    from refold.audit.note import SigningKey
    from refold.audit.sealing import Sealing

key_option = option(
    "--key",
    "file",
    envvar="REFOLD_SEAL_KEY",
    default="refold.key",
    metavar="FILE",
    help="The signing key; REFOLD_SIGNING_KEY may hold it instead.",
)
key_options = together(
    key_option,
    option(
        "--last-head",
        envvar="REFOLD_SEAL_LAST_HEAD",
        metavar="FILE",
        help="Where the newest head is kept, best on another disk.  [default: FILE.head]",
    ),
)


@command("seal")
@option(
    "--origin", metavar="NAME", help="What the log is called, for a new key: example.com/agents."
)
@key_options
@option("--follow", is_flag=True, help="Go on, every second when there is something to seal.")
@option("--new-key", is_flag=True, help="Let another key take the place of the log's.")
def seal_command(url: str, origin: str | None, follow: bool, new_key: bool, **where: Any) -> None:
    """Seal a log, so that anyone can check that nothing was changed.

    Each event becomes a leaf of a Merkle tree, whose head is signed. The first time, this turns
    sealing on; with --origin a key is made, in a file that you alone may read (under a passphrase
    where REFOLD_KEY_PASSPHRASE holds one). Give out the verifying key that is printed. What is in
    the log by then is sealed too; of what it was before that, nothing is claimed.

        refold seal --origin example.com/agents
        refold seal --follow
    """
    with refold.open(url, mode="write", seal=False) as store, output.progress("sealing") as tell:
        key = signing_key(where["file"], origin)
        sealing = _sealing(store, key, turns_key=new_key, **where)
        note = sealing.checkpoint(progress=lambda done, whole: tell(done, whole, ""))
        size = int(note.split("\n")[1])
        verifying = str(key.verifying)
        shown = {"origin": key.name, "events": size, "key": verifying, "checkpoint": note}
        said = f"{key.name}: {counted(size, 'event')} sealed; its verifying key is {verifying}"
        output.show(shown, clean(said))
        if follow:
            sys.stdout.flush()  # Whoever reads it by a pipe is to know of the key now.
            output.note("sealing what comes; Ctrl-C ends")
            with closed_by_terminate(sealing.close):
                sealing.run()


@command("checkpoint")
@option("--since", metavar="FILE", help="Print a proof that it continues this older one.")
@option(
    "--witness",
    "witnesses",
    multiple=True,
    nargs=2,
    metavar="URL KEY",
    help="Let a witness sign it too, whose verifying key this is (c2sp.org/tlog-witness).",
)
@option(
    "--timestamp",
    "authorities",
    multiple=True,
    metavar="URL",
    help="Have an authority stamp the head with the time (RFC 3161).",
)
@option("--tiles", metavar="FOLDER", help="Publish the sealed log there (c2sp.org/tlog-tiles).")
@key_options
def checkpoint_command(
    url: str,
    since: str | None,
    witnesses: Sequence[tuple[str, str]],
    authorities: Sequence[str],
    tiles: str | None,
    **where: Any,
) -> None:
    """Seal what stands, and print the newest head of the log, signed.

    It is a checkpoint as c2sp.org/tlog-checkpoint has it. Keep it where the log is not: `refold
    verify --against` then tells a log that was rolled back, or written anew with its own key.

        refold checkpoint > agents.checkpoint
        refold checkpoint --since agents.checkpoint > continued.json
        refold checkpoint --tiles public --witness https://witness.example.org example.org+1a…
    """
    from refold.audit import prove_continued
    from refold.audit.note import parse_verifying_key
    from refold.audit.publishing import publish
    from refold.audit.timestamps import timestamped
    from refold.audit.witness import witnessed

    keys = [(address, parse_verifying_key(text)) for address, text in witnesses]
    old = None if since is None else file_text(since)
    with refold.open(url, mode="write", seal=False) as store:
        note = _sealing(store, signing_key(where["file"], None), **where).checkpoint()
        for address, key in keys:
            note = witnessed(store, address, key)
        for address in authorities:
            at_us = timestamped(store, address).stamped_at
            output.note(f"stamped by {address} at {rfc3339(at_us)}")
        if tiles is not None:
            output.note(f"{counted(publish(store, Path(tiles)), 'file')} written to {tiles}")
        proof = None if old is None else prove_continued(store, old)
    if proof is not None:
        output.json_block(proof)
    elif output.as_json():
        origin, size, root = note.split("\n")[:3]
        output.show({"origin": origin, "size": int(size), "root": root, "note": note}, "")
    else:
        output.line(note, end="")


def _sealing(
    store: refold.Store, key: SigningKey, *, file: str, last_head: str | None, **how: Any
) -> Sealing:
    from refold.audit import Sealing

    return Sealing(store, key, last_head=last_head or f"{file}.head", **how)


def signing_key(file: str, origin: str | None) -> SigningKey:
    """The key of the environment or of a file; a new one in the file, for an origin."""
    from refold.audit import keys

    path, found = keys.key_file(file), keys.key_of_environment()
    passphrase = os.environ.get(keys.PASSPHRASE, "")
    if found is None and path.exists():
        if keys.is_locked(path) and not passphrase and sys.stdin.isatty():
            passphrase = click.prompt(f"Passphrase of {file}", hide_input=True, err=True)
        found = keys.load_key(path, passphrase=passphrase)
    if found is not None:
        if origin is not None and origin != found.name:
            no_effect(f"beside a key of {found.name}", "origin")
        return found
    if origin is None:
        makes = "`refold seal --origin NAME` makes one"
        raise NotFound(f"there is no key {file}: {makes}, --key names another")
    made = keys.new_key(origin)
    keys.save_key(made, path, passphrase=passphrase)
    output.note(f"made the key {file}: keep a copy where the store is not")
    return made
