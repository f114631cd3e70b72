"""A protected store: what is on disk, what a reader gets, and what is refused."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import refold
from refold.conversation import Conversation, UserUtterance
from refold.core.encode import encode_body
from refold.errors import Corrupt, InvalidEvent, UsageError
from refold.ports import Maintained, SnapshotKeeper, TagKeeper, WholeReader
from refold.privacy import subject_keys
from refold.privacy.envelope import ERASED, OPENING, REDACTED, WITHHELD, Envelope, parsed
from refold.privacy.keyring import new_keyring
from refold.privacy.stored import stored_backend
from tests.privacy.protecting import behind, opened, privacy

SAID = "My name is Ada Example, 555-0100"


def envelope_at(body: bytes, start: int) -> tuple[Envelope, int]:
    """The envelope that begins at a place, and where it ends."""
    end = body.index(b"]}", start) + 2
    found = parsed(body[start:end])
    assert found is not None
    return found, end


@pytest.fixture
def store(tmp_path: Path) -> Iterator[refold.Store]:
    """A protected store in a file."""
    with opened(tmp_path / "log.db") as store:
        yield store


def told(store: refold.Store, stream: str) -> list[Any]:
    """The payloads of a stream as a reader gets them."""
    return [recorded.data for recorded in store.read(stream)]


def on_disk(store: refold.Store, stream: str) -> bytes:
    """The stored bodies of a stream."""
    asked: dict[str, Any] = {"first": 0, "last": 1 << 40, "backward": False, "events_max": 9_999}
    rows = stored_backend(store).rows(stream, **asked)
    bodies = [row.body for row in rows]
    return b"".join(body.encode() if isinstance(body, str) else body for body in bodies)


def bytes_in(folder: Path) -> bytes:
    """All that stands in the files of a folder."""
    return b"".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def test_what_is_personal_is_not_on_disk(store: refold.Store, tmp_path: Path) -> None:
    """The reader gets what was appended; no file holds it, nor the subject's name by itself."""
    store.append("call-1", [UserUtterance(text=SAID, language="en")], metadata={"subject": "ada"})
    assert told(store, "call-1") == [{"text": SAID, "language": "en"}]
    assert store.fold("call-1", Conversation).state.transcript[0].text == SAID
    assert SAID.encode() not in bytes_in(tmp_path)
    assert b'"language":"en"' in on_disk(store, "call-1")
    assert on_disk(store, "call-1").count(OPENING) == 1


ENVELOPES = re.compile(rb'"refold:personal":\["[^"]*","[^"]*","[^"]*"\]')
PAYLOADS = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**62), 2**62) | st.text()
    | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=12,
)  # fmt: skip
NAMES = st.sampled_from(["a", "b", "ä", 'q"', "a/b", "m~n", ""])
FIELDS = st.lists(
    st.sampled_from(["", "/a", "/b/*", "/*/a", "/ä", "/a~1b", "/m~0n", '/q"', "/", "/a/0", "/*/*"]),
    max_size=3,
)


@settings(
    max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)
@given(
    payloads=st.lists(
        PAYLOADS | st.dictionaries(NAMES, PAYLOADS, max_size=4), min_size=1, max_size=3
    ),
    fields=FIELDS,
    indent=st.sampled_from([0, 2, -1]),
)
def test_every_payload_comes_back_byte_for_byte(
    payloads: list[Any], fields: list[str], indent: int
) -> None:
    """Odd names, numbers and white space included, whatever of it is personal."""
    raws = [msgspec.json.format(msgspec.json.encode(one), indent=indent) for one in payloads]
    events = [refold.Event("test.odd", msgspec.Raw(raw)) for raw in raws]
    with opened("memory:", fields={"test.odd": fields}) as store:
        store.append("s-1", events)
        assert [recorded.raw for recorded in store.read("s-1")] == raws
        left = ENVELOPES.sub(b'"closed":0', on_disk(store, "s-1"))
        for raw in raws if "" in fields else []:
            assert len(raw) < 40 or raw not in left


