"""Nothing outside is touched while tools are stood in for: a guard over the whole process.

Connections, names looked up and programs started are audited by the interpreter (PEP 578). What
does not lead to where a model is asked is refused before it happens, and told with the place that
tried. What C code does by itself is not seen: a library that brings its own sockets, as that of
PostgreSQL, by which a store may be reached. Nor is what goes by a connection, or to a process, that
was there before.
"""

from __future__ import annotations

import platform
import socket
import sys
import threading
from collections import Counter
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

from refold.errors import OutsideRefused, UsageError
from refold.replay.events import Refusal, ReplayContained

_PORTS: Final = {"https": 443, "http": 80, "socks5": 1080, "socks5h": 1080}
_PROGRAMS: Final = ("subprocess.Popen", "os.system", "os.exec", "os.posix_spawn", "os.spawn")
_UNHEARD: Final = "_posixsubprocess.fork_exec"
"""How multiprocessing starts a program, of which nobody is told."""
_SENDS: Final = ("socket.connect", "socket.sendto", "socket.sendmsg")
_LOOKUPS: Final = ("socket.getaddrinfo", "socket.gethostbyname", "socket.gethostbyaddr")
_WATCHED: Final = frozenset((*_PROGRAMS, _UNHEARD, *_SENDS, *_LOOKUPS))
_LIBRARIES: Final = tuple({get_paths()[name] for name in ("stdlib", "platstdlib", "purelib")})
_HERE: Final = __file__.rpartition("freerun")[0]
REFUSED_MAX: Final = 100
"""So many different refusals are told by name; the rest are counted with the last."""

_guards: Final[list[Outside]] = []
_live: Final[ContextVar[str | None]] = ContextVar("refold.freerun.live", default=None)
_inside: Final[ContextVar[bool]] = ContextVar("refold.freerun.inside", default=False)
_asking: Final = threading.local()


class Outside:
    """What may be reached while it is in force, and what was reached and refused."""

    def __init__(self, urls: Iterable[str]) -> None:
        self.places = {place for url in urls for place in _places(url)}
        self.addresses: set[tuple[str, int]] = set()
        self.connections: Counter[str] = Counter()
        self.live: Counter[str] = Counter()
        self.refused: Counter[tuple[str, str, str]] = Counter()

    def told(self, run: str) -> ReplayContained:
        """What the run records of it."""
        refused = [Refusal(*what, times) for what, times in sorted(self.refused.items())]
        return ReplayContained(
            run=run,
            allowed=sorted(f"{host}:{port}" for host, port in self.places),
            connections=dict(sorted(self.connections.items())),
            refused=refused[:REFUSED_MAX],
            live=dict(sorted(self.live.items())),
        )

    def allows(self, event: str, args: tuple[Any, ...]) -> bool:
        """Whether this leads to where it may."""
        if event in _LOOKUPS:
            return _text(args[0]) in {host for host, _ in self.places}
        if event in (*_PROGRAMS, _UNHEARD):
            return False
        address = args[1]
        if not isinstance(address, tuple):
            return False
        where = _text(address[0]), address[1]
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
                except OSError:
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
    """In this block a tool is read live: it reaches what it likes, and that is counted."""
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
            ports = [own for name, own in guard.places if name == _text(host)]
            guard.addresses |= {(str(one[4][0]), own) for one in found for own in ports}
        return found

    return getaddrinfo


def _audited(event: str, args: tuple[Any, ...]) -> None:
    if event not in _WATCHED or getattr(_asking, "is_ours", False):
        return
    guards, is_shut_in = [*_guards], _inside.get()
    if not (guards or is_shut_in) or (event in _LOOKUPS and _is_number(_text(args[0]))):
        return
    is_connection = event == "socket.connect"
    if (tool := _live.get()) is not None:
        for guard in guards:
            guard.live[tool] += is_connection
        return
    if not is_shut_in and any(guard.allows(event, args) for guard in guards):
        for guard in guards if is_connection else ():
            guard.connections[_place(args)] += 1
        return
    if not is_shut_in and event in _LOOKUPS and _is_of_postgres(sys._getframe(1)):
        return
    to, where = _place(args) if event in _SENDS else _said(event, args), _where(sys._getframe(1))
    for guard in guards:
        guard.refused[event, to, where] += 1
    raise OutsideRefused(
        f"{event} to {to} is refused, from {where}: the tools of this replay are stood in for, and "
        "nothing but the model is reached. Let a recorded result, a simulator or LiveRead answer"
        + ("" if is_shut_in else _allowing(event, args)),
        to=to,
        where=where,
    )


def _place(args: tuple[Any, ...]) -> str:
    address = args[1]
    if not isinstance(address, tuple):
        return _text(address)
    return f"{_text(address[0])}:{address[1]}"


def _said(event: str, args: tuple[Any, ...]) -> str:
    """A name that is looked up, or the program that is started; not what it is given."""
    if event in _LOOKUPS:
        return _text(args[0])
    first = args[1] if event == "os.spawn" else args[0]
    return _text(first)


def _allowing(event: str, args: tuple[Any, ...]) -> str:
    """How that might be allowed, where it may be."""
    place = f"{_text(args[0])}:PORT" if event in _LOOKUPS else ""
    if event in _SENDS and isinstance(args[1], tuple):
        place = _place(args)
    return f", or allow it: FreeRun(allow=['{place}'])" if place else ""


def _is_of_postgres(frame: FrameType | None) -> bool:
    """Whether a store's name is looked up, whose connection is no matter of Python's."""
    while frame is not None and frame.f_globals.get("__name__") in (__name__, "socket"):
        frame = frame.f_back
    return frame is not None and frame.f_globals.get("__name__", "").startswith("psycopg.")


def _is_number(host: str) -> bool:
    """Whether nothing is looked up: an address by its number, or this machine."""
    try:
        return host in ("None", "") or bool(ip_address(host))
    except ValueError:
        return False


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


def _places(url: str) -> Iterator[tuple[str, int]]:
    """Where a URL or ``host:port`` leads, and by which proxies of the environment it may go."""
    parts = urlsplit(url if "://" in url else f"//{url}")
    port = parts.port or _PORTS.get(parts.scheme)
    if not parts.hostname or port is None:
        raise UsageError(f"allow={url!r:.80} is neither a URL nor host:port", argument="allow")
    yield parts.hostname, port
    if proxy_bypass(parts.hostname):
        return
    for scheme, proxy in getproxies().items():
        if scheme in (parts.scheme, "all") and scheme != "no":
            own = urlsplit(proxy if "://" in proxy else f"http://{proxy}")
            if own.hostname:
                yield own.hostname, own.port or _PORTS.get(own.scheme, 80)
