"""A store whose roles are given, and logins of each, for tests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from itertools import count
from typing import Any, NamedTuple

import psycopg

from refold.backends.postgres.address import parsed
from refold.roles import make_roles
from tests.support import postgres

VERSIONS = (None, postgres.NEWEST)
"""The system's PostgreSQL and the newest."""
_numbers = count(1)


class Shared(NamedTuple):
    """A schema with roles whose names begin with ``prefix``; ``admin`` made it, no superuser."""

    version: str | None
    schema: str
    prefix: str
    admin: str

    @property
    def place(self) -> str:
        """The schema as SQL names it."""
        return f'"{self.schema}"'

    def url(self, login: str, **options: object) -> str:
        """The address of the store for a login."""
        given = "".join(f"&{name}={value}" for name, value in options.items())
        where = f"127.0.0.1:{postgres.shared(self.version)}/postgres"
        return f"postgresql://{login}:pw@{where}?schema={self.schema}{given}"

    def login(self, group: str, *, tenants: Sequence[int] = ()) -> str:
        """A new login of a group, bound to tenants."""
        name = f"{group}_{next(_numbers)}"
        with self.session(self.admin) as admin:
            admin.execute(f"CREATE ROLE {name} LOGIN PASSWORD 'pw'".encode())
            admin.execute(f"GRANT {self.prefix}_{group} TO {name}".encode())
        for tenant in tenants:
            self.bind(name, tenant)
        return name

    def bind(self, login: str, tenant: int) -> None:
        """Let a login see a tenant, and append to it."""
        with self.session(self.admin) as admin:
            admin.execute("INSERT INTO tenants VALUES (%s::regrole, %s)", [login, tenant])

    def any_clock(self) -> None:
        """Let the clocks of writers say what they like."""
        with self.session(self.admin) as admin:
            admin.execute("UPDATE settings SET clock_ahead_s = NULL")

    def session(self, login: str) -> psycopg.Connection[tuple[Any, ...]]:
        """A plain connection of a login, which finds what stands in the schema."""
        address = parsed(self.url(login))
        session = psycopg.connect(**address.conninfo, autocommit=True)
        session.execute(f"SET search_path = {self.place}".encode())
        return session


def shared(version: str | None) -> Shared:
    """A store of its own with roles of its own, made by a role with CREATEROLE."""
    number = next(_numbers)
    made = Shared(version, f"Shared_{number}", f"group_{number}", f"admin_{number}")
    with postgres.connect(postgres.shared(version)) as root:
        root.execute(f"CREATE ROLE {made.admin} LOGIN PASSWORD 'pw' CREATEROLE".encode())
        may = f"GRANT CREATE ON DATABASE postgres TO {made.admin} WITH GRANT OPTION"
        root.execute(may.encode())
    make_roles(made.url(made.admin), prefix=made.prefix)
    return made


def logs_of_its_own(version: str | None) -> tuple[str, str]:
    """The addresses of an empty log among those of other tests, for a writer and for a reader.

    Their clocks say what they like.
    """
    made, *logins = _suites(version)
    tenant = next(_numbers)
    for login in logins:
        made.bind(login, tenant)
    writes, reads = (made.url(login, tenant=tenant) for login in logins)
    return writes, reads


@cache
def _suites(version: str | None) -> tuple[Shared, str, str]:
    made = shared(version)
    made.any_clock()
    return made, made.login("writer"), made.login("reader")