@pytest.mark.parametrize(
    ("payload", "left"),
    [
        (b'{"text" :"secret-1","x":{"text":"secret-1"}}', 1),
        (b'{"x":{"text":"secret-1"},"text":\n"secret-1"}', 1),
        (b'{"te\\u0078t":"secret-1","x":{"text":"secret-1"}}', 1),
        (b'{"x":"text","text":{"text":"secret-1"}}', 0),
        (b'["secret-1",{"text":"secret-1"}]', 2),
        (b'"secret-1"', 1),
    ],
)
def test_a_member_is_closed_however_it_is_written(payload: bytes, left: int) -> None:
    """With white space or its name in another spelling, and the same text deeper inside.

    What is not declared stays as it is, and all comes back.
    """
    plain = refold.Event("test.odd", msgspec.Raw(b'{"text":"a","language":"en"}'))
    with opened("memory:", fields={"test.odd": ["/text"]}) as store:
        store.append("s-1", [plain, refold.Event("test.odd", msgspec.Raw(payload)), plain])
        assert on_disk(store, "s-1").count(b"secret-1") == left
        assert [recorded.raw for recorded in store.read("s-1")][1] == payload


def test_an_append_of_several_subjects_is_under_the_key_of_each(store: refold.Store) -> None:
    """Events with metadata and times of their own among others, in any order; all come back."""
    said = [
        refold.Event(
            "user.utterance",
            {"text": f"secret-{n}"},
            metadata=None if n % 3 == 0 else {"subject": f"s{n % 3}"} if n % 2 else {"a": n},
            occurred_at=n if n % 4 == 0 else None,
        )
        for n in range(12)
    ]
    store.append("call-1", said, metadata={"subject": "s0"})
    body = on_disk(store, "call-1")
    assert b"secret-" not in body
    subjects = ["s0" if n % 3 == 0 or n % 2 == 0 else f"s{n % 3}" for n in range(12)]
    keys = re.findall(rb'"refold:personal":\["([0-9a-f]{32})"', body)
    assert len(set(zip(subjects, keys, strict=True))) == len({*keys}) == len({*subjects}) == 3
    read = [recorded.data["text"] for recorded in store.read("call-1")]
    assert read == [f"secret-{n}" for n in range(12)]


def test_exact_numbers_come_back(store: refold.Store) -> None:
    """To the last digit, as their text stands."""
    raw = b'{"result":[123456789012345678901234567890,1.10,1e-7,-0.0,{"\xc3\xa9":"\\u0000"}]}'
    store.append("s-1", [refold.Event("tool.result", msgspec.Raw(raw))])
    (recorded,) = store.read("s-1")
    assert recorded.raw == raw
    assert b"12345678901" not in on_disk(store, "s-1")


def flipped(body: bytes, at: int) -> bytes:
    """A body with one character changed to another of the same alphabet."""
    other = b"A" if body[at : at + 1] != b"A" else b"B"
    if body[at : at + 1] in b"0123456789abcdef" and body[at - 1 : at] != b"-":
        other = b"1" if body[at : at + 1] == b"0" else b"0"
    return body[:at] + other + body[at + 1 :]


@pytest.mark.parametrize("keyring", [True, False])
def test_every_changed_byte_is_refused_by_event_and_field(tmp_path: Path, keyring: bool) -> None:
    """Of key, commitment and secret, in the stored text: never a wrong value."""
    from refold.privacy.opening import opened_row

    with opened(tmp_path / "log.db", **({} if keyring else {"keyring": None})) as store:
        store.append("call-1", [refold.Event("session.ended", {"reason": "ok"})])
        store.append("call-1", [UserUtterance(text="Ada")])
        asked: dict[str, Any] = {"first": 1, "last": 1, "backward": False, "events_max": 1}
        (row,) = (one for found in stored_backend(store).rows("call-1", **asked)
                  for one in found.appends() if one.version == 1)  # fmt: skip
        body = row.body.encode() if isinstance(row.body, str) else row.body
        envelope, end = envelope_at(body, body.index(OPENING))
        known = behind(store).keys.opened([envelope.key.decode()] if envelope.key else [])
        assert b"Ada" in opened_row(row, known).body
        start = end - len(envelope.json) + len(OPENING)
        for at in range(start, end - len(b"]}")):
            if body[at : at + 1] in b'",':
                continue  # Then it is no JSON, which is told of any event.
            with pytest.raises(Corrupt) as raised:
                opened_row(row._replace(body=flipped(body, at)), known)
            assert (raised.value.stream, raised.value.version) == ("call-1", 1)
            assert raised.value.pointer == "/text"


