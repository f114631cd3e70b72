"""Data keys: one a subject, wrapped by the keyring, gone for everybody when they are destroyed."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from refold.backends.sqlite import SqliteBackend
from refold.errors import Corrupt, NotFound, UsageError
from refold.privacy import subject_keys
from refold.privacy.envelope import ERASED, WITHHELD, DataKey
from refold.privacy.keyring import KeysAtHand, new_keyring
from refold.privacy.stored import has_keys
from refold.privacy.subject_keys import SubjectKeys


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[SqliteBackend]:
    """A store in a file."""
    backend = SqliteBackend(tmp_path / "log.db", synchronous="NORMAL")
    yield backend
    backend.close()


@pytest.fixture
def keyring() -> KeysAtHand:
    """A keyring with one key."""
    return new_keyring()


def test_a_subject_has_one_key(backend: SqliteBackend, keyring: KeysAtHand) -> None:
    """Here and in whatever opens the store by the same keyring; its name stands nowhere."""
    assert not has_keys(backend)
    keys = SubjectKeys(backend, keyring)
    ada = keys.for_subject("ada@example.com")
    assert has_keys(backend)
    assert keys.for_subject("ada@example.com") == ada
    assert keys.for_subject("bob@example.com").id != ada.id
    others = SubjectKeys(backend, keyring)
    assert others.for_subject("ada@example.com").id == ada.id
    assert others.pseudonym("ada@example.com") == keys.pseudonym("ada@example.com")
    sealed = ada.cipher.encrypt(bytes(12), b"text", None)
    (found,) = SubjectKeys(backend, keyring).opened([ada.id]).values()
    assert isinstance(found, DataKey)
    assert found.cipher.decrypt(bytes(12), sealed, None) == b"text"
    assert not any(b"ada" in row.subject + row.wrapped for row in keys.rows())


def test_processes_that_make_a_key_at_once_get_one(
    backend: SqliteBackend, keyring: KeysAtHand
) -> None:
    """Whoever comes second takes the first one's."""
    made: list[str] = []
    begin = threading.Barrier(8)

    def make() -> None:
        keys = SubjectKeys(backend, keyring)
        begin.wait()
        made.append(keys.for_subject("ada").id)

    threads = [threading.Thread(target=make) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(made) == 8
    assert len(set(made)) == 1


def test_a_destroyed_key_is_gone(
    backend: SqliteBackend, keyring: KeysAtHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once where it was destroyed, and in others as soon as they ask again; its row stays."""
    keys, others = SubjectKeys(backend, keyring), SubjectKeys(backend, keyring)
    ada, bob = keys.for_subject("ada").id, keys.for_subject("bob").id
    snapshots = keys.for_snapshots().id
    assert all(isinstance(key, DataKey) for key in others.opened([ada, bob, snapshots]).values())
    assert keys.destroy("nobody") == []
    assert keys.for_snapshots().id == snapshots
    assert keys.destroy("ada") == [ada]
    assert keys.opened([ada])[ada] == ERASED
    assert isinstance(keys.opened([bob])[bob], DataKey)
    assert keys.for_snapshots().id != snapshots
    monkeypatch.setattr(subject_keys, "FRESH_S", 0.0)
    assert others.opened([ada, snapshots]) == {ada: ERASED, snapshots: ERASED}
    again = others.for_subject("ada").id
    assert again != ada
    assert [row.wrapped for row in keys.rows() if row.key == ada] == [b""]


def test_another_keyring_opens_nothing(
    backend: SqliteBackend, keyring: KeysAtHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values are withheld; whoever appends is told which key is missing, and what that means."""
    ada = SubjectKeys(backend, keyring).for_subject("ada").id
    stranger = SubjectKeys(backend, new_keyring())
    assert stranger.opened([ada])[ada] == WITHHELD
    with pytest.raises(NotFound) as raised:
        stranger.for_subject("ada")
    assert raised.value.code == "no_tenant_key"
    assert keyring.newest in raised.value.message
    assert "lost" in raised.value.message
    monkeypatch.setattr(subject_keys, "FRESH_S", 0.0)
    none = SubjectKeys(backend, None)
    assert none.opened([ada]) == {ada: WITHHELD}
    SubjectKeys(backend, keyring).destroy("ada")
    assert SubjectKeys(backend, None).opened([ada]) == stranger.opened([ada]) == {ada: ERASED}


def put(backend: SqliteBackend, wrapped: bytes, key: str) -> None:
    """Change what is stored of a key."""
    sql = "UPDATE privacy_keys SET wrapped = ? WHERE key = ?"
    backend.write(lambda begin: begin().execute(sql, (wrapped, key)))


def test_a_row_that_was_changed_is_refused(backend: SqliteBackend, keyring: KeysAtHand) -> None:
    """Any byte of it, or that of another subject: a key is bound to its row."""
    keys = SubjectKeys(backend, keyring)
    ada, bob = keys.for_subject("ada"), keys.for_subject("bob")
    (row,) = [row for row in keys.rows() if row.key == ada.id]
    (other,) = [row for row in keys.rows() if row.key == bob.id]
    changed = [row.wrapped[:at] + bytes([row.wrapped[at] ^ 1]) + row.wrapped[at + 1 :]
               for at in range(len(row.wrapped))]  # fmt: skip
    for wrapped in [*changed, other.wrapped, b"", b"x"]:
        put(backend, wrapped, ada.id)
        with pytest.raises(Corrupt):
            SubjectKeys(backend, keyring).opened([ada.id])
    assert keys.opened(["0" * 32]) == {}


@pytest.mark.parametrize("name", ["", "x" * 1025])
def test_what_is_no_subject_is_refused(
    backend: SqliteBackend, keyring: KeysAtHand, name: str
) -> None:
    """A name of 1 to 1,024 bytes."""
    with pytest.raises(UsageError):
        SubjectKeys(backend, keyring).for_subject(name)


def test_more_keys_than_are_held_in_memory_are_given_at_once(
    backend: SqliteBackend, keyring: KeysAtHand, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where reading some pushes out others; those that were used last stay."""
    monkeypatch.setattr(subject_keys, "CACHED_MAX", 3)
    keys = SubjectKeys(backend, keyring)
    made = [keys.for_subject(f"{number}@example.com") for number in range(5)]
    ids = [one.id for one in made]
    for some in (ids, ids[::-1], [ids[0], ids[4]], [ids[3], *ids[:3]]):
        assert keys.opened(some).keys() == {*some}
    keys.opened(ids[:3])
    keys.opened(ids[:1])
    keys.opened(ids[3:4])
    assert [*keys._keys] == [ids[2], ids[0], ids[3]]
