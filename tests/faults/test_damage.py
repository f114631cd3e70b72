"""Damaged files: right answers or clear errors, and doctor finds what reads cannot see.

What nothing can tell, in this format:

- other text within a body or metadata that is neither packed (a segment has a checksum) nor keyed
  (a digest, which doctor computes again), as long as it is JSON of the same types and times;
- another ``recorded_at`` of an append, between those of its neighbours;
- the end of a log that is missing with its last commits: an old copy, a WAL that is missing or is
  damaged. What is left is then a start of the log, as it was once;
- a WAL of another refold log that was put beside the file, where it holds every page it needs.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import cache
from itertools import count
from pathlib import Path
from random import Random
from tempfile import TemporaryDirectory
from typing import Any

import apsw
import pytest

import refold
from refold import Event
from refold.backends.sqlite.file import APPLICATION_ID, SCHEMA_VERSION
from refold.core.fold import Folded
from refold.engine.store import Store
from refold.errors import Corrupt, RefoldError, UsageError
from tests.faults.judging import facts
from tests.faults.specimen import PAGE_BYTES, questions, specimen
from tests.support.soak import bound, counted

PARTS = 8
DAMAGES_PER_PAGE = bound(4, 12)
SECTOR_BYTES = 512
RAW = 3
"""Where the facts of an event have its payload; its metadata and times follow."""


def judge(path: Path) -> None:
    """Each answer is right, or an error of refold's, or one that doctor warns of.

    Where it does not warn, only texts within events differ, and times between those beside them;
    and states that follow from such events.
    """
    counted("damaged files")
    right = specimen().answers
    try:
        store = refold.open(path, mode="write")
    except RefoldError:
        return
    try:
        warned = any(not check.good for check in store.check())
        events_differ = False
        for name, ask in questions().items():
            try:
                answer = ask(store)
            except RefoldError:
                continue
            follows = events_differ and isinstance(answer, Folded)
            same = answer == right[name] or _same_but_texts(answer, right[name])
            assert warned or same or follows, name
            events_differ = events_differ or (name == "log" and answer != right[name])
    finally:
        _close(store)


def _same_but_texts(answer: Any, right: Any) -> bool:
    """Whether the same events are given, but for what is in them and small steps of the clock."""
    if not isinstance(right, list) or not right or not isinstance(right[0], tuple):
        return False
    return [fact[:RAW] for fact in answer] == [fact[:RAW] for fact in right]


def _close(store: Store) -> None:
    """A damaged file may not even be closed in good order."""
    try:
        store.close()
    except RefoldError:
        return


def flipped(content: bytes, page: int, random: Random) -> bytes:
    """A page with one other byte, often near its beginning, where its structure is."""
    within = random.choice([12, 100, PAGE_BYTES, PAGE_BYTES])
    at = (page - 1) * PAGE_BYTES + random.randrange(within)
    byte = content[at]
    other = random.choice([byte ^ 1 << random.randrange(8), 0, 255, random.randrange(256)])
    return content[:at] + bytes([other]) + content[at + 1 :]


def wiped(content: bytes, page: int, random: Random) -> bytes:
    """A page of which one sector is zeros."""
    at = (page - 1) * PAGE_BYTES + random.randrange(PAGE_BYTES // SECTOR_BYTES) * SECTOR_BYTES
    return content[:at] + bytes(SECTOR_BYTES) + content[at + SECTOR_BYTES :]


def misplaced(content: bytes, page: int, random: Random) -> bytes:
    """A page that holds another one."""
    other = random.randrange(len(content) // PAGE_BYTES) * PAGE_BYTES
    at = (page - 1) * PAGE_BYTES
    return content[:at] + content[other : other + PAGE_BYTES] + content[at + PAGE_BYTES :]


def cut(content: bytes, page: int, random: Random) -> bytes:
    """A file that ends within a page, or before it; one of no bytes would be a log to be made."""
    left = random.choice([0, random.randrange(PAGE_BYTES)])
    return content[: max(1, (page - 1) * PAGE_BYTES + left)]


@pytest.mark.parametrize("part", range(PARTS))
def test_a_damaged_page_gives_no_wrong_answer_unseen(tmp_path: Path, part: int) -> None:
    """Every page in turn: a byte is another, a sector is wiped, a page misplaced, the file cut."""
    ways: list[Callable[[bytes, int, Random], bytes]] = [
        *([flipped] * DAMAGES_PER_PAGE),
        *([wiped, misplaced, cut] * bound(1, 2)),
    ]
    for page, kind in list(specimen().pages.items())[part::PARTS]:
        for number, damage in enumerate(ways):
            folder = tmp_path / f"{page}-{number}"
            folder.mkdir()
            path = folder / "log.db"
            path.write_bytes(damage(specimen().content, page, Random(f"{page}-{number}")))
            try:
                judge(path)
            except BaseException as error:
                error.add_note(f"{damage.__name__}, number {number}, in page {page}: {kind}")
                raise
            shutil.rmtree(folder)


def test_the_specimen_has_every_kind_of_page() -> None:
    """Leaves and what stands above them, of tables and indexes; overflow; free pages."""
    kinds = set(specimen().pages.values())
    for table in ("log", "segments", "keys", "snapshots", "sqlite_schema"):
        assert {f"internal of {table}", f"leaf of {table}"} <= kinds
    assert kinds >= {"internal of log_key", "leaf of log_version", "leaf of streams", "free or map"}
    assert kinds >= {"overflow of log", "leaf of dictionaries", "leaf of types"}


@pytest.mark.parametrize(
    ("told", "stream", "key", "packed"),
    [
        (False, "plain-1", None, False),
        (True, "keyed-1", "some key", False),
        (True, "packed-1", None, True),
    ],
)
def test_other_words_are_told_by_digest_or_checksum(
    tmp_path: Path, told: bool, stream: str, key: str | None, packed: bool
) -> None:
    """Of a keyed append and of a packed one; not of one that is neither: it has no checksum."""
    path = tmp_path / "log.db"
    with refold.open(path, synchronous="NORMAL") as store:
        store.append(stream, [Event("said", {"text": "needle"})], key=key)
        store.append("last-1", [Event("said", {"text": "other"})])
        if packed:
            store.compact()
    content = path.read_bytes()
    if packed:
        with refold.open(path) as store:
            ((frame,),) = store._backend._query("SELECT frame FROM segments")  # type: ignore[attr-defined]
        at = content.index(frame) + len(frame) // 2
    else:
        at = content.index(b"needle")
    path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
    with refold.open(path) as store:
        assert any(not check.good for check in store.check()) == told
        if packed:
            with pytest.raises(Corrupt):
                list(store.read(stream))


# -- the write-ahead log -----------------------------------------------------------------------


@cache
def in_two_files() -> tuple[bytes, bytes, int, list[tuple[object, ...]]]:
    """A log whose end stands in the WAL alone: both files, the events in the first, and all."""
    with TemporaryDirectory() as folder:
        path = Path(folder, "log.db")
        with refold.open(path) as store:
            for number in range(20):
                store.append(f"call-{number % 4}", [Event("said", {"n": number})] * 3)
            in_first = store.log_head()
        with refold.open(path) as store:
            for number in range(20):
                store.append(f"call-{number % 6}", [Event(f"said.{number}", {"n": number})] * 3)
            log = facts(store.read_all())
            wal = path.with_name("log.db-wal").read_bytes()
            return path.read_bytes(), wal, in_first, log


def opened_with(folder: Path, wal: bytes | None) -> list[tuple[object, ...]] | None:
    """What can be read of the first file with some WAL beside it; None where doctor warns."""
    content, _, _, _ = in_two_files()
    path = folder / "log.db"
    path.write_bytes(content)
    if wal is not None:
        path.with_name("log.db-wal").write_bytes(wal)
    try:
        store = refold.open(path)
    except RefoldError:
        return None
    try:
        log = facts(store.read_all())
        return log if all(check.good for check in store.check()) else None
    except RefoldError:
        return None
    finally:
        _close(store)


def test_a_missing_wal_leaves_a_start_of_the_log(tmp_path: Path) -> None:
    """Whoever copies the file alone has the log as it was at the last checkpoint."""
    _, _, in_first, log = in_two_files()
    assert opened_with(tmp_path, None) == log[:in_first]
    assert in_first < len(log)


def test_a_whole_wal_gives_the_whole_log(tmp_path: Path) -> None:
    """Both files together, copied while nobody wrote, are the log."""
    assert opened_with(tmp_path, in_two_files()[1]) == in_two_files()[3]


@pytest.mark.parametrize("part", range(4))
def test_a_damaged_wal_leaves_a_start_of_the_log(tmp_path: Path, part: int) -> None:
    """From the damage on nothing of it is read: its frames have checksums, one upon the other."""
    _, wal, in_first, log = in_two_files()
    random = Random(part)
    for number in range(bound(12, 300)):
        folder = tmp_path / str(number)
        folder.mkdir()
        at = random.randrange(len(wal)) if number % 4 else random.randrange(64)
        damaged = wal[:at] + bytes([wal[at] ^ 1 << random.randrange(8)]) + wal[at + 1 :]
        left = opened_with(folder, damaged if number % 3 else wal[:at])
        assert left is not None
        assert left == log[: len(left)]
        assert len(left) >= in_first


def wal_of_a_log(folder: Path) -> bytes:
    """The WAL of a log from its first page on."""
    with refold.open(folder / "log.db", clock=count(1).__next__) as store:
        for number in range(60):
            store.append("other-1", [Event("other", {"n": number})])
        return (folder / "log.db-wal").read_bytes()


def wal_of_the_end_of_a_log(folder: Path) -> bytes:
    """The WAL of a log whose beginning is in its file."""
    wal_of_a_log(folder)
    with refold.open(folder / "log.db") as store:
        for number in range(60):
            store.append(f"other-{number}", [Event("other", {"n": number})])
        return (folder / "log.db-wal").read_bytes()


def wal_of_another_program(folder: Path) -> bytes:
    """The WAL of a database that is no log."""
    connection = apsw.Connection(str(folder / "log.db"))
    for statement in ("PRAGMA journal_mode=WAL", "CREATE TABLE t (x)", "INSERT INTO t VALUES (1)"):
        connection.execute(statement).fetchall()
    wal = (folder / "log.db-wal").read_bytes()
    connection.close()
    return wal


def noise(folder: Path) -> bytes:
    """No WAL at all."""
    return Random(1).randbytes(9_000)


@pytest.mark.parametrize("make", [wal_of_the_end_of_a_log, wal_of_another_program, noise])
def test_a_foreign_wal_is_never_mixed_in_unseen(
    tmp_path: Path, make: Callable[[Path], bytes]
) -> None:
    """SQLite takes any WAL for the file's own: the mixture is refused, or doctor warns of it."""
    (tmp_path / "foreign").mkdir()
    (tmp_path / "mixed").mkdir()
    _, _, in_first, log = in_two_files()
    left = opened_with(tmp_path / "mixed", make(tmp_path / "foreign"))
    assert left in (None, log[:in_first])


