"""What leaves a store of protected values, looked through byte by byte: none of it says them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

import refold
from refold import Event
from refold.audit import Sealing, evidence_bundle, sealed_export
from refold.audit.note import SigningKey
from refold.feeds.kafka import KafkaFeed
from refold.privacy import Privacy, new_keyring
from tests.feeds.kafka.topics import held
from tests.support import postgres
from tests.support.bytescan import ByteScan
from tests.support.kafka import Cluster

SECRET, PLAIN = "xylocanaryphone", "pteridocanaryphone"
KEY = SigningKey("example.com/copies", bytes(range(32)))
PRIVACY = Privacy(new_keyring(), {"said": ["/text"]}, actor="clinic", purpose="care")
SCAN = ByteScan([SECRET, PLAIN])


@pytest.fixture(params=["file", "postgres"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """A sealed store whose reader may see what is protected; one text in it is, another is not."""
    url = tmp_path / "log.db" if request.param == "file" else postgres.log_of_its_own()
    with refold.open(url, privacy=PRIVACY) as made:
        for number in range(3):
            said = Event("said", {"text": f"{SECRET} {number}", "note": PLAIN})
            made.append(f"call-{number}", [said], metadata={"subject": f"patient-{number}"})
        Sealing(made, KEY).checkpoint()
        assert made.event("call-0@0").data["text"] == f"{SECRET} 0"
        yield made


@pytest.mark.xdist_group("kafka")
def test_a_topic_of_kafka_holds_no_protected_value(
    store: refold.Store, brokers: Cluster, tmp_path: Path
) -> None:
    """Its messages say what is not protected, and have the rest as it is stored."""
    topic = brokers.topic(f"protected-{tmp_path.name[-24:]}")
    KafkaFeed(store, topic, bootstrap=brokers.bootstrap).catch_up()
    found = [SCAN.in_bytes(one.value) for one in held(brokers.bootstrap, topic)]
    assert found.count({PLAIN}) == 3
    assert not any(SECRET in one for one in found)


def test_a_sealed_export_and_a_copy_hold_no_protected_value(
    store: refold.Store, tmp_path: Path
) -> None:
    """Of a reader without an actor, and of the storage itself."""
    lines = [msgspec.json.encode(line) for line in sealed_export(store)]
    (tmp_path / "copies").mkdir()
    (tmp_path / "copies" / "export.jsonl").write_bytes(b"\n".join(lines))
    with refold.open(tmp_path / "copies" / "copy.db") as into:
        store.copy_into(into)
    found = SCAN.in_folder(tmp_path / "copies")
    assert {name for name, texts in found.items() if PLAIN in texts} >= {"copy.db"}
    assert not any(SECRET in texts for texts in found.values())


def test_evidence_discloses_to_whom_may_read(store: refold.Store, tmp_path: Path) -> None:
    """A bundle by one who may not says no protected value; that it can say one is seen before."""
    disclosed = tmp_path / "disclosed.zip"
    disclosed.write_bytes(evidence_bundle(store, "call-0", KEY))
    withheld = tmp_path / "withheld.zip"
    withheld.write_bytes(evidence_bundle(store, "call-0", KEY, withhold={"payload": "not yours"}))
    assert SECRET in SCAN.in_file(disclosed)
    assert not SCAN.in_file(withheld)


def test_a_copy_made_before_cannot_be_read_once_the_key_is_retired(tmp_path: Path) -> None:
    """The backup opens while its tenant key lives; turned and retired, nothing of it does."""
    keyring = tmp_path / "clinic.keyring"
    settings = tmp_path / "refold.toml"
    settings.write_text(
        f'[privacy]\nkeyring = "{keyring}"\nconversation = true\n'
        'actor = "clinic"\npurpose = "care"\n'
    )

    def run(*words: str) -> str:
        command = [sys.executable, "-m", "refold", *words, "--config", str(settings)]
        done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    run("keys", "create", str(keyring))
    (tmp_path / "said.json").write_text(json.dumps({"text": SECRET}))
    said = ("--type", "user.utterance", "--data", "@said.json")
    run("append", "call-1", *said, "--db", "log.db")
    run("backup", "before.db", "--db", "log.db")
    assert SECRET in run("log", "--db", "before.db")
    run("keys", "rotate", "--retire", "--db", "log.db")
    assert SECRET in run("log", "--db", "log.db")
    assert SECRET not in run("log", "--db", "before.db")
