"""What a replay set out to do, kept before its first answer: which conversations, and whom it asks.

So that a run that was cut off tells what it never came to, and that the answers of one endpoint do
not pass for those of another.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Final, NamedTuple

import msgspec
from msgspec.structs import replace

from refold.core.expected import NO_EVENTS
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import UsageError
from refold.hosts import normal_url
from refold.replay.decision import Decision, decisions
from refold.replay.events import ReplayContained, ReplayPlanned
from refold.replay.variant import Variant

CATEGORY: Final = "replay~"
"""The category of the streams that hold plans."""
STREAMS_AN_EVENT_MAX: Final = 1_000
A_FUNCTION: Final = "a function"
"""The endpoint of a variant that a function answers, where an endpoint answered it before."""
_NAME: Final = re.compile(r"replay~plan-([0-9a-f]{12})")


class ReplayPlan(NamedTuple):
    """All that the runs of a variant set out to do.

    ``endpoint`` is the one that the first of them asked; the answers are its. ``versions`` are the
    last ones of the streams when they were planned, at the positions ``planned_at`` of the store:
    what came later is none of it, nor what is before the version that ``since`` has of a stream.
    ``terms`` is what the last run declared, with the streams that it added; ``first`` what was
    declared when a sample of a stream was planned, by stream and sample.
    """

    variant: Variant
    endpoint: str | None
    versions: dict[str, int]
    planned_at: dict[str, int]
    terms: ReplayPlanned
    first: dict[str, dict[int, ReplayPlanned]]
    since: dict[str, int]

    @property
    def streams(self) -> dict[int, list[str]]:
        """The streams of each sample, in order."""
        samples = sorted({sample for of in self.first.values() for sample in of})
        return {n: [stream for stream, of in self.first.items() if n in of] for n in samples}


class ToAsk(NamedTuple):
    """A recorded conversation as far as it was to be asked: its events, and its decisions there.

    ``later`` are the decisions that it went on with after the plan.
    """

    history: list[Recorded]
    decisions: list[Decision]
    later: list[Decision]


def to_ask(history: Sequence[Recorded], stream: str, plan: ReplayPlan | None) -> ToAsk:
    """What was to be asked of a stream, by the plan; all of it where none knows the stream.

    Events that were there already, and which the plan left out, are not ``later``: somebody chose
    how far to go.
    """
    last = None if plan is None else plan.versions.get(stream)
    if plan is None or last is None:
        return ToAsk([*history], decisions(history), [])
    asked, since = [one for one in history if one.version <= last], plan.since.get(stream, 0)
    rest = history[len(asked) :]
    went_on = bool(rest) and rest[0].position > plan.planned_at[stream]
    later = [one for one in decisions(history) if one.version > last] if went_on else []
    return ToAsk(asked, [one for one in decisions(asked) if one.version >= since], later)


def plan_of(store: Store, variant_id: str) -> ReplayPlan | None:
    """The plan of a variant; None where nothing was asked yet."""
    name = plan_name(variant_id)
    events = () if store.head(name) == NO_EVENTS else store.read(name)
    planned = [e for e in events if e.type == "replay.planned"]
    found: list[ReplayPlanned] = [e.to_class(ReplayPlanned) for e in planned]
    if not found:
        return None
    versions: dict[str, int] = {}
    since: dict[str, int] = {}
    planned_at: dict[str, int] = {}
    first: dict[str, dict[int, ReplayPlanned]] = {}
    for recorded, one in zip(planned, found, strict=True):
        declared = dict.fromkeys(range(one.sample, one.sample + one.samples), one)
        for stream in one.streams:
            first[stream] = declared | first.get(stream, {})
        versions |= zip(one.streams, one.versions, strict=False)
        since |= one.since
        planned_at |= dict.fromkeys(one.streams, recorded.position)
    variant = msgspec.convert(found[0].variant, Variant)
    return ReplayPlan(variant, found[0].endpoint, versions, planned_at, found[-1], first, since)


def plans(store: Store) -> Iterator[ReplayPlan]:
    """Every plan in a store."""
    for info in store.streams(category=CATEGORY):
        named = _NAME.fullmatch(info.stream)
        if named is not None and (plan := plan_of(store, named[1])) is not None:
            yield plan


def same_label(store: Store, variant: Variant) -> list[Variant]:
    """Other variants of this one's label: its prompt was edited since, or a parameter."""
    if variant.label is None:
        return []
    kept = [replace(plan.variant, endpoint=variant.endpoint) for plan in plans(store)]
    return [one for one in kept if one.label == variant.label and one != variant]


