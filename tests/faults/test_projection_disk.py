"""The disk fails at any operation while projections are kept: rows and log stay of one mind."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

import refold
from refold.errors import BackendError
from refold.projections import Projector
from tests.faults.disk import Disk, How
from tests.faults.projecting import events
from tests.projections.sums import folded, stored, sums
from tests.support.soak import bound

APPENDS = 12
PARTS = 6
EVERY = bound(7, 1)
"""Of how many operations one is made to fail."""


def script(path: Path, disk: Disk, told: list[int], errors: list[BackendError]) -> None:
    """Append, inline and not, catch up and rebuild; what fails is tried once more."""
    for round_number in range(3):
        kept = [sums()] if round_number == 1 else []
        try:
            with disk.open(path, inline=kept) as store:
                projector = Projector(store, [sums()])
                for n in range(APPENDS):
                    try:
                        told.append(store.append(f"s-{n % 3}", events(n)).position)
                        if n % 5 == 0:
                            projector.catch_up()
                    except BackendError as error:
                        errors.append(error)
                if round_number == 2:
                    projector.rebuild("sums")
                    projector.confirm("sums")
        except BackendError as error:
            errors.append(error)


@cache
def operations() -> list[str]:
    """What kinds of operations the script asks of a disk that does not fail."""
    with TemporaryDirectory() as folder, Disk() as disk:
        errors: list[BackendError] = []
        script(Path(folder, "log.db"), disk, [], errors)
        assert errors == []
        return [kind for kind, *_ in disk.operations]


def faults(part: int) -> Iterator[tuple[int, How]]:
    """Operations that fail, of one part of all; the first makes the file."""
    hows: tuple[How, ...] = ("error", "torn", "full", "late")
    for turn, number in enumerate(range(1, len(operations()), EVERY)):
        kind = operations()[number]
        if kind != "mark" and turn % PARTS == part:
            yield number, hows[turn // PARTS % 4] if kind == "write" else "error"


@pytest.mark.parametrize("part", range(PARTS))
def test_any_operation_may_fail(part: int, tmp_path: Path) -> None:
    """After any failure the rows are those of a fold: what was told is there, nothing twice."""
    for at, how in faults(part):
        path = tmp_path / f"{how}-{at}.db"
        told: list[int] = []
        errors: list[BackendError] = []
        with Disk() as disk:
            disk.fail(at=at, how=how)
            script(path, disk, told, errors)
        if not path.exists():
            continue
        with refold.open(path, synchronous="NORMAL") as store:
            assert store.log_head() >= max(told, default=0)
            projector = Projector(store, [sums()])
            projector.catch_up()
            assert stored(projector) == folded(store.read_all()), (at, how)
            assert [check for check in store.check() if not check.good] == []
