"""vCons: the examples that its working group publishes, and what may stand in others."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation.importers import import_files
from tests.conversation.importers.inputs import real
from tests.conversation.importers.traces import of_type, said

AT = "2026-03-02T10:00:00Z"
PARTIES = [{"name": "Ann", "tel": "+1"}, {"name": "Bo", "role": "agent"}]


def vcon(*dialog: Any, **more: Any) -> dict[str, Any]:
    return {"uuid": "u", "parties": PARTIES, "dialog": list(dialog), "analysis": [], **more}


def told(store: refold.Store, path: Path, document: Any, **how: Any) -> Any:
    path.write_text(json.dumps(document))
    return import_files(store, "vcon", [path], **how)


def test_a_transcript_says_who_spoke_and_when(store: refold.Store) -> None:
    """Each turn is its party's, at its time."""
    report = import_files(store, None, [real("vcon", "ab_call_ext_rec_redacted.vcon")])
    assert (report.imported, report.taken[0].format) == (1, "vcon")
    [stream] = [one.stream for one in store.streams()]
    words = [one for one in store.read(stream) if one.type == "user.utterance"]
    assert len(words) == 18
    assert (words[1].event.text, words[1].event.party) == ("This is {{URL}}.", "Alice")
    assert str(words[0].occurred_at) == "2022-06-21 17:53:27.200000+00:00"
    assert of_type(store, stream, "session.started")[0].channel == "voice"
    assert [one.pointer for one in report.loss] == ["/parties"]


def test_a_transcript_that_does_not_know_the_parties(store: refold.Store) -> None:
    """Its words come in as the speaker's that it names, who is taken for none of the parties."""
    report = import_files(store, None, [real("vcon", "ab_call_ext_rec_analysis.vcon")])
    [stream] = [one.stream for one in store.streams()]
    words = of_type(store, stream, "user.utterance")
    assert {one.party for one in words} == {"speaker 0"}
    assert "My name is Alice" in words[1].text
    assert "/analysis/0/body" in [one.pointer for one in report.loss]


def test_an_email_thread(store: refold.Store) -> None:
    """The words of each mail are its sender's; what is attached is named."""
    path = real("vcon", "ab_email_acct_prob_thread.vcon")
    import_files(store, "vcon", [path], agent="Bob")
    [stream] = [one.stream for one in store.streams()]
    [agent] = of_type(store, stream, "agent.utterance")
    [user] = of_type(store, stream, "user.utterance")
    assert agent.text.startswith("Alice:Please find the image attached.")
    assert agent.parts[1] == {"type": "image/png", "filename": "screenshot.png"}
    assert (user.party, user.text[:19]) == ("Alice", "Hi Bob:Got it. Than")
    started = of_type(store, stream, "session.started")[0]
    assert [(one.role, one.address) for one in started.parties] == [
        ("agent", "b@example.com"),
        ("customer", "a@example.com"),
    ]


def test_a_signed_vcon_is_read_and_the_same_one_kept_beside(store: refold.Store) -> None:
    """Its signature is not checked, which is told; two versions of a vCon do not collide."""
    names = ("ab_call_ext_rec_analysis.vcon", "ab_call_ext_rec_signed.vcon")
    report = import_files(store, None, [real("vcon", name) for name in names])
    assert (report.imported, report.failed) == (2, 0)
    assert "/signatures" in [one.pointer for one in report.loss]


def test_messages_of_a_chat(store: refold.Store, tmp_path: Path) -> None:
    """The first of the parties said it, or the originator; text may be base64url."""
    first = {"type": "text", "start": AT, "parties": [0, 1], "body": "Hi"}
    encoded = base64.urlsafe_b64encode("Hé".encode()).decode().rstrip("=")
    second = {"type": "text", "start": AT, "parties": [0, 1], "originator": 1}
    report = told(
        store,
        tmp_path / "v.json",
        vcon(first, {**second, "body": encoded, "encoding": "base64url"}),
    )
    assert said(store, "vcon-u") == [("user", "Hi"), ("agent", "Hé")]
    assert report.loss == []


def test_what_is_not_read_is_told(store: refold.Store, tmp_path: Path) -> None:
    """A text kept elsewhere, a dialog of an unknown type, a transcript of no known shape."""
    document = vcon(
        {"type": "text", "start": AT, "parties": 0, "body": "Hi"},
        {"type": "text", "start": AT, "parties": 0, "url": "https://example.com/x"},
        {"type": "video", "start": AT},
        {"type": "transfer", "start": AT, "transferor": 1, "transfer_target": 0},
        analysis=[{"type": "transcript", "dialog": 0, "body": {"odd": 1}}, {"type": "summary"}],
    )
    report = told(store, tmp_path / "v.json", document)
    assert [one.pointer for one in report.loss] == [
        "/dialog/1/url",
        "/dialog/2/type",
        "/analysis/0/body",
    ]
    assert [one.to_party for one in of_type(store, "vcon-u", "call.transferred")] == ["Ann"]


@pytest.mark.parametrize(
    "document", [{"ciphertext": "x"}, {"dialog": []}, vcon(), {"payload": "e30", "signatures": []}]
)
def test_what_cannot_be_read(store: refold.Store, tmp_path: Path, document: Any) -> None:
    """An encrypted one, one without parties, one in which nothing is said."""
    report = told(store, tmp_path / "v.json", document)
    assert (report.imported, report.failed) == (0, 1)
