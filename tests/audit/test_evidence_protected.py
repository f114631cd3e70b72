"""Evidence of a sealed and protected store: verified, and silent about what was withheld."""

from __future__ import annotations

import io
import json
from base64 import b64decode, b64encode
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.audit import evidence_bundle, prove
from refold.audit.verifier.heads import Unverified
from refold.audit.verifier.program import unzipped, verify
from refold.conversation import AgentUtterance, ToolCall, UserUtterance
from refold.errors import UsageError
from refold.privacy.erasure import erase
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from tests.audit.sealed import KINDS, key_of, sealed_by
from tests.audit.test_evidence import OPTIONS, holds, packed, records, remade
from tests.privacy.protecting import privacy
from tests.support.bytescan import ByteScan
from tests.support.stores import url_of

NAMED, CARD, OPEN = "I am Ada Canary-Example", "4242 4242 4242 canary", "nobody's plain words"
SECRETS = [NAMED, CARD]
FIELDS = {"user.utterance": ["/text"], "tool.call": ["/arguments", "/parsed"]}
WHY = Removal("asked for")


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("refold.audit.verifier.heads.signature_holds", holds)


def fill(store: refold.Store) -> None:
    """A call of two people's words, some personal, sealed; and another beside it."""
    for call in ("call-1", "call-2"):
        said = [
            UserUtterance(NAMED),
            AgentUtterance(OPEN),
            ToolCall("c1", "charge", arguments=json.dumps({"card": CARD}), parsed={"card": CARD}),
        ]
        store.append(call, said, metadata={"subject": f"of-{call}"})
    sealed_by(store).checkpoint()


def opened(url: str, **more: Any) -> refold.Store:
    """The store as one reader has it."""
    return refold.open(url, privacy=privacy(fields=FIELDS, **more), synchronous="NORMAL")


@pytest.fixture(params=KINDS[1:])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a sealed and protected store of each kind that is kept."""
    made = url_of(request.param, tmp_path)
    with opened(made) as store:
        fill(store)
    return made


@pytest.fixture
def store() -> Iterator[refold.Store]:
    """The same in memory, by who may read all of it."""
    with opened("memory:") as made:
        fill(made)
        yield made


def bundle_of(store: refold.Store, what: str = "call-1", **choice: Any) -> bytes:
    """A bundle of evidence that the verifier accepts."""
    made = evidence_bundle(store, what, key_of(), **choice)
    verify(io.BytesIO(made), OPTIONS, "bundle")
    return made


def told_in(bundle: bytes) -> set[str]:
    """The secrets that a scan of every byte finds; of what is written as base64, of its bytes."""
    scan, members = ByteScan([*SECRETS, OPEN]), unzipped(bundle, "")
    found = scan.in_bytes(bundle)
    for name, content in members.items():
        found |= scan.in_bytes(content)
        if name.endswith(".jsonl"):
            for line in content.splitlines():
                for text in texts_in(json.loads(line)):
                    found |= scan.in_bytes(decoded(text))
        if name.endswith(".vcon"):
            for text in texts_in(json.loads(content)):
                found |= scan.in_bytes(text.encode())
    return found


def texts_in(value: Any) -> Iterator[str]:
    """Every text in a JSON value, of names too."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from texts_in(one)
    elif isinstance(value, list):
        for one in value:
            yield from texts_in(one)
    elif isinstance(value, str):
        yield value


def decoded(text: str) -> bytes:
    """The bytes that a text is base64 of, of either alphabet; else those of the text."""
    padded = text.replace("-", "+").replace("_", "/") + "=" * (-len(text) % 4)
    for form in (text, padded):
        with suppress(ValueError):
            return b64decode(form, validate=True) + b"\n" + text.encode()
    return text.encode()


def test_who_may_read_makes_a_bundle_that_shows_all_of_it(url: str) -> None:
    """The scan finds each of the secrets then: that it finds none elsewhere tells something."""
    with opened(url) as store:
        assert told_in(bundle_of(store)) == {*SECRETS, OPEN}


@pytest.mark.parametrize(
    "reader",
    [{"keyring": None}, {"actor": None}, {"allow": lambda *_: "no"}],
    ids=["without-keyring", "without-actor", "refused"],
)
def test_who_may_not_read_makes_one_that_is_verified_and_tells_nothing(
    url: str, reader: dict[str, Any]
) -> None:
    """Withheld values are in none of its bytes; what is not personal is there."""
    with opened(url, **reader) as store:
        bundle = bundle_of(store)
        assert told_in(bundle) == {OPEN}
        withheld = [one["withheld"] for one in records(unzipped(bundle, ""), "events")]
        assert [len(one) for one in withheld] == [1, 0, 2]
        assert {one["why"] for some in withheld for one in some} == {"withheld"}


