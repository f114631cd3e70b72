"""A worker that ends between any two of its steps: each effect once, one outcome, none lost."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from typing import Any, Literal

import pytest

from refold.backends.postgres import PostgresBackend
from refold.backends.sqlite import SqliteBackend
from refold.core.recorded import Recorded
from refold.engine.store import Store
from refold.errors import BackendError, Rejected
from refold.outbox import EffectRequested, Outbox
from refold.ports import Appended, Backend
from tests.faults.disk import Disk
from tests.support.stores import url_of

STREAMS = ("order-1", "order-2")
REQUESTS = [EffectRequested("mail"), EffectRequested("refuse"), EffectRequested("mail")]
KEYS = {f"{stream}@{n}" for stream in STREAMS for n in range(len(REQUESTS))}
STEPS_MAX = 200


class Crash(BaseException):
    """The process has ended here."""


class Steps:
    """The steps of a worker; the one of a number is its last."""

    def __init__(self, last: int) -> None:
        self._numbers = count()
        self._last = last

    def reach(self) -> None:
        """One step more, or the end: nothing after the last step is done by anybody."""
        if next(self._numbers) >= self._last:
            raise Crash


class Service:
    """Performs an effect once a key, and tells the same again for a key that it knows."""

    def __init__(self) -> None:
        self.performed = Counter[str]()
        self.asked = Counter[str]()

    def ask(self, key: str) -> str:
        """The effect itself."""
        self.asked[key] += 1
        if key not in self.performed:
            self.performed[key] += 1
        return f"done-{key}"


class SteppingStore(Store):
    """A store whose every call is preceded and followed by a step."""

    steps: Steps

    def log_head(self) -> int:
        """See the base."""
        self.steps.reach()
        return super().log_head()

    def event(self, event_id: str) -> Recorded:
        """See the base."""
        self.steps.reach()
        return super().event(event_id)

    def append(self, stream: str, events: Sequence[object], **options: Any) -> Appended:
        """See the base."""
        self.steps.reach()
        stored = super().append(stream, events, **options)
        self.steps.reach()
        return stored


def handlers_of(service: Service, steps: Steps) -> dict[str, Any]:
    """What asks the service, with a step before and after."""

    def mail(effect: EffectRequested, key: str) -> str:
        steps.reach()
        answer = service.ask(key)
        steps.reach()
        return answer

    def refuse(effect: EffectRequested, key: str) -> str:
        steps.reach()
        raise Rejected("no")

    return {"mail": mail, "refuse": refuse}


def opener(kind: str, folder: Path) -> Callable[[], Backend]:
    """Opens an empty log of a kind, and the same again."""
    folder.mkdir()
    url = url_of(kind, folder)
    if kind == "sqlite":
        return lambda: SqliteBackend(Path(url), synchronous="NORMAL")
    return lambda: PostgresBackend(url, synchronous="NORMAL")


def judge(store: Store, service: Service) -> None:
    """Every effect has one outcome, that of its kind, and was performed under one key."""
    recorded = list(store.read_all(types=["effect.committed", "effect.failed"]))
    assert Counter(e.data["effect"] for e in recorded) == Counter(KEYS)
    assert {e.data["effect"] for e in recorded if e.type == "effect.failed"} == {
        f"{stream}@1" for stream in STREAMS
    }
    assert service.performed == Counter(key for key in KEYS if not key.endswith("@1"))
    assert all(e.metadata["causation"] == e.data["effect"] for e in recorded)


@pytest.mark.parametrize(
    ("order", "workers", "kind"),
    [
        *((order, workers, "sqlite") for order in ("any", "stream") for workers in (1, 3)),
        ("stream", 3, "postgresql:"),
    ],
)
def test_a_crash_between_any_two_steps(
    tmp_path: Path, order: Literal["any", "stream"], workers: int, kind: str
) -> None:
    """Whatever the last step was, the next worker brings the work to its end, and no further."""
    for last in range(STEPS_MAX):
        opened, service = opener(kind, tmp_path / str(last)), Service()
        with Store(opened()) as store:
            for stream in STREAMS:
                store.append(stream, REQUESTS)
        steps = Steps(last)
        with SteppingStore(opened()) as stepping:
            stepping.steps = steps
            crashing = Outbox(stepping, handlers_of(service, steps), order=order, workers=workers)
            try:
                crashing.catch_up()
                ended = True
            except Crash:
                ended = False
        with Store(opened()) as store:
            Outbox(store, handlers_of(service, Steps(STEPS_MAX)), order=order).catch_up()
            judge(store, service)
            assert [check for check in store.check() if not check.good] == []
        if ended:
            assert last > 20
            return
    raise AssertionError(f"over {STEPS_MAX} steps")


@pytest.mark.parametrize("how", ["error", "late", "torn"])
def test_a_disk_that_fails_once_at_any_operation(
    tmp_path: Path, how: Literal["error", "late", "torn"]
) -> None:
    """The worker records in spite of it or says so; another one then loses and doubles nothing."""
    for number in range(STEPS_MAX):
        service = Service()
        with Disk() as disk:
            path = tmp_path / f"{number}.db"
            with disk.open(path) as store:
                for stream in STREAMS:
                    store.append(stream, REQUESTS)
                disk.fail(at=len(disk.operations) + number, how=how)
                try:
                    Outbox(store, handlers_of(service, Steps(STEPS_MAX)), workers=1).catch_up()
                except BackendError as error:
                    assert error.retry in ("later", "check")
                disk.mend()
                Outbox(store, handlers_of(service, Steps(STEPS_MAX))).catch_up()
                judge(store, service)
            if not disk.failed:
                assert number > 10
                return
    raise AssertionError(f"over {STEPS_MAX} operations")
