"""Bad input, tried: each is answered with the error that says what it is and what to do."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import apsw
import pytest

import refold
from refold.backends.sqlite.file import APPLICATION_ID, SCHEMA_VERSION
from refold.core.event import Event
from refold.core.fold import Fold
from refold.engine.store import Store
from refold.errors import (
    BackendError,
    Conflict,
    Corrupt,
    InvalidEvent,
    NotFound,
    RefoldError,
    UsageError,
)
from tests.faults.unprivileged import unprivileged


@pytest.fixture(params=["memory:", "log.db"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Store]:
    """An open store on each backend, with one event in ``call-1``."""
    url = request.param if request.param == "memory:" else tmp_path / request.param
    with refold.open(url) as opened:
        opened.append("call-1", [Event("test.a", {"n": 0})])
        yield opened


COUNT: Fold[int] = Fold("count", lambda: 0)
COUNT.on("a.b")(lambda state, event: state + 1)


def refused(call: Any, *args: Any, **kwargs: Any) -> RefoldError:
    """The refusal of a call."""
    with pytest.raises(RefoldError) as caught:
        call(*args, **kwargs)
    return caught.value


# -- appends --------------------------------------------------------------------------------------

DEEP: list[Any] = []
for _ in range(200):
    DEEP = [DEEP]

BAD_EVENTS = {
    "nan": Event("a.b", {"x": float("nan")}),
    "infinity": Event("a.b", {"x": float("inf")}),
    "decimal nan": Event("a.b", {"x": Decimal("NaN")}),
    "object": Event("a.b", {"x": object()}),
    "surrogate": Event("a.b", {"x": "\ud800"}),
    "too deep": Event("a.b", {"x": DEEP}),
    "too large": Event("a.b", {"x": "y" * (8 * 1024 * 1024)}),
    "no type": Event("", {}),
    "white type": Event("a b", {}),
    "control type": Event("a\x00", {}),
    "long type": Event("a" * 129, {}),
    "schema 0": Event("a.b", {}, schema=0),
    "two schemas": Event("a.b.v2", {}, schema=3),
    "unknown class": object(),
    "metadata": Event("a.b", metadata={"x": float("nan")}),
}


@pytest.mark.parametrize("bad", BAD_EVENTS.values(), ids=BAD_EVENTS.keys())
def test_a_bad_event_is_refused_with_its_place(store: Store, bad: object) -> None:
    """Nothing of its append is stored, and the store goes on."""
    error = refused(store.append, "call-1", [Event("a.b"), bad])
    assert isinstance(error, InvalidEvent)
    assert (error.index, error.retry) == (1, "never")
    assert error.path in ("", "/x") or error.path.startswith("/x/0/0/")
    assert store.log_head() == 1
    assert store.append("call-1", [Event("a.b")]).version == 1


@pytest.mark.parametrize("name", ["", "a\x00b", "a\nb", "\ud800", "x" * 256, None, 7])
def test_a_bad_name_is_refused(store: Store, name: Any) -> None:
    """As a stream, and as a key."""
    for error in (
        refused(store.append, name, [Event("a.b")]),
        refused(store.append, "call-1", [Event("a.b")], key=name) if name is not None else None,
    ):
        assert error is None or isinstance(error, InvalidEvent)
    assert store.log_head() == 1


def test_a_wrong_expected_version_tells_both(store: Store) -> None:
    """What was expected, what is; the caller can read again and decide again."""
    error = refused(store.append, "call-1", [Event("a.b")], expected=7)
    assert isinstance(error, Conflict)
    assert (error.stream, error.expected, error.actual, error.retry) == ("call-1", 7, 0, "redecide")


def test_a_key_used_for_other_bytes_says_where(store: Store) -> None:
    """The first append of the key is named."""
    store.append("call-1", [Event("a.b", {"n": 1})], key="tx-1")
    error = refused(store.append, "call-1", [Event("a.b", {"n": 2})], key="tx-1")
    assert isinstance(error, UsageError)
    facts = (error.code, error.key, error.stream, error.version)
    assert facts == ("key_reused", "tx-1", "call-1", 1)


# -- what is no log -------------------------------------------------------------------------------


def foreign(path: Path, *, user_version: int = 0, application_id: int = 0) -> Path:
    """A SQLite database of another program, made by a process of its own."""
    script = (
        "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); "
        "c.executescript(sys.argv[2]); c.close()"
    )
    sql = (
        f"CREATE TABLE log (x); INSERT INTO log VALUES (1); PRAGMA user_version={user_version}; "
        f"PRAGMA application_id={application_id};"
    )
    subprocess.run([sys.executable, "-c", script, str(path), sql], check=True, timeout=60)
    return path


def damaged(path: Path) -> Path:
    """A log whose pages after the first are noise."""
    with refold.open(path) as store:
        for number in range(50):
            store.append("call-1", [Event("a.b", {"text": "x" * 500, "n": number})])
    raw = bytearray(path.read_bytes())
    raw[4096:] = os.urandom(len(raw) - 4096)
    path.write_bytes(raw)
    return path


@pytest.mark.parametrize("mode", ["create", "write", "read"])
@pytest.mark.parametrize(
    ("kind", "code"),
    [
        ("text", "not_a_database"),
        ("short text", "not_a_database"),
        ("noise", "not_a_database"),
        ("foreign", "not_a_database"),
        ("foreign with a version", "not_a_database"),
        ("newer", "newer_schema"),
        ("directory", "usage"),
        ("missing folder", None),
        ("file as folder", None),
        ("long name", "usage"),
    ],
)
def test_what_is_no_log_is_not_touched(tmp_path: Path, kind: str, code: str, mode: Any) -> None:
    """It is refused for what it is, in every mode, and is the same afterwards, byte for byte."""
    path = tmp_path / "x.db"
    match kind:
        case "text":
            path.write_text("hello " * 1_000)
        case "short text":
            path.write_text("notes")
        case "noise":
            path.write_bytes(os.urandom(20_000))
        case "foreign":
            foreign(path)
        case "foreign with a version":
            foreign(path, user_version=SCHEMA_VERSION)
        case "newer":
            foreign(path, user_version=SCHEMA_VERSION + 1, application_id=APPLICATION_ID)
        case "directory":
            path.mkdir()
        case "missing folder":
            path = tmp_path / "no" / "x.db"
        case "file as folder":
            path.write_text("hello")
            path = path / "y.db"
        case "long name":
            path = tmp_path / ("x" * 300)
    before = path.read_bytes() if path.name == "x.db" and path.is_file() else None
    error = refused(refold.open, path, mode=mode)
    assert isinstance(error, UsageError | NotFound)
    assert error.code in ({code} if code else {"usage", "not_found"})
    assert error.path == str(path)
    if before is not None:
        assert path.read_bytes() == before
        assert sorted(p.name for p in tmp_path.iterdir()) == ["x.db"]


def test_a_missing_file_is_made_only_when_that_is_asked(tmp_path: Path) -> None:
    """``write`` and ``read`` want it there."""
    for mode in ("write", "read"):
        error = refused(refold.open, tmp_path / "x.db", mode=mode)
        assert isinstance(error, NotFound)
        assert not (tmp_path / "x.db").exists()
    refold.open(tmp_path / "x.db").close()
    refold.open(tmp_path / "x.db", mode="write").close()


def test_an_empty_file_becomes_a_log(tmp_path: Path) -> None:
    """It is what a broken creation leaves; a reader is told that nothing is in it yet."""
    path = tmp_path / "x.db"
    path.touch()
    assert isinstance(refused(refold.open, path, mode="read"), UsageError)
    with refold.open(path) as store:
        assert store.log_head() == 0


def test_a_damaged_file_says_so(tmp_path: Path) -> None:
    """Opening, reading or appending ends in one of refold's errors that names the file."""
    path = damaged(tmp_path / "x.db")
    with pytest.raises((Corrupt, UsageError)) as caught, refold.open(path) as store:
        list(store.read_all())
        store.append("call-1", [Event("a.b")])
    assert caught.value.path == str(path)


