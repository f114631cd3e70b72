"""vCons of histories: as the draft has them, and read back the same conversation."""

from __future__ import annotations

import copy
import re
import tempfile
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold import Event
from refold.conversation import (
    AgentUtterance,
    Party,
    SessionEnded,
    SessionStarted,
    ToolCall,
    ToolResult,
    UserUtterance,
    Word,
)
from refold.conversation.importers import import_files
from refold.conversation.vcon_export import Vcon, to_vcon
from tests.conversation.importers.inputs import real
from tests.house.tree import ROOT

PAGE: Final = ROOT / "docs" / "reference" / "vcon.md"
ENCODE: Final = msgspec.json.Encoder(decimal_format="number").encode
OF_IMPORTS: Final = ("source", "origin", "run", "vcon", "vcon_at")
EXAMPLES: Final = (
    "ab_call_ext_rec_analysis.vcon",
    "ab_call_ext_rec_redacted.vcon",
    "ab_call_ext_rec_signed.vcon",
    "ab_email_acct_prob_thread.vcon",
)
CLINIC: Final = [
    SessionStarted(
        "voice",
        parties=[Party("customer", "Ann", "p-1", "+15550100"), Party("agent", "Desk")],
    ),
    UserUtterance("Please move my appointment.", party="Ann", words=[Word("Please", 0, 90)]),
    ToolCall("c1", "move", '{"to": "Monday"}', message_id="m1"),
    ToolResult("c1", {"moved": True}),
    AgentUtterance("It is on Monday now.", message_id="m1", finish_reason="stop"),
    Event("note.taken.v2", {"by": "the desk"}, metadata={"own": 1}),
    SessionEnded(),
]
FULL: Final[dict[str, Any]] = {
    "vcon": "0.4.0",
    "uuid": "018f7d2c-3e4a-8c1b-9b2a-0123456789ab",
    "created_at": "2026-01-01T10:00:00+00:00",
    "updated_at": "2026-01-02T10:00:00+00:00",
    "subject": "An appointment",
    "extensions": ["CC"],
    "amended": {"uuid": "018f7d2c-3e4a-8c1b-9b2a-0123456789aa"},
    "parties": [
        {"tel": "+15550100", "name": "Ann", "uuid": "p-1", "validation": "none", "timezone": "UTC"},
        {"sip": "sip:desk@example.com", "name": "Desk", "role": "agent", "type": "bot"},
    ],
    "dialog": [
        {
            "type": "recording",
            "start": "2026-01-01T10:00:00+00:00",
            "duration": 30,
            "parties": [0, 1],
            "mediatype": "audio/x-wav",
            "url": "https://example.com/a.wav",
            "content_hash": "sha512-x",
            "party_history": [
                {"party": 0, "time": "2026-01-01T10:00:01+00:00", "event": "join"},
            ],
            "session_id": {"local": "a", "remote": "b"},
        },
        {
            "type": "text",
            "start": "2026-01-01T10:01:00+00:00",
            "parties": [0, 1],
            "mediatype": "text/plain",
            "body": "Thanks!",
            "encoding": "none",
            "application": "sms",
            "message_id": "<1@example.com>",
        },
        {
            "type": "text",
            "start": "2026-01-01T10:02:00+00:00",
            "parties": [0, 1],
            "mediatype": 'multipart/mixed; boundary="b"',
            "body": "--b\r\nContent-Type: text/plain\r\n\r\nSee you.\r\n--b--\r\n",
            "encoding": "none",
        },
        {
            "type": "text",
            "start": "2026-01-01T10:03:00+00:00",
            "parties": [1, 0],
            "mediatype": "text/plain",
            "body": "QnllIQ",
            "encoding": "base64url",
        },
    ],
    "analysis": [
        {
            "type": "transcript",
            "dialog": 0,
            "vendor": "example",
            "encoding": "json",
            "body": [{"parties": 0, "start": "2026-01-01T10:00:02+00:00", "text": "Hi."}],
        },
        {"type": "sentiment", "dialog": 0, "vendor": "example", "encoding": "json", "body": 0.5},
    ],
    "attachments": [
        {
            "purpose": "form",
            "start": "2026-01-01T10:00:00+00:00",
            "party": 0,
            "dialog": 0,
            "mediatype": "text/plain",
            "body": "x",
            "encoding": "none",
        }
    ],
}


