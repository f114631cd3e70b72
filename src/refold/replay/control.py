"""The control of a comparison (A/A): the recorded agent asked again, and nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from refold.conversation.events import AgentConfigured
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import UsageError
from refold.replay.decision import Decision
from refold.replay.request import configured_by
from refold.replay.variant import Variant

CONTROL: Final = "control"
"""The label of a control."""
OF_NOISE: Final = frozenset({"seed", "user", "safety_identifier", "metadata", "store"})
"""Parameters that a control may have of its own: they change nothing but chance, or nothing."""


def control_of(store: Store, streams: Sequence[str], variant: Variant) -> Variant:
    """The recorded agent again, to be asked beside a variant.

    Where the first of the streams names no model, it is asked of the variant's; raises
    :class:`~refold.errors.UsageError` where that is all that the variant changes.
    """
    model = configured_by(store.read(streams[0])).model
    if model is not None or variant.model is None:
        return Variant(label=CONTROL)
    if variant.prompt is None and variant.tools is None and not variant.params:
        raise UsageError(
            f"the record of {streams[0]} names no model, so nothing tells the recorded agent from "
            f"{variant.model}: a control cannot be asked",
            argument="control",
        )
    return Variant(label=CONTROL, model=variant.model)


def check_control(control: Variant) -> None:
    """Refuse a control that changes what the agent was told or could do."""
    changed = [name for name in ("prompt", "tools") if getattr(control, name) is not None]
    if changed:
        raise _no_control(f"changes the {changed[-1]}")


def check_recorded(control: Variant, recorded: Iterable[Decision]) -> None:
    """Refuse a control that asked another model than was recorded, or with other parameters.

    Where the record names no model, or not that parameter, nobody can tell, and it is let pass.
    """
    seen: Recorded | None = None
    for decision in recorded:
        if decision.configured is None or decision.configured is seen:
            continue
        seen = decision.configured
        configured = seen.to_class(AgentConfigured)
        model, params = configured.model, configured.params
        if control.model is not None and model is not None and control.model != model:
            raise _no_control(f"asks {control.model}, where {decision.at} was {model}")
        for name, value in control.params.items():
            if name not in OF_NOISE and name in params and params[name] != value:
                was = f"{name}={params[name]!r}"
                raise _no_control(f"has {name}={value!r}, where {decision.at} had {was}")


def _no_control(what: str) -> UsageError:
    return UsageError(
        f"the control {what}: a control is the recorded agent again, so that what differs is "
        "noise; compare with that as another candidate",
        argument="control",
    )
