"""Every attack on a sealed log, and what finds it: the table of docs/explanation/proof.md."""

from collections.abc import Callable
from hashlib import sha256
from itertools import takewhile
from pathlib import Path

import msgspec
import pytest

import refold
from refold.audit import processes, prove, verify, verifying
from refold.audit.evidence.checking import check_file
from refold.audit.findings import Finding, Findings
from refold.audit.note import SigningKey
from refold.audit.remaking import Remaker, check_events
from refold.audit.sealing import Sealing
from refold.audit.tables import tables_of
from refold.capture.exact import check_exact
from refold.capture.recorder import CallRecorder
from refold.errors import RefoldError
from tests.audit.attacks import ATTACKS, Db, body_set, delete_event, made
from tests.audit.sealed import key_of, sealed_by
from tests.capture.talk import agent, asked, talk, user
from tests.house.tree import ROOT
from tests.support import postgres

PAGE = ROOT / "docs" / "explanation" / "proof.md"


def at_start(db: Db) -> bool:
    """Sealing is not gone on with: by what the database says alone."""
    return starts_not(db)


def starts_not(db: Db, **how: Path) -> bool:
    with db.opened() as store:
        try:
            sealed_by(store, **how)
        except RefoldError:
            return True
    return False


def by_last_head(db: Db) -> bool:
    """The same, by the newest head in a file elsewhere."""
    return starts_not(db, last_head=db.folder / "outside")


def by_verify(db: Db) -> bool:
    """The tree and its heads, by a key from elsewhere."""
    return finds(db)


def by_deep_verify(db: Db) -> bool:
    """Every event as well."""
    return finds(db, deep=True)


def against_a_checkpoint(db: Db) -> bool:
    """And a checkpoint that was kept elsewhere."""
    return finds(db, deep=True, against=[(db.folder / "outside").read_text()])


def finds(db: Db, **how: object) -> bool:
    with db.opened() as store:
        told = verify(store, keys=[str(key_of().verifying)], **how)  # type: ignore[arg-type]
        assert (told.finding_count > 0) == bool(told.findings)
        return told.finding_count > 0


DETECTORS: dict[str, Callable[[Db], bool]] = {
    "sealing begins": at_start,
    "… with `--last-head`": by_last_head,
    "`verify`": by_verify,
    "`verify --deep`": by_deep_verify,
    "`verify --deep --against`": against_a_checkpoint,
}


