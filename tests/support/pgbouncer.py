"""PgBouncer before a server of a test, run by a user who may not do more than that."""

from __future__ import annotations

import atexit
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final, Literal

import psycopg

from tests.support import postgres
from tests.support.postgres import PASSWORD, START_S, as_whom, free_port, shared

Mode = Literal["transaction", "session"]
SETTINGS: Final = ("default_pool_size = 8", "max_client_conn = 200", "server_login_retry = 1")
_CONFIG: Final = """[databases]
* = host=127.0.0.1 port={server}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = scram-sha-256
auth_file = users.txt
admin_users = postgres
pool_mode = {mode}
{settings}
"""


class Bouncer:
    """A pooler in a folder of its own; it may be killed and started again."""

    def __init__(self, folder: Path, server: int, mode: Mode, settings: Sequence[str]) -> None:
        self._folder, self.port = folder, free_port()
        said = {"server": server, "port": self.port, "mode": mode, "settings": "\n".join(settings)}
        (folder / "config.ini").write_text(_CONFIG.format(**said))
        (folder / "users.txt").write_text(f'"postgres" "{PASSWORD}"\n')
        self._who = as_whom()
        for path in (folder, *folder.iterdir()):
            os.chown(path, self._who.get("user", -1), self._who.get("group", -1))
        self.start()

    def start(self) -> None:
        """Take clients."""
        program = shutil.which("pgbouncer") or "/usr/sbin/pgbouncer"
        how: dict[str, Any] = {
            "cwd": self._folder,
            "env": {"LC_ALL": "C", "TZ": "UTC"},
            **self._who,
        }
        with (self._folder / "log").open("ab") as log:
            command = [program, "config.ini"]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, **how)
        until = time.monotonic() + START_S
        while True:
            try:
                self.admin().close()
            except psycopg.OperationalError as error:
                is_over = self._process.poll() is not None or time.monotonic() > until
                assert not is_over, f"{error}\n{(self._folder / 'log').read_text()}"
                time.sleep(0.02)
            else:
                return

    def admin(self) -> psycopg.Connection[tuple[Any, ...]]:
        """Its console, which takes PAUSE, RESUME, SHOW … and nothing that has values."""
        whom: dict[str, Any] = {"dbname": "pgbouncer", "user": "postgres", "password": PASSWORD}
        return psycopg.connect(host="127.0.0.1", port=self.port, autocommit=True, **whom)

    def kill(self) -> None:
        """End it at once."""
        self._process.send_signal(signal.SIGKILL)
        self._process.wait(START_S)

    def stop(self) -> None:
        """End it, and all that it passes on."""
        self._process.send_signal(signal.SIGTERM)
        self._process.wait(START_S)


@contextmanager
def bouncers(
    server: int, mode: Mode = "transaction", settings: Sequence[str] = SETTINGS
) -> Iterator[Bouncer]:
    """A pooler before the server at a port, that ends with the block."""
    with TemporaryDirectory(prefix="refold-pgbouncer-") as name:
        started = Bouncer(Path(name), server, mode, settings)
        try:
            yield started
        finally:
            started.stop()


@cache
def pooled(mode: Mode = "transaction") -> int:
    """The port of a pooler before the shared server that lasts as long as this process."""
    server, stack = shared(), ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(bouncers(server, mode)).port


def through(address: str, port: int, **options: object) -> str:
    """The address of a store on a server, reached through the pooler at a port instead."""
    told = "".join(f"&{name}={value}" for name, value in options.items())
    return re.sub(r":\d+/", f":{port}/", address, count=1) + told


def log_of_its_own() -> str:
    """The address of an empty log among those of other tests, through a pooler."""
    return through(postgres.log_of_its_own(), pooled(), pgbouncer="true")