def test_a_wal_that_holds_another_log_whole_makes_it_that_log(tmp_path: Path) -> None:
    """The one foreign WAL that nothing can tell: the pages of the file do not count any more."""
    (tmp_path / "foreign").mkdir()
    (tmp_path / "mixed").mkdir()
    left = opened_with(tmp_path / "mixed", wal_of_a_log(tmp_path / "foreign"))
    with refold.open(tmp_path / "foreign" / "log.db") as store:
        assert left == facts(store.read_all())


def test_shared_memory_that_was_left_behind_is_not_believed(tmp_path: Path) -> None:
    """The index of the WAL is made anew by the first who opens the file."""
    (tmp_path / "log.db-shm").write_bytes(Random(1).randbytes(32_768))
    _, wal, _, log = in_two_files()
    assert opened_with(tmp_path, wal) == log


# -- what is no log of this refold -----------------------------------------------------------------


def changed(path: Path, **pragmas: int) -> None:
    """A log whose header says something else."""
    with refold.open(path) as store:
        store.append("call-1", [Event("said", {})])
    connection = apsw.Connection(str(path))
    for name, value in pragmas.items():
        connection.pragma(name, value)
    connection.close()


@pytest.mark.parametrize("mode", ["create", "write", "read"])
def test_a_newer_log_is_refused(tmp_path: Path, mode: Any) -> None:
    """The error says to upgrade; nothing is written."""
    path = tmp_path / "log.db"
    changed(path, user_version=SCHEMA_VERSION + 1)
    before = path.read_bytes()
    with pytest.raises(UsageError) as caught:
        refold.open(path, mode=mode)
    assert caught.value.code == "newer_schema"
    assert path.read_bytes() == before