def row_of(name: str, found: list[bool]) -> str:
    """A line of the table."""
    return f"| {name} | {' | '.join('found' if one else '–' for one in found)} |"


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize(("name", "attack"), ATTACKS)
def test_what_finds_an_attack_is_what_the_page_says(
    name: str,
    attack: Callable[[Db], None],
    kind: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The row of the page is what the detectors say now, on both backends; one of them finds it."""
    monkeypatch.setattr(verifying, "TAIL_EVENTS", 30)  # Of 90 events, the last ones.
    db = made(kind, tmp_path / "log")
    assert not any(detector(db) for detector in DETECTORS.values())
    attack(db)
    found = [detector(db) for detector in DETECTORS.values()]
    assert any(found)
    assert row_of(name, found) in PAGE.read_text().splitlines()
    monkeypatch.setattr(processes, "EVENTS_A_STRETCH", 20)
    with db.opened() as store:
        until = min(store.log_head(), tables_of(store).log().size)
        stretches = processes._stretches(store, until)
        assert len(stretches) > 2
        assert found_in(store, *stretches) == found_in(store, (0, until))


def found_in(store: refold.Store, *stretches: tuple[int, int]) -> tuple[int, list[Finding]]:
    """What is found in stretches that are looked at one by one, each by a process of its own."""
    findings, quiet = Findings(), lambda *_: None
    for after, until in stretches:
        own, remaker = Findings(), Remaker(store._backend, tables_of(store))
        check_events(remaker, own, after=after, until=until, progress=quiet)
        findings.take(own)
    return findings.count, findings.told


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_one_damage_does_not_hide_another(kind: str, tmp_path: Path) -> None:
    """An append is gone, what it was followed by has nothing to follow, another is changed."""
    db = made(kind, tmp_path / "log")
    delete_event(db)
    text = "body" if db.is_file else "body::text"
    new = f"replace({text}, 'said 2', 'SAID 2')"
    db.run(f"UPDATE log SET body = {new if db.is_file else f'({new})::json'} WHERE position = 61")
    with db.opened() as store:
        told = verify(store, deep=True)
    assert [one.position for one in told.findings] == [31, 37, 63]
    assert "positions 31 to 33 are missing" in told.findings[0].detail
    assert "call-1@17 is missing" in told.findings[1].detail
    assert told.findings[2].detail.endswith("@32 is not what was sealed")


def test_the_page_has_no_other_rows() -> None:
    """Each row of the table is an attack that is made here."""
    lines = PAGE.read_text().splitlines()
    head = row_of("what is done", []).split("|")[1].strip()
    start = next(at for at, line in enumerate(lines) if line.startswith(f"| {head} |"))
    assert lines[start] == f"| {head} | {' | '.join(DETECTORS)} |"
    rows = [line.split("|")[1].strip() for line in lines[start + 2 :] if line.startswith("|")]
    assert rows[: len(ATTACKS)] == [name for name, _ in ATTACKS]


# -- attacks on what is beside the log: the second table ------------------------------------------

SENT, ALTERED = asked([user("Is nine free?")]), asked([user("Is five free?")])


def alter_request(db: Db) -> None:
    """What a captured request said, wherever it is told."""
    change_all(db, "nine", "five")


def alter_request_and_hash(db: Db) -> None:
    """The same, and the hash of its bytes."""
    alter_request(db)
    change_all(db, sha256(SENT).hexdigest(), sha256(ALTERED).hexdigest())


def change_all(db: Db, old: str, new: str) -> None:
    text = "body" if db.is_file else "body::text"
    changed = body_set(db, f"replace({text}, '{old}', '{new}')")
    db.run(f"UPDATE log SET body = {changed}")


def hand_over_another(db: Db) -> None:
    """A proof of a log of the same name, under another key."""
    with refold.open("memory:") as store:
        store.append("call-1", [refold.Event("user.utterance", {"text": "Is five free?"})])
        Sealing(store, SigningKey(key_of().name, bytes(32))).checkpoint()
        (db.folder / "proof").write_bytes(msgspec.json.encode(prove(store, "call-1@0")))


def by_doctor(db: Db) -> bool:
    """Captured calls come back to the byte."""
    with db.opened() as store:
        return not all(good for _, good, _ in check_exact(store))


def by_the_verifier(db: Db) -> bool:
    """The proof that was handed over, by the key that was given out."""
    checked = check_file(db.folder / "proof", keys=[str(key_of().verifying)])
    return not checked.is_verified


BESIDE: dict[str, Callable[[Db], bool]] = {
    "`refold doctor`": by_doctor,
    "`refold verify --deep`": by_deep_verify,
    "`refold verify PROOF`": by_the_verifier,
}
ATTACKS_BESIDE = [
    ("a captured request is altered", alter_request),
    ("the same, and its hash is made to fit", alter_request_and_hash),
    ("a proof of another log of the same name is handed over", hand_over_another),
]


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
@pytest.mark.parametrize(("name", "attack"), ATTACKS_BESIDE)
def test_what_finds_an_attack_beside_the_log_is_what_the_page_says(
    name: str, attack: Callable[[Db], None], kind: str, tmp_path: Path
) -> None:
    """The row of the second table is what the detectors say now; nothing is found before."""
    url = str(tmp_path / "log.db") if kind == "sqlite" else postgres.schema_of_its_own()
    db = Db(url, kind == "sqlite", tmp_path)
    with refold.open(url, synchronous="NORMAL") as store:
        talk(CallRecorder(store), [user("Is nine free?")], agent("Yes"))
        sealed_by(store).checkpoint()
        (info,) = store.streams()
        (db.folder / "proof").write_bytes(msgspec.json.encode(prove(store, f"{info.stream}@0")))
    assert not any(detector(db) for detector in BESIDE.values())
    attack(db)
    found = [detector(db) for detector in BESIDE.values()]
    assert any(found)
    assert row_of(name, found) in PAGE.read_text().splitlines()


def test_the_second_table_has_no_other_rows() -> None:
    """Each row of it is an attack that is made here."""
    lines = PAGE.read_text().splitlines()
    start = lines.index(f"| what is done beside | {' | '.join(BESIDE)} |") + 2
    table = [*takewhile(lambda line: line.startswith("|"), lines[start:])]
    assert [line.split("|")[1].strip() for line in table] == [name for name, _ in ATTACKS_BESIDE]