def test_a_store_that_nobody_says_is_protected_tells_nothing(url: str) -> None:
    """Opened without a word of privacy."""
    with refold.open(url) as store:
        assert told_in(bundle_of(store)) == {OPEN}


@pytest.mark.parametrize(
    ("choice", "told"),
    [
        ({"withhold": {"call-1@0": "privileged"}}, {CARD, OPEN}),
        ({"withhold": {"tool.call": "privileged"}}, {NAMED, OPEN}),
        ({"withhold": {"payload": "privileged"}}, set()),
        ({"withhold": {"payload": "privileged"}, "disclose": ["call-1@2"]}, {CARD}),
        ({"withhold": {"name": "privileged", "tool.call": "privileged"}}, {NAMED, OPEN}),
        ({"withhold": {"user.utterance/text": "privileged"}}, {CARD, OPEN}),
        ({"withhold": {"tool.call/parsed": "privileged"}}, {NAMED, CARD, OPEN}),
        ({"withhold": {"tool.call/parsed": "a", "call-1@2/arguments": "b"}}, {NAMED, OPEN}),
        ({"withhold": {"user.utterance/*": "privileged"}}, {CARD, OPEN}),
    ],
)
def test_what_is_withheld_is_in_no_byte(
    store: refold.Store, choice: dict[str, Any], told: set[str]
) -> None:
    """By an id, a type, of every event, by a pointer; who makes the bundle could read it."""
    assert told_in(bundle_of(store, **choice)) == told


@pytest.mark.parametrize(
    ("what", "why"),
    [
        ("agent.utterance/text", "was not recorded as a personal value"),
        ("/nothing", "leads to no value"),
        ("call-1@1/arguments", "leads to no value"),
        ("tool.call/parsed/card", "leads to no value"),
        ("call-9@1/text", "is no id and no type"),
    ],
)
def test_a_pointer_that_would_withhold_nothing_is_refused(
    store: refold.Store, what: str, why: str
) -> None:
    """What has no commitment of its own would be told with its payload."""
    with pytest.raises(UsageError, match=why):
        evidence_bundle(store, "call-1", key_of(), withhold={what: "privileged"})


def test_a_pointer_into_a_redacted_event_withholds_all_that_is_left(store: refold.Store) -> None:
    """Its payload cannot be proved any more, so no value of it can be told from what was gone."""
    redact(store, ["call-1@2"], field="arguments", wanted=WHY)
    redact(store, ["call-1@1"], field="text", match="plain", wanted=WHY)
    sealed_by(store).checkpoint()
    bundle = bundle_of(store, withhold={"call-1@1/text": "privileged", "/parsed": "privileged"})
    assert told_in(bundle) == {NAMED}
    assert b"nobody" not in unzipped(bundle, "")["index.html"]
    with pytest.raises(UsageError, match="leads to no value"):
        evidence_bundle(store, "call-1", key_of(), withhold={"/nothing": "privileged"})
    others = unzipped(bundle_of(store, withhold={"user.utterance/text": "privileged"}), "")
    assert b"nobody" in others["index.html"]


def test_a_proof_withholds_by_a_pointer_too(store: refold.Store) -> None:
    """The rest of the payload is disclosed; a pointer to nothing is refused."""
    proof = prove(store, "call-1@2", withhold={"/parsed": "privileged"})
    assert [one["why"] for one in proof["withheld"]] == ["privileged"]
    values = [b64decode(one["bytes"]) for one in proof["disclosed"].values()]
    assert [value for value in values if b"canary" in value] == [
        json.dumps(json.dumps({"card": CARD})).encode()
    ]
    with pytest.raises(UsageError, match="leads to no value"):
        prove(store, "call-1@2", withhold={"/text": "privileged"})


def test_what_came_after_the_event_is_in_no_byte(store: refold.Store) -> None:
    """Evidence about one event discloses what led to it."""
    assert told_in(bundle_of(store, "call-1@1")) == {NAMED, OPEN}


