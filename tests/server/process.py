"""`refold serve` as a process of its own."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from tests.house.tree import BIN

LIMIT_S = 60


class Serving(NamedTuple):
    """A server, and where it is."""

    process: subprocess.Popen[str]
    url: str

    @property
    def port(self) -> int:
        """Its port."""
        return urlsplit(self.url).port or 0

    def kill(self) -> None:
        """End it in the middle of whatever it does."""
        self.process.kill()
        self.process.wait(LIMIT_S)


@contextmanager
def serving(db: Path, *, port: int = 0) -> Iterator[Serving]:
    """A server of a store, ended by SIGTERM where it was not killed."""
    command = [BIN / "refold", "serve", "--db", db, "--port", port]
    with subprocess.Popen([*map(str, command)], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        url = process.stdout.readline().strip()
        try:
            yield Serving(process, url.rstrip("/"))
        finally:
            process.terminate()
            process.wait(LIMIT_S)
