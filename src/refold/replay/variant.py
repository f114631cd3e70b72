"""Variants: what a replay changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from refold.errors import UsageError

NEXT_STEP: Final = "next-step"
NOT_MEASURED: Final = (
    "next-step: at each decision the candidate saw the conversation exactly as it was recorded up "
    "to there and answered once. This does not show where its own answers would have led, what "
    "its own tool calls would have returned, or whether the conversation would have ended well."
)
RESERVED_PARAMS: Final = frozenset({"messages", "model", "n", "stream", "tools"})
REPLAY_MARK: Final = "~replay-"
"""What stands between a stream's name and the variant in the name of a replay's branch."""
OPENED: Final = "open it with refold.open; from asyncio, call this in asyncio.to_thread"
_ID_LENGTH: Final = 12


class Variant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a candidate gets instead of what was recorded; None leaves it as it was.

    ``prompt`` takes the place of the system message, or is added where there was none. ``tools``
    are OpenAI tools (or only their ``function`` part); an empty list takes all tools away.
    ``params`` (such as ``temperature``) are laid over the recorded ones. ``label`` tells apart
    candidates that differ in what is not said here, such as two functions: it is part of the id.
    ``endpoint`` is put there by :func:`replay` where another endpoint answered the same before.
    """

    prompt: str | None = None
    model: str | None = None
    tools: list[dict[str, Any]] | None = None
    params: dict[str, Any] = {}
    label: str | None = None
    endpoint: str | None = None

    def __post_init__(self) -> None:
        if taken := sorted(RESERVED_PARAMS & self.params.keys()):
            raise UsageError(
                f"params cannot hold {taken[0]!r}: it is part of every request; "
                "use prompt=, model= or tools=",
                argument="params",
                names=taken,
            )

    @property
    def id(self) -> str:
        """Twelve hex digits of SHA-256 over the canonical JSON: equal variants, equal ids."""
        canonical = msgspec.json.encode(self, order="deterministic")
        return hashlib.sha256(canonical).hexdigest()[:_ID_LENGTH]


class ReplayResult(msgspec.Struct, frozen=True, kw_only=True):
    """Base of what tells of a replay: of which one, how it was made, what that does not show."""

    mode: str = NEXT_STEP
    not_measured: str = NOT_MEASURED
    variant: Variant
    variant_id: str
    sample: int


def branch_name(stream: str, variant: Variant, sample: int = 0) -> str:
    """The branch that holds a replay: ``call-42~replay-<variant id>-<sample>``."""
    return f"{stream}{REPLAY_MARK}{variant.id}-{sample}"


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
