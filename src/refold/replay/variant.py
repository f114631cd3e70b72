"""Variants: what a replay changes."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Any, Final

import msgspec

from refold.engine.checks import check_given
from refold.errors import UsageError, refuse_unless, shown

NEXT_STEP: Final = "next-step"
NOT_MEASURED: Final = (
    "next-step: at each decision the candidate saw the conversation exactly as it was recorded up "
    "to there and answered once. This does not show where its own answers would have led, what "
    "its own tool calls would have returned, or whether the conversation would have ended well."
)
FREE_RUN: Final = "free-run"
SIMULATED_USER: Final = "simulated-user"
MODES: Final = {
    NEXT_STEP: NOT_MEASURED,
    FREE_RUN: (
        "free-run: the candidate went on with its own answers, and was told what the recorded user "
        "said as long as it did what was recorded; what follows its first other action is "
        "conditional, as that user answered another agent, and is left out of every rate here. "
        "This does not show how a user would have answered it."
    ),
    SIMULATED_USER: (
        "simulated-user: the candidate went on with its own answers, and was told what the "
        "recorded user said as long as it did what was recorded; after its first other action a "
        "stand-in played the user, and all of that is conditional and left out of every rate here. "
        "This does not show what a person would have done: the stand-in has faults of its own."
    ),
}
"""The modes in which answers are made, each with what it does not show."""
RESERVED_PARAMS: Final = frozenset({"messages", "model", "n", "stream", "tools"})
REPLAY_MARK: Final = "~replay-"
"""What stands between a stream's name and the variant in the name of a replay's branch."""
OPENED: Final = "open it with refold.open; from asyncio, call this in asyncio.to_thread"
_ID_LENGTH: Final = 12
SAMPLES_MAX: Final = 10**9


class Variant(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a candidate gets instead of what was recorded; None leaves it as it was.

    ``prompt`` takes the place of the system message, or is added where there was none. ``tools``
    are OpenAI tools (or only their ``function`` part); an empty list takes all tools away.
    ``params`` (such as ``temperature``) are laid over the recorded ones. ``label`` tells apart
    candidates that differ in what is not said here, such as two functions: it is part of the id.
    ``endpoint`` is put there by :func:`replay` where another endpoint answered the same before.
    ``agent`` names the agent that all this is for, as ``agent.configured`` does: while another one
    is in force it is asked as recorded. ``mode``, ``user`` and ``tool_policies`` are put there by
    :func:`replay` too, where answers were made otherwise than decision by decision: how, by who
    stood in for the user, and what for tools.
    """

    prompt: str | None = None
    model: str | None = None
    tools: list[dict[str, Any]] | None = None
    params: dict[str, Any] = {}
    label: str | None = None
    endpoint: str | None = None
    agent: str | None = None
    mode: str | None = None
    user: str | None = None
    tool_policies: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        for name in ("prompt", "model", "label", "endpoint", "agent", "mode", "user"):
            said = getattr(self, name)
            refuse_unless(isinstance(said, str | None), "text, or None", **{name: said})
        tools = self.tools
        right = isinstance(tools, list | None) and all(isinstance(t, dict) for t in tools or ())
        refuse_unless(right, "a list of tools, each an object", tools=tools)
        right = isinstance(self.params, dict) and all(isinstance(name, str) for name in self.params)
        refuse_unless(right, "a dict of parameters by name", params=self.params)
        if taken := sorted(RESERVED_PARAMS & self.params.keys()):
            raise UsageError(
                f"params cannot hold {taken[0]!r}: it is no parameter; what a "
                "variant changes beside these has a name of its own",
                argument="params",
                names=taken,
            )

    @property
    def made(self) -> str:
        """The mode in which its answers are made."""
        return self.mode or NEXT_STEP

    @property
    def id(self) -> str:
        """Twelve hex digits of SHA-256 over the canonical JSON: equal variants, equal ids."""
        try:
            canonical = msgspec.json.encode(self, order="deterministic")
        except (TypeError, ValueError, RecursionError) as error:
            raise UsageError(f"a variant must be JSON: {error}", argument="variant") from error
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
    check_variant(variant)
    refuse_unless(isinstance(stream, str), "the name of a stream", stream=stream)
    check_given(sample=sample)
    refuse_unless(0 <= sample < SAMPLES_MAX, "the number of a sample, from 0", sample=sample)
    return f"{stream}{REPLAY_MARK}{variant.id}-{sample}"


def checked_streams(streams: Iterable[str]) -> Iterable[str]:
    """The streams; one name by itself would be taken letter by letter."""
    if isinstance(streams, str):
        raise UsageError(
            f"streams must be a list of streams: give [{streams!r}]", argument="streams"
        )
    refuse_unless(isinstance(streams, Iterable), "a list of streams", streams=streams)
    listed = list(streams)
    right = all(isinstance(stream, str) for stream in listed)
    refuse_unless(right, "a list of the names of streams", streams=listed)
    return listed


def check_variant(variant: object) -> None:
    """Refuse what is no variant, such as the dict that it could be made of."""
    if not isinstance(variant, Variant):
        raise UsageError(
            f"variant={shown(variant)} is not a refold.replay.Variant: give Variant(prompt=…)",
            argument="variant",
        )
