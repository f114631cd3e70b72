"""What an outbox tells its operator while it works: warnings of the logger ``refold.outbox``."""

from __future__ import annotations

import logging
from typing import Final

LOGGER: Final = logging.getLogger("refold.outbox")


def tell_failed(effect: str, *, attempt: int, error: str, next_try_s: float | None) -> None:
    """An attempt at an effect has failed; the next is so many seconds away, None: there is none.

    The facts are attributes of the log record too, by the names of the arguments.
    """
    when = "it is not tried again" if next_try_s is None else f"next try in {next_try_s:.1f} s"
    LOGGER.warning(
        "effect %s: attempt %d failed: %s; %s",
        effect,
        attempt,
        error,
        when,
        extra={"effect": effect, "attempt": attempt, "error": error, "next_try_s": next_try_s},
    )


def tell_unusable(effect: str, *, attempt: int, error: str) -> None:
    """A handler has done an effect, and what it gave cannot be recorded."""
    LOGGER.warning(
        "effect %s: done, and recorded without what its handler gave: %s",
        effect,
        error,
        extra={"effect": effect, "attempt": attempt, "error": error},
    )
