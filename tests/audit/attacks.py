"""What somebody who may write to the database can do to a sealed log, by SQL, on each backend."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any, Final, NamedTuple

import apsw
import psycopg

import refold
from refold import Event
from refold.audit.entry import StreamTip, leaves_of
from refold.audit.note import Checkpoint, Note, SigningKey
from refold.audit.reading import appends_after
from refold.audit.redacted import keep_entries
from refold.audit.remaking import Remaker
from refold.audit.sealer import Sealer
from refold.audit.tables import tables_of
from refold.backends.postgres.address import parsed
from refold.conversation.governance import RedactionApplied
from tests.audit.sealed import key_of, sealed_by
from tests.support import postgres

EVENTS_AN_APPEND: Final = 3


class Db(NamedTuple):
    """A log that is open to attack: its address, and what runs SQL in its database."""

    url: str
    is_file: bool
    folder: Path

    def run(self, *statements: str) -> None:
        """Run statements, past refold."""
        if self.is_file:
            with closing(apsw.Connection(self.url)) as connection:
                for one in statements:
                    connection.execute(one)
            return
        address = parsed(self.url)
        with psycopg.connect(**address.conninfo, autocommit=True) as session:
            session.execute(f'SET search_path = "{address.schema}"'.encode())
            for one in statements:
                session.execute(one.encode())

    def opened(self) -> refold.Store:
        """The log, as its owner opens it."""
        return refold.open(self.url, mode="write", synchronous="NORMAL")

    def keeper(self, store: refold.Store, *statements: str) -> None:
        """Run statements on the tables of a sealed log."""
        store._backend.write(lambda begin: [begin().execute(one) for one in statements])  # type: ignore[attr-defined]


def made(kind: str, folder: Path) -> Db:
    """A sealed log of two streams, 90 events in appends of three, to be attacked.

    ``folder`` holds, outside of the database, the checkpoint of 90 events (``outside``).
    """
    folder.mkdir(exist_ok=True)
    url = str(folder / "log.db") if kind == "sqlite" else postgres.schema_of_its_own()
    refold.open(url).close()
    db = Db(url, kind == "sqlite", folder)
    fill(db, rounds=15)
    (folder / "outside").write_text(sealed_now(db))
    return db


def fill(db: Db, *, rounds: int, text: str = "said") -> None:
    """Appends of three events, by turns to two streams."""
    with db.opened() as store:
        for number in range(rounds):
            for stream in ("call-1", "call-2"):
                events = [Event("x.y", {"n": number, "text": f"{text} {one}"}) for one in range(3)]
                store.append(stream, events)


def sealed_now(db: Db, **how: Any) -> str:
    """Seal what stands; the newest head."""
    with db.opened() as store:
        return sealed_by(store, **how).checkpoint()


def stream_of(db: Db, name: str) -> str:
    """A stream as the table of appends names it."""
    return f"(SELECT id FROM streams WHERE name = '{name}')" if db.is_file else f"'{name}'"


def body_set(db: Db, new: str) -> str:
    """The value of a body."""
    return new if db.is_file else f"({new})::json"


# -- the attacks ------------------------------------------------------------------------------


def change_payload(db: Db) -> None:
    text = "body" if db.is_file else "body::text"
    new = body_set(db, f"replace({text}, 'said 1', 'SAID 1')")
    db.run(f"UPDATE log SET body = {new} WHERE position = 31")


def change_payload_and_leaf(db: Db) -> None:
    change_payload(db)
    with db.opened() as store:
        leaves = remade(store)
        sealer = Sealer(store)
        hashes = sealer._edge.tile(0, 0)
        at = 32 * 31
        new = hashes[:at] + leaves[31] + hashes[at + 32 :]
        store._backend.write(  # type: ignore[attr-defined]
            lambda begin: begin().execute(
                "UPDATE audit_tiles SET hashes = ? WHERE level = 0 AND tile = 0", (new,)
            )
        )


def remade(store: refold.Store) -> list[bytes]:
    """The leaf of each event, as it stands now, by the secrets that the database holds."""
    sealer = Sealer(store)
    tips: dict[str, StreamTip] = {}
    leaves = b""
    secret = sealer._stored.secret(0) or b""
    known = sealer._stored.tips(["call-1", "call-2"])
    for row in appends_after(store._backend, 0):
        tip = tips.setdefault(row.stream, StreamTip(known[row.stream].pseudonym, -1, is_new=True))
        leaves += leaves_of(row, tip, lambda _: secret)
    return [leaves[at : at + 32] for at in range(0, len(leaves), 32)]


def delete_event(db: Db) -> None:
    db.run("DELETE FROM log WHERE position = 31")


def delete_and_close_the_gap(db: Db) -> None:
    stream = stream_of(db, "call-2")
    db.run(
        f"DELETE FROM log WHERE stream = {stream} AND position = 34",
        *renumbered(db, "position > 34", -3),
        f"UPDATE log SET version = version + 1000 WHERE stream = {stream} AND version > 15",
        f"UPDATE log SET version = version - 1003 WHERE stream = {stream} AND version > 1000",
    )


def renumbered(db: Db, where: str, by: int) -> list[str]:
    """Move positions, in two steps: none may meet another."""
    moved = [
        f"UPDATE log SET position = position + 100000 WHERE {where}",
        f"UPDATE log SET position = position - 100000 + ({by}) WHERE position > 100000",
    ]
    if not db.is_file:
        moved.append(f"UPDATE commits SET last = last + ({by}) WHERE after >= 87")
    return moved


def insert_event(db: Db) -> None:
    with db.opened() as store:
        store.append("call-1", [Event("x.y", {"text": "never said"}) for _ in range(3)])
    stream = stream_of(db, "call-1")
    db.run(
        f"UPDATE log SET version = version + 1000 WHERE stream = {stream} AND version > 20",
        f"UPDATE log SET version = version - 997 WHERE stream = {stream} "
        "AND version BETWEEN 1001 AND 1044",
        f"UPDATE log SET version = 21 WHERE stream = {stream} AND version = 1045",
        "UPDATE log SET position = position + 100000 WHERE position > 42",
        "UPDATE log SET position = position - 99997 WHERE position BETWEEN 100001 AND 100090",
        "UPDATE log SET position = 43 WHERE position = 100091",
    )


def swap_events(db: Db) -> None:
    """Two appends of a stream, each in the place of the other."""
    swapped = "CASE position WHEN 31 THEN 37 ELSE 31 END"
    db.run(
        "CREATE TABLE swapped AS SELECT position, body FROM log WHERE position IN (31, 37)",
        "UPDATE log SET body = (SELECT s.body FROM swapped AS s "
        f"WHERE s.position = {swapped.replace('position', 'log.position')}) "
        "WHERE position IN (31, 37)",
        "DROP TABLE swapped",
    )


def cut_tail(db: Db) -> None:
    cut = ["DELETE FROM log WHERE position > 84"]
    if not db.is_file:
        cut += [
            "DELETE FROM commits WHERE after >= 84",
            "UPDATE streams SET version = 41",
        ]
    db.run(*cut)


def cut_tail_and_append(db: Db) -> None:
    cut_tail(db)
    fill(db, rounds=1, text="other")


def cut_stream(db: Db) -> None:
    db.run(f"DELETE FROM log WHERE stream = {stream_of(db, 'call-1')} AND version >= 42")
    if not db.is_file:
        db.run("UPDATE streams SET version = 41 WHERE name = 'call-1'")


def rename_stream(db: Db) -> None:
    if db.is_file:
        db.run("UPDATE streams SET name = 'call-9' WHERE name = 'call-1'")
    else:
        db.run(
            "UPDATE streams SET name = 'call-9' WHERE name = 'call-1'",
            "UPDATE log SET stream = 'call-9' WHERE stream = 'call-1'",
        )


def swap_streams(db: Db) -> None:
    """What one caller said is the other's now, in the tables of the seals too."""
    tables = ["streams"] if db.is_file else ["streams", "log"]
    column = {"streams": "name", "log": "stream", "audit_streams": "stream"}
    for table in [*tables, "audit_streams"]:
        name = column[table]
        db.run(
            f"UPDATE {table} SET {name} = 'call-9' WHERE {name} = 'call-1'",
            f"UPDATE {table} SET {name} = 'call-1' WHERE {name} = 'call-2'",
            f"UPDATE {table} SET {name} = 'call-2' WHERE {name} = 'call-9'",
        )


