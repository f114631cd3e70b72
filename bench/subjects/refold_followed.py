"""refold, sealed by `refold seal --follow` in a process of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import refold
from bench.subject import serve
from bench.subjects.refold import Refold, RefoldStore
from bench.subjects.refold_sealed import KEY


class FollowedStore(RefoldStore):
    """A store with a process that seals it."""

    def __init__(self, store: refold.Store, subject: RefoldFollowed, path: Path) -> None:
        super().__init__(store, subject)
        self._beside = ExitStack()
        self._beside.enter_context(subject.beside(path))

    def close(self) -> None:
        super().close()
        self._beside.close()


class RefoldFollowed(Refold):
    """The same calls; another process seals what is appended."""

    def open(self, path: Path) -> RefoldStore:
        opened = refold.open(self.address(path), registry=self.registry)
        return FollowedStore(opened, self, path)

    def beside(self, path: Path) -> AbstractContextManager[object]:
        """`refold seal --follow`, once it has begun."""
        return following(self.address(path))


@contextmanager
def following(address: str) -> Iterator[None]:
    """Seal a log from another process while the block runs."""
    refold.open(address).close()
    command = [sys.executable, "-m", "refold", "seal", "--db", address, "--follow"]
    with TemporaryDirectory() as folder:
        own = {"REFOLD_SIGNING_KEY": str(KEY), "REFOLD_SEAL_LAST_HEAD": f"{folder}/head"}
        how: dict[str, Any] = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        with subprocess.Popen(command, env={**os.environ, **own}, **how) as sealer:
            assert sealer.stdout is not None
            assert sealer.stdout.readline()
            try:
                yield
            finally:
                sealer.terminate()


if __name__ == "__main__":
    serve(RefoldFollowed)
