"""Where a log stands: ``postgresql://user:password@host/database?schema=agents``.

Four options are refold's own: ``schema`` (default ``refold``) holds the tables, ``tenant`` (a
number, default 0) is a log of its own in them, ``pgbouncer=true`` leaves out what a pooler in
transaction mode does not pass on (``false``: one in session mode, which passes on all), and
``archive`` is a folder with months that were taken out of the log. All others are libpq's
(https://www.postgresql.org/docs/current/libpq-connect.html).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

import psycopg
from psycopg.conninfo import conninfo_to_dict

from refold.errors import UsageError

TENANTS_MAX: Final = 2**31
_OWN: Final = ("archive", "pgbouncer", "schema", "tenant")
_SCHEMA: Final = re.compile(r"(?!pg_)[A-Za-z_][A-Za-z0-9_]{0,39}")
_DEFAULTS: Final = {
    # Without a limit it would wait as long as the system does; a peer that is gone is noticed.
    "connect_timeout": "10",
    "keepalives_idle": "30",
    "keepalives_interval": "10",
    "keepalives_count": "3",
    "application_name": "refold",
    "client_encoding": "UTF8",
}


class Address(NamedTuple):
    """A log and how to reach it; ``shown`` is what may be said of it, without user and password.

    ``is_pooled``: a pooler gives each transaction another session; None: there is to be none.
    """

    conninfo: dict[str, Any]
    schema: str
    tenant: int
    is_pooled: bool | None
    shown: str
    archive: str | None = None

    @property
    def room(self) -> str:
        """See :func:`room_of`."""
        return room_of(self.schema, self.tenant)

    def for_writing(self) -> Address:
        """The same; of several hosts the one that takes writes, and not the first that answers."""
        hosts = (str(self.conninfo.get(name)) for name in ("host", "hostaddr"))
        if not any("," in one for one in hosts):
            return self
        return self._replace(conninfo={"target_session_attrs": "read-write"} | self.conninfo)


def room_of(schema: str, tenant: int) -> str:
    """The schema in which tables of projections stand: of each tenant but 0 one of its own."""
    return f"{schema}@{tenant}" if tenant else schema


def parsed(url: str) -> Address:
    """The address that a URL gives; :class:`~refold.errors.UsageError` where it gives none."""
    try:
        parts = urlsplit(url)
    except ValueError:
        raise _none("a character cannot stand where it does") from None
    options = dict(parse_qsl(parts.query, keep_blank_values=True))
    schema = options.pop("schema", "refold")
    tenant, pooled = options.pop("tenant", "0"), options.pop("pgbouncer", None)
    archive = options.pop("archive", "") or None
    if not _SCHEMA.fullmatch(schema):
        why = "is no name for a schema: give letters, digits and _, at most 40"
        raise UsageError(f"schema={schema!r} {why}", argument="url")
    if not re.fullmatch("[0-9]{1,10}", tenant) or int(tenant) >= TENANTS_MAX:
        raise UsageError(f"tenant={tenant!r} is no number under {TENANTS_MAX}", argument="url")
    if pooled not in ("true", "false", None):
        raise UsageError(f"pgbouncer={pooled!r} is neither true nor false", argument="url")
    query = urlencode(options, quote_via=quote)
    try:
        given = conninfo_to_dict(parts._replace(query=query).geturl())
    except (psycopg.Error, ValueError) as error:
        raise _none(error, *_meant(options)) from None
    if "@" in str(given.get("dbname")):
        raise _none("the name of the database holds @")
    place = f"{given.get('host', '')}:{given.get('port', 5432)}/{given.get('dbname', '')}"
    shown = f"postgresql://{place}?schema={schema}" + (f"&tenant={tenant}" if int(tenant) else "")
    is_pooled = None if pooled is None else pooled == "true"
    return Address(_DEFAULTS | given, schema, int(tenant), is_pooled, shown, archive)


def _meant(options: Iterable[str]) -> list[str]:
    """The options of refold that were probably meant by others."""
    from difflib import get_close_matches

    return [own for one in options for own in get_close_matches(one, _OWN, n=1) if own != one]


def _none(why: object, *meant: str) -> UsageError:
    """The error for an address that is none; of what is said of it only what quotes none of it."""
    kind = re.split("[:\"'\n]", str(why))[0].strip()
    kind += f" (did you mean {' or '.join(meant)}?)" if meant else ""
    form = "give postgresql://user:password@host/database?option=value"
    advice = "and write %XX for what else is special in a user, a password or a value"
    return UsageError(f"the address of a store is none: {kind}; {form}, {advice}", argument="url")
