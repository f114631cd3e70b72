"""No path of the library gives a protected value whose read was not recorded before.

Each way by which events leave a store is one function here. What it gave is searched for a value
that was protected; and when a value is decrypted, the event must stand.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pytest

import refold
from refold import Decider, Event, Fold, Query, Recorded
from refold.conversation import Conversation, to_messages, transcript
from refold.conversation.what_if import what_if
from refold.errors import RefoldError, Unavailable
from refold.privacy import subject_keys
from refold.privacy.access import ACCESS_STREAM, Policy
from refold.privacy.access_report import accesses
from refold.privacy.keyring import KeysAtHand, new_keyring, save_keyring
from refold.privacy.locked import cipher_of
from refold.privacy.privacy import Privacy
from refold.projections import Projection, Projector, Rows, Table
from refold.replay import Action, ChatRequest, Variant, compare, replay

CANARY = "the canary of 4711"
FIELDS = {"user.utterance": ["/text"], "agent.configured": ["/prompt/text"]}
SAID = Event("user.utterance", {"text": CANARY})
CALL = [
    Event("session.started", {"channel": "voice"}),
    Event("agent.configured", {"prompt": {"text": "Be kind."}, "model": "m-1"}),
    SAID,
    Event("agent.utterance", {"text": "Hello."}),
]


class Protection(NamedTuple):
    """A store with one protected call and a branch of it, and what opens it."""

    path: Path
    keyring: KeysAtHand

    def store(
        self, *, actor: str | None = "ann", allow: Policy | None = None, **how: Any
    ) -> refold.Store:
        """The store as an actor has it open."""
        privacy = Privacy(self.keyring, FIELDS, actor=actor, purpose="care", allow=allow)
        return refold.open(self.path, privacy=privacy, **how)


@pytest.fixture
def protection(tmp_path: Path) -> Protection:
    """Appending needs no actor, and reads nothing."""
    made = Protection(tmp_path / "log.db", new_keyring())
    with made.store(actor=None) as store:
        store.append("call-42", CALL, tags=["patient:7"], key="turn-1")
        store.append("call-43", [Event("session.forked", {"from_stream": "x", "from_version": 0})])
        assert store.head(ACCESS_STREAM) < 0
    return made


class Said(msgspec.Struct):
    """A row of a projection."""

    id: str
    text: str


SAYINGS = Table("sayings", Said, key="id")
sayings = Projection("sayings", tables=[SAYINGS])


@sayings.on("user.utterance")
def _said(rows: Rows, event: Any, recorded: Recorded) -> None:
    rows.put(SAYINGS, Said(recorded.id, recorded.data["text"]))


texts: Fold[list[str]] = Fold("texts", list)


@texts.on("user.utterance")
def _text(state: list[str], event: Any, recorded: Recorded) -> list[str]:
    return [*state, recorded.data["text"]]


def _decide(command: str, state: list[str]) -> list[Event]:
    return [Event("echo", {"heard": list(state)})]


def _read(store: refold.Store) -> object:
    return [one.data for one in store.read("call-42")]


def _read_backward(store: refold.Store) -> object:
    return [one.data for one in store.read("call-42", direction="backward", limit=3)]


def _read_all(store: refold.Store) -> object:
    return [one.data for one in store.read_all()]


def _read_types(store: refold.Store) -> object:
    return [one.event for one in store.read_all(types=["user.utterance"], categories=["call"])]


def _tagged(store: refold.Store) -> object:
    return [one.data for one in store.read_all(matching=Query(tags=["patient:7"]))]


def _event(store: refold.Store) -> object:
    return store.event("call-42@2").data


def _raw(store: refold.Store) -> object:
    return store.event("call-42@2").raw


def _subscription(store: refold.Store) -> object:
    with store.subscribe() as subscription:
        return [one.data for one in islice(subscription, 4)]


def _fold(store: refold.Store) -> object:
    return store.fold("call-42", texts).state


def _fold_conversation(store: refold.Store) -> object:
    return store.fold("call-42", Conversation).state


def _fold_moment(store: refold.Store) -> object:
    return store.fold("call-42", texts, version=2).state


def _fold_query(store: refold.Store) -> object:
    return store.fold(Query(tags=["patient:7"]), texts).state, store.fold_all(texts).state


def _execute(store: refold.Store) -> object:
    store.execute("call-42", Decider(texts, _decide), "echo")
    return store.event("call-42@4").data


def _branch(store: refold.Store) -> object:
    return [one.data for one in store.branch("call-42", at=2)]


def _saved_branch(store: refold.Store) -> object:
    store.branch("call-42").replacing("call-42@3", Event("agent.utterance", {"text": "Hi."})).save(
        "call-42~1"
    )
    return [one.data for one in store.read("call-42~1")]


def _what_if(store: refold.Store) -> object:
    return [one.data for one in what_if(store.branch("call-42"), without=["3"]).after]


def _diff(store: refold.Store) -> object:
    first, second = store.read("call-42"), store.read("call-43")
    return [one.before and one.before.data for one in refold.diff([*first], [*second]).changes]


def _transcript(store: refold.Store) -> object:
    return list(transcript(store.read("call-42")))


def _export(store: refold.Store) -> object:
    return to_messages(store.read("call-42"))


def _projection(store: refold.Store) -> object:
    projector = Projector(store, [sayings])
    projector.catch_up()
    return list(projector.query("SELECT * FROM sayings"))


def _replay(store: refold.Store) -> object:
    heard: list[Any] = []

    def candidate(request: ChatRequest) -> Action:
        heard.append(request.messages)
        return Action(text="Good day.")

    variant = Variant(label="other", model="other")
    replay(store, ["call-42"], variant, candidate)
    return heard, compare(store, ["call-42"], variant)


def _packed(store: refold.Store) -> object:
    store.append("other-1", [Event("note")])
    store.compact()
    return [one.data for one in store.read("call-42")]


def _asyncio(store: refold.Store) -> object:
    async def read() -> list[Any]:
        async with refold.AsyncStore(lambda: store) as awaited:
            state = await awaited.fold("call-42", texts)
            return [state.state, *[one.data async for one in awaited.read("call-42")]]

    return asyncio.run(read())


READS: list[Callable[[refold.Store], object]] = [
    _read, _read_backward, _read_all, _read_types, _tagged, _event, _raw, _subscription, _fold,
    _fold_conversation, _fold_moment, _fold_query, _execute, _branch, _saved_branch, _what_if,
    _diff, _transcript, _export, _projection, _replay, _packed, _asyncio,
]  # fmt: skip


def shown(found: object) -> str:
    """All that a path gave, as text."""
    return repr(found)


def reads(path: Path) -> list[tuple[str, str, str]]:
    """Actor, purpose and decision of what the access log holds."""
    with refold.open(path) as store:
        return [(one.actor, one.purpose, one.decision) for one in accesses(store)]


@pytest.mark.parametrize("path", READS, ids=lambda path: path.__name__[1:])
def test_what_is_read_was_recorded_before(
    path: Callable[[refold.Store], object],
    protection: Protection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The value comes out, and whenever one was decrypted the event stood on disk."""
    decrypted = 0

    class Watched:
        """What encrypts with a data key."""

        def __init__(self, key: bytes) -> None:
            self._cipher = cipher_of(key)
            self.encrypt = self._cipher.encrypt

        def decrypt(self, nonce: bytes, locked: bytes, about: bytes) -> bytes:
            nonlocal decrypted
            decrypted += 1
            # By another connection, which sees what is committed.
            assert ("ann", "care", "allowed") in reads(protection.path)
            return self._cipher.decrypt(nonce, locked, about)

    monkeypatch.setattr(subject_keys, "cipher_of", Watched)
    with protection.store() as store:
        assert CANARY in shown(path(store))
    assert decrypted
    assert set(reads(protection.path)) == {("ann", "care", "allowed")}


