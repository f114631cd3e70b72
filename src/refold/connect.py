"""A store by URL: the one module that joins the engine and a backend."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Literal, ParamSpec, get_args
from urllib.parse import unquote, urlsplit

from refold.core.registry import Registry, default_registry
from refold.engine.aio import AsyncStore
from refold.engine.checks import check_path
from refold.engine.store import Store, system_clock
from refold.errors import UsageError, refuse_unless, shown
from refold.ports import Backend, Clock

if TYPE_CHECKING:
    from refold.audit.sealed_store import Seal
    from refold.backends.postgres import PostgresSetup
    from refold.privacy.privacy import Privacy
    from refold.projections.projection import Projection

P = ParamSpec("P")
Url = str | os.PathLike[str] | None
Mode = Literal["create", "write", "read"]
Synchronous = Literal["FULL", "NORMAL"]
SEAL_VARIABLES = {"REFOLD_SIGNING_KEY", "REFOLD_SEAL_KEY"}
_FORMS = "a path, sqlite:///path, postgresql://host/database or memory:"


def open(
    url: Url = None,
    *,
    mode: Mode = "create",
    synchronous: Synchronous = "FULL",
    registry: Registry = default_registry,
    clock: Clock = system_clock,
    inline: Iterable[Projection] = (),
    privacy: Privacy | None = None,
    seal: Seal = None,
) -> Store:
    """Open a log.

    ``url`` is a path, ``sqlite:///relative``, ``sqlite:////absolute``, ``memory:``, or
    ``postgresql://user@host/database`` with the extra ``postgres``; by default the environment
    variable ``REFOLD_URL``, else ``refold.db`` here. A path that ends in ``.jsonl`` is a journal:
    a file of JSON lines, for one process. ``mode``: ``"create"`` makes what is missing,
    ``"write"`` wants it there, ``"read"`` never writes.
    ``synchronous``: with ``"FULL"`` an acknowledged event survives power loss, with ``"NORMAL"`` a
    crash of the process. ``registry`` holds the event classes, ``clock`` gives microseconds UTC.
    ``inline`` are projections (:mod:`refold.projections`) whose rows are stored in the transaction
    of each append; they are caught up first, and an append that a handler fails on is refused.
    ``privacy`` (:class:`refold.privacy.Privacy`) says which values are personal, and who reads.
    ``seal``: a signing key, or the file of one, by which what is appended is sealed; False: none.
    By default the key of the environment, where the log was sealed by that before: see
    :class:`refold.audit.sealed_store.SealedStore`. Not with the mode ``"read"``.

    Raises :class:`~refold.errors.UsageError` for what is not a refold database,
    :class:`~refold.errors.NotFound` for a missing one.
    """
    from refold.privacy.viewing import viewed

    backend = _backend(url, mode=mode, synchronous=synchronous)
    try:
        backend = viewed(backend, privacy, clock, open)
        made_by: Callable[..., Store] = Store
        if mode != "read" and (seal or (seal is None and any(map(os.environ.get, SEAL_VARIABLES)))):
            from refold.audit.sealed_store import SealedStore

            made_by = partial(SealedStore, seal=seal)
        return store_over(backend, registry=registry, clock=clock, inline=inline, made_by=made_by)
    except BaseException:
        backend.close()
        raise


def store_over(
    backend: Backend,
    *,
    registry: Registry = default_registry,
    clock: Clock = system_clock,
    inline: Iterable[Projection] = (),
    made_by: Callable[..., Store] = Store,
) -> Store:
    """A store over a backend, its inline projections caught up; see :func:`open`."""
    refuse_unless(isinstance(registry, Registry), "a refold.Registry", registry=registry)
    refuse_unless(callable(clock), "a function that gives microseconds", clock=clock)
    refuse_unless(isinstance(inline, Iterable), "a list of projections", inline=inline)
    committer: Inline | None = None
    if kept := tuple(inline):
        from refold.projections.inline import Inline

        committer = Inline(backend, kept, clock)
        committer.catch_up()
    return made_by(backend, registry=registry, clock=clock, committer=committer)


def _for_asyncio(opener: Callable[P, Store]) -> Callable[P, AsyncStore]:
    @wraps(opener, assigned=())
    def open_async(*arguments: P.args, **options: P.kwargs) -> AsyncStore:
        """Open a log for asyncio; see :func:`open`.

        The file is opened by ``async with`` or the first call, on a worker thread:
        ``async with refold.open_async(url) as store: …``.
        """
        return AsyncStore(partial(opener, *arguments, **options))

    return open_async


open_async = _for_asyncio(open)


def setup_of(url: Url) -> PostgresSetup:
    """What makes a store in PostgreSQL, and the roles of those who use it."""
    from refold.backends.postgres import PostgresSetup

    return PostgresSetup(_where(url))


def _where(url: Url) -> str:
    refuse_unless(url is None or isinstance(url, str | bytes | os.PathLike), _FORMS, url=url)
    where = os.fsdecode(url) if url is not None else os.environ.get("REFOLD_URL", "refold.db")
    check_path(url=where)
    return where


def _backend(url: Url, *, mode: Mode, synchronous: Synchronous) -> Backend:
    for name, given, choices in (("mode", mode, Mode), ("synchronous", synchronous, Synchronous)):
        if given not in (allowed := get_args(choices)):
            raise UsageError(f"{name}={shown(given)} is none of {', '.join(allowed)}")
    where = _where(url)
    if where == "memory:":
        from refold.backends.memory import MemoryBackend

        return MemoryBackend()
    if where.startswith(("postgresql://", "postgres://")):
        from refold.backends.postgres import PostgresBackend

        return PostgresBackend(where, mode=mode, synchronous=synchronous)
    path = _path_of(where)
    if path.suffix == ".jsonl":
        from refold.backends.journal import JournalBackend

        return JournalBackend(path, mode=mode, synchronous=synchronous)
    from refold.backends.sqlite import SqliteBackend

    return SqliteBackend(path, mode=mode, synchronous=synchronous)


def _path_of(where: str) -> Path:
    if not where:
        raise UsageError(f"an empty store URL: give {_FORMS}")
    if "://" not in where and not re.search("password=|^postgres(ql)?:", where):
        return Path(where)
    from refold.secrecy import without_password

    told = without_password(where)
    if not where.startswith("sqlite://"):
        raise UsageError(f"{told!r}: no backend for it; give {_FORMS}", url=told)
    _, host, path, *options = urlsplit(where)
    if host or any(options) or not path.startswith("/") or path == "/":
        why = f"{told!r} names no file: give sqlite:///path, in which ? is %3F and # is %23"
        raise UsageError(why, url=told)
    return Path(unquote(path)[1:])
