"""What is replaced in PostgreSQL is in none of its tables and archives once it was scrubbed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import refold
from refold import Append, Event
from refold.archive import rewriting
from refold.archive.manifest import read_manifest
from refold.archive.rewriting import Rewritten
from refold.backends.postgres import PostgresBackend
from refold.backends.postgres.eraser import ServerEraser
from refold.errors import Unavailable, UsageError
from refold.partitions import Partitions
from refold.ports import Check
from tests.support import postgres, roles
from tests.support.bytescan import ByteScan
from tests.support.months import FEBRUARY, JANUARY, MARCH

SAID = 'ring "Ada" at 555-0142 \u2014 canary'
KEPT = "what nobody asked to erase"
ERASED = b'{"text":"[erased]"}'


def quiet(done: int, in_all: int) -> None:
    """Progress that nobody looks at."""


def url_on(port: int, **options: object) -> str:
    """A store on a server, as its superuser."""
    given = "&".join(f"{name}={value}" for name, value in options.items())
    return f"{postgres.url(port)}?{given}" if given else postgres.url(port)


def filled(url: str) -> None:
    """Appends of three months: plain, keyed in parts, and so large that they are kept apart."""
    clock = [JANUARY]
    with refold.open(url, clock=lambda: clock[0]) as store:
        for month in (JANUARY, FEBRUARY, MARCH):
            clock[0] = month
            store.append("call-1", [Event("said", {"text": SAID}), Event("said", {"text": KEPT})])
            parts = [Append("call-2", [Event("said", {"text": SAID})])]
            parts.append(Append("call-3", [Event("said", {"text": KEPT})]))
            store.append_together(parts, key=f"both-{month}")
            large = [
                Event("said", {"text": SAID, "more": f"{n:x}" * 40, "n": n}) for n in range(300)
            ]
            store.append("call-4", large, metadata={"by": SAID}, tags=["all"])


def without(backend: PostgresBackend) -> tuple[dict[int, bytes], dict[int, bytes | None]]:
    """What replaces every payload, and all shared metadata, that hold the text."""
    payloads: dict[int, bytes] = {}
    shared: dict[int, bytes | None] = {}
    with refold.engine.store.Store(backend) as store:
        for event in store.read_all():
            if SAID in str(event.data):
                payloads[event.position] = ERASED
            if SAID in str(event.metadata):
                shared[event.position] = b'{"tags":["all"]}'
    return payloads, shared


def texts_of(url: str) -> list[str]:
    """What every event says."""
    with refold.open(url) as store:
        return [event.data["text"] for event in store.read_all()]


def erased(url: str) -> list[Check]:
    """Replace whatever holds the text, and scrub."""
    payloads, shared = without(PostgresBackend(url))
    with closing(PostgresBackend(url)) as backend:
        backend.replace(payloads, {}, shared)
        return list(backend.scrub(quiet))


@pytest.fixture(params=[None, postgres.NEWEST], ids=["system", "newest"])
def server(request: pytest.FixtureRequest) -> Iterator[postgres.Server]:
    """A server of this test's own, so that every byte that it has can be looked through."""
    with postgres.servers(version=request.param) as started:
        yield started


def test_no_table_holds_a_byte_of_it(server: postgres.Server) -> None:
    """Rows, what is kept apart of them, and dead ones; the write-ahead log is told of."""
    data, scan = server._folder / "data", ByteScan([SAID, KEPT])
    url = url_on(server.port)
    filled(url)
    with refold.open(url) as store:
        before = [(e.id, e.position, e.recorded_at_us, e.occurred_at_us) for e in store.read_all()]
    with postgres.connect(server.port) as admin:
        admin.execute("CHECKPOINT")
        found = {text for texts in scan.in_folder(data / "base").values() for text in texts}
        assert found == {SAID, KEPT}
        checks = {one.name: one for one in erased(url)}
        admin.execute("CHECKPOINT")
    assert [name for name, one in checks.items() if not one.good] == ["write-ahead log"]
    assert "base backups" in checks["write-ahead log"].detail
    found = {text for texts in scan.in_folder(data / "base").values() for text in texts}
    assert found == {KEPT}
    wal = {text for texts in scan.in_folder(data / "pg_wal").values() for text in texts}
    assert SAID in wal, "it was told of, and it is there"
    with refold.open(url) as store:
        after = [(e.id, e.position, e.recorded_at_us, e.occurred_at_us) for e in store.read_all()]
        assert [one for one in store.check() if one.name == "digests" and not one.good] == []
    assert after == before
    assert set(texts_of(url)) == {"[erased]", KEPT}


def test_a_transaction_that_began_before_is_told_of(server: postgres.Server) -> None:
    """Rows that it may still see are carried along: until it ends, they are not gone."""
    url = url_on(server.port)
    filled(url)
    with postgres.connect(server.port) as old:
        old.autocommit = False
        old.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        old.execute("SELECT count(*) FROM refold.log")
        checks = {one.name: one for one in erased(url)}
        assert not checks["tables"].good
        assert str(old.info.backend_pid) in checks["tables"].detail
    with closing(PostgresBackend(url)) as backend:
        assert {one.name: one.good for one in backend.scrub(quiet)}["tables"]
    with postgres.connect(server.port) as admin:
        admin.execute("CHECKPOINT")
    assert not ByteScan([SAID]).in_folder(server._folder / "data" / "base")