def test_a_damaged_row_is_corrupt(tmp_path: Path) -> None:
    """A body that is no list of events is named by its place among many; the rest can be read."""
    path = tmp_path / "x.db"
    with refold.open(path) as store:
        for number in range(5):
            store.append("call-1", [Event("a.b", {"n": number})] * 2)
    connection = apsw.Connection(str(path))
    connection.execute("UPDATE log SET body = '[[\"a.b\"' WHERE position = 5")
    connection.close()
    with refold.open(path) as store:
        for call in (
            lambda: list(store.read("call-1")),
            lambda: list(store.read("call-1", direction="backward")),
            lambda: list(store.read_all()),
            lambda: store.fold("call-1", COUNT),
            lambda: store.fold("call-1", COUNT, occurred_until="9999-01-01"),
        ):
            error = refused(call)
            assert isinstance(error, Corrupt)
            assert (error.position, error.stream, error.version) == (5, "call-1", 4)
        assert [e.data["n"] for e in store.read("call-1", to_version=3)] == [0, 0, 1, 1]
        assert [e.data["n"] for e in store.read("call-1", from_version=6)] == [3, 3, 4, 4]
        assert store.fold("call-1", COUNT, version=3).state == 4
        assert [check.name for check in store.check() if not check.good]


@pytest.mark.parametrize(
    "url",
    [
        "",
        "sqlite://",
        "sqlite:///",
        "sqlite://agents.db",
        "sqlite://folder/agents.db",
        "sqlite:///agents.db?mode=ro",
        "sqlite:///agents.db#2",
        "redis://here/there",
        "mysql://here/there",
        "memory://",
        ":memory:",
        "a\0b",
    ],
)
def test_a_url_that_names_no_log_is_refused(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above all one that another program would read as a file elsewhere; nothing is made."""
    monkeypatch.chdir(tmp_path)
    assert isinstance(refused(refold.open, url), UsageError)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("wrong", [{"mode": "wr"}, {"synchronous": "OFF"}, {"synchronous": "full"}])
@pytest.mark.parametrize("url", ["memory:", "x.db"])
def test_a_wrong_choice_is_not_taken_for_another(
    url: str, wrong: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SQLite takes an unknown level of durability for a weaker one, in silence; refold does not."""
    monkeypatch.chdir(tmp_path)
    assert isinstance(refused(refold.open, url, **wrong), UsageError)


def test_urls_name_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A path, a relative or absolute URL with its escapes, the environment, and the default."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFOLD_URL", str(tmp_path / "env.db"))
    for url in (
        "a.db",
        Path("b.db"),
        b"c.db",
        "sqlite:///d%20e.db",
        f"sqlite:///{tmp_path}/f.db",
        None,
    ):
        refold.open(url).close()  # type: ignore[arg-type]
    monkeypatch.delenv("REFOLD_URL")
    refold.open().close()
    names = sorted(path.name for path in tmp_path.iterdir())
    assert names == ["a.db", "b.db", "c.db", "d e.db", "env.db", "f.db", "refold.db"]


