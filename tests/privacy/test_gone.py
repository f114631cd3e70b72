"""After the commands no byte of the files holds what went: every place is scanned."""

from pathlib import Path

import pytest

import refold
from refold.capture.conversations import HISTORY as OF_CAPTURE
from refold.conversation import Conversation
from refold.privacy.erasure import erase
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from refold.privacy.texts import HISTORY
from refold.projections import Projector
from refold.readmodels import built_in
from tests.privacy.test_repetitions import SECRET, Talk
from tests.support.bytescan import ByteScan

WHY = Removal("asked for")
CANARIES = ["4242 4242 4242 4242", "Zoë’s"]


def told(store: refold.Store) -> Talk:
    """A captured conversation, read models of it, snapshots, and packed segments."""
    talk = Talk(store, "chat-1", subject="ann@example.com")
    talk.say(SECRET)
    for number in range(40):
        talk.say(f"turn {number}: as I said, {SECRET}")
    talk.answer(f'data: {{"content": "{SECRET[:3]}"}}\n\n'.encode())
    with Projector(store, built_in()) as projector:
        projector.catch_up()
    store.fold("chat-1", Conversation)
    store.compact()
    Talk(store, "chat-9").say("somebody else")
    return talk


@pytest.mark.parametrize("command", ["redact", "erase"])
def test_no_byte_of_the_files_holds_it(tmp_path: Path, command: str) -> None:
    """Rows, segments, dictionaries, read models, the index of words, free pages, the WAL."""
    scan = ByteScan(CANARIES)
    with refold.open(tmp_path / "log.db") as store:
        told(store)
        assert scan.in_folder(tmp_path)
        if command == "redact":
            done = redact(store, ["chat-1@0"], field="text", wanted=WHY).is_done
        else:
            done = erase(store, "ann@example.com", wanted=WHY).is_done
        assert done
        assert scan.in_folder(tmp_path) == {}
        with Projector(store, built_in()) as projector:
            projector.catch_up()
            listed = projector.query("SELECT stream FROM conversations ORDER BY stream")
        assert {stream for (stream,) in listed} == {"chat-1", "chat-9"}
    assert scan.in_folder(tmp_path) == {}


def test_tags_that_are_digests_of_what_was_said_go(tmp_path: Path) -> None:
    """They would tell whether a guess at a turn is right; others stay."""
    assert HISTORY == OF_CAPTURE
    with refold.open(tmp_path / "log.db") as store:
        talk, said = Talk(store, "chat-1"), {}
        for text in ("hello", SECRET, "bye"):
            tags = [f"{HISTORY}{len(text)}", "response:r1"]
            store.append("chat-1", [refold.Event("x.y", {})], tags=tags)
            said[text] = talk.say(text)
        redact(store, [f"chat-1@{said[SECRET]}"], field="text", wanted=WHY)
        left = [one.metadata["tags"] for one in store.read("chat-1") if one.type == "x.y"]
        assert left == [
            [f"{HISTORY}5", "response:r1"],
            [f"{HISTORY}{len(SECRET)}", "response:r1"],
            ["response:r1"],
        ]
        assert all(check.good for check in store.check())
