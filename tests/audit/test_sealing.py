"""Sealing beside an agent: turned on, followed, refused where the log is not what was sealed."""

import os
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import refold
from refold import Event
from refold.audit import Sealing, copy_seals, new_key, prove, verify
from refold.audit.note import Checkpoint, Note, check_note, parse_note
from refold.audit.sealer import Sealer
from refold.audit.sealing import LastHead
from refold.audit.tables import is_sealed, tables_of
from refold.errors import (
    NotFound,
    OutcomeUnknown,
    ProofError,
    RefoldError,
    Unavailable,
    UsageError,
)
from refold.partitions import Partitions
from tests.audit.sealed import KINDS, key_of, sealed_by, told
from tests.support import postgres, roles
from tests.support.months import fill
from tests.support.stores import url_of


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """An empty store of each kind."""
    with refold.open(url_of(request.param, tmp_path), synchronous="NORMAL") as opened:
        yield opened


def test_nothing_is_there_before_it_is_asked_for(store: refold.Store) -> None:
    """A plain log has no tables of seals; asked for them, it says what turns sealing on."""
    told(store)
    assert not is_sealed(store)
    for asked in (verify, tables_of):
        with pytest.raises(NotFound) as raised:
            asked(store)
        assert raised.value.code == "not_sealed"


def test_what_comes_in_the_block_is_sealed_at_its_end(store: refold.Store) -> None:
    """All of it, by the thread or by the end of the block."""
    with sealed_by(store, every_s=0.01):
        told(store)
    found = verify(store, deep=True, keys=[str(key_of().verifying)])
    assert (found.events, found.unsealed, found.findings) == (store.log_head(), 0, [])
    assert "sealed from the first event on" in found.claims[0]


def test_what_comes_is_sealed_while_the_block_runs(store: refold.Store) -> None:
    """Nobody has to ask."""
    with sealed_by(store, every_s=0.01):
        told(store)
        until = time.monotonic() + 30
        while tables_of(store).log().size < store.log_head() and time.monotonic() < until:
            time.sleep(0.01)
        assert tables_of(store).log().size == store.log_head()


def test_a_log_that_was_there_says_since_when_it_is_sealed(store: refold.Store) -> None:
    """Of what was there before, nothing is claimed; and of what came since, it is."""
    told(store)
    before = store.log_head()
    sealing = sealed_by(store)
    told(store)
    sealing.checkpoint()
    found = verify(store, deep=True)
    assert tables_of(store).log().began_size == before
    assert f"{before:,} events in the log: nothing is claimed" in found.claims[0]
    assert found.findings == []


