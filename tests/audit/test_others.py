"""Go's note and tlog packages and torchwood accept what refold made, and nothing near it."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from refold.audit.note import (
    COSIGNATURE,
    Checkpoint,
    Note,
    SigningKey,
    check_note,
    parse_note,
)
from refold.audit.tree import consistency_path, inclusion_path, root_of
from refold.audit.verifier.heads import leaf_hash
from tests.audit.logs import entries_of, nodes_of, tiles_for
from tests.audit.others import Judge
from tests.audit.test_tree import changed

KEY = SigningKey("example.org/log", bytes(range(32)))
WITNESS = SigningKey("example.org/witness", bytes(range(1, 33)), COSIGNATURE)
VKEY = str(KEY.verifying)
ENTRIES = entries_of(70_000)
NODES = nodes_of(ENTRIES)


def note_of(size: int) -> Note:
    """The signed head of the log as it was, with a cosignature."""
    text = Checkpoint(KEY.name, size, root_of(size, NODES)).text
    return Note(text, [KEY.sign(text), WITNESS.sign(text, time_s=1_700_000_000)])


def flips(whole: str) -> Iterator[str]:
    """A text with each bit flipped in turn, where that is a text still."""
    data = whole.encode()
    for at in range(8 * len(data)):
        flipped = bytearray(data)
        flipped[at // 8] ^= 1 << at % 8
        try:
            yield flipped.decode()
        except UnicodeDecodeError:
            continue


@pytest.mark.parametrize(
    ("question", "key"),
    [("note", VKEY), ("cosigned", str(WITNESS.verifying)), ("checkpoint", VKEY)],
)
def test_our_notes_are_opened_and_no_changed_one_is(judge: Judge, question: str, key: str) -> None:
    """x/mod's note package, and torchwood for cosignatures and checkpoints.

    They do not look at the spare bits at the end of base64, where ours does; and of a note
    that is countersigned each looks at the signature of its key alone.
    """
    note = note_of(70_000)
    own = next(one for one in note.signatures if key.startswith(one.name + "+"))
    alone = Note(note.text, [own])
    judge.said(question, text=str(note), key=key)
    accepted = [one for one in flips(str(alone)) if not judge.refusal(question, text=one, key=key)]
    spare = str(alone).rstrip("=\n")[:-1]
    assert all(text.startswith(spare) for text in accepted)
    assert len(accepted) <= 4
    for text in accepted:
        with pytest.raises(Exception, match="note"):
            parse_note(text)


def test_torchwood_reads_a_checkpoint_as_we_wrote_it(judge: Judge) -> None:
    """Origin, size and root."""
    root = root_of(70_000, NODES)
    said = judge.said("checkpoint", text=str(note_of(70_000)), key=VKEY).split()
    assert said[:2] == ["example.org/log", "70000"]
    assert said[2] == Checkpoint("x", 1, root).text.split("\n")[2]


def test_what_go_signs_is_what_we_sign(judge: Judge) -> None:
    """To the byte: names, keys and signatures are the same."""
    text = Checkpoint(KEY.name, 70_000, root_of(70_000, NODES)).text
    signed = judge.said("sign", text=text, key=str(KEY))
    assert signed == str(Note(text, [KEY.sign(text)]))
    check_note(parse_note(signed), KEY.verifying)


PLACES = [(0, 1), (0, 2), (4, 5), (6, 7), (255, 256), (256, 257), (300, 70_000), (69_999, 70_000)]


@pytest.mark.parametrize(("index", "size"), PLACES)
def test_tlog_accepts_our_inclusion_and_no_changed_one(judge: Judge, index: int, size: int) -> None:
    """Another leaf, index, root, and each hash of the path changed or left out."""
    path, root = inclusion_path(index, size, NODES), root_of(size, NODES)
    right: dict[str, Any] = {
        "size": size,
        "index": index,
        "root": root,
        "leaf": leaf_hash(ENTRIES[index]),
        "path": path,
    }
    judge.said("record", **right)
    wrong: list[dict[str, Any]] = [
        {"leaf": changed(right["leaf"])},
        {"root": changed(root)},
        {"index": index ^ 1},
        {"path": [*path, root]},
        *({"path": [*path[:at], changed(step), *path[at + 1 :]]} for at, step in enumerate(path)),
        *({"path": [*path[:at], *path[at + 1 :]]} for at in range(len(path))),
    ]
    assert all(judge.refusal("record", **right | change) for change in wrong)


@pytest.mark.parametrize(("old", "size"), [(old, size) for old, size in PLACES if old])
def test_tlog_accepts_our_consistency_and_no_changed_one(judge: Judge, old: int, size: int) -> None:
    """Another root on either side, and each hash of the path changed or left out."""
    path, root = consistency_path(old, size, NODES), root_of(size, NODES)
    right: dict[str, Any] = {
        "size": size,
        "old": old,
        "root": root,
        "oldRoot": root_of(old, NODES),
        "path": path,
    }
    judge.said("tree", **right)
    wrong: list[dict[str, Any]] = [
        {"root": changed(root)},
        {"oldRoot": changed(right["oldRoot"])},
        {"path": [*path, root]},
        *({"path": [*path[:at], changed(step), *path[at + 1 :]]} for at, step in enumerate(path)),
        *({"path": [*path[:at], *path[at + 1 :]]} for at in range(len(path))),
    ]
    assert all(judge.refusal("tree", **right | change) for change in wrong)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiles of a log in a folder, as c2sp.org/tlog-tiles lays them out."""
    made = tmp_path_factory.mktemp("tiles")
    for tile, hashes in tiles_for(ENTRIES).items():
        path = made / tile.path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(hashes)
    return made


@pytest.fixture(scope="module")
def address(folder: Path) -> Iterator[str]:
    """The same folder behind a web server."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def asked(index: int, old: int) -> dict[str, Any]:
    """What is asked of the tiles of the whole log."""
    return {
        "size": 70_000,
        "root": root_of(70_000, NODES),
        "index": index,
        "leaf": leaf_hash(ENTRIES[index]),
        "old": old,
        "oldRoot": root_of(old, NODES),
    }


@pytest.mark.parametrize(("index", "old"), [(0, 1), (255, 256), (65_535, 65_537), (69_999, 69_999)])
def test_our_tiles_prove_to_torchwood_what_they_hold(
    judge: Judge, folder: Path, address: str, index: int, old: int
) -> None:
    """From the folder, and from a web server that serves it."""
    judge.said("tiles", folder=str(folder), **asked(index, old))
    judge.said("tiles", folder=address, **asked(index, old))
    assert judge.refusal("tiles", folder=str(folder), **asked(index, old) | {"leaf": bytes(32)})


def test_a_changed_tile_is_found_out(judge: Judge, folder: Path) -> None:
    """At each level."""
    for name in (
        "tile/0/000",
        "tile/0/273.p/112",
        "tile/1/000",
        "tile/1/001.p/17",
        "tile/2/000.p/1",
    ):
        file = folder / name
        right = file.read_bytes()
        file.write_bytes(changed(right))
        assert judge.refusal("tiles", folder=str(folder), **asked(0, 69_999)), name
        file.write_bytes(right)
    judge.said("tiles", folder=str(folder), **asked(0, 69_999))
