"""`refold ui`."""

from __future__ import annotations

import socket
import sys
import webbrowser
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from getpass import getuser
from pathlib import Path
from secrets import token_urlsafe
from tempfile import NamedTemporaryFile
from typing import TYPE_CHECKING, Any, Final

import refold
from refold.cli import endpoint, output
from refold.cli.listening import listening
from refold.cli.options import command, int_option, named_store, no_effect, opened, option
from refold.cli.removing import classes, keyring_option, unlocking
from refold.cli.static_pages import no_selection, selected_for, static_options, write_pages
from refold.cli.text import address as address_of
from refold.errors import UsageError
from refold.extras import needs

if TYPE_CHECKING:
    from refold.cli.choosing import Choice
    from refold.ui.writing import Writing

PORT: Final = 8712


@command("ui")
@static_options
@int_option("--port", 0, 65_535, default=PORT, help="Where to listen; 0: any that is free.")
@option("--open", "in_browser", is_flag=True, help="Open it in the browser.")
@option("--write", is_flag=True, help="Let the pages change things: see below.")
@option(
    "--actor",
    envvar="REFOLD_ACTOR",
    metavar="NAME",
    help="With --write: who does it, as events say.  [default: who is logged in here]",
)
@keyring_option
@endpoint.base_url_option
@endpoint.api_option("--api")
@endpoint.price_options
def ui_command(
    url: str,
    port: int,
    in_browser: bool,
    folder: str | None,
    write: bool,
    streams: tuple[str, ...],
    category: str | None,
    wanted: Choice | None,
    **options: Any,
) -> None:
    """Look at a store in the browser.

    Served on 127.0.0.1 until Ctrl-C: which conversations there are, each with its state at any
    event, and the exact bytes behind an answer. The address that is printed has a token in it and
    lets a browser in; nobody else on this machine is. It only reads, but with --write: then
    labels, scores and notes can be given, datasets made, replays started, and values taken out for
    a reason, of what is encrypted too where --keyring is given. Replays ask --base-url; the key is
    read from REFOLD_API_KEY or OPENAI_API_KEY. Needs `pip install 'refold[ui]'`.

    With --export the same pages are written to a folder, to be sent or kept: of the conversations
    that are named, or of a category, and fit the other options, or of the whole store. It is new,
    empty or an earlier export, and is there whole or not at all. What needs a server is left out
    and told.

        refold ui
        refold ui --db calls.db --open
        refold ui --write --actor ann
        refold ui --export pages --last 7d --with-error
    """
    if not write:
        no_effect("without --write", *options)
    if folder is not None:
        no_effect("with --export", "port", "in_browser", "write")
        until = selected_for(url, streams, category, wanted)
        with ExitStack() as held:
            write_pages(*_opened(url, held), folder, until)
        return
    no_selection()
    with closing(listening("127.0.0.1", port)) as at:
        _serve(url, at, in_browser, write, options)


def _serve(
    url: str, at: socket.socket, in_browser: bool, write: bool, options: dict[str, Any]
) -> None:
    try:
        import uvicorn  # noqa: F401
    except ModuleNotFoundError as error:
        raise UsageError(needs("pages are served by uvicorn", "ui")) from error
    from refold.server.running import server
    from refold.ui import app

    with ExitStack() as held:
        store, rows = _to_write(url, held) if write else _opened(url, held)
        secret = token_urlsafe()
        writing = _writing(url, held, **options) if write else None
        served = app(store, rows=rows, writing=writing, token=secret)
        served.state.db = address_of(url) if named_store() else ""
        address = f"http://127.0.0.1:{at.getsockname()[1]}/?token={secret}"
        output.show({"address": address}, [address])
        sys.stdout.flush()  # Whoever reads it by a pipe is to know it now.
        if in_browser:
            webbrowser.open(held.enter_context(_leading_to(address)))
        server(served).run(sockets=[at])


@contextmanager
def _leading_to(address: str) -> Iterator[str]:
    """A page of a file that only its owner reads: others see what a browser is started with."""
    with NamedTemporaryFile("w", suffix=".html") as file:
        file.write(f'<meta http-equiv="refresh" content="0; url={address}">\n')
        file.flush()
        yield Path(file.name).as_uri()


def _opened(url: str, held: ExitStack) -> tuple[refold.Store, refold.Store | None]:
    """The store, and another for what conversations are found by where it cannot be kept there."""
    try:
        if not url.endswith(".jsonl"):
            return held.enter_context(refold.open(url, mode="write")), None
    except UsageError as error:
        if error.code != "not_writable":
            raise
    return held.enter_context(opened(url)), held.enter_context(refold.open("memory:"))


def _to_write(url: str, held: ExitStack) -> tuple[refold.Store, refold.Store | None]:
    """The store, to be written too; what conversations of a journal are found by is kept beside."""
    store = held.enter_context(refold.open(url, mode="write"))
    return store, held.enter_context(refold.open("memory:")) if url.endswith(".jsonl") else None


def _writing(
    url: str,
    held: ExitStack,
    actor: str | None,
    keyring: str | None,
    base_url: str,
    api: str,
    **prices: Any,
) -> Writing:
    from refold.ui.writing import Writing

    candidate = None
    try:
        candidate = endpoint.endpoint(base_url, api=api)
    except UsageError as error:
        output.note(f"no replay can be started: {error.message}")
    how: Any = endpoint.prices_of(prices)
    actor = actor or getuser()
    reads = unlocking(keyring, actor=actor, purpose="redaction")
    if reads is not None:
        how["unlocked"] = held.enter_context(refold.open(url, mode="write", privacy=reads))
    return Writing(actor=actor, candidate=candidate, classes=classes(), **how)