def events_of(store: refold.Store, stream: str) -> list[Any]:
    """What a history says, but for what an import notes of itself."""
    return [
        (
            one.stored_kind.tag,
            one.data,
            one.occurred_at_us,
            {key: value for key, value in one.metadata.items() if key not in OF_IMPORTS},
        )
        for one in store.read(stream)
    ]


def read_back(vcon: Vcon, folder: Path, **how: Any) -> tuple[refold.Store, str]:
    """Another store, and the stream in it that a vCon is imported to."""
    file = folder / "back.vcon"
    file.write_bytes(ENCODE(vcon))
    store = refold.open("memory:")
    report = import_files(store, "vcon", [file], **how)
    assert (report.imported, report.failed) == (1, 0)
    [stream] = [one.stream for one in store.streams()]
    return store, stream


def recorded(*events: Any) -> tuple[refold.Store, str]:
    """A history of its own."""
    store = refold.open("memory:")
    store.append("call-1", list(events))
    return store, "call-1"


def check_form(vcon: Vcon) -> None:
    """What draft-ietf-vcon-vcon-core-04 asks for of each object."""
    assert vcon["vcon"] == "0.4.0"
    assert re.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", vcon["uuid"])
    parties, dialogs = range(len(vcon["parties"])), range(len(vcon["dialog"]))
    for dialog in vcon["dialog"]:
        assert dialog["type"] in ("recording", "text", "transfer", "incomplete")
        assert datetime.fromisoformat(dialog["start"]).tzinfo
        whose = dialog.get("parties", [])
        assert set([whose] if isinstance(whose, int) else whose) <= set(parties)
        if dialog["type"] == "text":
            assert {"body", "encoding", "mediatype"} <= set(dialog)
    for analysis in vcon["analysis"]:
        assert analysis["type"]
        assert analysis.get("dialog", 0) in dialogs
    for attachment in vcon["attachments"]:
        assert {"start", "party", "dialog", "encoding"} <= set(attachment)


@pytest.mark.parametrize("name", EXAMPLES)
def test_a_vcon_of_the_working_group_survives(name: str, tmp_path: Path) -> None:
    """Imported, exported and imported it is the same conversation, under the same name."""
    store = refold.open("memory:")
    import_files(store, None, [real("vcon", name)])
    [stream] = [one.stream for one in store.streams()]
    vcon = to_vcon(store.read(stream))
    check_form(vcon)
    again, same = read_back(vcon, tmp_path)
    assert same == stream
    assert events_of(again, same) == events_of(store, stream)
    assert to_vcon(again.read(same)) == vcon
    is_mail = name == "ab_email_acct_prob_thread.vcon"
    assert [one.what for one in vcon.loss] == ["the message as it was sent"] * 2 * is_mail


def test_real_conversations_survive(tmp_path: Path) -> None:
    """Two hundred, with tool calls and results; the same history makes the same vCon."""
    store = refold.open("memory:")
    import_files(store, None, [real("tau-bench", "gpt-4o-airline.json")])
    streams = [one.stream for one in store.streams()][:200]
    assert len(streams) == 200
    for stream in streams:
        vcon = to_vcon(store.read(stream))
        again, same = read_back(vcon, tmp_path)
        assert events_of(again, same) == events_of(store, stream)
        check_form(vcon)
        assert ENCODE(to_vcon(store.read(stream))) == ENCODE(vcon)


def test_a_voice_call_is_a_recording_and_its_transcript(tmp_path: Path) -> None:
    """Who said what, when; what was not said stands in the attachment, and comes back."""
    store, stream = recorded(*CLINIC)
    vcon = to_vcon(store.read(stream))
    check_form(vcon)
    assert vcon["parties"] == [
        {"name": "Ann", "uuid": "p-1", "role": "customer", "tel": "+15550100"},
        {"name": "Desk", "role": "agent", "type": "bot"},
    ]
    assert [one["type"] for one in vcon["dialog"]] == ["recording"]
    [transcript] = vcon["analysis"]
    turns = [(turn["parties"], turn["text"]) for turn in transcript["body"]]
    assert turns == [(0, "Please move my appointment."), (1, "It is on Monday now.")]
    again, same = read_back(vcon, tmp_path)
    assert events_of(again, same) == events_of(store, stream)