def move_clock(db: Db) -> None:
    db.run("UPDATE log SET recorded_at = recorded_at - 1 WHERE position <= 31")


def roll_back(db: Db) -> None:
    """The whole database as it stood at 30 events fewer: log, tiles, heads."""
    cut_tail(db)
    db.run(
        "DELETE FROM audit_tiles", "DELETE FROM audit_streams", "DELETE FROM audit_checkpoints",
        "UPDATE audit_log SET size = 0",
    )  # fmt: skip
    sealed_now(db)


def rewrite_without_key(db: Db) -> None:
    """An event changed, the whole tree made again, the signed head left as it was."""
    change_payload(db)
    db.run(
        "DELETE FROM audit_tiles", "DELETE FROM audit_streams",
        "UPDATE audit_log SET size = 0",
    )  # fmt: skip
    with db.opened() as store:
        Sealer(store).seal()


def rewrite_with_another_key(db: Db) -> None:
    change_payload(db)
    other = SigningKey(key_of().name, bytes(32))
    db.run(
        "DELETE FROM audit_tiles", "DELETE FROM audit_streams", "DELETE FROM audit_checkpoints",
        f"UPDATE audit_log SET size = 0, keys = '{other.verifying}'",
    )  # fmt: skip
    with db.opened() as store:
        sealer = Sealer(store)
        sealer.seal()
        sealer.signed(other)


