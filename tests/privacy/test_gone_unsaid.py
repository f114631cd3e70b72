"""A seal holds where a personal value went: so that somebody took it out has to be in the log."""

from __future__ import annotations

import re
from contextlib import closing
from pathlib import Path

import apsw
import pytest

import refold
from refold import Event
from refold.audit import verify
from refold.conversation import ToolCall
from refold.privacy import CONVERSATION
from refold.privacy.keyring import KeysAtHand, new_keyring
from refold.privacy.privacy import Privacy
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from tests.audit.sealed import key_of, sealed_by

SECRET = re.compile(r'("refold:personal":\["[0-9a-f]{32}","[A-Za-z0-9_-]{43}",")[A-Za-z0-9_-]+"')


def unsaid(store: refold.Store) -> list[tuple[int | None, str]]:
    """What verifying finds of values that went."""
    found = verify(store, deep=True, keys=[str(key_of().verifying)]).findings
    return [(one.position, one.detail) for one in found if "is gone from" in one.detail]


def test_a_value_that_was_taken_out_past_refold_is_found(tmp_path: Path) -> None:
    """By verifying, which names the event; what was redacted is none."""
    path, privacy = tmp_path / "a.db", Privacy(new_keyring(), {"said": ["/text"]}, actor="officer")
    with refold.open(path, privacy=privacy) as store:
        store.append("call-1", [Event("said", {"text": f"number {at} of five"}) for at in range(3)])
        sealed_by(store).checkpoint()
        redact(store, ["call-1@0"], field="text", wanted=Removal("asked for"))
        assert unsaid(store) == []
    with closing(apsw.Connection(str(path))) as database:
        ((body,),) = database.execute("SELECT body FROM log WHERE position = 1")
        cut = SECRET.sub(r'\1"', str(body), count=1)
        assert cut != body
        database.execute("UPDATE log SET body = ? WHERE position = 1", (cut,))
    with refold.open(path, privacy=privacy) as store:
        found = unsaid(store)
        shown = [one.data["text"] for one in store.read("call-1")]
    assert shown == ["[redacted]", "[redacted]", "number 2 of five"]
    assert found == [
        (2, "a personal value is gone from call-1@1, and no redaction in the log says so")
    ]


def test_one_redaction_is_no_word_for_another_value_of_its_event(tmp_path: Path) -> None:
    """Each is named by its pointer, so the second, cut past refold, is found."""
    fields = {"said": ["/text", "/more"]}
    path, privacy = tmp_path / "a.db", Privacy(new_keyring(), fields, actor="officer")
    with refold.open(path, privacy=privacy) as store:
        store.append("call-1", [Event("said", {"text": "one of two", "more": "two of two"})])
        sealed_by(store).checkpoint()
        redact(store, ["call-1@0"], field="text", wanted=Removal("asked for"))
        assert unsaid(store) == []
    with closing(apsw.Connection(str(path))) as database:
        ((body,),) = database.execute("SELECT body FROM log WHERE position = 1")
        cut = SECRET.sub(r'\1"', str(body))
        assert cut != body
        database.execute("UPDATE log SET body = ? WHERE position = 1", (cut,))
    with refold.open(path, privacy=privacy) as store:
        assert [position for position, _ in unsaid(store)] == [1]


def test_what_only_looks_like_one_in_a_plain_log_is_no_finding(tmp_path: Path) -> None:
    """Nothing is protected there, whatever a caller says."""
    with refold.open(tmp_path / "a.db") as store:
        store.append("call-1", [Event("said", {"x": {"refold:personal": ["", "A" * 43, ""]}})])
        sealed_by(store).checkpoint()
        assert verify(store, deep=True, keys=[str(key_of().verifying)]).findings == []


@pytest.mark.parametrize("keyring", [new_keyring(), None], ids=["encrypted", "committed"])
def test_what_goes_with_a_value_in_its_own_event_is_said(keyring: KeysAtHand | None) -> None:
    """The arguments of a call as they were parsed, and a value that says the same: each by its
    pointer, so that what was redacted is no finding, and sealing goes on."""
    fields = {**CONVERSATION, "order.placed": ["/name", "/lines/*/note"]}
    with refold.open("memory:", privacy=Privacy(keyring, fields, actor="officer")) as store:
        call = ToolCall(
            "c1", "charge", arguments='{"card": "canary-1"}', parsed={"card": "canary-1"}
        )
        again = {"name": "Ann Canary-Example", "lines": [{"note": "Ann Canary-Example"}]}
        store.append("call-1", [call, Event("order.placed", again), Event("other", {})])
        sealed_by(store).checkpoint()
        redact(store, ["call-1@0"], field="arguments", wanted=Removal("asked for"))
        redact(store, ["call-1@1"], match="Ann Canary-Example", wanted=Removal("asked for"))
        assert verify(store, deep=True).findings == []
        sealed_by(store).checkpoint()
        assert "anary" not in str([one.data for one in store.read("call-1")])
        said = [one.data for one in store.read("refold-privacy") if one.type == "redaction.applied"]
        places = [(one["event"], one["pointer"]) for one in said]
    assert places == [
        ("call-1@0", "/arguments"),
        ("call-1@0", "/parsed"),
        ("call-1@1", "/name"),
        ("call-1@1", "/lines/0/note"),
    ]
