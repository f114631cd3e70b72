"""Snapshots of personal values: to be given one is to read all that went in, and recorded so."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

import refold
from refold import Event, Fold
from refold.privacy.access_report import accesses
from refold.privacy.keyring import KeysAtHand, new_keyring
from refold.privacy.privacy import Privacy
from refold.privacy.subject_keys import shown_as
from tests.support import postgres

EVENTS = 900
"""Enough for a snapshot."""
first_said: Fold[list[str]] = Fold("first said", list, state_type=list)


@first_said.on("said")
def _first(state: list[str], said: dict[str, str]) -> list[str]:
    return [*state, said["text"]][:2]


@pytest.fixture
def keyring() -> KeysAtHand:
    """A keyring with one key."""
    return new_keyring()


@pytest.fixture(params=["sqlite", "postgres"])
def url(request: pytest.FixtureRequest, tmp_path: object) -> str:
    """An empty store."""
    return f"{tmp_path}/a.db" if request.param == "sqlite" else postgres.schema_of_its_own()


def opened(url: str, keyring: KeysAtHand, **how: object) -> refold.Store:
    """The store, with texts that are personal."""
    return refold.open(url, privacy=Privacy(keyring, {"said": ["/text"]}, **how))  # type: ignore[arg-type]


def tell(store: refold.Store) -> None:
    """One event about Bob, and then many about whom the stream is about."""
    store.append("call-1", [Event("said", {"text": "of bob"}, metadata={"subject": "bob"})])
    store.append("call-1", [Event("said", {"text": f"own {n}"}) for n in range(EVENTS)])


def kept(store: refold.Store) -> int:
    """How many snapshots are kept."""
    inner = store._backend.inner  # type: ignore[attr-defined]
    (count,) = inner.query("SELECT count(*) FROM snapshots")[0]
    return int(count)


def read_by(store: refold.Store, actor: str) -> Iterator[tuple[str, str]]:
    """Whose values somebody has read, and how it was decided."""
    return ((one.subject, one.decision) for one in accesses(store, actor=actor))


def test_who_is_given_a_snapshot_has_read_all_that_went_in(url: str, keyring: KeysAtHand) -> None:
    """Also of a subject of whom no event is read again."""
    with opened(url, keyring, actor="first") as store:
        tell(store)
        assert first_said_of(store) == ["of bob", "own 0"]
        assert kept(store)
        subjects = {shown_as(store._backend.keys.pseudonym(one)) for one in ("bob", "call-1")}  # type: ignore[attr-defined]
    with opened(url, keyring, actor="second") as store:
        assert first_said_of(store) == ["of bob", "own 0"]
        assert {*read_by(store, "second")} == {(one, "allowed") for one in subjects}


def first_said_of(store: refold.Store) -> list[str]:
    """The state of the stream."""
    return store.fold("call-1", first_said).state


def test_a_policy_counts_for_each_subject_of_a_snapshot(url: str, keyring: KeysAtHand) -> None:
    """Who may not read one of them folds anew, and leaves nothing that lacks it."""
    with opened(url, keyring, actor="first") as store:
        tell(store)
        bob = shown_as(store._backend.keys.pseudonym("bob"))  # type: ignore[attr-defined]

    def allow(_actor: str, _purpose: str, subject: str, _stream: str) -> bool:
        return subject != bob

    for has_snapshots in (False, True):
        with opened(url, keyring, actor="narrow", allow=allow) as store:
            assert first_said_of(store) == ["[withheld]", "own 0"]
            assert (bob, "denied") in {*read_by(store, "narrow")}
            assert bool(kept(store)) == has_snapshots
        with opened(url, keyring, actor="wide") as store:
            assert first_said_of(store) == ["of bob", "own 0"]
            assert kept(store)


def test_a_state_of_withheld_values_is_not_kept(url: str, keyring: KeysAtHand) -> None:
    """Nobody is named, or the tenant key is not in the keyring: who has it gets all."""
    with opened(url, keyring, actor="first") as store:
        tell(store)
    turned = keyring.rotated()
    for ring, how in ((keyring, {}), (KeysAtHand(turned.keys[1:]), {"actor": "other"})):
        with opened(url, ring, **how) as store:
            assert first_said_of(store) == ["[withheld]", "[withheld]"]
            assert not kept(store)
    with opened(url, turned, actor="first") as store:
        assert first_said_of(store) == ["of bob", "own 0"]


def test_more_subjects_than_are_remembered_leave_no_snapshot(
    url: str, keyring: KeysAtHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of some it would not be recorded that they were read."""
    monkeypatch.setattr("refold.privacy.snapshots.SUBJECTS_MAX", 1)
    with opened(url, keyring, actor="first") as store:
        tell(store)
        assert first_said_of(store) == ["of bob", "own 0"]
        assert not kept(store)


def test_a_snapshot_that_the_program_reads_is_recorded_too(url: str, keyring: KeysAtHand) -> None:
    """Of all that went in, for its purpose."""
    with opened(url, keyring, actor="first") as store:
        tell(store)
        assert first_said_of(store) == ["of bob", "own 0"]
        assert kept(store)
        keys = store._backend.keys  # type: ignore[attr-defined]
        subjects = {shown_as(keys.pseudonym(one)) for one in ("bob", "call-1")}
    with opened(url, keyring) as store:
        reading: Any = store._backend.read_by_program("verification")  # type: ignore[attr-defined]
        program = refold.Store(reading)
        assert first_said_of(program) == ["of bob", "own 0"]
        found = {(one.subject, one.purpose) for one in accesses(store, actor="refold")}
        assert found == {(one, "verification") for one in subjects}
