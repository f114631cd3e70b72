"""A person is erased: what went, what stays and why, is told; and nothing is claimed before."""

from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold import Event
from refold.audit import verify
from refold.conversation import ToolCall, UserUtterance
from refold.core.clock import to_us
from refold.errors import NotFound, UsageError
from refold.privacy import erasure, removing
from refold.privacy.decisions import STREAM, decisions
from refold.privacy.erasure import erase
from refold.privacy.holds import place_hold, release_hold
from refold.privacy.keyring import new_keyring
from refold.privacy.policy import read_classes
from refold.privacy.privacy import Privacy
from refold.privacy.removing import Removal
from refold.privacy.retention import apply_retention, retention
from tests.audit.sealed import key_of, sealed_by
from tests.privacy.erasable import ON_DISK
from tests.support.stores import url_of

WHY = Removal("asked by mail", by="dpo")
ANN = "ann@example.com"
SAID = "I am Ann Example, 555-0100"


@pytest.fixture(params=ON_DISK)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store of each kind that is yet to be made."""
    return url_of(request.param, tmp_path)


def told(store: refold.Store, *, rounds: int = 2) -> None:
    """Conversations of Ann, and one of somebody else."""
    for number in range(rounds):
        said = [UserUtterance(SAID), ToolCall("c1", "look_up", arguments='{"name": "Ann"}')]
        store.append(f"call-{number}", said, metadata={"subject": ANN})
    branch = store.branch("call-0", at=0)
    branch.adding(UserUtterance(f"else: {SAID}")).save("call-0~b")
    store.append("call-9", [UserUtterance("I am Bob Example")], metadata={"subject": "bob"})


def held(store: refold.Store) -> bytes:
    """All that a reader gets of a log: payloads and metadata."""
    read = store.read_all()
    return b"".join(one.raw + msgspec.json.encode(dict(one.metadata)) for one in read)


def test_values_in_the_clear_go(url: str) -> None:
    """From all streams of the subject, their branches and metadata; nobody else's."""
    with refold.open(url) as store:
        told(store)
        listed = erase(store, ANN, wanted=WHY, dry_run=True)
        assert b"Ann" in held(store)
        gone = erase(store, ANN, wanted=WHY)
        listing = [(one.event.id, one.pointer, one.method) for one in listed.changes]
        assert listing == [(one.event.id, one.pointer, one.method) for one in gone.changes]
        assert gone.is_finished
        assert b"Bob" in held(store)
        for word in (b"Ann", b"ann@", b"555-0100"):
            assert word not in held(store)
        texts = [one.event.text for one in store.read("call-0") if one.type == "user.utterance"]
        assert texts == ["[erased]"]
        assert decisions(store).erasures == {}


def test_values_under_a_key_go_with_it(url: str) -> None:
    """What was encrypted shows as erased, and what somebody said in the clear before goes too."""
    with refold.open(url) as store:
        told(store)
    fields = {"user.utterance": ["/text"], "tool.call": ["/arguments"]}
    privacy = Privacy(new_keyring(), fields, actor="dpo", purpose="erasure")
    with refold.open(url, privacy=privacy) as store:
        store.append("call-0", [UserUtterance(SAID)], metadata={"subject": ANN})
        assert held(store).count(b"555-0100") == 4
        gone = erase(store, ANN, wanted=WHY)
        assert len(gone.keys) == 1
        assert gone.is_finished
        assert b"555-0100" not in held(store)
        last = [one.data["text"] for one in store.read("call-0") if one.type == "user.utterance"]
        assert last == ["[erased]", "[erased]"]
        again = erase(store, ANN, wanted=WHY)
        assert (again.changes, again.keys, again.is_done) == ([], (), True)
        assert b"Bob" in held(store)
    with refold.open(url) as keyless, pytest.raises(UsageError, match="keyring"):
        erase(keyless, ANN, wanted=WHY)


def test_nobody_is_erased_twice_or_unknown(url: str) -> None:
    """A second time nothing is left, an unknown subject is an error."""
    with refold.open(url) as store:
        told(store)
        with pytest.raises(NotFound, match="nobody"):
            erase(store, "nobody", wanted=WHY)
        assert erase(store, ANN, wanted=WHY).is_finished
        count = store.head(STREAM)
        with pytest.raises(NotFound, match="ann"):
            erase(store, ANN, wanted=WHY)
        assert store.head(STREAM) == count


def test_a_hold_refuses_an_erasure_whole(url: str) -> None:
    """Of the subject, of one of the streams, of the category: until it is released."""
    with refold.open(url) as store:
        told(store)
        before = held(store)
        for how in ({"subject": ANN}, {"subject": "call-1"}, {"category": "call"}):
            hold = place_hold(store, **how, reason="claim 7")
            with pytest.raises(UsageError, match=hold.name) as refused:
                erase(store, ANN, wanted=WHY)
            assert refused.value.code == "held"
            release_hold(store, hold.name)
        kept = b"".join(one.raw for one in store.read_all() if one.stream != STREAM)
        assert kept in before or b"Ann" in kept
        assert erase(store, ANN, wanted=WHY).is_finished


