"""A replay beside its record: by decision, by conversation, and as a whole."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import UsageError, refuse_unless
from refold.replay.actions import ConversationComparison, compare_conversation
from refold.replay.decision import Decision, decisions
from refold.replay.figures import Figures, Paired, figures, paired
from refold.replay.journal import answers_on
from refold.replay.variant import (
    OPENED,
    ReplayResult,
    Variant,
    branch_name,
    check_variant,
    checked_streams,
)


class Control(msgspec.Struct, frozen=True, kw_only=True):
    """Another replay of the same conversations, with nothing changed: the noise floor (A/A).

    ``paired`` sets the candidate against it.
    """

    variant: Variant
    variant_id: str
    sample: int
    figures: Figures
    paired: Paired


class Comparison(ReplayResult, frozen=True, kw_only=True):
    """A replay compared with its record; ``mode`` says how every figure here was made.

    ``not_measured`` says in a sentence what that mode does not show. ``msgspec.json.encode`` and
    ``msgspec.to_builtins`` turn it into JSON, the same log into the same bytes.
    """

    figures: Figures
    control: Control | None
    conversations: list[ConversationComparison]


def compare(
    store: Store,
    streams: Iterable[str],
    variant: Variant,
    *,
    control: Variant | None = None,
    sample: int = 0,
    control_sample: int = 0,
) -> Comparison:
    """Compare what a replay of ``variant`` put on the streams' branches with what was recorded.

    ``control`` is the variant of an A/A replay of the same streams (or the same variant as another
    ``control_sample``). Decisions that were not replayed count as missing. Raises
    :class:`~refold.errors.NotFound` for a stream that does not exist,
    :class:`~refold.errors.UsageError` for a control that changes the prompt or the tools.
    """
    check_store(store, call="compare", instead=OPENED)
    check_variant(variant)
    if control is not None:
        refuse_unless(isinstance(control, Variant), "a refold.replay.Variant", control=control)
        _check_control(control, is_candidate=(control.id, control_sample) == (variant.id, sample))
    recorded = {stream: decisions(store.read(stream)) for stream in checked_streams(streams)}
    compared = _compared(store, recorded, variant, sample)
    noise = None
    if control is not None:
        again = _compared(store, recorded, control, control_sample)
        noise = Control(
            variant=control,
            variant_id=control.id,
            sample=control_sample,
            figures=figures(again),
            paired=paired(compared, again),
        )
    return Comparison(
        variant=variant,
        variant_id=variant.id,
        sample=sample,
        figures=figures(compared),
        control=noise,
        conversations=compared,
    )


def _compared(
    store: Store, recorded: dict[str, list[Decision]], variant: Variant, sample: int
) -> list[ConversationComparison]:
    branches = {stream: branch_name(stream, variant, sample) for stream in recorded}
    return [
        compare_conversation(stream, branch, recorded[stream], answers_on(store, branch))
        for stream, branch in branches.items()
    ]


def _check_control(control: Variant, *, is_candidate: bool) -> None:
    changed = [name for name in ("prompt", "tools") if getattr(control, name) is not None]
    if changed:
        raise UsageError(
            f"the control changes the {changed[-1]}: a control is the recorded agent again, so "
            "that what differs is noise",
            argument="control",
        )
    if is_candidate:
        raise UsageError(
            "the control is the candidate itself: give another variant or control_sample=",
            argument="control",
        )
