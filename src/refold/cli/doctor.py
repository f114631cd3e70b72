"""`refold doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Final

import refold
from refold import times
from refold.audit.verifying import check_sealed
from refold.capture.exact import check_exact
from refold.cli import output
from refold.cli.errors import FINDING, FINE
from refold.cli.options import command, opened, option
from refold.cli.private import open_store
from refold.cli.text import address
from refold.errors import BackendError, Corrupt
from refold.privacy.decisions import check_decided
from refold.privacy.stored import check_in_clear
from refold.privacy.unprotected import check_unprotected

OF_THE_SERVER: Final = ("server ", "indexes", "partitions", "projections", "roles")
"""So begin the names of checks of a shared store that find no harm done to its log."""


@command("doctor")
@option(
    "--repair",
    is_flag=True,
    help="First make again what can be made from the log: indexes, views, tags, snapshots.",
)
@option(
    "--restart-clock",
    is_flag=True,
    help="First let time begin again: the clock is right, and the log's last time was wrong.",
)
def doctor_command(url: str, repair: bool, restart_clock: bool) -> int:
    """Check a store from end to end.

    The file, its schema, its positions, versions, bodies and times are looked at, whether captured
    calls come back to the byte, whether an append would be stored, and whether the clock stands
    behind the log. Told is also what reads as personal and is not encrypted, as in metadata. Reads
    everything and changes nothing; with --repair it says what it does, and still never touches the
    log; --restart-clock appends one event. Exits with 1 when a check fails.

        refold doctor --db agents.db
        refold doctor --db agents.db --repair
    """
    try:
        if restart_clock:
            with open_store(url, mode="write") as store:
                when = times.rfc3339(times.restart_clock(store).recorded_at_us)
            output.show({"restarted_at": when}, f"did  time begins again at {when}")
        bad = _looked_at(url, repair=repair)
    except Corrupt as damage:
        bad = _shown("readable", False, damage.message.partition("; run `refold doctor`")[0])
    is_shared = url.startswith(("postgresql://", "postgres://"))
    harmless = (*times.CHECKS, *OF_THE_SERVER) if is_shared else times.CHECKS
    if not all(name.startswith(harmless) for name in bad):
        here = f"move the file away, and `refold restore BACKUP --db {address(url)}`"
        there = "restore one into a new database, and let nobody write to this one"
        what = "what is missing from the log only a backup has"
        output.note(f"{what}: {there if is_shared else here}")
    return FINDING if bad else FINE


def _looked_at(url: str, *, repair: bool) -> list[str]:
    """The checks that found something."""
    if repair:
        with open_store(url, mode="write") as store:
            for done in store.repair():
                output.show({"repaired": done}, f"did  {done}")
    with opened(url) as store:
        checks = (
            *(*store.check(), *_exact(store), *times.check_times(store)),
            *(*check_sealed(store), *check_decided(store)),
        )
        bad = [name for check in checks for name in _shown(*check)]
        with suppress(BackendError, Corrupt):  # What cannot be read was told before.
            for name, _, detail in (*check_in_clear(store), *check_unprotected(store)):
                shown = {"check": name, "good": True, "warning": True, "detail": detail}
                output.show(shown, f"{output.styled('look', fg='yellow')} {name}: {detail}")
        return bad


def _exact(store: refold.Store) -> Iterator[tuple[str, bool, str]]:
    """Of what is in an archive that is not given here, nothing is said that was not looked at."""
    try:
        yield from check_exact(store)
    except BackendError as error:
        if error.code != "month_detached":
            raise
        yield "exact bytes", True, f"not looked at: {error.message}"


def _shown(name: str, good: bool, detail: str) -> list[str]:
    """The name, where it is not good."""
    word = output.styled("ok  ", fg="green") if good else output.styled("BAD ", fg="red", bold=True)
    output.show({"check": name, "good": good, "detail": detail}, f"{word} {name}: {detail}")
    return [] if good else [name]
