"""Running a replay: what is to be asked is planned, what is missing is asked."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace as with_fields
from typing import Any, Literal, Protocol

from refold.core.expected import NO_EVENTS
from refold.engine.checks import check_given, check_progress
from refold.engine.store import Store
from refold.engine.store_check import check_store
from refold.errors import NotFound, UsageError, refuse_unless
from refold.replay.candidate import Candidate, ChatEndpoint
from refold.replay.clients import ClientCandidate, candidate_of
from refold.replay.decision import Prices, check_prices
from refold.replay.leases import Waits
from refold.replay.options import RunOptions
from refold.replay.plan import answered_by
from refold.replay.running import Progress, RunningReplay
from refold.replay.summary import ReplaySummary as ReplaySummary
from refold.replay.variant import NEXT_STEP, OPENED, Variant, check_variant, checked_streams
from refold.replay.work import Machines, Work, carry_out


class Mode(Protocol):
    """Another way to ask than decision by decision, such as :class:`refold.freerun.FreeRun`."""

    def stamped(self, variant: Variant) -> Variant:
        """The variant that its answers are kept as."""
        ...

    def running(self) -> Callable[..., RunningReplay]:
        """What makes a run of it; it can be pickled where its parts can."""
        ...


def replay(
    store: Store,
    streams: Iterable[str] | Mapping[str, int | None],
    variant: Variant | Sequence[Variant],
    candidate: Candidate,
    *,
    control: Variant | None = None,
    mode: Literal["next-step"] | Mode = NEXT_STEP,
    sample: int = 0,
    prices: Prices | None = None,
    progress: Progress | None = None,
    waits: Waits | None = None,
    on: Machines | None = None,
    **options: Any,
) -> ReplaySummary:
    """Ask ``candidate`` at every decision of the streams what it would do, and record it.

    Where ``streams`` is a mapping, as :attr:`Dataset.versions` is, each is asked up to its version.
    At each decision it gets the recorded conversation so far with only ``variant`` changed, and
    answers once; with ``mode=refold.freerun.FreeRun()`` it goes on with its own answers. Several
    variants, and a ``control`` that is the recorded agent asked again, are asked in turn at each
    decision. What is to be asked, and what it is to be judged by, is put on record before the first
    answer: see :class:`~refold.replay.events.ReplayPlanned`. Answers are saved on a branch a
    conversation (see :func:`branch_name`), each under a key, so running again asks only what is
    missing or failed; what was under way when a process was killed is asked again, at most
    ``workers`` requests. Runs at the same time share the work: what another asks is kept (see
    :mod:`refold.replay.leases`); ``waits`` is told of how many conversations where a run waits for
    that. ``sample`` numbers independent runs of one variant. The answers of another endpoint than
    the first are kept as a variant that names it: that of the summary. ``prices`` gives the cost
    where the provider does not. ``on`` are other machines that ask (:class:`refold.ray.OnRay`),
    ``options`` those of :class:`~refold.replay.options.RunOptions`.

    All of it runs on one event loop, on a thread of its own, from which ``progress`` is called; a
    candidate that is a plain function is called on further threads. Ctrl-C keeps every answer that
    has come. Raises :class:`~refold.errors.NotFound` for a stream that does not exist, before
    anything is asked, and :class:`~refold.errors.Unavailable` when the candidate cannot be reached
    or gets nowhere.
    """
    check_store(store, call="replay", instead=OPENED)
    candidate = candidate_of(candidate)
    check_progress(progress)
    check_prices(prices)
    check_given(sample=sample)
    given = _checked_variants(variant, control)
    how, (variants, making) = RunOptions(**options), _made_in(mode, given)
    model, endpoint = _asked(candidate)
    if on is not None:
        on.check(store)
    asked = [answered_by(store, one, endpoint) for one in variants]
    work = Work(asked, sample, candidate, model, prices or {}, how, making=making)
    run = work.running(store, progress, waits)
    run.plan(checked_streams(streams), streams if isinstance(streams, Mapping) else {})
    if not run.is_whole:
        known_by = how.run(asked, sample, run.versions)
        run.terms = [
            how.terms(one, its is control, sample, known_by, (model, endpoint), prices or {})
            for one, its in zip(asked, given, strict=True)
        ]
        carry_out(run, with_fields(work, terms=[*run.terms], versions=run.versions), on)
    return run.summary


def _asked(candidate: Candidate) -> tuple[str | None, str | None]:
    """The model and the endpoint that are asked, as far as the candidate says."""
    if isinstance(candidate, ChatEndpoint | ClientCandidate):
        return candidate.model, candidate.url
    return None, None


def _made_in(
    mode: object, variants: list[Variant]
) -> tuple[list[Variant], Callable[..., RunningReplay]]:
    """The variants and what makes the run, of a mode."""
    if mode == NEXT_STEP:
        return variants, RunningReplay
    is_known = not isinstance(mode, str) and hasattr(mode, "stamped")
    known = f"{NEXT_STEP!r} or a refold.freerun.FreeRun(); verify() looks at the record"
    refuse_unless(is_known, known, mode=mode)
    own: Any = mode
    return [own.stamped(one) for one in variants], own.running()


def _checked_variants(variant: object, control: object) -> list[Variant]:
    """The variants of a run, the control first; each once."""
    several = isinstance(variant, Sequence) and not isinstance(variant, str)
    given: list[Any] = [*variant] if isinstance(variant, Sequence) and several else [variant]
    every = [*([] if control is None else [control]), *given]
    refuse_unless(bool(given), "a Variant, or several", variant=variant)
    for one in every:
        check_variant(one)
    if len({one.id for one in every}) < len(every):
        raise UsageError("two variants are the same: give one of them a label", argument="variant")
    return every


def select(store: Store, *, streams: Sequence[str] = (), category: str | None = None) -> list[str]:
    """The streams to replay: those named, and those of a category; each once, branches left out.

    Named branches stay. Raises :class:`~refold.errors.NotFound` for a name that does not exist and
    for a category without streams other than branches.
    """
    check_store(store, call="select", instead=OPENED)
    for stream in checked_streams(streams):
        if store.head(stream) == NO_EVENTS:
            raise NotFound(f"there is no stream {stream!r}", stream=stream)
    found = [] if category is None else [i.stream for i in store.streams(category=category)]
    if category is not None and all("~" in stream for stream in found):
        raise NotFound(f"no stream but branches is in category {category!r}", category=category)
    return list(dict.fromkeys([*streams, *(stream for stream in found if "~" not in stream)]))
