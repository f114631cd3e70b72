"""A store that seals itself: by which key, which logs, and how that ends."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import refold
from refold import Event
from refold.audit import Sealing, new_key, save_key, verify
from refold.audit.sealer import Sealer
from refold.audit.tables import is_sealed, tables_of
from refold.errors import NotFound, ProofError, Unavailable, UsageError
from tests.audit.sealed import KINDS, ORIGIN, key_of, sealed_by, told
from tests.support.forking import told_by_child
from tests.support.stores import url_of

KEY_VARIABLES = ("REFOLD_SIGNING_KEY", "REFOLD_SEAL_KEY", "REFOLD_SEAL_LAST_HEAD")


@pytest.fixture(autouse=True)
def _no_key_around(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tests' own environment may hold is not looked at."""
    for name in KEY_VARIABLES:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def key_file(tmp_path: Path) -> Path:
    """The file of the key that is the same each time."""
    save_key(key_of(), tmp_path / "agents.key")
    return tmp_path / "agents.key"


def until(true: Callable[[], bool]) -> None:
    """Wait for what a thread does."""
    end = time.monotonic() + 30
    while not true():
        assert time.monotonic() < end
        time.sleep(0.01)


def sealed_size(url: str | Path) -> int:
    """How many events of a log are sealed and signed; 0 where it is not."""
    with refold.open(url, mode="read") as store:
        return verify(store, deep=True).events if is_sealed(store) else 0


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_appended_is_sealed_and_signed_without_asking(kind: str, tmp_path: Path) -> None:
    """From the first event on, by a thread that the first append begins."""
    url = url_of(kind, tmp_path)
    with refold.open(url, seal=key_of(), synchronous="NORMAL") as store:
        assert tables_of(store).newest_head() is None
        told(store)
        until(lambda: verify(store, deep=True).events > 0)
        told(store)
        head = store.log_head()
        if kind == "memory":
            until(lambda: verify(store, deep=True).events == head)
    if kind != "memory":
        with refold.open(url, mode="read") as store:
            found = verify(store, deep=True, keys=[str(key_of().verifying)])
        assert (found.events, found.unsealed, found.findings) == (head, 0, [])
        assert "sealed from the first event on" in found.claims[0]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_store_for_asyncio_seals_too(kind: str, tmp_path: Path) -> None:
    """Its appends are of the same store; closing it seals the rest."""
    url = url_of(kind, tmp_path)

    async def appended() -> None:
        async with refold.open_async(url, seal=key_of()) as store:
            await asyncio.gather(*(store.append(f"s-{n}", [Event("x")]) for n in range(40)))

    asyncio.run(appended())
    assert sealed_size(url) == 40


def test_a_file_of_a_key_keeps_the_newest_head_beside_it(key_file: Path, tmp_path: Path) -> None:
    """So a log that was rolled back whole is refused when it is opened."""
    log = tmp_path / "a.db"
    with refold.open(log, seal=key_file) as store:
        store.append("a", [Event("x")])
        store.backup(tmp_path / "b.db")
        store.append("a", [Event("x")])
    assert (tmp_path / "agents.key.head").read_text().startswith(f"{ORIGIN}\n2\n")
    with pytest.raises(ProofError, match="rolled back"):
        refold.open(tmp_path / "b.db", seal=str(key_file))
    with refold.open(tmp_path / "b.db", seal=False) as store:
        store.append("a", [Event("y")])
    assert sealed_size(log) == 2


def test_a_log_that_was_changed_is_refused_when_it_is_opened_to_seal(tmp_path: Path) -> None:
    """By its last events; without sealing it opens, and reads."""
    log = tmp_path / "a.db"
    with refold.open(log, seal=key_of()) as store:
        store.append("a", [Event("x", {"text": "said"})])
    with refold.open(log, seal=False) as store:
        store._backend.write(  # type: ignore[attr-defined]
            lambda begin: begin().execute("UPDATE audit_tiles SET hashes = zeroblob(32)")
        )
    with pytest.raises(ProofError):
        refold.open(log, seal=key_of())
    with refold.open(log) as store:
        assert store.head("a") == 0


