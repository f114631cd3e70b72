"""`refold run`."""

from __future__ import annotations

from pathlib import Path
from shlex import join

import click

import refold
from refold.cli import output
from refold.cli.errors import FAILED
from refold.cli.options import command
from refold.cli.text import counted
from refold.errors import UsageError


@command("run")
@click.argument("program", nargs=-1, required=True, type=click.UNPROCESSED)
def run_command(url: str, program: tuple[str, ...]) -> int:
    """Run a program and record each model call that it makes.

    Its Python processes, those that they begin among them, record what they send to a model by
    httpx or httpx2, on which the SDKs stand; nothing of the program changes, and no other process
    is touched. The exit code is the program's, but 3 where it was fine and nothing was recorded.

        refold run --db agents.db -- python agent.py
    """
    from refold.capture.run import run

    path = Path(url.removeprefix("sqlite:///")).absolute()
    if url == "memory:" or path.suffix == ".jsonl":
        raise UsageError(
            f"--db {url} has one process that writes, and those of a program are several: "
            "record into a database, such as --db agents.db"
        )
    with refold.open(path) as store:
        ran = run(program, store, str(path))
    output.show(ran._asdict(), [])
    if not ran.calls:
        output.note(
            f"error: no model call of {join(program)!r} was recorded. Check that it came to a call "
            "of a model (POST to a path such as /v1/chat/completions, /v1/responses, /v1/messages "
            "or …:generateContent), that its client stands on httpx or httpx2 (not requests, "
            "aiohttp or gRPC), that refold is installed in the Python that runs it, and that this "
            "runs without -I, -E and -S"
        )
        return ran.exit_code or FAILED
    said = f"recorded {counted(ran.calls, 'model call')} in {counted(len(ran.streams), 'stream')}"
    output.note(f"{said}; see them with: refold streams --db {url}")
    return ran.exit_code
