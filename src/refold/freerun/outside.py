"""Nothing outside is touched while tools are stood in for: a guard over the whole process.

Connections, datagrams, names and addresses looked up and programs started are audited by the
interpreter (PEP 578), in forked processes too. What does not lead to where a model is asked is
refused before it happens, and told with the place that tried. Where C code is called by ``ctypes``,
SQLite loads an extension or another interpreter begins, that is told, and where it leads is not
seen. What C code does by itself is not seen at all: a library that brings its own sockets, as that
of PostgreSQL, by which a store may be reached. Nor is what goes by a connection, or to a process,
that was there before. It keeps mishaps from happening, and is no wall against code that means ill.
"""

from __future__ import annotations

import platform
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from functools import cache, wraps
from importlib import import_module
from ipaddress import ip_address
from sysconfig import get_paths
from types import FrameType
from typing import Any, Final
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from refold.capture import threads
from refold.errors import OutsideRefused, UsageError
from refold.freerun.tally import ForkTally
from refold.hosts import PORTS, normal_host
from refold.replay.events import ReplayContained, refusals

_PROGRAMS: Final = (
    *("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn", "pty.spawn"),
    *("os.startfile", "_winapi.CreateProcess"),
)
_UNHEARD: Final = "_posixsubprocess.fork_exec"
"""How multiprocessing starts a program, of which nobody is told."""
_SENDS: Final = ("socket.connect", "socket.sendto", "socket.sendmsg")
_BY_NUMBER: Final = ("socket.gethostbyaddr", "socket.getnameinfo")
"""What asks for the name of an address, and asks somebody."""
_LOOKUPS: Final = ("socket.getaddrinfo", "socket.gethostbyname", *_BY_NUMBER)
_UNSEEN: Final = (
    *("ctypes.dlopen", "ctypes.dlsym", "ctypes.call_function", "sqlite3.load_extension"),
    "cpython.PyInterpreterState_New",
)
"""What leads to where nothing is audited."""
_WATCHED: Final = frozenset((*_PROGRAMS, _UNHEARD, *_SENDS, *_LOOKUPS, *_UNSEEN))
_LIBRARIES: Final = tuple({get_paths()[name] for name in ("stdlib", "platstdlib", "purelib")})
_HERE: Final = __file__.rpartition("freerun")[0]

_guards: Final[list[Outside]] = []
_live: Final[ContextVar[str | None]] = ContextVar("refold.freerun.live", default=None)
_inside: Final[ContextVar[bool]] = ContextVar("refold.freerun.inside", default=False)
_asking: Final = threading.local()


class Outside:
    """What may be reached while it is in force, and what was reached and refused."""

    def __init__(self, urls: Iterable[str]) -> None:
        self.places = {place for url in urls for place in places_of(url)}
        self.addresses: set[tuple[str, int]] = set()
        self.tally = ForkTally()

    def told(self, run: str = "") -> ReplayContained:
        """What a run records of it."""
        return ReplayContained(
            run=run,
            allowed=sorted(f"{host}:{port}" for host, port in self.places),
            connections={to: times for (to,), times in sorted(self.tally.of("reached").items())},
            refused=refusals(self.tally.of("refused")),
            live={tool: times for (tool,), times in sorted(self.tally.of("live").items())},
            unseen=refusals(self.tally.of("unseen")),
        )

    def allows(self, event: str, args: tuple[Any, ...]) -> bool:
        """Whether this leads to where it may."""
        if event in _LOOKUPS:
            known = self.places | (self.addresses if event in _BY_NUMBER else set())
            return normal_host(_text(_host(event, args))) in {host for host, _ in known}
        if event in (*_PROGRAMS, _UNHEARD):
            return False
        address = args[1]
        if not isinstance(address, tuple) or len(address) < 2:
            # By a connection that is there: whether it may be was asked when it was made.
            return address is None
        where = normal_host(_text(address[0])), address[1]
        if where not in self.addresses | self.places:
            self.look_up()
        return where in self.addresses | self.places

    def look_up(self) -> None:
        """Learn the addresses that the names have now."""
        _asking.is_ours = True
        try:
            for host, port in self.places:
                try:
                    found = _resolve(host, port, type=socket.SOCK_STREAM)
                except (OSError, UnicodeError):
                    continue  # Whoever connects is told.
                self.addresses |= {(str(one[4][0]), port) for one in found}
        finally:
            _asking.is_ours = False


@contextmanager
def closed_off(urls: Iterable[str]) -> Iterator[Outside]:
    """In this block the whole process reaches these addresses, their proxies, and nothing else.

    What is refused raises :class:`~refold.errors.OutsideRefused` where it was tried, and is in
    what the block is given. Blocks at the same time allow together what each of them does.
    """
    outside = Outside(urls)
    outside.look_up()
    _watch()
    _guards.append(outside)
    try:
        yield outside
    finally:
        _guards.remove(outside)
        outside.tally.close()


@contextmanager
def shut_in() -> Iterator[None]:
    """In this block the code of its tasks and threads reaches nothing, whatever others may."""
    _watch()
    token = _inside.set(True)
    try:
        yield
    finally:
        _inside.reset(token)


@contextmanager
def let_out(tool: str) -> Iterator[None]:
    """In this block a tool is read live: it reaches what it likes, and that is counted.

    Its threads and pools do too.
    """
    threads.follow(_live)
    token = _live.set(tool)
    try:
        yield
    finally:
        _live.reset(token)


@cache
def _watch() -> None:
    """Begin to look; a hook cannot be taken back, and costs nothing while no guard is in force."""
    # Python asks a program for it, once; the SDKs of models send it along.
    platform.processor()
    sys.addaudithook(_audited)
    socket.getaddrinfo = _remembering(socket.getaddrinfo)
    with suppress(ImportError):  # There is none where programs are started in another way.
        home: Any = import_module(_UNHEARD.partition(".")[0])
        home.fork_exec = _told_of(home.fork_exec)