@pytest.mark.parametrize("by", ["REFOLD_SIGNING_KEY", "REFOLD_SEAL_KEY"])
def test_the_key_of_the_environment_seals_what_it_sealed_before_and_nothing_else(
    by: str, key_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One key must never sign two logs: it is turned on by hand, or by `seal`."""
    for name, key in (("own", key_of()), ("other", new_key(ORIGIN)), ("far", new_key("a.example"))):
        with refold.open(tmp_path / f"{name}.db", seal=key) as store:
            store.append("a", [Event("x")])
    monkeypatch.setenv(by, str(key_of()) if by == "REFOLD_SIGNING_KEY" else str(key_file))
    for name, expected in (("own", 2), ("other", 1), ("far", 1), ("new", 0)):
        with refold.open(tmp_path / f"{name}.db") as store:
            store.append("a", [Event("x")])
        assert sealed_size(tmp_path / f"{name}.db") == expected
    with refold.open(tmp_path / "own.db", seal=False) as store:
        store.append("a", [Event("x")])
    assert sealed_size(tmp_path / "own.db") == 2
    if by == "REFOLD_SEAL_KEY":  # It keeps the head of the log that it signed.
        with pytest.raises(ProofError, match="a head of 2 events was signed"):
            refold.open(tmp_path / "new.db", seal=True)
        return
    with refold.open(tmp_path / "new.db", seal=True) as store:
        store.append("a", [Event("x")])
    assert sealed_size(tmp_path / "new.db") == 2


def test_what_cannot_be_sealed_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No key, a key that is not there, a log that keeps no tables; an empty name is none."""
    monkeypatch.setenv("REFOLD_SEAL_KEY", "")
    refold.open(tmp_path / "a.db").close()
    with pytest.raises(UsageError, match="REFOLD_SEAL_KEY"):
        refold.open(tmp_path / "a.db", seal=True)
    with pytest.raises(UsageError, match="copy"):
        refold.open(tmp_path / "a.jsonl", seal=key_of())
    monkeypatch.setenv("REFOLD_SEAL_KEY", str(tmp_path / "nowhere.key"))
    with pytest.raises(NotFound, match="nowhere"):
        refold.open(tmp_path / "a.db")


def test_a_store_for_reading_never_seals(tmp_path: Path, key_file: Path) -> None:
    """Whatever key it is given."""
    with refold.open(tmp_path / "a.db") as store:
        store.append("a", [Event("x")])
    for seal in (key_of(), key_file, True):
        with refold.open(tmp_path / "a.db", mode="read", seal=seal) as store:
            assert not is_sealed(store)


def test_nothing_is_signed_where_nothing_was_appended(tmp_path: Path) -> None:
    """The thread does not begin."""
    with refold.open(tmp_path / "a.db", seal=key_of()):
        pass
    with refold.open(tmp_path / "a.db", mode="read") as store:
        assert tables_of(store).heads() == []


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_several_stores_that_seal_one_log_agree(kind: str, tmp_path: Path) -> None:
    """Each event is sealed by one of them, and the heads are of one history."""
    url = url_of(kind, tmp_path)
    refold.open(url, seal=key_of()).close()

    def work(name: str) -> None:
        with refold.open(url, seal=key_of(), synchronous="NORMAL") as store:
            for _ in range(60):
                store.append(name, [Event("x"), Event("y")])

    with ThreadPoolExecutor() as pool:
        assert list(pool.map(work, "abc")) == [None] * 3
    assert sealed_size(url) == 360


def test_what_the_thread_fails_with_is_logged_and_raised_at_the_close(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Appends go on meanwhile; the file is let go of all the same, and closing twice is fine."""
    store = refold.open(tmp_path / "a.db", seal=key_of())
    caplog.set_level(logging.ERROR, "refold.audit")

    def failing(*_: object, **__: object) -> str:
        raise ProofError("forked", proof="head")

    with monkeypatch.context() as patched:
        patched.setattr(Sealing, "checkpoint", failing)
        for _ in range(3):
            store.append("a", [Event("x")])
        until(lambda: "sealing has ended: forked" in caplog.text)
        store.append("a", [Event("x")])
    with pytest.raises(ProofError, match="forked"):
        store.close()
    store.close()
    assert caplog.text.count("sealing has ended") == 1
    with refold.open(tmp_path / "a.db", seal=key_of()) as again:
        again.append("a", [Event("x")])
    assert sealed_size(tmp_path / "a.db") == 5


def test_a_thread_that_gave_up_on_storage_begins_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the next append, when the storage is there again."""
    monkeypatch.setattr("refold.audit.sealing.FAILURES_MAX", 1)
    with refold.open(tmp_path / "a.db", seal=key_of()) as store:
        sealing = store._sealing  # type: ignore[attr-defined]

        def away(*_: object, **__: object) -> str:
            raise Unavailable("away")

        with monkeypatch.context() as patched:
            patched.setattr(sealing, "checkpoint", away)
            store.append("a", [Event("x")])
            until(lambda: not sealing._thread.is_alive())
        store.append("a", [Event("x")])
        until(lambda: verify(store).events == 2)


def test_a_sealer_looks_first_whether_another_has_gone_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is sealed is not hashed once more for naught."""
    with refold.open(tmp_path / "a.db") as store:
        sealed_by(store)
        first, second = Sealer(store), Sealer(store)
        told(store)
        first.seal()
        monkeypatch.setattr(second, "_step", lambda _: pytest.fail("it hashed"))
        assert second.seal() == 0
        assert second.size == store.log_head()


def test_a_forked_process_leaves_the_sealing_to_its_parent(tmp_path: Path) -> None:
    """Closing there does nothing; a store that is opened there seals by itself."""
    log = tmp_path / "a.db"
    with refold.open(log, seal=key_of()) as store:
        store.append("a", [Event("x")])
        until(lambda: verify(store).events == 1)
        assert told_by_child(lambda: _closed_and_appended(store, log)) == 1
        store.append("a", [Event("x")])
    assert sealed_size(log) == 3


def _closed_and_appended(store: refold.Store, log: Path) -> int:
    store.close()
    with refold.open(log, seal=key_of()) as own:
        return own.append("a", [Event("x")]).version