@pytest.mark.parametrize("version", range(1, SCHEMA_VERSION))
def test_a_log_that_is_said_to_be_older_says_the_way_back(tmp_path: Path, version: int) -> None:
    """Another program has set its version back: what refuses it names that, and it helps."""
    path = tmp_path / "log.db"
    changed(path, user_version=version)
    with pytest.raises(Corrupt, match=f"its schema is {version}.*PRAGMA user_version"):
        refold.open(path)
    connection = apsw.Connection(str(path))
    connection.pragma("user_version", SCHEMA_VERSION)
    connection.close()
    with refold.open(path) as store:
        assert [e.type for e in store.read("call-1")] == ["said"]
        assert all(check.good for check in store.check())


@pytest.mark.parametrize("mode", ["create", "write", "read"])
def test_the_database_of_another_program_is_refused(tmp_path: Path, mode: Any) -> None:
    """By its tables, by its version, by its id; nothing is written into it."""
    makers: list[Callable[[apsw.Connection], object]] = [
        lambda c: c.execute("CREATE TABLE log (position INTEGER PRIMARY KEY, body TEXT)"),
        lambda c: c.execute("CREATE TABLE t (x); PRAGMA user_version=3"),
        lambda c: c.pragma("application_id", APPLICATION_ID + 1),
        lambda c: c.pragma("user_version", SCHEMA_VERSION),
    ]
    for number, make in enumerate(makers):
        path = tmp_path / f"{number}.db"
        connection = apsw.Connection(str(path))
        make(connection)
        connection.close()
        before = path.read_bytes()
        with pytest.raises(UsageError) as caught:
            refold.open(path, mode=mode)
        assert caught.value.code == "not_a_database"
        assert path.read_bytes() == before