# -- what may not be written ----------------------------------------------------------------------


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that other users can reach, with a log in it."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        with refold.open(folder / "log.db") as store:
            store.append("call-1", [Event("a.b", {"n": 1})])
        folder.chmod(0o777)
        yield folder
        folder.chmod(0o700)


def tried(path: Path, mode: Any) -> Any:
    """What comes of reading the log and appending to it, for a user who is not root."""

    def attempt() -> object:
        with refold.open(path, mode=mode) as store:
            events = [e.data["n"] for e in store.read("call-1")]
            if mode == "read":
                return events
            return store.append("call-1", [Event("a.b", {"n": 2})]).version

    return unprivileged(attempt)


@pytest.mark.parametrize(
    ("file_bits", "folder_bits", "mode", "outcome"),
    [
        (0o666, 0o777, "write", 1),
        (0o666, 0o777, "read", [1]),
        (0o444, 0o777, "read", [1]),
        (0o444, 0o555, "read", [1]),
        (0o666, 0o555, "read", [1]),
        (0o444, 0o777, "write", "not_writable"),
        (0o444, 0o777, "create", "not_writable"),
        (0o444, 0o555, "write", "not_writable"),
        (0o666, 0o555, "write", "not_writable"),
        (0o000, 0o777, "read", "not_writable"),
        (0o000, 0o777, "write", "not_writable"),
        (0o666, 0o000, "read", "usage"),
        (0o666, 0o000, "write", "usage"),
    ],
)
def test_a_file_that_may_not_be_written_is_refused(
    shared_folder: Path, file_bits: int, folder_bits: int, mode: str, outcome: Any
) -> None:
    """Whichever of the file and its folder forbids it; what may be read can be read."""
    path = shared_folder / "log.db"
    path.chmod(file_bits)
    shared_folder.chmod(folder_bits)
    answer = tried(path, mode)
    if isinstance(outcome, str):
        assert isinstance(answer, UsageError), answer
        assert (answer.code, answer.path) == (outcome, str(path))
    else:
        assert answer == outcome
    shared_folder.chmod(0o777)
    with refold.open(path) as store:
        assert store.log_head() == (2 if outcome == 1 else 1)


def test_a_folder_that_may_not_be_written_holds_no_new_log(shared_folder: Path) -> None:
    """The error names the file that could not be made."""
    shared_folder.chmod(0o555)
    answer = tried(shared_folder / "new.db", "create")
    assert isinstance(answer, UsageError)
    assert (answer.code, answer.path) == ("not_writable", str(shared_folder / "new.db"))


def test_a_log_opened_for_reading_is_not_written(tmp_path: Path) -> None:
    """Also by root, for whom no permission bit holds."""
    path = tmp_path / "log.db"
    with refold.open(path) as store:
        store.append("call-1", [Event("a.b", {"n": 1})])
    before = path.read_bytes()
    with refold.open(path, mode="read") as store:
        assert [e.data["n"] for e in store.read("call-1")] == [1]
        branch = store.branch("call-1")
        for call in (
            lambda: store.append("call-1", [Event("a.b")]),
            lambda: branch.save("call-1~b"),
            store.compact,
        ):
            error = refused(call)
            assert isinstance(error, UsageError | BackendError)
            assert error.retry == "never"
        assert [check for check in store.check() if not check.good] == []
    assert path.read_bytes() == before
