"""What is found in payloads is marked, protected or replaced as they are appended."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import openai
import pytest
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold import Event, capture
from refold.core.stored import decode_body
from refold.demo import Demo
from refold.errors import UsageError
from refold.privacy.access_report import accesses
from refold.privacy.detecting import Detect
from refold.privacy.keyring import new_keyring
from refold.privacy.looking import looked_body
from refold.privacy.privacy import Privacy

CARD, MAIL = "4111 1111 1111 1111", "ann@example.com"
SAID = Event("user.utterance", {"text": f"it is {CARD}"}, metadata={"line": 7})
KEYRING = new_keyring()


def privacy(detect: Detect, **how: Any) -> Privacy:
    """Nothing is declared personal: only what is found counts."""
    return Privacy(KEYRING, detect=detect, actor="ann", **how)


def bytes_of(folder: Path) -> bytes:
    """All bytes of all files of a folder."""
    return b"".join(path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file())


def test_a_mark_says_what_was_found_and_changes_nothing(tmp_path: Path) -> None:
    """In the metadata of the event, beside what it says itself."""
    with refold.open(tmp_path / "log.db", privacy=privacy(Detect())) as store:
        store.append("call-42", [SAID, Event("note", {"n": 1})], metadata={"source": "test"})
        said, note = store.read("call-42")
    assert said.data == SAID.data
    assert said.metadata == {"source": "test", "line": 7, "detected": {"card": 1}}
    assert note.metadata == {"source": "test"}


def test_what_is_redacted_reaches_no_file(tmp_path: Path) -> None:
    """Replaced before it is stored; the event says how many of which kind."""
    text = f"{CARD}, {MAIL}, {CARD}"
    with refold.open(tmp_path / "log.db", privacy=privacy(Detect(do="redact"))) as store:
        store.append("call-42", [Event("user.utterance", {"text": text})], key="turn-1")
        (said,) = store.read("call-42")
        assert CARD.encode() not in bytes_of(tmp_path)  # Nor in the write-ahead log.
    assert said.data == {"text": "[card], [email], [card]"}
    assert said.metadata == {"redacted": {"card": 2, "email": 1}}
    assert CARD.encode() not in bytes_of(tmp_path)
    assert MAIL.encode() not in bytes_of(tmp_path)


def test_what_is_protected_is_read_by_who_may(tmp_path: Path) -> None:
    """The value that holds one is as one that was declared: encrypted, and its reads recorded."""
    path = tmp_path / "log.db"
    declared = {"user.utterance": ["/mood"]}
    said = Event("user.utterance", {"text": f"it is {CARD}", "mood": "calm", "n": 1})
    with refold.open(path, privacy=privacy(Detect(do="protect"), fields=declared)) as store:
        store.append("call-42", [said])
        assert store.event("call-42@0").data == said.data
        assert store.event("call-42@0").metadata == {"detected": {"card": 1}}
        assert [one.decision for one in accesses(store)] == ["allowed"]
    with refold.open(path) as store:
        withheld = {"text": "[withheld]", "mood": "[withheld]", "n": 1}
        assert store.event("call-42@0").data == withheld
    assert CARD.encode() not in bytes_of(tmp_path)


@pytest.mark.parametrize("do", ["mark", "protect", "redact"])
def test_an_append_under_a_key_is_stored_once(do: Any, tmp_path: Path) -> None:
    """As it was given: what was found does not make it another."""
    with refold.open(tmp_path / "log.db", privacy=privacy(Detect(do=do))) as store:
        first = store.append("call-42", [SAID], key="turn-1")
        again = store.append("call-42", [SAID], key="turn-1")
        assert again == first._replace(duplicate=True)
        with pytest.raises(UsageError):
            store.append("call-42", [Event("user.utterance", {"text": "another"})], key="turn-1")


def test_what_a_model_is_sent_is_looked_into_too(tmp_path: Path) -> None:
    """Captured requests hold the words in several forms; none of them is stored."""
    messages: Any = [
        {"role": "system", "content": "You are the receptionist of Larkspur Clinic."},
        {"role": "user", "content": f"Hello, my card is {CARD}, can I come on Friday?"},
    ]
    detect = Detect(do="redact")
    with Demo() as model, refold.open(tmp_path / "log.db", privacy=privacy(detect)) as store:
        with openai.OpenAI(
            base_url=model.base_url, api_key="none", http_client=capture.client(store)
        ) as client:
            client.chat.completions.create(model=model.model, messages=messages)
        capture.flush()
        events = list(store.read_all(categories=None))
    texts = [str(one.data) for one in events]
    assert any("my card is [card], can I" in text for text in texts)
    assert not any(CARD in text for text in texts)
    assert CARD.encode() not in bytes_of(tmp_path)


@pytest.mark.parametrize("detect", ["redact", {"do": "redact"}, True])
def test_what_to_look_for_is_told_as_a_value(detect: Any) -> None:
    """refold.privacy.Detect(…): anything else is refused when the store is told."""
    with pytest.raises(UsageError, match="Detect"):
        Privacy(detect=detect)


payloads = st.dictionaries(
    st.text(max_size=4), st.sampled_from([CARD, MAIL, "nothing"]) | st.integers(), max_size=3
)
metadata = st.none() | st.dictionaries(
    st.sampled_from(["a", "detected"]), st.integers(), max_size=2
)


@given(st.lists(st.tuples(payloads, metadata, st.booleans()), min_size=1, max_size=4))
def test_a_body_stays_a_body(given_: list[tuple[dict[str, Any], Any, bool]]) -> None:
    """Types, times, metadata and what holds nothing stay; what was found is added."""
    with refold.open("memory:") as plain:
        events = [
            Event("t", data, metadata=meta or {}, occurred_at="2026-01-02" if timed else None)
            for data, meta, timed in given_
        ]
        plain.append("s", events)
        (row,) = plain._backend.rows("s", first=0, last=9, backward=False, events_max=99)
    body = row.body if isinstance(row.body, str) else row.body.decode()
    looked = looked_body(body, Detect())
    for before, after in zip(decode_body(body), decode_body(looked.text), strict=True):
        assert (before.tag, before.data, before.occurred_at) == (
            after.tag, after.data, after.occurred_at,
        )  # fmt: skip
        if CARD.encode() not in bytes(before.data) and MAIL.encode() not in bytes(before.data):
            assert before == after
        else:
            assert b'"detected":{' in bytes(after.metadata)
