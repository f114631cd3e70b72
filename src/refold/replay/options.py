"""How a run of a replay goes: how often, how fast, for how much, and what it is judged by."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import Any, Final, NamedTuple

import msgspec

from refold._version import __version__
from refold.breaker import OUTAGE_MAX_S
from refold.conversation.amounts import read_amount
from refold.conversation.events import sha256_of
from refold.errors import is_number, refuse_unless
from refold.pacing import RateLimiter
from refold.replay.budget import Budget
from refold.replay.candidate import Candidate
from refold.replay.decision import Prices
from refold.replay.events import ReplayPlanned
from refold.replay.requests import ATTEMPTS_MAX, Asker
from refold.replay.variant import Variant

WORKERS_MAX: Final = 256
STAGGER_S: Final = 0.02
SAMPLES_MAX: Final = 1_000


class Bounds(NamedTuple):
    """What a run keeps within: requests a second, tokens a second, and what it may spend."""

    limiter: RateLimiter
    tokens: RateLimiter
    budget: Budget


class RunOptions(msgspec.Struct, frozen=True, kw_only=True):
    """The options of :func:`~refold.replay.replay`, by name.

    Each variant is asked ``samples`` times. ``workers`` requests are under way at once;
    ``requests_per_second`` (or ``_per_minute``) start at most, with ``tokens_per_minute`` in and
    out, of each service. Timeouts, 429, 5xx and lost connections are tried up to
    ``attempts_max`` times; while the service is away for all, the run waits, up to
    ``outage_max_s``. ``max_cost`` (US dollars) and
    ``max_tokens`` are held before anything is sent, see :class:`~refold.replay.budget.Budget`;
    where they are spent the run ends, and the summary's ``stopped`` says so. A ``budget`` of both
    counts what others spend of it too, such as a judge. ``primary`` is the
    metric that is declared beforehand, ``margin`` how much of it is as good as nothing, ``judge``
    the id of who judges, ``seed`` that of a sample of conversations: they stand in the plan.
    ``actor`` is who starts the run, as the metadata of the plan says.
    """

    samples: int = 1
    workers: int = 4
    requests_per_second: float | None = None
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None
    attempts_max: int = ATTEMPTS_MAX
    outage_max_s: float = OUTAGE_MAX_S
    max_cost: Decimal | float | str | None = None
    max_tokens: int | None = None
    budget: Budget | None = None
    primary: str | None = None
    margin: float | None = None
    seed: int | None = None
    judge: str | None = None
    actor: str | None = None

    def __post_init__(self) -> None:
        _check_between(1, SAMPLES_MAX, samples=self.samples)
        _check_between(1, WORKERS_MAX, workers=self.workers)
        _check_between(1, None, attempts_max=self.attempts_max)
        _check_between(0, None, max_tokens=0 if self.max_tokens is None else self.max_tokens)
        for name in ("requests_per_second", "requests_per_minute", "tokens_per_minute"):
            RateLimiter(getattr(self, name), name)
        refuse_unless(
            is_number(self.outage_max_s), "a number of seconds", outage_max_s=self.outage_max_s
        )
        if self.max_cost is not None:
            amount = read_amount(self.max_cost)
            refuse_unless(amount is not None, "US dollars", max_cost=self.max_cost)
            msgspec.structs.force_setattr(self, "max_cost", amount)

    def asker(self, candidate: Candidate, prices: Prices) -> Asker:
        """Who asks a candidate so."""
        return self.asker_within(candidate, self.bounds(prices))

    def bounds(self, prices: Prices) -> Bounds:
        """What a run keeps within."""
        a_minute = [self.requests_per_minute, self.tokens_per_minute]
        requests, tokens = (None if rate is None else rate / 60 for rate in a_minute)
        rates = [rate for rate in (self.requests_per_second, requests) if rate is not None]
        cost: Any = self.max_cost
        budget = self.budget or Budget(cost, self.max_tokens, prices)
        budget.counts_tokens |= tokens is not None
        limiter = RateLimiter(min(rates, default=None), stagger_s=STAGGER_S)
        return Bounds(limiter, RateLimiter(tokens), budget)

    def asker_within(self, candidate: Candidate, bounds: Bounds) -> Asker:
        """Who asks a candidate so, within bounds that others may keep too."""
        return Asker(
            candidate,
            **bounds._asdict(),
            attempts_max=self.attempts_max,
            outage_max_s=self.outage_max_s,
        )

    def run(self, variants: Sequence[Variant], sample: int, versions: Mapping[str, int]) -> str:
        """What a run is known by: the same variants, asked of the same, make the same run."""
        every = [[one.id for one in variants], sample, self.samples, versions]
        return hashlib.sha256(msgspec.json.encode(every)).hexdigest()[:12]

    def terms(
        self,
        variant: Variant,
        is_control: bool,
        sample: int,
        run: str,
        asked: tuple[str | None, str | None],
        prices: Prices,
    ) -> ReplayPlanned:
        """What a ``run`` declares of a variant; ``asked`` are model and endpoint."""
        model, endpoint = asked
        # An option stands in the plan by its own name, where that says it.
        planned = {*self.__struct_fields__} & {*ReplayPlanned.__struct_fields__}
        own: Any = {name: getattr(self, name) for name in planned}
        return ReplayPlanned(
            msgspec.to_builtins(variant),
            sample,
            [],
            endpoint,
            role="control" if is_control else "candidate",
            run=run,
            model=variant.model or model,
            prompt_hash="" if variant.prompt is None else sha256_of(variant.prompt),
            code_version=__version__,
            prices=dict(prices),
            **own,
        )


def _check_between(least: int, most: int | None, **given: object) -> None:
    (value,) = given.values()
    right = type(value) is int and value >= least and (most is None or value <= most)
    words = f"a number from {least}" + ("" if most is None else f" to {most}")
    refuse_unless(right, words, **given)
