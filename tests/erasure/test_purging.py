"""Read models and the full-text index hold nothing of what was erased once they were purged."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import apsw
import pytest

import refold
from refold import Event
from refold.privacy.purging import purge_read_models
from refold.privacy.stored import stored_backend
from refold.projections import Projector
from refold.readmodels import built_in
from tests.support import postgres
from tests.support.bytescan import ByteScan
from tests.support.stores import url_of

WORD = "xylocanaryphone"
"""One word, as a full-text index keeps it."""


def quiet(done: int, in_all: int) -> None:
    """Progress that nobody looks at."""


def spoken(url: str) -> None:
    """A conversation in the read models, of which one word is to go."""
    with refold.open(url) as store:
        store.append("call-1", [Event("user.utterance", {"text": f"I said {WORD} once"})])
        store.append("call-1", [Event("agent.utterance", {"text": "and I did not"})])
        Projector(store, built_in()).catch_up()


def rows_with_word(store: refold.Store) -> int:
    """How many conversations the index finds by the word."""
    projector = Projector(store, built_in())
    condition, values = projector.saying([WORD])
    return len(projector.query(f"SELECT 1 FROM search_texts WHERE {condition}", values))


def erased(store: refold.Store) -> None:
    """The word is replaced in the log."""
    store._backend.replace({1: b'{"text":"[erased]"}'})  # type: ignore[attr-defined]


@pytest.mark.parametrize("kind", ["log.db", "postgresql:"])
@pytest.mark.parametrize("with_code", [True, False], ids=["filled-anew", "emptied"])
def test_no_read_model_holds_what_was_erased(kind: str, with_code: bool, tmp_path: Path) -> None:
    """Filled anew they are as a fold of the log; emptied, their owner fills them so."""
    url = url_of(kind, tmp_path)
    spoken(url)
    with refold.open(url) as store:
        assert rows_with_word(store) == 1
        erased(store)
        assert rows_with_word(store) == 1, "the log does not tell its read models"
        checks = list(purge_read_models(store, built_in() if with_code else ()))
        assert {one.name for one in checks} == {f"projection {one.name}" for one in built_in()}
        assert all(one.good for one in checks)
        assert rows_with_word(store) == 0
        Projector(store, built_in()).catch_up()
        assert rows_with_word(store) == 0
        ((count,),) = Projector(store, built_in()).query("SELECT count(*) FROM conversations")
        assert count == 1


@pytest.mark.parametrize("with_code", [True, False], ids=["filled-anew", "emptied"])
def test_no_byte_of_a_file_holds_it(with_code: bool, tmp_path: Path) -> None:
    """Neither rows nor the words of the full-text index, on no page."""
    path = tmp_path / "agents.db"
    spoken(str(path))
    scan = ByteScan([WORD])
    with closing(apsw.Connection(str(path))) as db:
        tables = [
            name
            for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")
            if any(
                scan.in_bytes(value if isinstance(value, bytes) else str(value).encode())
                for row in db.execute(f'SELECT * FROM "{name}"')
                for value in row
            )
        ]
    assert len(tables) > 1, "the scan finds it in the log and in the index of words"
    with refold.open(path) as store:
        erased(store)
        assert all(one.good for one in purge_read_models(store, built_in() if with_code else ()))
        assert all(one.good for one in store._backend.scrub(quiet))  # type: ignore[attr-defined]
        assert scan.in_folder(tmp_path) == {}
    with refold.open(path) as store:
        assert [one for one in store.check() if not one.good] == []


def test_no_table_of_a_server_holds_it() -> None:
    """A table that is emptied gets another file."""
    with postgres.servers() as server:
        data, url = server._folder / "data" / "base", postgres.url(server.port)
        spoken(url)
        scan = ByteScan([WORD])
        with postgres.connect(server.port) as admin, refold.open(url) as store:
            admin.execute("CHECKPOINT")
            assert len(scan.in_folder(data)) > 1
            erased(store)
            assert all(one.good for one in purge_read_models(store))
            list(stored_backend(store).scrub(quiet))  # type: ignore[attr-defined]
            admin.execute("CHECKPOINT")
            assert scan.in_folder(data) == {}
