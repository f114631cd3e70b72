"""What the commands have in common that take personal data out of a store."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import click

import refold
from refold.cli import config, output
from refold.cli.options import opened, option, together
from refold.cli.text import clean, counted
from refold.errors import UsageError

if TYPE_CHECKING:
    from refold.privacy.erasure import Erased
    from refold.privacy.policy import RetentionClass
    from refold.privacy.privacy import Privacy
    from refold.privacy.removing import Removed, ValueChange

SHOWN_MAX: Final = 1_000
keyring_option: Final = option(
    "--keyring",
    envvar="REFOLD_KEYRING",
    metavar="FILE",
    help="The keys of what is encrypted; REFOLD_KEYRING_KEYS may hold it instead.",
)
removing_options = together(
    option("--reason", required=True, metavar="TEXT", help="Why."),
    option("--by", metavar="NAME", help="By whose word."),
    keyring_option,
    option("--dry-run", is_flag=True, help="List what would go, and change nothing."),
)


@contextmanager
def removing(
    url: str,
    purpose: str,
    *,
    reason: str = "",
    by: str | None = None,
    keyring: str | None = None,
    despite_floor: bool = False,
) -> Iterator[tuple[refold.Store, dict[str, Any]]]:
    """A store to take something out of, with its keyring where one is given; and why, and how."""
    from refold.privacy.removing import Removal

    reads = unlocking(keyring, actor=by or "refold", purpose=purpose)
    how: Any = {} if reads is None else {"privacy": reads}
    why = Removal(reason, by, classes(), despite_floor)
    with opened(url, mode="write", **how) as store, output.progress(purpose) as tell:
        yield store, {"wanted": why, "progress": lambda done, whole: tell(done, whole)}


def unlocking(keyring: str | None, *, actor: str, purpose: str) -> Privacy | None:
    """How a store is opened with the keyring that a file or the environment holds, if any does."""
    from refold.privacy.keyring import PASSPHRASE, keyring_of_environment, load_keyring
    from refold.privacy.privacy import Privacy

    keys = keyring_of_environment()
    if keyring is not None:
        keys = load_keyring(keyring, passphrase=os.environ.get(PASSPHRASE, ""))
    return None if keys is None else Privacy(keys, actor=actor, purpose=purpose)


def classes() -> dict[str, RetentionClass]:
    """The retention classes of the settings: their table `retention`, by category.

    A file that was found here may say that something is kept longer, not that it goes sooner.
    """
    from refold.privacy.policy import read_classes

    named = click.get_current_context().meta.get(config.NAMED_FILE)
    own, found, file = config.free_table("retention", named)
    ceilings = sorted(name for name, one in found.items() if "ceiling" in one)
    if ceilings:
        said = f"{file}: ignored the ceilings of {', '.join(ceilings)}: if it is yours, --config"
        output.note(f"{said} {file}")
    floors = {
        name: {key: value for key, value in one.items() if key != "ceiling"}
        for name, one in found.items()
    }
    return read_classes(own | {name: one for name, one in floors.items() if name not in own})


def lines_of(changes: Sequence[ValueChange]) -> Iterator[str]:
    """What goes, a line an event, and of how many more."""
    for one in changes[:SHOWN_MAX]:
        yield clean(f"{one.event.id}  {one.pointer or '(all of it)'}  {one.method}")
    if len(changes) > SHOWN_MAX:
        yield f"and {counted(len(changes) - SHOWN_MAX, 'event')} more"


def shown(told: Removed | Erased) -> dict[str, Any]:
    """What went, as JSON values."""
    changes = [
        {"event": o.event.id, "pointer": o.pointer, "method": o.method} for o in told.changes
    ]
    checks = [one._asdict() for one in told.checks]
    return {"done": told.is_done, "changes": changes, "checks": checks}


def checked(checks: Sequence[tuple[str, bool, str]]) -> Iterator[str]:
    """What the parts of the storage answered."""
    for name, good, detail in checks:
        sign = output.styled("ok  ", fg="green") if good else output.styled("LEFT", fg="red")
        yield f"{sign} {name}: {clean(detail)}"


def span_of(text: str) -> tuple[int, int]:
    """A stretch of a text, as ``10:25``."""
    start, colon, end = text.partition(":")
    try:
        return int(start or 0), int(end) if colon else int(start) + 1
    except ValueError as error:
        raise UsageError(f"{text!r} is no stretch of a text, such as 10:25") from error