@pytest.mark.parametrize("mode", ["create", "write", "read"])
@pytest.mark.parametrize(
    "content", [b"just text, no database\n" * 50, bytes(4_096), b"SQLite format 3\0", b"S"]
)
def test_any_other_file_is_refused(tmp_path: Path, mode: Any, content: bytes) -> None:
    """And is not touched."""
    path = tmp_path / "log.db"
    path.write_bytes(content)
    with pytest.raises((UsageError, Corrupt)):
        refold.open(path, mode=mode)
    assert path.read_bytes() == content


def test_an_empty_file_is_a_log_to_be_made(tmp_path: Path) -> None:
    """As SQLite has it; who only reads is told that it is empty."""
    path = tmp_path / "log.db"
    path.touch()
    with pytest.raises(UsageError):
        refold.open(path, mode="read")
    with refold.open(path) as store:
        assert store.append("call-1", [Event("said", {})]).position == 1


def test_our_name_on_other_tables_is_told(tmp_path: Path) -> None:
    """A file that claims to be a log and has no table of one is Corrupt, whatever is asked."""
    path = tmp_path / "log.db"
    connection = apsw.Connection(str(path))
    connection.execute("CREATE TABLE t (x)")
    connection.pragma("application_id", APPLICATION_ID)
    connection.pragma("user_version", SCHEMA_VERSION)
    connection.close()
    with refold.open(path) as store:
        for ask in questions().values():
            with pytest.raises(Corrupt):
                ask(store)
        with pytest.raises(Corrupt):
            store.append("call-1", [Event("said", {})])
        assert any(not check.good for check in store.check())