@pytest.fixture
def url() -> str:
    """A schema of its own on a shared server."""
    made = postgres.schema_of_its_own()
    filled(made)
    filled(f"{made}&tenant=3")
    return made


@pytest.mark.parametrize("kept_as", ["packed", "parquet"])
@pytest.mark.parametrize("state", ["attached", "detached", "dropped"])
def test_archived_months_are_written_again(
    url: str, tmp_path: Path, kept_as: Any, state: str
) -> None:
    """With a manifest that says so; another tenant's events stay, and the month comes back."""
    folder = tmp_path / "old"
    scan = ByteScan([SAID, KEPT])
    with refold.open(url) as store:
        partitions = Partitions(store)
        partitions.archive("2025-02", folder, format=kept_as)
        if state != "attached":
            partitions.detach("2025-01")
        if state == "dropped":
            partitions.drop("2025-01")
    reads = f"{url}&archive={folder}"
    before, other = texts_of(reads), texts_of(f"{reads}&tenant=3")
    old = sorted(path.name for path in folder.iterdir())
    checks = {one.name: one for one in erased(reads)}
    assert checks["archives"].good
    new = ["[erased]" if text == SAID else text for text in before]
    assert texts_of(reads) == new
    assert texts_of(f"{reads}&tenant=3") == other
    with refold.open(reads) as store:
        (month,) = Partitions(store).months("2025-01")
        manifest = read_manifest(folder, "2025-01", month.manifest)
        assert manifest.replaced == 1
        assert [one for one in store.check() if not one.good] == []
        if state != "attached":
            Partitions(store).attach("2025-01")
    assert texts_of(url) == new
    assert not set(old) & {path.name for path in folder.iterdir()} - {"2025-01.json"}
    erased(f"{reads}&tenant=3")
    assert {text for texts in scan.in_folder(folder).values() for text in texts} <= {KEPT}


def test_an_archive_that_cannot_be_reached_refuses_all(url: str, tmp_path: Path) -> None:
    """Else what was taken out of the log would come back from it."""
    with refold.open(url) as store:
        Partitions(store).archive("2025-02", tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "moved")
    payloads, shared = without(PostgresBackend(url))
    with closing(PostgresBackend(url)) as backend:
        with pytest.raises(refold.errors.NotFound):
            backend.replace(payloads, {}, shared)
        assert SAID in texts_of(url)
        checks = {one.name: one for one in backend.scrub(quiet)}
        assert not checks["archives"].good


@pytest.mark.parametrize("when", ["written", "committed"])
def test_stopped_between_archive_and_store_it_is_one_or_the_other(
    url: str, tmp_path: Path, when: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The manifest that the store knows counts; a second run takes away the other files."""
    folder = tmp_path / "old"
    with refold.open(url) as store:
        Partitions(store).archive("2025-02", folder)
        Partitions(store).drop("2025-01")
    reads = f"{url}&archive={folder}"
    before = texts_of(reads)

    def stopped(*_: object) -> Any:
        raise KeyboardInterrupt

    payloads, shared = without(PostgresBackend(reads))
    if when == "written":
        monkeypatch.setattr(ServerEraser, "_archive", written_only)
    else:
        monkeypatch.setattr(Rewritten, "finish", stopped)
    with closing(PostgresBackend(reads)) as backend, pytest.raises(KeyboardInterrupt):
        backend.replace(payloads, {}, shared)
    monkeypatch.undo()
    new = ["[erased]" if text == SAID else text for text in before]
    assert texts_of(reads) == (before if when == "written" else new)
    assert all(one.good for one in erased(reads) if one.name == "archives")
    assert texts_of(reads) == new
    erased(f"{reads}&tenant=3")
    assert not {SAID} & {t for texts in ByteScan([SAID]).in_folder(folder).values() for t in texts}


def written_only(self: ServerEraser, month: str, folder: Path, sha256: str) -> Rewritten:
    """Everything of an archive is written, and then the process is stopped."""
    rewriting.rewrite(folder, month, sha256, self._archived)
    raise KeyboardInterrupt


def test_whoever_may_only_append_cannot_erase() -> None:
    """Nor may a reader; roles stay as they are."""
    writes, reads = roles.logs_of_its_own(None)
    with refold.open(writes) as store:
        store.append("call-1", [Event("said", {"text": SAID})])
    for url, mode in ((writes, "write"), (reads, "read")):
        with closing(PostgresBackend(url, mode=mode)) as backend:  # type: ignore[arg-type]
            with pytest.raises(UsageError) as refusal:
                backend.replace({1: ERASED})
            assert refusal.value.code == "not_writable"
    assert texts_of(writes) == [SAID]


def test_months_that_another_process_changes_are_waited_for(url: str) -> None:
    """An archive that is being written must not miss what is replaced."""
    with closing(PostgresBackend(url)) as one, closing(PostgresBackend(url)) as other:
        with one.month_keeper.changing(), pytest.raises(Unavailable):
            other.replace({1: ERASED})
        other.replace({1: ERASED})
