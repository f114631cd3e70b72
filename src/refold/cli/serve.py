"""`refold serve`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import click

import refold
from refold.cli import output
from refold.cli.listening import listening
from refold.cli.options import command, int_option, opened, option
from refold.cli.private import open_store
from refold.errors import UsageError
from refold.extras import needs
from refold.hosts import LOOPBACK

PORT: Final = 8713
PLACES: Final = 2_000


@command("serve")
@option("--host", default="127.0.0.1", metavar="ADDRESS", help="Where to listen.")
@int_option("--port", 0, 65_535, default=PORT, help="The port; 0: any that is free.")
@option(
    "--name",
    "names",
    metavar="HOST",
    multiple=True,
    help="A name that callers know it by, such as that of a proxy; may be repeated.",
)
@option("--tokens", metavar="FILE", help="Where the tokens are.  [default: beside the store]")
@int_option("--connections", 1, 1_000_000, default=PLACES, help="At most so many at once.")
def serve_command(
    url: str, host: str, port: int, names: tuple[str, ...], tokens: str | None, connections: int
) -> None:
    """Serve a store to programs in any language, by HTTP and JSON.

    Served on 127.0.0.1 until Ctrl-C or SIGTERM: append, read, fold and follow, as the document at
    /openapi.json says. Once there are tokens (`refold tokens create`), nobody comes in without one;
    with another --host or a --name there must be some. TLS is for a proxy. Needs `pip install
    'refold[server]'`.

        refold serve
        refold serve --db agents.db --name agents.example.com
    """
    try:
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(needs("a store is served by uvicorn", "server")) from error
    from refold.server import app
    from refold.server.running import connections_for, server
    from refold.server.tokens import Tokens, TokensToCome, place_beside

    place = Path(tokens or place_beside(url))
    is_asked = bool(tokens) or place.exists()
    known = Tokens(place) if is_asked else TokensToCome(place)
    if is_asked:
        known.all()
    elif names or host not in LOOPBACK:
        why = f"others than this machine would come in at {', '.join([host, *names])}"
        raise UsageError(f"{why}, and there is no token: `refold tokens create NAME` makes one")
    places, less = connections_for(connections)
    with closing(listening(host, port)) as at, ExitStack() as held:
        store, rows = _opened(url, held)
        how: Any = {"hosts": [*LOOPBACK, host, *names], "tenant": _tenants(url)}
        given = app(store, tokens=known, rows=rows, **how)
        if less is not None:
            output.note(less)
        named = f"[{host}]" if ":" in host else host
        address = f"http://{named}:{at.getsockname()[1]}/"
        if not is_asked:
            what = "everybody on this machine may read and append"
            output.note(f"{what}, until `refold tokens create NAME` has made a token")
        output.show({"address": address, "tokens": is_asked}, [address])
        sys.stdout.flush()  # Whoever reads it by a pipe is to know it now.
        server(given, connections_max=places).run(sockets=[at])


def _tenants(url: str) -> Callable[[int], refold.Store] | None:
    """What opens the log of a tenant of the same store; None where a store has none."""
    if not url.startswith(("postgresql://", "postgres://")):
        return None
    ctx, parts = click.get_current_context(), urlsplit(url)
    options = [one for one in parse_qsl(parts.query, keep_blank_values=True) if one[0] != "tenant"]

    def opened(number: int) -> refold.Store:
        query = urlencode([*options, ("tenant", number)], quote_via=quote)
        with ctx.scope(cleanup=False):  # It is asked for on another thread.
            return open_store(parts._replace(query=query).geturl())

    return opened


def _opened(url: str, held: ExitStack) -> tuple[refold.Store, refold.Store | None]:
    """The store, and another for what conversations are found by where it cannot be kept there."""
    try:
        store = held.enter_context(open_store(url))
    except UsageError as error:
        if error.code != "not_writable":
            raise
        store = held.enter_context(opened(url))
    else:
        if not url.endswith(".jsonl"):
            return store, None
    return store, held.enter_context(refold.open("memory:"))