def test_a_value_moved_elsewhere_is_refused(store: refold.Store) -> None:
    """To another stream, kind or field: what it is bound to is where it was stored."""
    from refold.privacy.opening import opened_row

    store.append("call-1", [refold.Event("playback.interrupted", {
        "played_text": "one", "unplayed_text": "two"})])  # fmt: skip
    asked: dict[str, Any] = {"first": 0, "last": 0, "backward": False, "events_max": 1}
    (row,) = stored_backend(store).rows("call-1", **asked)
    body = row.body if isinstance(row.body, bytes) else row.body.encode()
    first = envelope_at(body, body.index(OPENING))
    second = envelope_at(body, body.index(OPENING, first[1]))
    known = behind(store).keys.opened([first[0].key.decode()])
    swapped = body.replace(first[0].json, b"?").replace(second[0].json, first[0].json)
    swapped = swapped.replace(b"?", second[0].json)
    for moved in (
        row._replace(body=swapped),
        row._replace(stream="call-2"),
        row._replace(body=body.replace(b"playback.interrupted", b"playback.interrupted.v2")),
    ):
        with pytest.raises(Corrupt):
            opened_row(moved, known)


def test_what_only_refold_makes_is_refused(store: refold.Store) -> None:
    """An event that brings an envelope itself, alone: others of its commit are stored."""
    forged = {"text": {"refold:personal": ["", "x", "y"]}}
    for data, metadata in [(forged, None), ({"text": "x"}, forged)]:
        with pytest.raises(InvalidEvent) as raised:
            store.append("s-1", [refold.Event("a.b", data, metadata=metadata)])
        assert raised.value.code == "reserved"
    store.append("s-1", [refold.Event("a.b", {"text": '{"refold:personal":["","x","y"]}'})])
    assert told(store, "s-1") == [{"text": '{"refold:personal":["","x","y"]}'}]


def test_a_retry_under_a_key_is_a_duplicate(tmp_path: Path) -> None:
    """Though its envelopes differ; in another process too; and no digest tells the bytes."""
    path = tmp_path / "log.db"
    events = [UserUtterance(text=SAID)]
    with refold.open(path) as plain:
        old = plain.append("call-0", events, key="old")
    with opened(path) as store:
        first = store.append("call-1", events, key="tx-1")
        assert store.append("call-1", events, key="tx-1") == first._replace(duplicate=True)
        assert store.append("call-0", events, key="old") == old._replace(duplicate=True)
        for key in ("tx-1", "old"):
            with pytest.raises(UsageError) as raised:
                store.append("call-1", [UserUtterance(text="else")], key=key)
            assert raised.value.code == "key_reused"
    with opened(path) as store:
        assert store.append("call-1", events, key="tx-1") == first._replace(duplicate=True)
        kept = stored_backend(store).find("tx-1")
        from refold.core.canonical import digest_of

        plain_digest = digest_of([("call-1", encode_body(events, store.registry).text, None)])
        assert kept is not None
        assert plain_digest not in (kept.digest, kept.digest[1:])
        assert behind(store).find("tx-1") == kept._replace(digest=plain_digest)
        assert [check for check in store.check() if not check.good] == []


