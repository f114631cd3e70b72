"""Arguments of replays that are of the wrong kind, refused with what to give instead."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from refold.errors import UsageError
from refold.replay.variant import Variant

OPENED: Final = "open it with refold.open; from asyncio, call this in asyncio.to_thread"


def checked_streams(streams: Iterable[str]) -> Iterable[str]:
    """The streams; one name by itself would be taken letter by letter."""
    if isinstance(streams, str):
        raise UsageError(
            f"streams must be a list of streams: give [{streams!r}]", argument="streams"
        )
    return streams


def check_variant(variant: object) -> None:
    """Refuse what is no variant, such as the dict that it could be made of."""
    if not isinstance(variant, Variant):
        raise UsageError(
            f"variant={variant!r} is not a refold.replay.Variant: give Variant(prompt=…)",
            argument="variant",
        )
