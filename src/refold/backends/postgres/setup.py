"""Making a store and its roles, by SQL that may be read first."""

from __future__ import annotations

from refold.backends.postgres.address import parsed
from refold.backends.postgres.errors import naming_errors
from refold.backends.postgres.schema import guarded, migrations, roles_script, run_script
from refold.backends.postgres.session import Sessions
from refold.backends.postgres.statements import qualified, statement
from refold.errors import UsageError


class PostgresSetup:
    """Makes the store of an address ready for others; nothing is opened before it is asked for."""

    def __init__(self, url: str) -> None:
        if not url.startswith(("postgresql://", "postgres://")):
            raise UsageError(
                "only a store in PostgreSQL has roles: give postgresql://host/database"
            )
        self._address = parsed(url).for_writing()

    def script(self, prefix: str | None, *, roles: bool) -> str:
        """What makes the schema and its roles, or the schema alone; may be run again."""
        schema = self._address.schema
        parts = [
            f'CREATE SCHEMA IF NOT EXISTS "{schema}";\n',
            f"{statement('make_migrations', schema)};\n",
            *(qualified(guarded(*one), schema) for one in enumerate(migrations(), start=1)),
            *([roles_script(schema, prefix)] if roles else []),
        ]
        return "".join(parts)

    def bindings(self, *logins: str) -> list[str]:
        """The SQL that lets logins see the tenant of the address; none for tenant 0."""
        schema, tenant = self._address.schema, self._address.tenant
        values = ", ".join(f"('{login}', {tenant})" for login in logins)
        return [f'INSERT INTO "{schema}".tenants VALUES {values};'] if tenant else []

    def make_roles(self, prefix: str | None) -> None:
        """Make the roles, or bring them up to date; the schema is there.

        Raises :class:`~refold.errors.UsageError` where the address may not, or no prefix was chosen
        and there are such roles of another store.
        """
        script = roles_script(self._address.schema, prefix)
        sessions = Sessions(self._address)
        try:
            with naming_errors(self._address.shown), sessions.lent() as one, one.transaction():
                run_script(one, script)
        finally:
            sessions.close()