def test_a_destroyed_key_is_gone_everywhere(
    store: refold.Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At once here, soon in others, in copies that share the keys, and in what has no keyring."""
    path = tmp_path / "log.db"
    for stream in ("call-1", "call-2"):
        store.append(stream, [UserUtterance(text=stream)])
    store.branch("call-1").save("call-1~b")
    with opened(path) as other, refold.open(path) as stranger:
        assert told(other, "call-1") == [{"text": "call-1"}]
        assert told(stranger, "call-1") == [{"text": WITHHELD}]
        (key,) = behind(store).keys.destroy("call-1")
        assert told(store, "call-1") == [{"text": ERASED}]
        monkeypatch.setattr(subject_keys, "FRESH_S", 0.0)
        for one in (store, other, stranger):
            assert told(one, "call-1") == [{"text": ERASED}]
            assert told(one, "call-1~b")[0] == {"text": ERASED}
        assert told(store, "call-2") == [{"text": "call-2"}]
        assert told(stranger, "call-2") == [{"text": WITHHELD}]
        store.append("call-1", [UserUtterance(text="again")])
        assert told(store, "call-1") == [{"text": ERASED}, {"text": "again"}]
        assert key not in {row.key for row in behind(store).keys.rows() if row.wrapped}


def test_without_a_keyring_values_can_be_redacted_and_are_shown(tmp_path: Path) -> None:
    """They stand in the log, each with its commitment; whoever opens the store reads them."""
    path = tmp_path / "log.db"
    with opened(path, keyring=None) as store:
        store.append("call-1", [UserUtterance(text=SAID)], key="tx")
        assert store.append("call-1", [UserUtterance(text=SAID)], key="tx").duplicate
        assert SAID.encode() not in on_disk(store, "call-1")
    with refold.open(path) as store:
        assert told(store, "call-1") == [{"text": SAID}]
        stored = on_disk(store, "call-1")
        found = envelope_at(stored, stored.index(OPENING))
        assert found is not None
        secret = found[0].secret + b"=" * (-len(found[0].secret) % 4)
        assert msgspec.json.encode(SAID) in base64.urlsafe_b64decode(secret)


def test_a_redacted_value_says_so(store: refold.Store) -> None:
    """An envelope without its secret is shown as redacted, whoever reads."""
    from refold.privacy.envelope import sealed_view
    from refold.privacy.opening import opened_row

    store.append("call-1", [UserUtterance(text=SAID)])
    asked: dict[str, Any] = {"first": 0, "last": 0, "backward": False, "events_max": 1}
    (row,) = stored_backend(store).rows("call-1", **asked)
    body = row.body if isinstance(row.body, bytes) else row.body.encode()
    shown = opened_row(row._replace(body=sealed_view(body)), {}).body
    assert REDACTED.encode() in shown


def test_without_an_actor_nothing_is_read(tmp_path: Path) -> None:
    """Appending needs none; what is appended stands there for who may read."""
    path = tmp_path / "log.db"
    with opened(path, actor=None) as store:
        store.append("call-1", [UserUtterance(text=SAID)])
        assert told(store, "call-1") == [{"text": WITHHELD}]
    with opened(path) as store:
        assert told(store, "call-1") == [{"text": SAID}]


def test_a_wrong_keyring_reads_and_writes_nothing(tmp_path: Path) -> None:
    """What is there is withheld; an append is refused, and says which key is missing."""
    path = tmp_path / "log.db"
    with opened(path) as store:
        store.append("call-1", [UserUtterance(text=SAID)])
    with opened(path, keyring=new_keyring()) as store:
        assert told(store, "call-1") == [{"text": WITHHELD}]
        with pytest.raises(refold.NotFound) as raised:
            store.append("call-1", [UserUtterance(text=SAID)])
        assert raised.value.code == "no_tenant_key"
        assert store.head("call-1") == 0


def test_a_subject_is_whom_the_metadata_names(store: refold.Store) -> None:
    """Of the event, of its append, else the stream; of a branch its root."""
    text = UserUtterance(text=SAID)
    of_bob = refold.Event.of(text, metadata={"subject": "bob"})
    store.append("call-1", [text, of_bob], metadata={"subject": "ada"})
    store.append("call-1", [text])
    store.branch("call-1", at=1).adding(text).save("call-1~b")
    store.branch("call-1~b").adding(text).save("call-1~b~c")
    behind(store).keys.destroy("ada")
    assert [one["text"] for one in told(store, "call-1")] == [ERASED, SAID, SAID]
    behind(store).keys.destroy("bob")
    assert [one["text"] for one in told(store, "call-1")] == [ERASED, ERASED, SAID]
    behind(store).keys.destroy("call-1")
    assert [one["text"] for one in told(store, "call-1")] == [ERASED] * 3
    assert all(one.get("text", ERASED) == ERASED for one in told(store, "call-1~b~c"))
    for odd in (1, "", ["ada"]):
        with pytest.raises(InvalidEvent):
            store.append("call-1", [text], metadata={"subject": odd})


def test_a_backend_keeps_its_powers(store: refold.Store, tmp_path: Path) -> None:
    """Those that it has, and no others."""
    inner = stored_backend(store)
    with opened("memory:") as in_memory:
        for power in (WholeReader, TagKeeper, SnapshotKeeper, Maintained):
            assert isinstance(behind(store), power) == isinstance(inner, power)
            memory = stored_backend(in_memory)
            assert isinstance(behind(in_memory), power) == isinstance(memory, power)
        assert not isinstance(behind(in_memory), Maintained)
    with pytest.raises(UsageError) as raised:
        opened(tmp_path / "log.jsonl")
    assert "journal" in raised.value.message


def test_who_opens_a_protected_store_sees_no_envelope(store: refold.Store, tmp_path: Path) -> None:
    """Without saying anything of privacy: what is closed is withheld, and others are plain."""
    store.append("call-1", [UserUtterance(text=SAID, language="en")])
    with refold.open(tmp_path / "log.db", mode="read") as plain:
        assert told(plain, "call-1") == [{"text": WITHHELD, "language": "en"}]


@pytest.mark.parametrize(
    "fields", [{"a.b": ["text"]}, {"a.b": "/text"}, ["/text"], {1: ["/a"]}, {"a.b": [1]}]
)
def test_what_is_no_table_of_fields_is_refused(fields: Any) -> None:
    """Before anything is stored."""
    with pytest.raises(UsageError):
        privacy(fields=fields)
