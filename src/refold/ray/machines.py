"""A run handed out to a Ray cluster in parts, each asked where there is room for it."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from itertools import count
from math import ceil
from typing import Any, Final, NamedTuple

import msgspec

from refold.engine.store import Store
from refold.errors import RefoldError, Unavailable, UsageError, refuse_unless
from refold.extras import needs
from refold.privacy.protected import Protected
from refold.ray.grants import UNDER_WAY_MAX, Grants, gone
from refold.ray.part import Order, ask_part
from refold.replay.requests import GRACE_S
from refold.replay.running import RunningReplay
from refold.replay.work import Work

PARTS_A_WORKER: Final = 8
"""Into so many parts the share of each worker is cut: what is left at the end is shared too."""
CONVERSATIONS_MAX: Final = 1_000
"""The most conversations of a part."""
LOST_MAX: Final = 10
"""So often the worker of one part may be lost before the run ends."""
LOOKS_S: Final = 0.5
"""How often it looks how far the parts are."""
_SETTINGS: Final = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
"""Nobody is told of a run, and no machine installs anything for it."""
CONNECTS_MAX: Final = 3
"""So often it is connected to a cluster that is there and did not get the connection going."""
_NOT_STARTED: Final = "Initialization failure from server"
_HEAD: Final = "node:__internal_head__"
"""What Ray calls the machine whose end is that of the cluster."""


class RunPart(NamedTuple):
    """Conversations that are asked together, and how many of their answers were missing."""

    streams: list[str]
    missing: dict[int, int]
    lost: int = 0


@dataclass(frozen=True)
class OnRay:
    """The machines of a Ray cluster, for :func:`refold.replay.replay`.

    ``url`` is the address of the store, in PostgreSQL, as every machine reaches it; ``address`` is
    that of the cluster, such as ``ray://head:10001``; None for the one of ``RAY_ADDRESS``, or one
    of this machine's own that ends with the run. refold with the extra ``ray`` is installed on all
    of them; policies of tools and functions go there by their code. A worker for each processor
    asks ``workers`` requests at a time; rates and the budget are held over all of them, by one
    actor on the cluster's head. When a worker or its machine is lost, what it had not recorded is
    asked again by another: at most ``workers`` requests of it were under way. When the head is
    lost, the run ends; starting it again does what is missing.
    """

    url: str
    address: str | None = None

    def __post_init__(self) -> None:
        right = isinstance(self.url, str) and self.url.startswith(("postgresql:", "postgres:"))
        if not right:
            raise UsageError(
                "other machines cannot share this store: keep it in PostgreSQL, as "
                "`refold copy FILE postgresql://…` does, and give its address",
                argument="url",
            )
        said = self.address
        right = said is None or (isinstance(said, str) and said.startswith("ray://"))
        refuse_unless(right, "ray://HOST:PORT, or None", address=said)

    def check(self, store: Store) -> None:
        """Refuse a store whose personal values the other machines could not read."""
        _ray()
        if isinstance(store._backend, Protected):
            raise UsageError(
                "personal values of this store are protected, and their keys do not leave this "
                "machine: run it here"
            )

    def work_off(self, run: RunningReplay, work: Work) -> None:
        """Have what a planned run misses asked on the cluster, and count it in the run."""
        ray = _ray()
        with _connected(ray, self.address):
            _Handed(ray, self.url, run, work).to_the_end()


class _Handed:
    """A run as it is handed out: the parts that wait, and those under way by what comes of them."""

    def __init__(self, ray: Any, url: str, run: RunningReplay, work: Work) -> None:
        self._ray, self._run = ray, run
        self._slots = _processors(ray)
        self._parts = deque(_parts(run, self._slots))
        self._going: dict[Any, tuple[str, RunPart]] = {}
        self._numbers = count(1)
        self._total = sum(sum(left.values()) for left in run.missing.values())
        self._budget = work.how.budget
        on_head = {"num_cpus": 0, "resources": {_HEAD: 0.001}, "max_concurrency": UNDER_WAY_MAX}
        self._grants = ray.remote(Grants).options(**on_head).remote(work.how, work.prices)
        counts = work.how.bounds(work.prices).budget.counts
        plain = replace(work, how=msgspec.structs.replace(work.how, budget=None))
        # By itself: what Ray says of a whole order that cannot be sent shows the store's password.
        try:
            ray.cloudpickle.dumps((work.candidate, work.making))
        except Exception as error:
            why = f"who is asked, or a tool's policy, cannot be sent to other machines: {error}"
            raise UsageError(f"{why}; give a ChatEndpoint, or a function of a module") from error
        self._order = ray.put(Order(url, plain, self._grants, counts))
        self._ask = ray.remote(ask_part).options(num_cpus=1, max_retries=0)

    def to_the_end(self) -> None:
        """Hand out all parts; an error, or Ctrl-C, ends those under way, and what came is kept."""
        try:
            while self._parts or self._going:
                self._hand_out()
                done, _ = self._ray.wait([*self._going], timeout=LOOKS_S)
                for one in done:
                    self._came(one, *self._going.pop(one))
                self._tell()
        except BaseException:
            self._stop()
            raise
        finally:
            with suppress(Exception):
                of_all = self._ray.get(self._grants.outcome.remote(), timeout=GRACE_S)
                spent, self._run.contained = of_all
                if self._budget is not None:
                    self._budget.take_over(spent)

    def _hand_out(self) -> None:
        # Some more than there is room for: a cluster that grows sees by them that it is to.
        while self._parts and len(self._going) < 2 * self._slots:
            if self._run.stopped:
                self._parts.clear()
                return
            part, holder = self._parts.popleft(), f"part-{next(self._numbers)}"
            self._going[self._ask.remote(self._order, holder, part.streams)] = holder, part

    def _came(self, reference: Any, holder: str, part: RunPart) -> None:
        from ray import exceptions

        try:
            summary = self._ray.get(reference)
        except exceptions.RayTaskError as error:
            cause = error.cause
            if isinstance(cause, RefoldError):
                raise cause from None
            raise Unavailable(f"a worker failed: {cause}; is the same refold there?") from error
        except exceptions.RayError as error:
            self._lost(holder, part, error)
        else:
            self._run.add_part(summary, part.missing)

    def _lost(self, holder: str, part: RunPart, error: Exception) -> None:
        """Have a part asked again whose worker is gone, with its machine or without."""
        if part.lost >= LOST_MAX:
            why = f"the worker of {part.streams[0]} was lost {LOST_MAX} times"
            raise Unavailable(f"{why}: {error}") from error
        self._of_grants(self._grants.lost.remote(holder))
        self._parts.append(part._replace(lost=part.lost + 1))

    def _tell(self) -> None:
        if self._run.progress is not None:
            told = self._of_grants(self._grants.so_far.remote())
            self._run.progress(min(told.done, self._total), self._total, told.cost, told.failed)

    def _of_grants(self, reference: Any) -> Any:
        from ray.exceptions import RayActorError

        try:
            return self._ray.get(reference)
        except RayActorError as error:
            raise gone(error) from error

    def _stop(self) -> None:
        """Interrupt what is under way, as Ctrl-C does here, and wait for what it still records."""
        with suppress(Exception):
            for one in self._going:
                self._ray.cancel(one)
            if self._going:
                self._ray.wait([*self._going], num_returns=len(self._going), timeout=3 * GRACE_S)


def _parts(run: RunningReplay, slots: int) -> Iterator[RunPart]:
    streams = list(run.missing)
    size = max(1, min(CONVERSATIONS_MAX, ceil(len(streams) / (slots * PARTS_A_WORKER))))
    for start in range(0, len(streams), size):
        those, missing = streams[start : start + size], dict[int, int]()
        for stream in those:
            for place, left in run.missing[stream].items():
                missing[place] = missing.get(place, 0) + left
        yield RunPart(those, missing)


def _processors(ray: Any) -> int:
    found = int(ray.cluster_resources().get("CPU", 0))
    if not found:
        raise Unavailable("the cluster has no processor for a worker: add a machine to it")
    return found


def _ray() -> Any:
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        import ray
    except ModuleNotFoundError as error:
        raise UsageError(needs("runs are handed out by Ray", "ray")) from error
    return ray


@contextmanager
def _connected(ray: Any, address: str | None) -> Iterator[None]:
    """Be connected to a cluster for a block; a connection that is there is used, and stays."""
    if ray.is_initialized():
        yield
        return
    how: dict[str, Any] = {"log_to_driver": False, "logging_level": "ERROR"}
    if address is None and "RAY_ADDRESS" not in os.environ:
        how |= {"include_dashboard": False}
    for attempt in range(1, CONNECTS_MAX + 1):
        try:
            ray.init(address, **how)
            break
        except (ConnectionError, TimeoutError) as error:
            ray.shutdown()
            if attempt == CONNECTS_MAX or _NOT_STARTED not in str(error):
                why = f"no Ray cluster at {address or 'this machine'}: {error}"
                raise Unavailable(why) from error
    try:
        yield
    finally:
        ray.shutdown()
