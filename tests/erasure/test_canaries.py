"""Where an erased text may still be: the table of docs/explanation/erasure.md, found by scans."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import pytest

import refold
from refold import Event
from refold.core.snapshot import Snapshot
from refold.partitions import Partitions
from refold.ports import Eraser, SnapshotKeeper
from refold.privacy.purging import purge_read_models
from refold.projections import Projector
from refold.readmodels import built_in
from tests.house.tree import ROOT
from tests.support import postgres
from tests.support.bytescan import ByteScan, dictionaries_of
from tests.support.months import JANUARY, MARCH

PAGE = ROOT / "docs" / "explanation" / "erasure.md"
HEAD = "| where it stood | a file | PostgreSQL |"
WORD = "xylocanaryphone"
"""One word, so that an index of words holds it as it is."""
TEXT = f'he said "{WORD}" \u2014 twice'
Found = Mapping[str, set[str]]


def quiet(done: int, in_all: int) -> None:
    """Progress that nobody looks at."""


def planted(url: str, *, archive: Path | None = None) -> None:
    """The text in whatever a log keeps: short and long streams, JSON in strings, metadata, tags."""
    clock = [JANUARY]
    with refold.open(url, clock=lambda: clock[0]) as store:
        exact = {"body": '{"messages":[{"content":"%s"}]}' % TEXT.replace('"', '\\"')}  # noqa: UP031
        store.append("call-old", [Event("said", {"text": TEXT})], tags=[WORD])
        clock[0] = MARCH
        store.append("call-one", [Event("user.utterance", {"text": TEXT})], metadata={"by": TEXT})
        store.append("call-exact", [Event("sent.exactly", exact, metadata={"own": TEXT})])
        for first in range(0, 3_000, 100):
            many = [
                Event(
                    "said", {"text": f"the patient {TEXT}", "n": n * 7919, "more": f"{n:x}" * 150}
                )
                for n in range(first, first + 100)
            ]
            store.append("call-long", many)
        store.append("call-hot", [Event("user.utterance", {"text": TEXT})], tags=[WORD])
        backend: Any = store._backend
        assert isinstance(backend, SnapshotKeeper)
        state = Snapshot("call-one", "f", "p", 0, 1, 0, 1, TEXT.encode(), b"d")
        Projector(store, built_in()).catch_up()
        if archive is None:
            store.compact()
        else:
            Partitions(store).archive("2025-02", archive)
        backend.keep_snapshots([state])
        store.append("call-hot", [Event("user.utterance", {"text": TEXT})], tags=[WORD])


def erased(url: str) -> set[str]:
    """The text is replaced wherever an event says it, and scrubbed; the parts that are not good."""
    with refold.open(url) as store:
        payloads: dict[int, bytes] = {}
        metadata: dict[int, bytes | None] = {}
        shared: dict[int, bytes | None] = {}
        for event in store.read_all():
            if WORD in str(event.data):
                payloads[event.position] = b'{"text":"[erased]"}'
            if WORD in str(event.metadata):
                metadata[event.position] = shared[event.position] = None
        backend: Any = store._backend
        assert isinstance(backend, Eraser)
        backend.replace(payloads, metadata, shared)
        checks = [*purge_read_models(store, built_in()), *backend.scrub(quiet)]
        return {one.name for one in checks if not one.good}


class Place(NamedTuple):
    """A line of the table; the names are those of areas of a file and of a server, if it is one."""

    name: str
    of_file: str | None
    of_server: str | None


PLACES = (
    Place("payloads and metadata of appends", "log", "log"),
    Place("packed segments", "segments", None),
    Place("compression dictionaries", "dictionaries", None),
    Place("archived months", None, "archive"),
    Place("the index of tags", "tags", "tags"),
    Place("snapshots", "snapshots", "snapshots"),
    Place("rows of read models", "search_names", "search_names"),
    Place("words of the full-text index", "search_texts", "search_texts"),
    Place("pages of the file, free ones too; dead rows, TOAST", "file", "data"),
    Place("the write-ahead log", "wal", "wal"),
    Place("a copy that was made before", "copy", "copy"),
)


class Areas(NamedTuple):
    """Looks through each area of a store; which ``told`` part of a scrub stands for which."""

    look: Callable[[], dict[str, bool]]
    told: Mapping[str, str]
    url: str


@contextmanager
def file_areas(folder: Path) -> Iterator[Areas]:
    """A log in a file."""
    path, copy = folder / "log" / "agents.db", folder / "copy.db"
    path.parent.mkdir()
    planted(str(path))
    with refold.open(path) as store:
        store._backend.copy_to(copy)  # type: ignore[attr-defined]
    before = dictionaries_of(path)

    def look() -> dict[str, bool]:
        scan = ByteScan([WORD], {*before, *dictionaries_of(path)})
        found = {one.of_file: False for one in PLACES if one.of_file}
        with closing(apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY)) as db:
            for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'"):
                area = next((a for a in found if str(name).startswith(a)), "other tables")
                for row in db.execute(f'SELECT * FROM "{name}"').fetchall():
                    texts = [v if isinstance(v, bytes) else str(v).encode() for v in row]
                    found[area] = bool(found.get(area)) or any(map(scan.in_bytes, texts))
        wal = path.with_name(f"{path.name}-wal")
        found["file"] = bool(scan.in_bytes(path.read_bytes()))
        found["wal"] = wal.exists() and bool(scan.in_bytes(wal.read_bytes()))
        return {**found, "copy": bool(scan.in_file(copy))}

    # Somebody has it open all the while, so that its write-ahead log stands.
    with refold.open(path) as open_, closing(apsw.Connection(str(path))):
        open_.append("other-1", [Event("said", {"text": WORD})])
        yield Areas(look, {"wal": "write-ahead log"}, str(path))


@contextmanager
def server_areas(folder: Path) -> Iterator[Areas]:
    """A log on a server of its own."""
    with postgres.servers() as server, postgres.connect(server.port) as admin:
        data, archive, copy = server._folder / "data", folder / "archive", folder / "copy.jsonl"
        url = postgres.url(server.port, archive=archive)
        planted(url, archive=archive)
        with refold.open(url) as store:
            copy.write_text("\n".join(str(event.data) for event in store.read_all()))

        def look() -> dict[str, bool]:
            scan, found = ByteScan([WORD]), {}
            admin.execute("CHECKPOINT")
            for area in ("log", "tags", "snapshots", "search_names", "search_texts"):
                files = admin.execute(
                    "SELECT pg_relation_filepath(c.oid), pg_relation_filepath(t.oid) "
                    "FROM pg_class AS c LEFT JOIN pg_class AS t ON t.oid = c.reltoastrelid "
                    "WHERE c.relkind = 'r' AND c.relname LIKE %s",
                    [f"{area}%"],
                ).fetchall()
                paths = [data / str(path) for row in files for path in row if path]
                found[area] = any(scan.in_file(path) for path in paths)
            found["data"] = bool(scan.in_folder(data / "base"))
            found["wal"] = bool(scan.in_folder(data / "pg_wal"))
            found["archive"] = bool(scan.in_folder(archive))
            return {**found, "copy": bool(scan.in_file(copy))}

        yield Areas(look, {"wal": "write-ahead log"}, url)


def statuses(areas: Areas) -> dict[str, str]:
    """What became of the text in each area; it was found in each of them before."""
    before = areas.look()
    assert all(found for area, found in before.items() if area != "other tables"), before
    bad = erased(areas.url)
    after = areas.look()
    assert not after.get("other tables")
    assert bad <= {*areas.told.values()}
    told = {
        area: "told" if areas.told.get(area) in bad else "stays"
        for area, found in after.items()
        if found
    }
    return {area: told.get(area, "gone") for area in after}


@pytest.mark.parametrize("kind", ["file", "server"])
def test_what_becomes_of_a_text_is_what_the_page_says(kind: str, tmp_path: Path) -> None:
    """Each place of the table held it before; then it is gone, or told of, as the page says."""
    made = file_areas if kind == "file" else server_areas
    with made(tmp_path) as areas:
        found = statuses(areas)
    column = 2 if kind == "file" else 3
    said = {row.split("|")[1].strip(): row.split("|")[column].strip() for row in table()}
    due = {}
    for place in PLACES:
        area = place.of_file if kind == "file" else place.of_server
        due[place.name] = "–" if area is None else found[area]
    assert said == due


def table() -> list[str]:
    """The rows of the table of the page."""
    lines = PAGE.read_text(encoding="utf-8").splitlines()
    start = lines.index(HEAD) + 2
    return [line for line in lines[start : start + len(PLACES)] if line.startswith("|")]


def test_the_page_has_no_other_rows() -> None:
    """Each row of the table is a place that is looked at here."""
    assert [row.split("|")[1].strip() for row in table()] == [one.name for one in PLACES]
