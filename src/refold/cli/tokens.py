"""`refold tokens`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from refold.cli import output
from refold.cli.groups import Listing
from refold.cli.options import command, group, int_option, option
from refold.cli.text import clean

if TYPE_CHECKING:
    from refold.server.tokens import Tokens

TENANTS_MAX: Final = 2**31

_tokens_option: Final = option(
    "--tokens", metavar="FILE", help="Where the tokens are.  [default: beside the store]"
)


@group("tokens", cls=Listing)
def tokens_command() -> None:
    """Show, make and revoke the tokens that `refold serve` asks for.

    They are kept in a file beside the store that you alone may read (agents.db.tokens; for a store
    that is no file, refold.tokens in this folder), each as its SHA-256. While there is such a file,
    nobody comes in without a token. A change counts at once, also where a server runs.

        refold tokens create reception --category call
        refold tokens
    """


@command("list", group=tokens_command)
@_tokens_option
def list_command(url: str, tokens: str | None) -> None:
    """List the tokens, with what each allows.

    refold tokens list
    """
    kept = _tokens(url, tokens)
    if not kept.path.exists():
        output.note(f"there are no tokens: {clean(str(kept.path))} is not there")
        return
    for token in kept.all():
        shown = {
            "token": token.id,
            "name": token.name,
            "scopes": token.scopes,
            "categories": token.categories,
            "tenant": token.tenant,
            "created_at": token.created_at,
        }
        allowed = ", ".join(token.scopes)
        where = f" in {', '.join(token.categories)}" if token.categories else ""
        tenant = "" if token.tenant is None else f" of tenant {token.tenant}"
        line = f"{token.id}  {token.created_at[:19]}  {token.name}: {allowed}{where}{tenant}"
        output.show(shown, clean(line))


@command("create", group=tokens_command)
@click.argument("name")
@option(
    "--scope",
    "scopes",
    type=click.Choice(["append", "read"]),
    multiple=True,
    help="What it may do; may be repeated.  [default: both]",
)
@option(
    "--category",
    "categories",
    metavar="NAME",
    multiple=True,
    help="Only streams of this category; may be repeated.  [default: all]",
)
@int_option("--tenant", 0, TENANTS_MAX - 1, help="The log of this tenant of a PostgreSQL store.")
@_tokens_option
def create_command(
    url: str,
    name: str,
    scopes: tuple[str, ...],
    categories: tuple[str, ...],
    tenant: int | None,
    tokens: str | None,
) -> None:
    """Make a token, and print it: this once, it is kept nowhere.

    A category is that of the streams' names to the letter: branches of call-42 are in call~.

        refold tokens create reception --scope append --category call
        refold tokens create dashboards --scope read
    """
    from refold.errors import UsageError
    from refold.server.tokens import SCOPES

    if tenant is not None and "://" not in url:
        raise UsageError("a file holds one log: --tenant is for a store in PostgreSQL")
    allowed = [one for one in SCOPES if not scopes or one in scopes]
    kept = _tokens(url, tokens)
    text, made = kept.create(name, scopes=allowed, categories=categories, tenant=tenant)
    output.note(f"the token of {clean(name)}, shown this once; kept as {made.id} in {kept.path}")
    if tokens is None and "://" not in url and not Path(url).exists():
        said = f"{url} is not there: nobody is asked for this token unless `refold serve` serves it"
        output.note(clean(f"{said}; --db names another store"))
    if same := [one.id for one in kept.all() if one.name == name and one.id != made.id]:
        output.note(f"{', '.join(same)} has the same name, and counts as before")
    output.show({"token": text, "id": made.id}, text)


@command("revoke", group=tokens_command)
@click.argument("token")
@_tokens_option
def revoke_command(url: str, token: str, tokens: str | None) -> None:
    """Take back the token of an id.

    refold tokens revoke 3f9a01c2
    """
    gone = _tokens(url, tokens).revoke(token)
    output.show({"revoked": gone.id}, clean(f"revoked {gone.id}, the token of {gone.name}"))


def _tokens(url: str, file: str | None) -> Tokens:
    from refold.server.tokens import Tokens, place_beside

    return Tokens(file or place_beside(url))