def _told_of(start: Callable[..., int]) -> Callable[..., int]:
    @wraps(start)
    def fork_exec(args: Any, programs: Any, *rest: Any) -> int:
        _audited(_UNHEARD, (programs[0],))
        return start(args, programs, *rest)

    return fork_exec


_resolve: Final = socket.getaddrinfo


def _remembering(resolve: Callable[..., Any]) -> Callable[..., Any]:
    """The addresses that a name came to are where its connection will lead."""

    @wraps(resolve)
    def getaddrinfo(host: Any, port: Any, *args: Any, **named: Any) -> Any:
        found = resolve(host, port, *args, **named)
        for guard in [*_guards]:
            ports = [own for name, own in guard.places if name == normal_host(_text(host))]
            guard.addresses |= {(str(one[4][0]), own) for one in found for own in ports}
        return found

    return getaddrinfo


def _audited(event: str, args: tuple[Any, ...]) -> None:
    if event not in _WATCHED or getattr(_asking, "is_ours", False):
        return
    guards, is_shut_in = [*_guards], _inside.get()
    if not (guards or is_shut_in) or (event in _LOOKUPS and _asks_nobody(event, args)):
        return
    if (tool := _live.get()) is not None:
        _count(guards if event not in (*_LOOKUPS, *_UNSEEN) else (), "live", tool)
        return
    if event in _UNSEEN:
        _count(guards, "unseen", event, _said(event, args), _where(sys._getframe(1)))
        return
    if not is_shut_in and any(guard.allows(event, args) for guard in guards):
        _count(guards if event == "socket.connect" else (), "reached", _place(args))
        return
    if not is_shut_in and event in _LOOKUPS and _is_of_postgres(sys._getframe(1)):
        return
    to, where = _place(args) if event in _SENDS else _said(event, args), _where(sys._getframe(1))
    _count(guards, "refused", event, to, where)
    raise OutsideRefused(
        f"{event} to {to} is refused, from {where}: the tools of this replay are stood in for, and "
        "nothing but the model is reached. Let a recorded result, a simulator or LiveRead answer"
        + ("" if is_shut_in else _allowing(event, args)),
        to=to,
        where=where,
    )


def _count(guards: Iterable[Outside], *what: str) -> None:
    for guard in guards:
        guard.tally.add(*what)


def _place(args: tuple[Any, ...]) -> str:
    address = args[1]
    if not isinstance(address, tuple) or len(address) < 2:
        return _text(address)
    return f"{_text(address[0])}:{address[1]}"


def _host(event: str, args: tuple[Any, ...]) -> Any:
    """Whose name, or whose address, is looked up."""
    return args[0][0] if event == "socket.getnameinfo" else args[0]


def _said(event: str, args: tuple[Any, ...]) -> str:
    """A name that is looked up, or the program or library; not what it is given."""
    if event in _LOOKUPS:
        return _text(_host(event, args))
    if event in _UNSEEN:
        return _text(args[-1]) if args else ""
    first = args[1] if event == "os.spawn" else args[0]
    return _text(first)


def _allowing(event: str, args: tuple[Any, ...]) -> str:
    """How that might be allowed, where it may be."""
    place = f"{_text(_host(event, args))}:PORT" if event in _LOOKUPS else ""
    if event in _SENDS and isinstance(args[1], tuple):
        place = _place(args)
    return f", or allow it: FreeRun(allow=['{place}'])" if place else ""


def _is_of_postgres(frame: FrameType | None) -> bool:
    """Whether a store's name is looked up, whose connection is no matter of Python's."""
    while frame is not None and frame.f_globals.get("__name__") in (__name__, "socket"):
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__", "").startswith("psycopg.")


def _asks_nobody(event: str, args: tuple[Any, ...]) -> bool:
    """Whether nothing is looked up: an address by its number, or this machine."""
    if (host := _host(event, args)) in (None, "", b""):
        return True
    try:
        number = ip_address(_text(host))
    except ValueError:
        return False
    return event not in _BY_NUMBER or number.is_loopback or number.is_unspecified


def _text(value: Any) -> str:
    return value.decode(errors="replace") if isinstance(value, bytes) else str(value)


def _where(frame: FrameType | None) -> str:
    """The innermost line that is of neither a library nor refold; else the innermost."""
    first = frame
    while frame is not None:
        name = frame.f_code.co_filename
        if not name.startswith((*_LIBRARIES, _HERE, "<")):
            break
        frame = frame.f_back
    found = frame or first
    return "" if found is None else f"{found.f_code.co_filename}:{found.f_lineno}"


def places_of(url: str) -> Iterator[tuple[str, int]]:
    """Where a URL or ``host:port`` leads, and by which proxies of the environment it may go.

    Raises :class:`~refold.errors.UsageError` for what is neither.
    """
    wrong = UsageError(f"allow={url!r:.80} is neither a URL nor host:port", argument="allow")
    try:
        parts = urlsplit(url if "://" in url else f"//{url}")
        host, port = parts.hostname, parts.port or PORTS.get(parts.scheme)
    except ValueError:  # A port that is none, or half an address.
        raise wrong from None
    if not host or port is None:
        raise wrong
    yield normal_host(host), port
    if proxy_bypass(host):
        return
    for scheme, proxy in getproxies().items():
        if scheme in (parts.scheme, "all") and scheme != "no":
            own = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            if own.hostname:
                yield normal_host(own.hostname), own.port or PORTS.get(own.scheme, 80)