def test_an_error_of_the_thread_is_raised_at_the_end_of_the_block(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It does not end in silence; storage that is away for a moment is asked again."""
    sealing = sealed_by(store, every_s=0.001)
    away = [Unavailable("away"), OutcomeUnknown("lost at its commit")]
    failures = iter([*away, ProofError("forked", proof="x")])
    failed = threading.Event()

    def failing(**_: object) -> str:
        error = next(failures)
        if isinstance(error, ProofError):
            failed.set()
        raise error

    monkeypatch.setattr(sealing, "checkpoint", failing)
    with pytest.raises(ProofError, match="forked"), sealing:
        store.append("a", [Event("x")])
        assert failed.wait(30)


def test_another_origin_or_key_is_refused(store: refold.Store) -> None:
    """A key of another name never; one of the same name where it is said."""
    told(store)
    sealed_by(store).checkpoint()
    with pytest.raises(UsageError) as raised:
        Sealing(store, new_key("example.com/other"))
    assert raised.value.code == "other_origin"
    turned = new_key(key_of().name)
    with pytest.raises(UsageError) as raised:
        Sealing(store, turned)
    assert raised.value.code == "other_key"
    told(store)
    note = Sealing(store, turned, turns_key=True).checkpoint()
    told(store)
    Sealing(store, turned).checkpoint()
    both = [str(key_of().verifying), str(turned.verifying)]
    assert verify(store, deep=True, keys=both, against=[note]).findings == []
    assert {one.what for one in verify(store, keys=both[:1]).findings} == {"signature"}


def test_a_key_that_was_turned_to_signs_the_head_that_stands(store: refold.Store) -> None:
    """Nothing came since: so the log is begun on by the new key alone, and verified by it."""
    told(store)
    sealed_by(store).checkpoint()
    turned = new_key(key_of().name)
    note = parse_note(Sealing(store, turned, turns_key=True).checkpoint())
    for key in (key_of(), turned):
        check_note(note, key.verifying)
    Sealing(store, turned).checkpoint()
    assert verify(store, deep=True, keys=[str(turned.verifying)]).findings == []
    told(store)
    Sealing(store, turned).checkpoint()
    with pytest.raises(ProofError, match="--new-key"):
        sealed_by(store)


def test_what_no_signed_head_covers_is_not_told_as_sealed(store: refold.Store) -> None:
    """Leaves that nobody signed prove nothing; by a key from elsewhere that is a finding."""
    told(store)
    covered = store.log_head()
    sealed_by(store).checkpoint()
    told(store)
    Sealer(store).seal()
    key = str(key_of().verifying)
    found = verify(store, deep=True, keys=[key])
    assert (found.events, found.unsealed) == (covered, store.log_head() - covered)
    assert found.findings == []
    store._backend.write(  # type: ignore[attr-defined]
        lambda begin: begin().execute("DELETE FROM audit_checkpoints")
    )
    assert verify(store).events == 0
    assert [one.what for one in verify(store, keys=[key]).findings] == ["signature"]


def test_any_thread_may_ask_for_a_checkpoint_in_the_block(store: refold.Store) -> None:
    """It takes turns with the thread that seals: neither goes on from half a step."""
    with sealed_by(store, every_s=0) as sealing:
        for number in range(60):
            store.append(f"call-{number % 7}", [Event("x", number)] * 3)
            assert int(sealing.checkpoint().split("\n")[1]) == store.log_head()
    found = verify(store, deep=True, keys=[str(key_of().verifying)])
    assert (found.events, found.findings) == (store.log_head(), [])


@pytest.mark.parametrize("kept_rounds", [1, 2, 3])
def test_what_does_not_continue_the_last_head_is_not_signed(
    kept_rounds: int, tmp_path: Path
) -> None:
    """A copy is sealed on beside its log, with one file for both: longer, as long, and shorter."""
    head = tmp_path / "last.head"
    with refold.open(tmp_path / "a.db") as store:
        told(store)
        sealed_by(store).checkpoint()
        store.backup(tmp_path / "b.db")
        with refold.open(tmp_path / "b.db", mode="write") as copy:
            other, sealing = (sealed_by(one, last_head=head) for one in (copy, store))
            told(store, rounds=kept_rounds)
            kept = sealing.checkpoint()
            told(copy, rounds=2)
            with pytest.raises(ProofError, match="nothing was signed"):
                other.checkpoint()
            newest = tables_of(copy).newest_head(signed=True)
            assert newest is not None
            assert newest.size < copy.log_head()
    assert head.read_text() == kept


def test_a_key_in_the_place_of_something_else_is_not_repeated(store: refold.Store) -> None:
    """What is refused is shown in logs."""
    with pytest.raises(UsageError) as raised:
        Sealing(store, str(key_of()))  # type: ignore[arg-type]
    assert str(key_of())[-40:] not in str(raised.value)
    assert "load_key" in str(raised.value)


def test_sealers_that_keep_their_heads_in_one_file_leave_it_whole_and_the_newest(
    tmp_path: Path,
) -> None:
    """Each is put in its place at once, and none is written over by one of fewer events."""
    path, count = tmp_path / "head", 200

    def keep(by: str) -> None:
        for size in range(1, count + 1):
            LastHead(path).keep(f"example.com/agents\n{size}\nroot\n\n{by * 2000}end")

    with ThreadPoolExecutor() as pool:
        both = [pool.submit(keep, by) for by in "ab"]
        while not all(one.done() for one in both):
            assert (LastHead(path).read() or "end").endswith("end")
        assert [one.result() for one in both] == [None, None]
    LastHead(path).keep("example.com/agents\n7\nolder\n\nend")
    assert path.read_text().split("\n")[1] == str(count)
    assert list(tmp_path.iterdir()) == [path]


def test_the_last_head_elsewhere_tells_a_log_that_was_rolled_back(tmp_path: Path) -> None:
    """The backup is put back whole: by itself it is as it was, by the last head it is not."""
    log, head = tmp_path / "a.db", tmp_path / "elsewhere.head"
    with refold.open(log) as store:
        told(store)
        sealed_by(store, last_head=head).checkpoint()
        store.backup(tmp_path / "backup.db")
        told(store)
        sealed_by(store, last_head=head).checkpoint()
    with refold.open(tmp_path / "backup.db", mode="write") as store:
        assert verify(store, deep=True).findings == []
        with pytest.raises(ProofError, match="rolled back"):
            sealed_by(store, last_head=head)
        told(store)
        sealed_by(store).checkpoint()
        with pytest.raises(ProofError, match="fork"):
            sealed_by(store, last_head=head)


def test_a_journal_says_that_it_is_not_sealed(tmp_path: Path) -> None:
    """It has no tables; a copy of it has."""
    with refold.open(tmp_path / "a.jsonl") as store:
        assert not is_sealed(store)
        with pytest.raises(UsageError, match="copy"):
            sealed_by(store)


@pytest.mark.parametrize(("source", "target"), [("sqlite", "postgres"), ("postgres", "sqlite")])
def test_a_copy_carries_the_seals(source: str, target: str, tmp_path: Path) -> None:
    """Proofs of the copy are those of the log, byte for byte; and it is sealed on."""
    with (
        refold.open(url_of(source, tmp_path), synchronous="NORMAL") as store,
        refold.open(url_of(target, tmp_path / ".."), synchronous="NORMAL") as copy,
    ):
        told(store, rounds=40)
        sealed_by(store).checkpoint()
        told(store)
        note = sealed_by(store).checkpoint()
        with pytest.raises(UsageError):
            copy_seals(store, copy)
        store.copy_into(copy)
        assert copy_seals(store, copy) == store.log_head()
        assert copy_seals(store, copy) == store.log_head()
        assert prove(copy, "call-1@4") == prove(store, "call-1@4")
        assert verify(copy, deep=True, against=[note]).findings == []
        told(copy)
        sealed_by(copy).checkpoint()
        assert verify(copy, deep=True, against=[note]).findings == []
        with pytest.raises(UsageError, match="sealed by itself"):
            copy_seals(store, copy)


def test_a_copy_that_was_sealed_by_itself_is_refused(tmp_path: Path) -> None:
    """Its salts are others, and so is its root."""
    with refold.open(tmp_path / "a.db") as store, refold.open(tmp_path / "b.db") as copy:
        told(store)
        sealed_by(store).checkpoint()
        store.copy_into(copy)
        sealed_by(copy).checkpoint()
        with pytest.raises(UsageError, match="sealed by itself"):
            copy_seals(store, copy)


def test_a_backup_carries_the_seals(tmp_path: Path) -> None:
    """The file is the whole of it."""
    with refold.open(tmp_path / "a.db") as store:
        told(store)
        note = sealed_by(store).checkpoint()
        store.backup(tmp_path / "b.db")
    with refold.open(tmp_path / "b.db", mode="read") as copy:
        assert verify(copy, deep=True, against=[note]).findings == []


def test_months_that_were_taken_out_are_sealed_and_verified(tmp_path: Path) -> None:
    """Sealed before and after they leave, by an address that names their folder."""
    url = postgres.schema_of_its_own()
    fill(url)
    folder = tmp_path / "archive"
    with refold.open(f"{url}&archive={folder}", synchronous="NORMAL") as store:
        partitions = Partitions(store)
        partitions.archive("2025-02", folder)
        partitions.detach("2025-01")
        sealed_by(store).checkpoint()
        assert verify(store, deep=True).findings == []
        partitions.archive("2025-03", folder)
        partitions.detach("2025-02")
        found = verify(store, deep=True)
        assert (found.events, found.findings) == (store.log_head(), [])
        assert prove(store, "call-1@0")["index"] >= 0
    with refold.open(url, mode="read") as store, pytest.raises(RefoldError) as raised:
        verify(store, deep=True)
    assert raised.value.code == "month_detached"


def test_a_tenant_is_sealed_by_itself_and_a_maintainer_seals(tmp_path: Path) -> None:
    """Two tenants of one schema are two logs; a writer of one can append and not seal."""
    made = roles.shared(None)
    writer, reader = made.login("writer", tenants=[7]), made.login("reader", tenants=[7])
    maintainer = made.login("maintainer")
    with refold.open(made.url(writer, tenant=7)) as store:
        told(store)
        with pytest.raises(RefoldError):
            sealed_by(store)
    for tenant in (7, 8):
        with refold.open(made.url(maintainer, tenant=tenant)) as store:
            told(store)
            sealed_by(store).checkpoint()
            assert verify(store, deep=True).events == store.log_head()
    with refold.open(made.url(reader, tenant=7), mode="read") as store:
        assert verify(store, deep=True).findings == []
        assert prove(store, "call-1@0")["origin"] == key_of().name
    with refold.open(made.url(writer, tenant=7)) as store:
        told(store)
        found = verify(store, deep=True)
        assert found.findings == []
        assert found.unsealed > 0
        with pytest.raises(RefoldError):
            sealed_by(store).checkpoint()


def test_a_log_is_verified_and_begun_on_while_it_is_sealed(tmp_path: Path) -> None:
    """What grows meanwhile is not taken for a change."""
    with refold.open(tmp_path / "a.db", synchronous="NORMAL") as store:
        told(store)
        with sealed_by(store, every_s=0):
            for _ in range(20):
                told(store, rounds=2)
                assert verify(store, deep=True).findings == []
                sealed_by(store)


def test_a_log_that_is_rolled_back_under_a_sealer_is_not_sealed_on(tmp_path: Path) -> None:
    """It would sign a second history of the sizes that it has signed."""
    with refold.open(tmp_path / "a.db") as store:
        told(store)
        sealing = sealed_by(store)
        sealing.checkpoint()
        store._backend.write(  # type: ignore[attr-defined]
            lambda begin: begin().execute("UPDATE audit_log SET size = size - 3")
        )
        told(store)
        with pytest.raises(ProofError, match="rolled back"):
            sealing.checkpoint()


def test_the_last_head_is_the_largest_and_never_two_of_a_size(tmp_path: Path) -> None:
    """Two sealers may share the file."""
    kept = LastHead(tmp_path / "last.head")
    notes = []
    for size, root in ((7, bytes(32)), (9, bytes(32)), (9, b"1" * 32)):
        text = Checkpoint(key_of().name, size, root).text
        notes.append(str(Note(text, [key_of().sign(text)])))
    for note in (notes[0], notes[1], notes[1], notes[0]):
        kept.keep(note)
    assert kept.read() == notes[1]
    with pytest.raises(ProofError, match="two heads of 9"):
        kept.keep(notes[2])


def test_an_older_head_never_takes_the_place_of_a_newer(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where the newer one is kept by another while the older is being written."""
    path, sync, others = tmp_path / "last.head", os.fsync, list[threading.Thread]()
    older, newer = (f"example.com/agents\n{size}\nroot\n\nend" for size in (7, 9))

    def slow(number: int) -> None:
        if not others:
            others.append(threading.Thread(target=LastHead(path).keep, args=(newer,)))
            others[0].start()
            others[0].join(0.2)  # It ends, where nothing keeps it waiting.
        sync(number)

    monkeypatch.setattr(os, "fsync", slow)
    LastHead(path).keep(older)
    others[0].join()
    assert path.read_text() == newer
