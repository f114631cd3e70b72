"""Who may do what on a store that several share: three groups of PostgreSQL.

:func:`make_roles` makes them, and :attr:`Roles.grants` says how logins become members. What each
may do: docs/how-to/give-roles.md.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from os import PathLike
from typing import Final, NamedTuple

from refold.connect import open as open_store
from refold.connect import setup_of
from refold.errors import UsageError, shown

_PREFIX: Final = re.compile(r"(?!pg_)[a-z_][a-z0-9_]{0,39}")
Url = str | PathLike[str] | None


class Roles(NamedTuple):
    """The groups by their names, none of which may log in.

    A ``writer`` appends and reads, and changes nothing that stands. A ``reader`` reads and
    subscribes. A ``maintainer`` owns the schema: he migrates, partitions and keeps projections.
    ``grants`` is SQL by which logins become members, ``my_writer`` in place of one of yours.
    """

    writer: str
    reader: str
    maintainer: str
    grants: Sequence[str]


def roles_of(prefix: str = "refold") -> Roles:
    """The names of the groups whose names begin so.

    Raises :class:`~refold.errors.UsageError` for what begins no name.
    """
    if not isinstance(prefix, str) or not _PREFIX.fullmatch(prefix):
        why = "is no beginning of a role's name: give small letters, digits and _, at most 40"
        raise UsageError(f"prefix={shown(prefix)} {why}", argument="prefix")
    names = {kind: f"{prefix}_{kind}" for kind in ("writer", "reader", "maintainer")}
    grants = [f"GRANT {name} TO my_{kind};" for kind, name in names.items()]
    return Roles(**names, grants=grants)


def make_roles(url: Url = None, *, prefix: str | None = None) -> Roles:
    """Make the groups, and give them what is theirs in the store of an address, made if missing.

    May be done again at any time. The address is of a superuser, or of a role with ``CREATEROLE``
    that owns the store or may make one. Groups are of all databases of a server: a ``prefix`` keeps
    those of several stores apart. Where none is given it is ``refold``, and refused if there are
    groups of that name which are not this store's: their members would be its own. Where the
    address names a tenant, its read models get their schema, and ``grants`` says how logins are
    bound to it.

    Raises :class:`~refold.errors.UsageError` for another kind of store, or where the address may
    not.
    """
    roles, setup = roles_of() if prefix is None else roles_of(prefix), setup_of(url)
    open_store(url).close()
    setup.make_roles(prefix)
    return roles._replace(grants=[*roles.grants, *setup.bindings("my_writer", "my_reader")])


def setup_sql(url: Url = None, *, prefix: str | None = None, roles: bool = False) -> str:
    """The SQL that makes the store of an address and, with ``roles`` or a ``prefix``, its groups.

    The server is not asked; it may be run again, by ``psql`` in one transaction (``-1``).
    """
    if prefix is not None:
        roles_of(prefix)
    return setup_of(url).script(prefix, roles=roles or prefix is not None)