@pytest.mark.parametrize("path", READS, ids=lambda path: path.__name__[1:])
def test_what_is_not_allowed_is_not_read(
    path: Callable[[refold.Store], object], protection: Protection
) -> None:
    """By a policy that says no, the reader is given something else, and the denial is recorded."""
    with protection.store(allow=lambda *_: "not yours") as store:
        assert CANARY not in _tried(path, store)
    assert set(reads(protection.path)) == {("ann", "care", "denied")}


@pytest.mark.parametrize("path", READS, ids=lambda path: path.__name__[1:])
def test_without_an_actor_nothing_is_read(
    path: Callable[[refold.Store], object], protection: Protection
) -> None:
    """Who does not say who they are is withheld everything."""
    with protection.store(actor=None) as store:
        assert CANARY not in _tried(path, store)
    assert {decision for _, _, decision in reads(protection.path)} == {"denied"}


@pytest.mark.parametrize("path", READS, ids=lambda path: path.__name__[1:])
def test_what_cannot_be_recorded_is_not_read(
    path: Callable[[refold.Store], object],
    protection: Protection,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The reader is told, and no key is used."""
    from refold.privacy import access

    def full(*_: object) -> list[object]:
        raise Unavailable("the disk is full")

    monkeypatch.setattr(access, "_events", full)
    monkeypatch.setattr(subject_keys, "cipher_of", None)
    with protection.store() as store, pytest.raises(RefoldError) as raised:
        path(store)
    assert raised.value.code == "access_not_recorded"
    assert reads(protection.path) == []


def _tried(path: Callable[[refold.Store], object], store: refold.Store) -> str:
    """What a path gives, or the error that it ends with."""
    try:
        return shown(path(store))
    except RefoldError as error:
        return repr(error)


def _sql(store: refold.Store, folder: Path) -> object:
    return list(Projector(store, []).query("SELECT * FROM events"))


def _backup(store: refold.Store, folder: Path) -> object:
    store.backup(folder / "backup.db")
    return (folder / "backup.db").read_bytes()


def _copy(store: refold.Store, folder: Path) -> object:
    with refold.open(folder / "copy.db") as into:
        store.copy_into(into)
        assert CANARY not in shown([one.data for one in into.read("call-42")])
    return (folder / "copy.db").read_bytes()


def _check(store: refold.Store, folder: Path) -> object:
    return list(store.check())


STORED: list[Callable[[refold.Store, Path], object]] = [_sql, _backup, _copy, _check]


@pytest.mark.parametrize("path", STORED, ids=lambda path: path.__name__[1:])
def test_what_is_stored_is_no_value(
    path: Callable[[refold.Store, Path], object], protection: Protection, tmp_path: Path
) -> None:
    """What works on the stored form has no value and asks for none, whoever has it open."""
    with protection.store() as store:
        found = path(store, tmp_path)
    assert CANARY not in shown(found)
    assert reads(protection.path) == []


def test_a_reader_that_dies_before_it_reads_has_been_recorded(
    protection: Protection, tmp_path: Path
) -> None:
    """Killed when the key is about to be used: the event is there, and nothing was printed."""
    save_keyring(protection.keyring, tmp_path / "keyring")
    program = f"""
import os, refold
from refold.privacy import load_keyring, subject_keys
from refold.privacy.privacy import Privacy
subject_keys.cipher_of = lambda *_: os._exit(9)
privacy = Privacy(load_keyring({str(tmp_path / "keyring")!r}), {FIELDS!r}, actor="ann")
with refold.open({str(protection.path)!r}, privacy=privacy) as store:
    print(store.event("call-42@2").data)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (9, ""), done.stderr
    assert reads(protection.path) == [("ann", "", "allowed")]


def test_reads_can_be_recorded_elsewhere(protection: Protection, tmp_path: Path) -> None:
    """In a log of their own, so that one that cannot be written can be read all the same."""
    privacy = Privacy(protection.keyring, FIELDS, actor="ann", journal=tmp_path / "access.db")
    with refold.open(protection.path, mode="read", privacy=privacy) as store:
        assert CANARY in shown(_read(store))
    assert reads(protection.path) == []
    assert reads(tmp_path / "access.db") == [("ann", "", "allowed")]


def test_a_log_that_is_only_read_gives_nothing(protection: Protection) -> None:
    """Where its own access log cannot be written."""
    with (
        protection.store(mode="read") as store,
        pytest.raises(Unavailable, match="journal=URL") as raised,
    ):
        _read(store)
    assert raised.value.code == "access_not_recorded"


def test_rows_beside_the_log_are_of_all_of_it_and_recorded(protection: Protection) -> None:
    """Whoever opens a store with an inline projection: it is brought up to date with values."""
    refuse: Policy = lambda *_: "not yours"  # noqa: E731
    with protection.store(actor=None, allow=refuse, inline=[sayings]) as store:
        assert CANARY in shown(Projector(store, [sayings]).rows(SAYINGS))
        assert CANARY not in shown(_read(store))
    assert reads(protection.path)[0] == ("refold", "rows beside the log", "allowed")
