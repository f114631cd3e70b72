"""`refold keys`."""

from __future__ import annotations

from typing import Any

import click

from refold.cli import output
from refold.cli.groups import Listing
from refold.cli.options import command, group, option
from refold.cli.private import open_store, privacy_table
from refold.cli.text import address, clean, counted
from refold.errors import NotFound

_LOST = "not in the keyring: lost without it"
_MISSING = (
    "no keyring is named: `keyring` in [privacy] of refold.toml, or REFOLD_KEYRING; `refold keys "
    "create FILE` makes one"
)


@group("keys", cls=Listing)
def keys_command() -> None:
    """Show, make and turn the keys of personal values.

    Each subject has a data key, which stands in the store, wrapped by a tenant key. Tenant keys are
    in a keyring elsewhere: a file, REFOLD_KEYRING_KEYS, or a service (vault+https://…). Whoever
    loses it has lost what is encrypted, in the store and in every copy; keep a copy of it where
    the store's backups are not. REFOLD_KEYRING_PASSPHRASE holds the passphrase of a file.

        refold keys create agents.keyring
        refold keys
    """


@command("list", group=keys_command)
def list_command(url: str) -> None:
    """List the tenant keys, and how many data keys each wraps.

    Of a key that is not in the keyring it says so: what is under its data keys is lost without it.

        refold keys list
    """
    from refold.privacy.keyring import KeysAtHand
    from refold.privacy.rotation import wrapped_by
    from refold.privacy.settings import keyring_place

    place = keyring_place(privacy_table())
    keyring = None if place is None else place.load()
    with open_store(url, mode="read", private=False) as store:
        counts = wrapped_by(store)
    states: dict[str, str] = {}
    if isinstance(keyring, KeysAtHand):
        states = {key.id: "in the keyring" if key.secret else "retired" for key in keyring.keys}
    states |= {key: _LOST for key in counts if key and key not in states}
    if keyring is not None:
        states[keyring.newest] = "newest"
    if not states:
        output.note("no keyring is named, and the store has no data key: `refold keys create FILE`")
    for key, state in states.items():
        shown = {"tenant_key": key, "state": state, "data_keys": counts.get(key, 0)}
        output.show(shown, clean(f"{key}  {counted(counts.get(key, 0), 'data key')}  {state}"))


@command("create", group=keys_command)
@click.argument("file")
def create_command(url: str, file: str) -> None:  # noqa: ARG001
    """Make a keyring in a new file that you alone may read.

    Under a passphrase where REFOLD_KEYRING_PASSPHRASE holds one.

        refold keys create agents.keyring
    """
    import os

    from refold.privacy import new_keyring, save_keyring
    from refold.privacy.keyring import PASSPHRASE

    keyring = new_keyring()
    save_keyring(keyring, file, passphrase=os.environ.get(PASSPHRASE, ""))
    made = {"keyring": address(file), "tenant_key": keyring.newest}
    output.show(made, f"made {address(file)}: {keyring.newest}")


@command("rotate", group=keys_command)
@option("--retire", is_flag=True, help="Destroy the older tenant keys when nothing needs them.")
def rotate_command(url: str, retire: bool) -> None:
    """Turn the tenant key: a new one wraps all data keys of the store.

    With --retire the older ones are destroyed then. So no backup from before can be read any more,
    by anyone: that is how an erasure reaches backups. Make a new backup, and turn the key of every
    other store that uses the keyring first, without --retire.

        refold keys rotate
        refold keys rotate --retire
    """
    from refold.privacy.rotation import rotate
    from refold.privacy.settings import keyring_place

    place = keyring_place(privacy_table())
    if place is None:
        raise NotFound(_MISSING, code="no_keyring")
    with open_store(url, mode="write", private=False) as store:
        turned = rotate(store, place, retire=retire)
    told: dict[str, Any] = turned._asdict()
    said = [f"{turned.newest} wraps {counted(turned.wrapped, 'data key')} anew"]
    if turned.lost:
        said.append(f"{counted(turned.lost, 'data key')} could not be: their tenant key is missing")
    said += [f"retired: {', '.join(turned.retired)}"] * bool(turned.retired)
    output.show(told, clean("; ".join(said)))
