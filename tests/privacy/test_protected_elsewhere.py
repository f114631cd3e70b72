"""What is made of a protected log: seals and proofs, copies, snapshots, rows beside it, files."""

from __future__ import annotations

import json
import subprocess
import sys
from base64 import b64decode
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold.audit import prove, sealed_export, verify
from refold.audit.one_file import verifier_text
from refold.conversation import Conversation, UserUtterance
from refold.errors import UsageError
from refold.privacy.copying import copy_keys
from refold.privacy.envelope import ERASED, OPENING, WITHHELD, sealed_view
from refold.privacy.stored import as_stored, stored_backend
from refold.projections import Projection, Projector, Rows, Table
from tests.audit.sealed import key_of, sealed_by
from tests.privacy.protecting import KEYRING, behind, opened, privacy
from tests.privacy.test_protected import SAID, bytes_in, on_disk, told
from tests.support.stores import url_of


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """A protected store of each kind."""
    with opened(url_of(request.param, tmp_path)) as store:
        yield store


def verified(folder: Path, content: str) -> str:
    """What the verifier of one file says of a proof or an export."""
    program, file = folder / "verify.py", folder / "proof.json"
    program.write_text(verifier_text())
    file.write_text(content)
    key = str(key_of().verifying)
    done = subprocess.run(
        [sys.executable, str(program), str(file), "--key", key], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_seal_holds_when_a_key_is_destroyed(store: refold.Store, tmp_path: Path) -> None:
    """Seals and proofs are of commitments; what was disclosed before is disclosed no more."""
    store.append("call-1", [UserUtterance(text=SAID)], metadata={"by": "x"})
    store.append("call-2", [UserUtterance(text="other")])
    sealed_by(store).checkpoint()
    proof = prove(store, "call-1@0")
    (field,) = [one for one in proof["disclosed"] if len(one) == 43]
    assert SAID in b64decode(proof["disclosed"][field]["bytes"]).decode()
    assert SAID.encode() not in b64decode(proof["disclosed"]["0"]["bytes"])
    assert field in verified(tmp_path, json.dumps(proof))
    assert verify(store, deep=True).findings == []
    behind(store).keys.destroy("call-1")
    assert verify(store, deep=True).findings == []
    after = prove(store, "call-1@0")
    assert {"ordinal": field, "why": "erased"} in after["withheld"]
    assert field not in after["disclosed"]
    assert after["entry"] == proof["entry"]
    said = verified(tmp_path, json.dumps(after))
    assert "erased" in said
    lines = "\n".join(json.dumps(one) for one in sealed_export(store))
    verified(tmp_path, lines)


def test_a_seal_holds_when_a_value_is_redacted(tmp_path: Path) -> None:
    """Its leaf is what it was; that no redaction says so is told, and another change is seen."""
    with opened(tmp_path / "log.db") as store:
        store.append("call-1", [UserUtterance(text=SAID)])
        sealed_by(store).checkpoint()
        body = on_disk(store, "call-1")
        change(tmp_path / "log.db", sealed_view(body))
        (unsaid,) = verify(store, deep=True).findings
        assert "no redaction in the log says so" in unsaid.detail
        assert told(store, "call-1") == [{"text": "[redacted]"}]
        change(tmp_path / "log.db", sealed_view(body).replace(b'"text"', b'"else"'))
        changed = [finding.detail for finding in verify(store, deep=True).findings]
        assert "call-1@0 is not what was sealed" in changed


def change(path: Path, body: bytes) -> None:
    """Change the only row of a log, as who has the file can."""
    import apsw

    connection = apsw.Connection(str(path))
    connection.execute("DROP TRIGGER IF EXISTS log_update")
    for (name,) in list(
        connection.execute("SELECT name FROM sqlite_schema WHERE type = 'trigger'")
    ):
        connection.execute(f'DROP TRIGGER "{name}"')
    connection.execute("UPDATE log SET body = ?", (body.decode(),))
    connection.close()


def test_a_copy_stays_closed_and_can_be_read(store: refold.Store, tmp_path: Path) -> None:
    """Its keys come with it, and those that are destroyed stay so on both sides."""
    if not hasattr(stored_backend(store), "batches"):
        return
    store.append("call-1", [UserUtterance(text=SAID)], key="tx")
    store.append("call-2", [UserUtterance(text="other")])
    with refold.open(tmp_path / "copy.db") as copy:
        copy_keys(store, copy)
        store.copy_into(copy)
        assert copy_keys(store, copy) == 3
        assert on_disk(copy, "call-1") == on_disk(store, "call-1")
    assert SAID.encode() not in bytes_in(tmp_path)
    with opened(tmp_path / "copy.db") as copy:
        assert told(copy, "call-1") == [{"text": SAID}]
        assert copy.append("call-1", [UserUtterance(text=SAID)], key="tx").duplicate
        behind(copy).keys.destroy("call-2")
        copy_keys(store, copy)
        assert told(copy, "call-2") == [{"text": ERASED}]
        behind(store).keys.destroy("call-1")
        copy_keys(store, copy)
    with opened(tmp_path / "copy.db") as copy:
        assert told(copy, "call-1") == [{"text": ERASED}]
    with refold.open(tmp_path / "log.jsonl") as journal, pytest.raises(UsageError):
        copy_keys(store, journal)


def test_snapshots_are_closed_and_go_with_a_key(tmp_path: Path) -> None:
    """A long stream is folded from one; no byte of it tells a text; none outlives an erasure."""
    path = tmp_path / "log.db"
    with opened(path) as store:
        for number in range(30):
            store.append("call-1", [UserUtterance(text=f"{SAID} {number}")] * 20)
        expected = store.fold("call-1", Conversation)
        found = stored_backend(store).query("SELECT state FROM snapshots")  # type: ignore[attr-defined]
        assert found and not any(b"Ada Example" in bytes(state) for (state,) in found)
        calls = reads_of(store)
        assert store.fold("call-1", Conversation) == expected
        assert max(calls) < 600
        with opened(path, actor=None) as nobody:
            state = nobody.fold("call-1", Conversation).state
            assert {one.text for one in state.transcript} == {WITHHELD}
        behind(store).keys.destroy("call-1")
        state = store.fold("call-1", Conversation).state
        assert {one.text for one in state.transcript} == {ERASED}
        assert len(state.transcript) == 600
    assert b"Ada Example" not in bytes_in(tmp_path)


def reads_of(store: refold.Store) -> list[int]:
    """How many events each read of rows gave, from now on."""
    counts, inner = [0], stored_backend(store)
    rows = inner.rows

    def counted(stream: str, **asked: Any) -> Any:
        found = rows(stream, **asked)
        counts.append(sum(row.event_count for row in found))
        return found

    inner.rows = counted  # type: ignore[method-assign]
    return counts


def test_a_subscription_gives_values(store: refold.Store) -> None:
    """Those that are there and those to come; as stored, it gives what leaves the store."""
    store.append("call-1", [UserUtterance(text=SAID)])
    live, closed = store.subscribe(), as_stored(store).subscribe()
    assert next(live).data == {"text": SAID}
    store.append("call-1", [UserUtterance(text="more")])
    assert next(live).data == {"text": "more"}
    assert OPENING in next(closed).raw
    assert as_stored(as_stored(store)).log_head() == 2


def test_packed_events_come_back(tmp_path: Path) -> None:
    """Compaction works on what is stored; values come out of segments as out of rows."""
    with opened(tmp_path / "log.db") as store:
        for number in range(300):
            store.append("call-1", [UserUtterance(text=f"{SAID} {number}"), UserUtterance(text="")])
        assert store.compact().events > 500
        assert [one["text"] for one in told(store, "call-1")][::2] == [
            f"{SAID} {number}" for number in range(300)
        ]
        store.backup(tmp_path / "backup.db")
    with opened(tmp_path / "backup.db") as store:
        assert told(store, "call-1")[-2] == {"text": f"{SAID} 299"}
    assert b"Ada Example" not in bytes_in(tmp_path)


def test_reads_are_recorded_in_the_log_itself(tmp_path: Path) -> None:
    """Where no other is named: who, why, of which streams; not what the program itself does."""
    told_by = privacy(actor="ann", purpose="review", journal=None)
    with refold.open(tmp_path / "log.db", privacy=told_by) as store:
        store.append("call-1", [UserUtterance(text=SAID)])
        assert store.head("refold-access") == -1
        assert told(store, "call-1") == [{"text": SAID}]
        (read,) = told(store, "refold-access")
        assert (read["actor"], read["purpose"], read["streams"]) == ("ann", "review", ["call-1"])
    assert KEYRING.newest not in read["subject"]


class Heard(msgspec.Struct):
    """What a row beside the log says of an event."""

    id: str
    text: str


HEARD: Table[Heard] = Table("heard", Heard, key="id")


def heard() -> Projection:
    """Texts as they are handled."""
    projection = Projection("heard", tables=[HEARD])

    @projection.on("user.utterance")
    def keep(rows: Rows, event: dict[str, str], recorded: refold.Recorded) -> None:
        rows.put(HEARD, Heard(recorded.id, event["text"]))

    return projection


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_rows_beside_the_log_are_of_values(kind: str, tmp_path: Path) -> None:
    """In the append's transaction and after it, whoever has opened the store; it is recorded."""
    reads = refold.open("memory:")
    told_by = privacy(actor=None, journal=reads)
    url = url_of(kind, tmp_path)
    with refold.open(url, privacy=told_by, synchronous="NORMAL") as store:
        store.append("call-1", [UserUtterance(text="before")])
    with refold.open(url, privacy=told_by, inline=[heard()]) as store:
        store.append("call-1", [UserUtterance(text=SAID)])
        rows = Projector(store, [heard()]).rows(HEARD)
        assert sorted(row.text for row in rows) == sorted(["before", SAID])
    purposes = {recorded.data["purpose"] for recorded in reads.read_all()}
    assert purposes == {"rows beside the log"}