def test_one_subject_may_be_read_and_another_not(tmp_path: Path) -> None:
    """A policy that allows by purpose decides for each; each bundle is verified."""
    path = str(tmp_path / "log.db")
    with opened(path) as store:
        fill(store)
    allow = lambda actor, purpose, subject, stream: stream == "call-2"  # noqa: E731
    with opened(path, allow=allow) as store:
        assert told_in(bundle_of(store, "call-1")) == {OPEN}
        assert told_in(bundle_of(store, "call-2")) == {*SECRETS, OPEN}


def test_an_erased_person_is_in_no_bundle(url: str) -> None:
    """Made after the erasure by who may read; verified, and the reason is said."""
    with opened(url) as store:
        erase(store, "of-call-1", wanted=WHY, fields={"agent.utterance": []})
        sealed_by(store).checkpoint()
        bundle = bundle_of(store)
        assert told_in(bundle) == {OPEN}
        assert b"erased" in unzipped(bundle, "")["proof/events.jsonl"]


def test_a_redacted_value_is_in_no_bundle(url: str) -> None:
    """One that stood in an envelope, and one that did not; what remains of that is shown."""
    with opened(url) as store:
        redact(store, ["call-1@0"], field="text", wanted=WHY)
        redact(store, ["call-1@1"], field="text", match="plain", wanted=WHY)
        sealed_by(store).checkpoint()
        bundle = bundle_of(store)
        assert told_in(bundle) == {CARD}
        proofs = records(unzipped(bundle, ""), "events")
        assert ["remains" in one for one in proofs] == [False, True, False]
        assert b"nobody&#39;s [redacted] words" in unzipped(bundle, "")["index.html"]


def _changed(value: str) -> Iterator[str]:
    """Base64 with each of its bytes changed in turn."""
    data = b64decode(value)
    for at in range(len(data)):
        yield b64encode(data[:at] + bytes([data[at] ^ 1]) + data[at + 1 :]).decode()


@pytest.mark.parametrize("reader", [{}, {"keyring": None}], ids=["opened", "withheld"])
def test_each_changed_byte_of_what_is_disclosed_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reader: dict[str, Any]
) -> None:
    """Value and salt, personal or not; in the bundle also where the log's own key signs it anew."""
    for text in ("verifier_text", "instructions", "page"):
        monkeypatch.setattr(f"refold.audit.evidence.bundle.{text}", lambda *_: "short")
    path = str(tmp_path / "log.db")
    with opened(path) as store:
        fill(store)
    with opened(path, **reader) as store:
        members = unzipped(bundle_of(store), "")
    proofs, count = records(members, "events"), 0
    for proof in proofs:
        for disclosed in proof["disclosed"].values():
            for part in ("salt", "bytes"):
                whole = disclosed[part]
                for disclosed[part] in _changed(whole):
                    with pytest.raises(Unverified, match=r"^proof"):
                        verify(io.BytesIO(packed([proof])), OPTIONS, "proof")
                    count += 1
                changed = remade({**members, "proof/events.jsonl": packed(proofs)})
                with pytest.raises(Unverified, match=r"events\.jsonl, line"):
                    verify(io.BytesIO(changed), OPTIONS, "bundle")
                disclosed[part] = whole
    assert count > 500
    whole_again = remade({**members, "proof/events.jsonl": packed(proofs)})
    verify(io.BytesIO(whole_again), OPTIONS, "bundle")


def test_a_personal_value_in_the_place_of_another_is_refused(store: refold.Store) -> None:
    """Each is bound to its own commitment, and none can be left unsaid."""
    members = unzipped(bundle_of(store), "")
    for change in ("swap", "drop"):
        proofs = records(members, "events")
        told = proofs[2]["disclosed"]
        first, second = [one for one in told if len(one) == 43]
        if change == "swap":
            told[first], told[second] = told[second], told[first]
        else:
            del told[first]
        with pytest.raises(Unverified, match="line 3"):
            verify(
                io.BytesIO(remade({**members, "proof/events.jsonl": packed(proofs)})),
                OPTIONS,
                "bundle",
            )


def test_no_envelope_that_could_be_opened_is_in_a_bundle(store: refold.Store) -> None:
    """No part SECRET leaves the store: a stolen keyring opens no bundle."""
    bundle = bundle_of(store)
    for one in records(unzipped(bundle, ""), "events"):
        payload = b64decode(one["disclosed"]["0"]["bytes"])
        assert payload.count(b'",""]}') == payload.count(b"refold:personal")
