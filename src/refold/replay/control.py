"""The control of a comparison (A/A): the recorded agent asked again, and nothing else."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Final, NamedTuple

from refold.conversation.events import AgentConfigured
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import UsageError
from refold.hosts import normal_url
from refold.replay.decision import Decision
from refold.replay.events import ReplayPlanned
from refold.replay.request import configured_by
from refold.replay.variant import NEXT_STEP, Variant
from refold.secrecy import without_keys

CONTROL: Final = "control"
"""The label of a control."""
OF_NOISE: Final = frozenset({"seed", "user", "safety_identifier", "metadata", "store"})
"""Parameters that a control may have of its own: they change nothing but chance, or nothing."""
LATENCY: Final = "latency_ms"
"""The metric that depends on how many were asked at once."""


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


def check_control(control: Variant, mode: str = NEXT_STEP) -> None:
    """Refuse a control that changes what the agent was told or could do, or was asked otherwise."""
    if control.made != mode:
        raise UsageError(
            f"the candidate was asked in the mode {mode}, the control in {control.made}: what "
            "differs would be the mode's; ask both in one run, with control=",
            argument="control",
        )
    changed = [name for name in ("prompt", "tools") if getattr(control, name) is not None]
    if changed:
        raise _no_control(f"changes the {changed[-1]}")


def check_other(branches: Sequence[str]) -> None:
    """Refuse a control whose answers are the candidate's own."""
    if len({*branches}) < len(branches):
        raise UsageError(
            "the control is the candidate itself: give another variant or control_sample=",
            argument="control",
        )


def check_recorded(
    control: Variant, recorded: Iterable[Decision], asked: Collection[ReplayPlanned] = ()
) -> None:
    """Refuse a control that asked another model than was recorded, elsewhere, or otherwise.

    ``asked`` is what its runs declared, the first first: an endpoint may have a model of its own.
    Where the record names no model, no address, or not that parameter, nobody can tell, and it is
    let pass.
    """
    asks = next((one.model for one in asked), control.model)
    # An older record may have the whole path.
    places = {_place(one.endpoint) for one in asked if one.endpoint}
    seen: Recorded | None = None
    for decision in recorded:
        if decision.url and places - {place := _place(decision.url)}:
            raise _no_control(f"asks {min(places)}, where {decision.at} asked {place}")
        if decision.configured is None or decision.configured is seen:
            continue
        seen = decision.configured
        configured = seen.to_class(AgentConfigured)
        if asks is not None and configured.model not in (None, asks):
            raise _no_control(f"asks {asks}, where {decision.at} was {configured.model}")
        for name, value in control.params.items():
            said = configured.params.get(name, value)
            if name not in OF_NOISE and said != value:
                raise _no_control(f"has {name}={value!r}, where {decision.at} had {name}={said!r}")


def _place(address: str) -> str:
    return without_keys(normal_url(address))


class Promised(NamedTuple):
    """What candidate and control were promised of one another, as far as it was kept.

    ``is_timed`` says whether their times can be compared; ``said`` what does not hold, in
    sentences.
    """

    is_timed: bool = True
    said: Sequence[str] = ()


def promised(
    candidate: Iterable[ReplayPlanned],
    control: Iterable[ReplayPlanned] = (),
    *,
    asked: Collection[str],
) -> Promised:
    """What two sides were asked under; what an older version has not declared is not known.

    Raises :class:`UsageError` where times that do not compare are among the metrics ``asked`` for.
    """
    sides, said = ([*candidate], [*control]), list[str]()
    runs = [{one.run for one in side if one.run} for side in sides]
    workers = [sorted({one.workers for one in side if one.workers}) for side in sides]
    if all(runs) and runs[0] != runs[1]:
        said.append(
            "The control was asked in another run, not in turn with the candidate: what changed at "
            "the service between the two is in the difference."
        )
    if is_untimed := all(workers) and workers[0] != workers[1]:
        one, other = (" and ".join(map(str, each)) for each in workers)
        said.append(
            f"The candidate was asked by {one} workers, the control by {other}: their times are "
            "not compared."
        )
        if LATENCY in asked:
            raise UsageError(f"{said[-1]} Ask both in one run, with control=", argument="control")
    return Promised(not is_untimed, said)


def _no_control(what: str) -> UsageError:
    return UsageError(
        f"the control {what}: a control is the recorded agent again, so that what differs is "
        "noise; compare with that as another candidate",
        argument="control",
    )
