"""The power goes at any moment, and what was acknowledged before is there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import NamedTuple

import pytest

import refold
from refold.engine.store import Store
from tests.faults.application import Attempt, HeldClock, run_script
from tests.faults.disk import Disk, Operation
from tests.faults.judging import facts, judge_diagnosis, judge_folds, judge_places
from tests.faults.power_loss import Image, Kept, PowerLoss, restore
from tests.support.soak import bound, counted

PAGES_PER_CHECKPOINT = 24
PARTS = 8
KEPT: tuple[Kept, ...] = ("synced", "all", "torn", "some")
CHOICES = bound(1, 3)
"""How many times chance decides what is kept, at each moment."""


class Trace(NamedTuple):
    """What a run of the script did to its disk, and the log that it left."""

    operations: list[Operation]
    log: list[tuple[object, ...]]
    failed: list[int]

    def acknowledged(self, moment: int) -> int:
        """The last position that the application had been told of."""
        told = [o.label.answers for o in self.operations[:moment] if isinstance(o.label, Attempt)]
        return max((answer.position for answers in told for answer in answers), default=0)


def traced(synchronous: str, *, failing: int | None = None) -> Trace:
    """A run of the script; one operation may fail."""
    with (
        TemporaryDirectory() as folder,
        Disk(pages_per_checkpoint=PAGES_PER_CHECKPOINT) as disk,
    ):
        if failing is not None:
            disk.fail(at=failing)

        def open_store(clock: HeldClock) -> Store:
            return disk.open(Path(folder, "log.db"), clock=clock, synchronous=synchronous)

        run_script(disk, open_store)
        with refold.open(Path(folder, "log.db"), synchronous="NORMAL") as store:
            log = facts(store.read_all())
        return Trace(disk.operations, log, [] if failing is None else [failing])


@cache
def trace(synchronous: str) -> Trace:
    """A run of the script on a disk that does not fail."""
    return traced(synchronous)


class Judge:
    """Opens what a loss of power left, once for each different image."""

    def __init__(self, traced: Trace, folder: Path) -> None:
        self._trace = traced
        self._folder = folder
        self._heads: dict[bytes, int] = {}

    def head(self, image: Image) -> int:
        """How much of the log is there: a start of what was written, sound in every way."""
        said = hashlib.sha256()
        for name, content in sorted(image.items()):
            said.update(repr((name, len(content))).encode() + content)
        if said.digest() not in self._heads:
            self._heads[said.digest()] = self._judged(image)
        return self._heads[said.digest()]

    def _judged(self, image: Image) -> int:
        counted("different files after a loss of power")
        folder = self._folder / str(len(self._heads))
        folder.mkdir()
        restore(image, folder)
        # Over a disk that makes no sync: what is judged here is thrown away.
        with Disk() as disk, disk.open(folder / "log.db") as store:
            events = list(store.read_all())
            assert facts(events) == self._trace.log[: len(events)]
            judge_places(store, events)
            judge_folds(store)
            judge_diagnosis(store)
            answer = store.append("after-1", [refold.Event("test.token", {"token": "", "n": 0})])
            assert answer.position == len(events) + 1
        return len(events)


def moments(traced: Trace) -> Iterator[tuple[int, PowerLoss]]:
    """After each operation that changes anything, or tells somebody something."""
    power = PowerLoss()
    for number, operation in enumerate(traced.operations):
        power.follow(operation, done=number not in traced.failed)
        if operation.kind not in ("open", "read"):
            yield number + 1, power


def crashed(power: PowerLoss, moment: int, kept: Sequence[Kept]) -> Iterator[Image]:
    """What may be left at a moment, by each rule."""
    for rule in kept:
        for choice in range(CHOICES if rule in ("torn", "some") else 1):
            yield power.image(rule, Random(f"{moment}-{rule}-{choice}"))


@pytest.mark.parametrize("part", range(PARTS))
def test_what_was_acknowledged_outlives_the_power(tmp_path: Path, part: int) -> None:
    """With ``synchronous="FULL"``, after every operation of a script, whatever the disk kept."""
    traced = trace("FULL")
    judge = Judge(traced, tmp_path)
    for number, (moment, power) in enumerate(moments(traced)):
        if number * PARTS // len(traced.operations) == part:
            for image in crashed(power, moment, KEPT):
                assert judge.head(image) >= traced.acknowledged(moment), moment


@pytest.mark.parametrize("part", range(PARTS))
def test_without_syncs_a_start_of_the_log_outlives_the_power(tmp_path: Path, part: int) -> None:
    """With ``synchronous="NORMAL"`` the last commits may be gone, and nothing before them."""
    traced = trace("NORMAL")
    judge = Judge(traced, tmp_path)
    for number, (moment, power) in enumerate(moments(traced)):
        if number * PARTS // len(traced.operations) == part and number % bound(4, 2) == 0:
            for image in crashed(power, moment, KEPT):
                judge.head(image)


@pytest.mark.parametrize("part", range(PARTS))
def test_a_failed_sync_may_lose_its_pages(tmp_path: Path, part: int) -> None:
    """A sync fails, the system forgets what it was to make safe, and the power goes later.

    What was acknowledged before and after the failure is there all the same.
    """
    syncs = [n for n, o in enumerate(trace("FULL").operations) if o.kind == "sync"]
    for failing in syncs[part::PARTS]:
        traced_ = traced("FULL", failing=failing)
        folder = tmp_path / str(failing)
        folder.mkdir()
        judge = Judge(traced_, folder)
        for moment, power in moments(traced_):
            told = traced_.operations[moment - 1].kind == "mark"
            if moment > failing and (told or moment % bound(10**9, 5) == 0):
                for image in crashed(power, moment, ("synced", "all")):
                    assert judge.head(image) >= traced_.acknowledged(moment), (failing, moment)


def test_a_loss_of_what_was_not_synced_is_seen() -> None:
    """The rules bite: without syncs at each commit, what was acknowledged can be gone."""
    traced = trace("NORMAL")
    with TemporaryDirectory() as folder:
        judge = Judge(traced, Path(folder))
        lost = [
            moment
            for moment, power in moments(traced)
            if traced.operations[moment - 1].kind == "mark"
            and judge.head(power.image("synced", Random(0))) < traced.acknowledged(moment)
        ]
    assert lost
