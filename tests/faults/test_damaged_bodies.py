"""Appends that hold another number of events than they say, and metadata that cannot be read.

Found in review: a fold from joined bodies counted them by what it decoded, so one short append
made it fold the last one twice, and one long append made it pass over the last.
"""

from __future__ import annotations

from pathlib import Path

import apsw
import pytest

import refold
from refold.errors import Corrupt

SEEN: refold.Fold[list[int]] = refold.Fold("seen", lambda: [])
SEEN.on("test.a")(lambda state, event: [*state, event["n"]])
SEEN.on("test.b")(lambda state, event: [*state, -event["n"]])

EVENT = '["test.a",{"n":0}]'
OTHER = '["test.b",{"n":9}]'
UNKNOWN = '["test.c",{"n":9}]'


def made(path: Path, *damage: str, occurred: bool = False) -> Path:
    """Six appends of two events, damaged by SQL; the kinds of the fold are known before."""
    with refold.open(path) as store:
        for n in range(6):
            at = 1_000 + n if occurred else None
            event = refold.Event("test.a", {"n": n}, occurred_at=at)
            store.append("test-1", [event] * 2, metadata={"n": n})
        assert len(store.fold("test-1", SEEN).state) == 12
    with apsw.Connection(str(path)) as connection:
        for sql in damage:
            connection.execute(sql)
    connection.close()
    return path


@pytest.mark.parametrize(
    "damage",
    [
        [f"UPDATE log SET body = '[{EVENT}]' WHERE version = 0"],
        [f"UPDATE log SET body = '[{EVENT}]' WHERE version = 10"],
        [f"UPDATE log SET body = '[{EVENT},{EVENT},{EVENT}]' WHERE version = 4"],
        [
            f"UPDATE log SET body = '[{EVENT},{EVENT},{EVENT},{EVENT}]' WHERE version = 0",
            f"UPDATE log SET body = '[{OTHER},{OTHER}]' WHERE version = 10",
        ],
        [
            f"UPDATE log SET body = '[{EVENT},{EVENT},{EVENT},{EVENT}]' WHERE version = 0",
            "UPDATE log SET body = 'nothing' WHERE version = 10",
        ],
        [
            f"UPDATE log SET body = '[{EVENT}]' WHERE version = 0",
            f"UPDATE log SET body = '[{UNKNOWN},{UNKNOWN}]' WHERE version = 6",
        ],
        ["UPDATE log SET body = 'nothing' WHERE version = 4"],
    ],
)
def test_a_fold_says_that_an_append_is_damaged(tmp_path: Path, damage: list[str]) -> None:
    """Whether it has met the kinds of the events before or not; it never counts on."""
    path = made(tmp_path / "log.db", *damage)
    with refold.open(path) as store:
        with pytest.raises(Corrupt):
            store.fold("test-1", SEEN)
        with pytest.raises(Corrupt):
            list(store.read("test-1"))


def test_a_damaged_append_leaves_no_snapshot(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many are taken within one row: it is known to be whole at its end alone."""
    for module in ("refold.core.snapshot", "refold.engine.snapshots"):
        monkeypatch.setattr(f"{module}.EVENTS_BETWEEN_MIN", 3)
    monkeypatch.setattr("refold.engine.snapshots.KEPT_AT_ONCE", 1)
    fold: refold.Fold[list[int]] = refold.Fold("kept", list)
    fold.on("test.a")(lambda state, event: [*state, event["n"]])
    path = made(tmp_path / "log.db", f"UPDATE log SET body = '[{EVENT}]' WHERE version = 4")
    with refold.open(path) as store:
        for _ in range(2):
            with pytest.raises(Corrupt, match="test-1@4"):
                store.fold("test-1", fold)


@pytest.mark.parametrize("occurred", [False, True])
def test_damaged_metadata_is_named(tmp_path: Path, occurred: bool) -> None:
    """The append that it belongs to, not the page that it is read with."""
    damage = "UPDATE log SET metadata = '{nothing' WHERE version = 4"
    with (
        refold.open(made(tmp_path / "log.db", damage, occurred=occurred)) as store,
        pytest.raises(Corrupt, match="test-1@4"),
    ):
        list(store.read("test-1"))