def answered_by(store: Store, variant: Variant, endpoint: str | None) -> Variant:
    """The variant that the answers of an endpoint (None: of a function) are kept as.

    It is the variant itself, unless another endpoint has answered that already: then it names the
    endpoint, so that it has an id and branches of its own.
    """
    named = None if variant.endpoint is None else normal_url(variant.endpoint)
    if named is not None and named != normal_url(endpoint or A_FUNCTION):
        raise UsageError(
            f"the variant is of the endpoint {variant.endpoint}, and {endpoint or A_FUNCTION} is "
            "asked: leave endpoint= out of the variant, or ask that one",
            argument="variant",
        )
    plan = plan_of(store, variant.id)
    before, now = (
        "" if one is None else normal_url(one) for one in (plan and plan.endpoint, endpoint)
    )
    if plan is None or before == now:
        return variant
    return replace(variant, endpoint=endpoint or A_FUNCTION)


def keep_plan(
    store: Store, terms: ReplayPlanned, versions: Mapping[str, int], *, actor: str | None = None
) -> None:
    """Put what a run sets out to do on record, as far as it is not there yet.

    ``terms`` is all of it but the streams, which ``versions`` has with their last versions. Raises
    :class:`UsageError` where a run of the variant with another endpoint began meanwhile.
    """
    variant = msgspec.convert(terms.variant, Variant)
    name, before = plan_name(variant.id), plan_of(store, variant.id)
    new = versions
    if before is not None and _declared(before.terms) == _declared(terms):
        samples = {*range(terms.sample, terms.sample + terms.samples)}
        new = {
            stream: version
            for stream, version in versions.items()
            if before.versions.get(stream) != version or samples - {*before.first[stream]}
        }
    listed = list(new)
    parts = [
        listed[n : n + STREAMS_AN_EVENT_MAX] for n in range(0, len(listed), STREAMS_AN_EVENT_MAX)
    ]
    if parts:
        events = [replace(terms, streams=of, versions=[new[one] for one in of]) for of in parts]
        at = NO_EVENTS if before is None else store.head(name)
        by = {} if actor is None else {"actor": actor}
        key = hashlib.sha256(msgspec.json.encode([at, events, *by.values()])).hexdigest()
        store.append(name, events, metadata=by, key=f"plan-{key}")
    if answered_by(store, variant, terms.endpoint) != variant:
        raise UsageError(
            f"another endpoint began to answer variant {variant.id} meanwhile: start again, and "
            "the answers are kept apart",
            variant=variant.id,
        )


def close_plan(store: Store, terms: Iterable[ReplayPlanned], contained: ReplayContained) -> None:
    """Put on record what a run reached, after each plan of it that was begun."""
    for one in terms:
        name = plan_name(msgspec.convert(one.variant, Variant).id)
        if store.head(name) != NO_EVENTS:
            store.append(name, [replace(contained, run=one.run)])


def _declared(terms: ReplayPlanned) -> ReplayPlanned:
    """What a run is to be judged by and is not told by its variant, samples and streams."""
    unlike = {"streams": [], "versions": [], "sample": 0, "samples": 1, "run": "", "workers": 0}
    unlike |= {"since": {}}
    return replace(terms, **unlike)


def plan_name(variant_id: str) -> str:
    """The stream that holds the plan of a variant."""
    return f"replay~plan-{variant_id}"