def rewrite_with_a_key_beside(db: Db) -> None:
    """As before, and the database goes on to name the right key, after the other."""
    rewrite_with_another_key(db)
    with db.opened() as store:
        right = str(key_of().verifying)
        db.keeper(store, f"UPDATE audit_log SET keys = keys || '\n' || '{right}'")


def rewrite_and_take_heads_out(db: Db) -> None:
    """The whole tree made again, and nothing is signed: as after a first sealing cut short."""
    rewrite_without_key(db)
    db.run("DELETE FROM audit_checkpoints")


def rewrite_with_key(db: Db) -> None:
    change_payload(db)
    db.run(
        "DELETE FROM audit_tiles", "DELETE FROM audit_streams", "DELETE FROM audit_checkpoints",
        "UPDATE audit_log SET size = 0",
    )  # fmt: skip
    sealed_now(db)


def forge_head(db: Db) -> None:
    """A head of the right size with another root, signed by nobody who may."""
    text = Checkpoint(key_of().name, 90, bytes(32)).text
    signature = SigningKey(key_of().name, bytes(32)).sign(text)
    own = key_of().verifying
    note = str(Note(text, [signature._replace(key_id=own.key_id)]))
    with db.opened() as store:
        store._backend.write(  # type: ignore[attr-defined]
            lambda begin: begin().execute(
                "UPDATE audit_checkpoints SET root = ?, note = ? WHERE size = 90",
                (bytes(32), note),
            )
        )


def fork_head(db: Db) -> None:
    """The holder of the key shows somebody else a head of another history of the same size."""
    text = Checkpoint(key_of().name, 90, bytes(32)).text
    (db.folder / "outside").write_text(str(Note(text, [key_of().sign(text)])))


def pass_off_as_redaction(db: Db) -> None:
    """A payload is changed, and its entry kept as that of a redacted event; nothing says why."""
    with db.opened() as store:
        tables = tables_of(store)
        row = appends_after(store._backend, 30)[0]
        event = Remaker(store._backend, tables).one(row)[1]
        kept = {event.position: (event.entry, bytes(32))}
        sql = getattr(store._backend, "sql", "sqlite")
        store._backend.write(lambda begin: keep_entries(begin(), sql, kept))  # type: ignore[attr-defined]
    change_payload(db)


def pass_off_with_an_event(db: Db) -> None:
    """The same, and an event says that it was redacted; what remains is not what that says."""
    with db.opened() as store:
        said = RedactionApplied(
            "call-2@16", "/text", "value", "asked for", remains="A" * 43, redaction="redaction-1"
        )
        store.append("refold-privacy", [said])
    pass_off_as_redaction(db)


Attack = Callable[[Db], None]
ATTACKS: Final[Sequence[tuple[str, Attack]]] = (
    ("a payload is changed", change_payload),
    ("the same, and its leaf is made to fit", change_payload_and_leaf),
    ("the same, and it is passed off as a redaction", pass_off_as_redaction),
    ("the same, with an event that does not fit what is left", pass_off_with_an_event),
    ("an append is deleted", delete_event),
    ("the same, and what follows is renumbered", delete_and_close_the_gap),
    ("an append is inserted, and what follows is renumbered", insert_event),
    ("two appends change places", swap_events),
    ("the tail of the log is cut off", cut_tail),
    ("the same, and others are appended in its place", cut_tail_and_append),
    ("the end of one stream is cut off", cut_stream),
    ("a stream is renamed", rename_stream),
    ("two streams change names, in the seals too", swap_streams),
    ("times are moved", move_clock),
    ("the stored head is replaced by one of another root", forge_head),
    ("a payload is changed, and the whole tree made again", rewrite_without_key),
    ("the same, signed by another key that the database then names", rewrite_with_another_key),
    ("the same, and the database names the right key too", rewrite_with_a_key_beside),
    (
        "the whole tree is made again, and all signed heads are taken out",
        rewrite_and_take_heads_out,
    ),
    ("the whole database is rolled back to a backup", roll_back),
    ("a payload is changed, and all is sealed anew with the right key", rewrite_with_key),
    ("somebody else is shown a head of another history of the same size", fork_head),
)
