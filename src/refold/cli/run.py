"""`refold run`."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path
from shlex import join
from typing import TYPE_CHECKING, Final

import click

from refold.cli import endpoint, output
from refold.cli.errors import FAILED
from refold.cli.options import command, option, read_by
from refold.cli.text import counted
from refold.errors import UsageError

if TYPE_CHECKING:
    from refold.capture.run import Ran
    from refold.replay import Price

SIGNALLED: Final = 128


@command("run")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
@option(
    "--price",
    "prices",
    type=read_by(endpoint.price),
    multiple=True,
    metavar="NAME=IN,OUT",
    help="Dollars for a million tokens of a model.",
)
@option("--agent", metavar="NAME", help="Who it is: what goes to a model names no agent.")
def run_command(
    url: str, program: tuple[str, ...], prices: tuple[tuple[str, Price], ...], agent: str | None
) -> int:
    """Run a program and record each model call that it makes.

    Its Python processes, those that they begin among them, record what they send to a model by
    httpx or httpx2, on which the SDKs stand; nothing of the program changes, and no other process
    is touched. A store that is away does not hold the program up: what could not be recorded is
    counted, and told at the end. The exit code is the program's, but 3 where it was fine and not
    all was recorded, or nothing.

        refold run --db agents.db -- python agent.py
        refold run --db agents.db --agent reception -- python agent.py
    """
    from refold.capture.run import run

    path = url.removeprefix("sqlite:///")
    path = path if "://" in path else str(Path(path).absolute())
    if url == "memory:" or path.endswith(".jsonl"):
        raise UsageError(
            f"--db {url} has one process that writes, and those of a program are several: "
            "record into a database, such as --db agents.db"
        )
    table = {name: _kinds(one) for name, one in endpoint.by_name(prices, "--price").items()}
    ran = run(program, path, agent=agent, prices=table)
    output.show(ran._asdict(), [])
    if ran.calls:
        calls, streams = counted(ran.calls, "model call"), counted(len(ran.streams), "stream")
        output.note(f"recorded {calls} in {streams}; see them with: refold streams --db {url}")
    if missing := _missing(ran):
        output.note(f"error: {missing}; the program's own log (refold.capture) says why")
        return ran.exit_code or FAILED
    if ran.calls:
        return ran.exit_code
    if ran.exit_code:
        output.note(f"error: {join(program)!r} {_how(ran.exit_code)}: no model call was recorded")
    else:
        output.note(
            f"error: no model call of {join(program)!r} was recorded. Check that it came to a call "
            "of a model (POST to a path such as /v1/chat/completions, /v1/responses, /v1/messages "
            "or …:generateContent), that its client stands on httpx or httpx2 (not requests, "
            "aiohttp or gRPC), that refold is installed in the Python that runs it, and that this "
            "runs without -I, -E and -S"
        )
        return FAILED
    return ran.exit_code


def _missing(ran: Ran) -> str:
    """What is known of calls that are not in the store; "" where none are missing."""
    if ran.calls is None:
        made = counted(ran.seen, "model call")
        return f"{made} made, and the store cannot say which of them it has: {ran.why}"
    if not ran.lost:
        return ""
    return f"of {counted(ran.seen, 'model call')} {ran.lost:,} not recorded, or not to the end"


def _kinds(price: Price) -> dict[str, Decimal]:
    """A price as capture takes it."""
    cached = price.input if price.cached_input is None else price.cached_input
    return {"input": price.input, "cached": cached, "output": price.output}


def _how(exit_code: int) -> str:
    """How a program ended that was not fine, by the exit code that a shell gives it."""
    if exit_code > SIGNALLED:
        return f"was ended by signal {exit_code - SIGNALLED}"
    return f"failed with exit code {exit_code}"
