"""A sealed log published as static files: torchwood reads, checks and proves from them."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.audit import sealed_export
from refold.audit.note import Checkpoint, Note, SigningKey, parse_checkpoint, parse_note
from refold.audit.publishing import publish
from refold.errors import ProofError
from tests.audit.others import Judge
from tests.audit.sealed import KINDS, key_of, sealed_by, told
from tests.audit.test_tree import changed
from tests.support.stores import url_of


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """A log of each kind."""
    with refold.open(url_of(request.param, tmp_path), synchronous="NORMAL") as opened:
        yield opened


def grow(store: refold.Store, events: int) -> Checkpoint:
    """Let a log have at least so many events, in appends of 7, all sealed; its head."""
    while store.log_head() < events:
        store.append("call-7", [refold.Event("counted", {"n": at}) for at in range(7)])
    return parse_checkpoint(parse_note(sealed_by(store).checkpoint()).text)


def checked(judge: Judge, folder: Path) -> str:
    """What torchwood says of every entry of a folder, from its checkpoint on."""
    note = (folder / "checkpoint").read_text()
    judge.said("checkpoint", text=note, key=str(key_of().verifying))
    head = parse_checkpoint(parse_note(note).text)
    return judge.said("entries", folder=str(folder), size=head.size, root=head.root)


def all_entries(store: refold.Store) -> bytes:
    """The entries of a log, one after another."""
    return b"".join(b64decode(line["entry"]) for line in [*sealed_export(store)][1:])


def test_a_published_log_is_checked_to_its_last_entry(
    store: refold.Store, tmp_path: Path, judge: Judge
) -> None:
    """While it grows: what is there stays, what is new is added, and nothing is written twice."""
    folder = tmp_path / "public"
    told(store)
    for events in (0, 200, 256, 700):
        grow(store, events)
        assert publish(store, folder) > 0
        assert publish(store, folder) == 0
        said = sha256(b"\0" + all_entries(store)).digest()
        assert b64decode(checked(judge, folder)) == said
    names = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert {"checkpoint", "tile/0/000", "tile/0/001", "tile/entries/001", "tile/1/000.p/2"} <= names


def test_a_tile_or_an_entry_that_was_changed_is_found_out(tmp_path: Path, judge: Judge) -> None:
    """By who reads the folder."""
    folder = tmp_path / "public"
    with refold.open("memory:") as store:
        head = grow(store, 300)
        publish(store, folder)
    files = [file for file in folder.rglob("*") if file.is_file() and file.name != "checkpoint"]
    assert len(files) == 5
    for file in files:
        right = file.read_bytes()
        file.write_bytes(right[:-1] + changed(right[-1:]))
        asked: dict[str, Any] = {"folder": str(folder), "size": head.size, "root": head.root}
        assert judge.refusal("entries", **asked), file
        file.write_bytes(right)
    checked(judge, folder)


def test_a_folder_of_another_log_is_not_written_over(tmp_path: Path) -> None:
    """Of another origin, of another history, or of a longer one."""
    folder = tmp_path / "public"
    with refold.open("memory:") as store:
        grow(store, 300)
        publish(store, folder)
    before = {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()}
    for events in (7, 700):
        with refold.open("memory:") as other:
            grow(other, events)
            with pytest.raises(ProofError, match="publish into another folder"):
                publish(other, folder)
    text = Checkpoint("example.org/other", 0, sha256().digest()).text
    note = Note(text, [SigningKey("example.org/other", bytes(32)).sign(text)])
    assert {file: file.read_bytes() for file in folder.rglob("*") if file.is_file()} == before
    (folder / "checkpoint").write_text(str(note))
    with refold.open("memory:") as other:
        grow(other, 7)
        with pytest.raises(ProofError, match=r"of example\.org/other"):
            publish(other, folder)


def test_an_event_that_was_changed_is_not_published(tmp_path: Path) -> None:
    """The folder keeps its older checkpoint, which stays right."""
    folder, path = tmp_path / "public", tmp_path / "a.db"
    with refold.open(path) as store:
        grow(store, 7)
        publish(store, folder)
        grow(store, 300)
    before = (folder / "checkpoint").read_text()
    with refold.open(path) as store:
        keeper: Any = store._backend
        keeper.write(
            lambda begin: begin().execute(
                "UPDATE log SET body = replace(body, '6', '9') WHERE position = 15", ()
            )
        )
        with pytest.raises(ProofError, match="is not what was sealed"):
            publish(store, folder)
    assert (folder / "checkpoint").read_text() == before
