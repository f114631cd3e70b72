"""A secret that was changed breaks no seal, so that verifying opens what it can."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

import refold
from refold.audit import verify
from refold.conversation import UserUtterance
from refold.privacy import CONVERSATION, Privacy
from refold.privacy.access import ACCESS_STREAM
from refold.privacy.envelope import OPENING, replaced
from refold.privacy.stored import stored_backend
from tests.audit.attacks import Db, body_set
from tests.audit.sealed import sealed_by
from tests.privacy.protecting import KEYRING
from tests.support import postgres

OWN = Privacy(KEYRING, CONVERSATION)


@pytest.fixture(params=["sqlite", "postgres"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Db:
    """A sealed log with protected values of three people."""
    is_file = request.param == "sqlite"
    url = str(tmp_path / "log.db") if is_file else postgres.schema_of_its_own()
    with refold.open(url, privacy=OWN) as store:
        for number in range(3):
            store.append(f"call-{number}", [UserUtterance(text=f"I am Ada {number}")])
        sealed_by(store).checkpoint()
    return Db(url, is_file, tmp_path)


def change_secret(db: Db, position: int, *, last_only: bool = False) -> None:
    """Put secrets of zeros in the place of others, as who may write to the tables can."""
    with refold.open(db.url) as store:
        how = {"after": position - 1, "categories": None, "types": None, "rows_max": 1}
        (row,) = stored_backend(store).log(**how)  # type: ignore[arg-type]
    body = row.body.encode() if isinstance(row.body, str) else row.body
    start = body.rfind(OPENING) if last_only else 0
    zeros = body[:start] + replaced(
        body[start:], lambda one: one._replace(secret=b"A" * len(one.secret)).json
    )
    new = body_set(db, f"'{zeros.decode()}'")
    db.run(f"UPDATE log SET body = {new} WHERE position = {position}")


@pytest.mark.parametrize("privacy", [None, Privacy(fields=CONVERSATION)])
def test_a_changed_secret_is_told_where_nothing_is_encrypted(
    tmp_path: Path, privacy: Privacy | None
) -> None:
    """No keyring is needed to look; of an append of two, the event is named that was changed."""
    db = Db(str(tmp_path / "log.db"), True, tmp_path)
    with refold.open(db.url, privacy=Privacy(fields=CONVERSATION)) as store:
        told = [UserUtterance(text="I am Ada"), UserUtterance(text="I am Ann")]
        store.append("call-1", told)
        sealed_by(store).checkpoint()
    assert found(db, privacy)[0] == []
    assert "every personal value was opened" in found(db, privacy)[1]
    change_secret(db, 1, last_only=True)
    with refold.open(db.url, privacy=privacy) as store:
        (finding,) = verify(store, deep=True).findings
    assert (finding.position, "/text of call-1@1" in finding.detail) == (2, True)


def test_all_changed_secrets_of_an_append_are_told(tmp_path: Path) -> None:
    """Each with its event and place, by the keyring; those beside that were not changed are not."""
    db = Db(str(tmp_path / "log.db"), True, tmp_path)
    named = refold.Event("order.placed", {"name": "Ann", "lines": [{"note": "x"}, {"note": "y"}]})
    fields = {"order.placed": ["/name", "/lines/*/note"]}
    privacy = Privacy(KEYRING, {**CONVERSATION, **fields})
    with refold.open(db.url, privacy=privacy) as store:
        store.append("call-1", [UserUtterance(text="I am Ada"), named])
        sealed_by(store).checkpoint()
        store.append("call-1", [UserUtterance(text="I am Ann")])
    change_secret(db, 1)
    with refold.open(db.url, privacy=privacy) as store:
        told = verify(store, deep=True)
    places = [(one.position, one.detail.split(" of ")[0].split()[-1]) for one in told.findings]
    assert places == [(1, "/text"), (2, "/name"), (2, "/lines/0/note"), (2, "/lines/1/note")]
    assert told.finding_count == 4
    assert not any("refold verify" in one.detail for one in told.findings)


def found(db: Db, privacy: Privacy | None) -> tuple[Sequence[str], str]:
    """What verifying every event finds, and what it says then."""
    with refold.open(db.url, privacy=privacy) as store:
        told = verify(store, deep=True)
    return [one.detail for one in told.findings], "\n".join(told.claims)


def test_a_changed_secret_is_told_where_the_keyring_is(db: Db) -> None:
    """Of event and place; without the keyring nothing is found, and that is said."""
    findings, claims = found(db, OWN)
    assert findings == []
    assert "every personal value was opened" in claims
    change_secret(db, 2)
    findings, claims = found(db, None)
    assert findings == []
    assert "personal values were not opened" in claims
    (finding,) = found(db, OWN)[0]
    assert "/text of call-1@0" in finding


def test_that_values_were_opened_to_verify_them_is_recorded(db: Db) -> None:
    """As a read of each subject by the program, before a key is used; no value is told."""
    found(db, OWN)
    with refold.open(db.url) as store:
        reads = [recorded.data for recorded in store.read(ACCESS_STREAM)]
    assert {read["purpose"] for read in reads} == {"verification"}
    assert len({read["subject"] for read in reads}) == 3


def test_what_was_erased_is_no_finding(db: Db) -> None:
    """Its key is gone, as a tombstone says: the rest is opened."""
    with refold.open(db.url, privacy=OWN) as store:
        store._backend.keys.destroy("call-1")  # type: ignore[attr-defined]
    assert found(db, OWN)[0] == []