def test_a_chat_is_messages(tmp_path: Path) -> None:
    """Each the speaker's first, to all others; who has no party gets one."""
    store, stream = recorded(
        SessionStarted("chat"), UserUtterance("Hi", party="Bo"), AgentUtterance("Hello")
    )
    vcon = to_vcon(store.read(stream))
    check_form(vcon)
    assert [(one["parties"], one["body"]) for one in vcon["dialog"]] == [
        ([0], "Hi"),
        ([1, 0], "Hello"),
    ]
    again, same = read_back(vcon, tmp_path)
    assert events_of(again, same) == events_of(store, stream)


def test_exact_bytes_are_left_out_and_told() -> None:
    """Of what is not said by anyone, the wire is the one thing that is not kept."""
    store, stream = recorded(UserUtterance("Hi"), Event("wire.request", {"body": "x"}))
    vcon = to_vcon(store.read(stream))
    assert [(one.where, one.what) for one in vcon.loss] == [("call-1@1", "wire.request")]
    assert b"wire" not in ENCODE(vcon)


TEXTS: Final = st.text(max_size=12)
SAID: Final = st.one_of(
    st.builds(UserUtterance, TEXTS, party=st.none() | st.sampled_from(["Ann", "Desk"])),
    st.builds(AgentUtterance, TEXTS, message_id=st.none() | TEXTS),
    st.builds(ToolCall, TEXTS, TEXTS),
    st.builds(lambda value: Event("note.taken", value), st.dictionaries(TEXTS, TEXTS)),
    st.builds(SessionEnded, st.sampled_from(["completed", "busy"])),
)


@given(st.sampled_from(["voice", "chat", "email"]), st.lists(SAID, min_size=1, max_size=8))
@settings(max_examples=60, deadline=None)
def test_any_history_survives(channel: Any, said: list[Any]) -> None:
    """In any order, with equal times, with words of nobody and of both."""
    parties = [Party("customer", "Ann"), Party("agent", "Desk", address="sip:d@example.com")]
    store, stream = recorded(SessionStarted(channel, parties=parties), *said)
    vcon = to_vcon(store.read(stream))
    check_form(vcon)
    with tempfile.TemporaryDirectory() as folder:
        again, same = read_back(vcon, Path(folder))
    assert events_of(again, same) == events_of(store, stream)


def differing(old: Any, new: Any, at: str = "") -> Iterator[str]:
    """The JSON Pointers of what is not the same, or not there, in another value."""
    if isinstance(old, dict) and isinstance(new, dict):
        for key, value in old.items():
            yield from differing(value, new.get(key), f"{at}/{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for number, value in enumerate(old):
            yield from differing(value, new[number], f"{at}/{number}")
    elif old != new:
        yield at


def test_the_page_lists_what_is_lost(tmp_path: Path) -> None:
    """Of a vCon that says all that the draft knows, what another export does not say the same."""
    store, stream = read_back(Vcon(copy.deepcopy(FULL)), tmp_path)
    vcon = to_vcon(store.read(stream))
    lost = list(differing(FULL, vcon))
    assert [one.pointer for one in vcon.loss] == ["/dialog/2/body"]
    told = "\n".join(f"| `{pointer}` |" for pointer in lost)
    assert told in PAGE.read_text(), told


def test_the_page_lists_what_stands_in_the_attachment() -> None:
    """Of an utterance with all its fields, those that no dialog and no turn has."""
    full = UserUtterance(
        "Hi", [{"type": "text"}], "Ann", 0.9, "en", [Word("Hi", 0, 9)], "https://example.com/a"
    )
    agent = AgentUtterance("Hi", [{"type": "text"}], "stop", "m1", "Desk")
    start = SessionStarted("chat", parties=[Party("customer", "Ann"), Party("agent", "Desk")])
    store, stream = recorded(start, full, agent)
    [attachment] = to_vcon(store.read(stream))["attachments"]
    items = attachment["body"]["events"]
    told = [", ".join(f"`{name}`" for name in sorted(item["set"])) for item in items[1:]]
    assert f"| `user.utterance` | {told[0]} |\n| `agent.utterance` | {told[1]} |" in (
        PAGE.read_text()
    ), told