def test_what_the_law_keeps_stays_until_its_date(url: str) -> None:
    """Younger events, and the key, stay; it is not done before it is asked for again then."""
    now = [to_us("2020-01-01")]
    fields = {"user.utterance": ["/text"]}
    privacy = Privacy(new_keyring(), fields, actor="dpo", purpose="erasure")
    classes = read_classes({"call": {"floor": "6y", "why": "HIPAA 45 CFR 164.316(b)(2)"}})
    wanted = WHY._replace(classes=classes)
    with refold.open(url, privacy=privacy, clock=lambda: now[0]) as store:
        store.append("call-0", [UserUtterance("Ann says old")], metadata={"subject": ANN})
        now[0] = to_us("2024-01-01")
        store.append("call-1", [UserUtterance("Ann says new")], metadata={"subject": ANN})
        now[0] = to_us("2027-01-01")
        gone = erase(store, ANN, wanted=wanted)
        assert [one.event.id for one in gone.changes] == ["call-0@0"]
        assert gone.kept == [("call-1@0", to_us("2030-01-01"))]
        assert not gone.is_finished
        assert b"says old" not in held(store)
        assert b"says new" in held(store)
        (executed,) = [one for one in store.read(STREAM) if one.type == "erasure.executed"]
        assert executed.data["kept_until"] == "2030-01-01T00:00:00Z"
        assert "kept by law" in executed.data["unanswered"]
        with pytest.raises(UsageError, match="begun"):
            place_hold(store, ANN, reason="too late")
        now[0] = to_us("2030-06-01")
        assert erase(store, ANN, wanted=wanted).is_finished
        assert b"says new" not in held(store)
        assert decisions(store).erasures == {}


def test_what_is_said_of_a_type_adds_to_what_is_known_of_it(url: str) -> None:
    """By who erases, and by the store: the text of an utterance goes all the same."""
    privacy = Privacy(fields={"user.utterance": ["/language"]})
    with refold.open(url, privacy=privacy) as store:
        store.append("call-0", [Event("user.utterance", {"text": "Ann", "note": "of Ann"})])
        assert erase(store, "call-0", wanted=WHY, fields={"user.utterance": ["/note"]}).is_finished
        (said,) = store.read("call-0")
        assert said.data == {"text": "[erased]", "note": "[erased]"}


def test_a_type_that_nobody_declared_is_told(url: str) -> None:
    """It is not done before somebody said which of its values are personal, or that none is."""
    with refold.open(url) as store:
        store.append("call-0", [Event("order.placed", {"name": "Ann", "n": 1})])
        first = erase(store, "call-0", wanted=WHY)
        assert (first.undeclared, first.is_done) == ({"order.placed": 1}, False)
        second = erase(store, "call-0", wanted=WHY, fields={"order.placed": ["/name"]})
        assert second.is_finished
        assert second.erasure == first.erasure
        (placed,) = store.read("call-0")
        assert placed.data == {"name": "[erased]", "n": 1}


STEPS = ("decide", "keep_sealed", "settle_all", "purged", "_record")


@pytest.mark.parametrize("step", STEPS)
def test_an_erasure_that_is_cut_off_is_taken_up(
    url: str, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever step it died before: the next one finishes it, once, and proofs hold."""

    def dies(*_: Any, **__: Any) -> Any:
        raise KeyboardInterrupt

    with refold.open(url) as store:
        told(store)
        before = sealed_by(store).checkpoint()
        with monkeypatch.context() as cut:
            module = removing if step == "keep_sealed" else erasure
            cut.setattr(module, step, dies)
            with pytest.raises(KeyboardInterrupt):
                erase(store, ANN, wanted=WHY)
        is_begun = step != "decide"
        assert bool(decisions(store).erasures) is is_begun
        how: Any = {"deep": True, "keys": [str(key_of().verifying)], "against": [before]}
        assert verify(store, **how).findings == []
        assert erase(store, ANN, wanted=WHY).is_finished
        assert b"Ann" not in held(store)
        assert decisions(store).erasures == {}
        asked = [one for one in store.read(STREAM) if one.type == "erasure.requested"]
        assert len(asked) == 1
        sealed_by(store).checkpoint()
        assert verify(store, **how).findings == []


def test_what_is_past_its_ceiling_is_emptied(url: str) -> None:
    """By its category's class, but what is held; a dry run lists just that."""
    now = [to_us("2020-01-01")]
    classes = read_classes({"call": {"ceiling": "2y"}, "*": {"floor": "6mo"}})
    with refold.open(url, clock=lambda: now[0]) as store:
        store.append("call-0", [UserUtterance("old words")])
        store.append("call-1", [UserUtterance("held words")])
        store.append("mail-0", [UserUtterance("other words")])
        place_hold(store, "call-1", reason="claim 7")
        now[0] = to_us("2023-01-01")
        store.append("call-2", [UserUtterance("new words")])
        kept = {one.category: one for one in retention(store, classes)}
        assert (kept["call"].events, kept["call"].due, kept["call"].held) == (3, 1, 1)
        assert (kept["mail"].events, kept["mail"].due, kept["mail"].floored) == (1, 0, 0)
        wanted = Removal("", "cron", classes)
        listed = apply_retention(store, wanted=wanted, dry_run=True)
        done = apply_retention(store, wanted=wanted)
        for told_ in (listed, done):
            assert [one.event.id for one in told_.changes] == ["call-0@0"]
        words = [one.data["text"] for one in store.read_all() if one.type == "user.utterance"]
        assert words == ["[erased]", "held words", "other words", "new words"]
        assert apply_retention(store, wanted=wanted).changes == []
        applied = [one.data for one in store.read(STREAM) if one.type == "retention.applied"]
        assert [(one["category"], one["events"]) for one in applied] == [("call", 1)]
