"""What a replay records about itself, beside the answers."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Annotated, Any, Final, Literal

from refold.conversation.events import Payload
from refold.core.fingerprint import ADDED
from refold.core.registry import event
from refold.replay.decision import Price

Role = Literal["candidate", "control"]
"""What a variant is in its run: one to be judged, or the recorded agent asked again."""


@event("replay.planned")
class ReplayPlanned(Payload, frozen=True):
    """A run of a replay begins: what it is to ask, whom, and what it is to be judged by.

    ``streams`` are asked as far as they went then: ``versions`` are their last ones, in the same
    order. ``sample`` is the first of ``samples``. ``endpoint`` is the address that is asked, absent
    for a function, and ``model`` what it is asked for where the record is not. ``run`` is the same
    for all variants of one run. ``primary`` is the metric that was declared beforehand, ``margin``
    how much of it is as good as nothing, ``judge`` the id of who judges. ``code_version`` is that
    of refold. ``since`` has the versions from which on streams are asked that are not from their
    beginning.
    """

    variant: dict[str, Any]
    sample: int
    streams: list[str]
    endpoint: str | None = None
    versions: Annotated[list[int], ADDED] = []
    samples: Annotated[int, ADDED] = 1
    role: Annotated[Role, ADDED] = "candidate"
    run: Annotated[str, ADDED] = ""
    model: Annotated[str | None, ADDED] = None
    prompt_hash: Annotated[str, ADDED] = ""
    seed: Annotated[int | None, ADDED] = None
    primary: Annotated[str | None, ADDED] = None
    margin: Annotated[float | None, ADDED] = None
    max_cost: Annotated[Decimal | None, ADDED] = None
    max_tokens: Annotated[int | None, ADDED] = None
    workers: Annotated[int, ADDED] = 0
    code_version: Annotated[str, ADDED] = ""
    prices: Annotated[dict[str, Price], ADDED] = {}
    judge: Annotated[str | None, ADDED] = None
    since: Annotated[dict[str, int], ADDED] = {}


@event("replay.leased")
class ReplayLeased(Payload, frozen=True):
    """A run holds branches: while it gives a sign of life nobody else asks what is to be on them.

    Each such event says all that its ``holder`` holds, the last one nothing. A holder is a machine,
    the number of a process, and a random part.
    """

    holder: str
    branches: list[str]


@event("replay.started")
class ReplayStarted(Payload, frozen=True):
    """A replay of a conversation begins: with which variant, in which mode."""

    variant: dict[str, Any]
    mode: str
    sample: int = 0


@event("replay.diverged")
class ReplayDiverged(Payload, frozen=True):
    """A replay left its record: where and why."""

    at: str
    reason: str
    detail: Any = None


@event("replay.finished")
class ReplayFinished(Payload, frozen=True):
    """A replay is complete: how many decisions were answered and how many failed.

    ``unasked`` are the ids of the recorded tool results that a candidate, which went on with its
    own answers, never asked for.
    """

    answered: int
    failed: int = 0
    unasked: Annotated[list[str], ADDED] = []


class Refusal(Payload, frozen=True):
    """Tried, so many ``times``: ``what`` (such as ``socket.connect``), and ``to`` where.

    ``where`` is the line of code that tried.
    """

    what: str
    to: str
    where: str
    times: int = 1


REFUSED_MAX: Final = 100
"""So many different refusals are told by name; the rest are counted together, as the last."""


def refusals(counted: Mapping[tuple[str, ...], int]) -> list[Refusal]:
    """Each by its name, and what there is beyond them together."""
    every = [
        Refusal(what, to, where, times) for (what, to, where), times in sorted(counted.items())
    ]
    if len(every) <= REFUSED_MAX:
        return every
    rest = every[REFUSED_MAX - 1 :]
    others = Refusal("others", f"{len(rest)} more", "", sum(one.times for one in rest))
    return [*every[: REFUSED_MAX - 1], others]


@event("replay.contained")
class ReplayContained(Payload, frozen=True):
    """A run is over in which tools were stood in for: what the process reached meanwhile.

    ``allowed`` is where it might connect, ``connections`` how often it did, by address; what else
    was tried is ``refused`` and did not happen. ``live`` counts what tools that were read live by
    choice reached: connections, datagrams, programs. ``unseen`` went on although nobody can see
    where it led, as C code that is called by ``ctypes``. All of it is of the process that ran it
    and of those that it forked, or of the workers of a cluster, of which so many as are ``lost``
    were gone before they told.
    """

    run: str
    allowed: list[str] = []
    connections: dict[str, int] = {}
    refused: list[Refusal] = []
    live: dict[str, int] = {}
    unseen: Annotated[list[Refusal], ADDED] = []
    lost: Annotated[int, ADDED] = 0

    @classmethod
    def of_all(cls, parts: Sequence[ReplayContained], lost: int) -> ReplayContained:
        """What several processes reached together, of a run that is yet to be named."""
        connections, live, refused, unseen = (Counter[Any]() for _ in range(4))
        for part in parts:
            connections.update(part.connections)
            live.update(part.live)
            refused.update({(one.what, one.to, one.where): one.times for one in part.refused})
            unseen.update({(one.what, one.to, one.where): one.times for one in part.unseen})
        return cls(
            run="",
            allowed=sorted({place for part in parts for place in part.allowed}),
            connections=dict(sorted(connections.items())),
            refused=refusals(refused),
            live=dict(sorted(live.items())),
            unseen=refusals(unseen),
            lost=lost,
        )


@event("dataset.versioned")
class DatasetVersioned(Payload, frozen=True):
    """The next version of a dataset: the ids of the events up to which conversations are in it.

    ``chosen_by`` says how they were chosen.
    """

    items: list[str]
    chosen_by: dict[str, Any] = {}


@event("judge.answered")
class JudgeAnswered(Payload, frozen=True):
    """A judge model said which of two answers is better: 1 or 2 in the order shown, 0 for neither.

    ``judge`` is its id, ``at`` the decision; ``question`` is a hash of that and of both answers.
    """

    judge: str
    at: str
    question: str
    choice: int
    said: str
