"""`refold init`."""

from __future__ import annotations

import click

import refold
from refold.cli import output
from refold.cli.options import command, no_effect, option
from refold.cli.text import address
from refold.errors import NotFound, UsageError


@command("init")
@click.argument("store", required=False, metavar="[URL]")
@option("--roles", is_flag=True, help="Make a writer, a reader and a maintainer too (PostgreSQL).")
@option("--prefix", metavar="NAME", help="What their names begin with.  [default: refold]")
@option("--print", "sql", is_flag=True, help="Print the SQL instead of running it.")
def init_command(url: str, store: str | None, roles: bool, prefix: str | None, sql: bool) -> None:
    """Make a store, and the roles of those who share it.

    Or bring one up to date; nothing that is there is lost, and it may be run again. With --roles it
    prints how logins become writers, who only append and read, readers, or maintainers. It needs a
    superuser, or a role with CREATEROLE that owns the store. Roles are of the whole server: where
    another store has those of the name refold, --prefix is to be given.

        refold init agents.db
        refold init postgresql://admin@db.example/agents --roles
        refold init postgresql://admin@db.example/agents --roles --print | psql -1 agents
    """
    if not roles:
        no_effect("without --roles", "prefix")
    where = store or url
    if sql:
        from refold.roles import setup_sql

        output.line(setup_sql(where, prefix=prefix, roles=roles), end="")
        return
    done = _done_by_opening(where)
    output.show({"store": address(where), "state": done}, f"{done} {address(where)}")
    if roles:
        from refold.roles import make_roles

        made = make_roles(where, prefix=prefix)
        output.show(made._asdict(), made.grants)


def _done_by_opening(where: str) -> str:
    """What opening a store comes to: it is made, or brought up to date, or was there."""
    done = "is up to date:"
    try:
        refold.open(where, mode="read").close()
    except NotFound:
        done = "made"
    except UsageError as error:
        if error.code != "older_schema":
            raise
        done = "brought up to date:"
    refold.open(where).close()
    return done
