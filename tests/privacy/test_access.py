"""Reads of protected values are recorded before they happen, or do not happen."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

import refold
from refold.conversation import AccessDenied, AccessRecorded
from refold.errors import Unavailable, UsageError
from refold.privacy.access import ACCESS_STREAM, AccessLog, AskedAbout, Reading, reading_as
from refold.privacy.access_report import accesses
from refold.privacy.keyring import new_keyring
from refold.privacy.privacy import Privacy

CALL, MAIL = AskedAbout("subject-1", "call-42"), AskedAbout("subject-2", "mail-7")
OF_CALLER = AskedAbout("subject-1", "call-43")
ANN = Reading("ann", "treatment")


class Seconds:
    """A clock that stands still until it is moved."""

    now = 0.0

    def __call__(self) -> float:
        return self.now


def told(store: refold.Store) -> list[object]:
    """The events of the access log."""
    if store.head(ACCESS_STREAM) < 0:
        return []
    return [recorded.event for recorded in store.read(ACCESS_STREAM)]


def test_a_read_is_recorded_with_who_and_why(store: refold.Store) -> None:
    """Actor, purpose, subject by its pseudonym, stream; in one append for all that is wanted."""
    log = AccessLog(store, ANN)
    assert log.allowed([CALL, MAIL, CALL]) == {CALL, MAIL}
    assert told(store) == [
        AccessRecorded("ann", "treatment", subject="subject-1", streams=["call-42"]),
        AccessRecorded("ann", "treatment", subject="subject-2", streams=["mail-7"]),
    ]
    assert len({recorded.recorded_at_us for recorded in store.read(ACCESS_STREAM)}) == 1


def test_what_is_not_allowed_is_recorded_with_the_reason(store: refold.Store) -> None:
    """The policy sees actor, purpose, subject and stream; only True allows."""
    seen = []

    def allow(actor: str, purpose: str, subject: str, stream: str) -> bool | str:
        seen.append((actor, purpose, subject, stream))
        return stream == "call-42" or "not your patient"

    log = AccessLog(store, ANN, allow=allow)
    assert log.allowed([CALL, MAIL, OF_CALLER]) == {CALL}
    assert seen[0] == ("ann", "treatment", "subject-1", "call-42")
    why = "not your patient"
    assert told(store) == [
        AccessRecorded("ann", "treatment", subject="subject-1", streams=["call-42"]),
        AccessDenied("ann", "treatment", why, subject="subject-2", streams=["mail-7"]),
        AccessDenied("ann", "treatment", why, subject="subject-1", streams=["call-43"]),
    ]


@pytest.mark.parametrize("said", [False, "", None, 1, "yes"])
def test_only_true_allows(store: refold.Store, said: object) -> None:
    """A policy that forgets to answer denies."""
    log = AccessLog(store, ANN, allow=lambda *_: said)  # type: ignore[arg-type]
    assert log.allowed([CALL]) == set()
    (event,) = told(store)
    assert isinstance(event, AccessDenied) and event.reason


def test_a_policy_that_fails_lets_nobody_read(store: refold.Store) -> None:
    """Its error is the reader's, and nothing is allowed."""

    def allow(*_: str) -> bool:
        raise RuntimeError("the directory is down")

    with pytest.raises(RuntimeError, match="directory"):
        AccessLog(store, ANN, allow=allow).allowed([CALL])


def test_without_an_actor_nothing_is_read(store: refold.Store) -> None:
    """Which is recorded too."""
    assert AccessLog(store, Reading()).allowed([CALL]) == set()
    (event,) = told(store)
    assert event == AccessDenied(
        "", "", "no actor was named", subject="subject-1", streams=["call-42"]
    )


def test_an_agent_that_folds_its_call_each_turn_writes_few(store: refold.Store) -> None:
    """One event a window for an actor, a purpose and what it reads."""
    seconds = Seconds()
    log = AccessLog(store, ANN, window_s=60, monotonic=seconds)
    for _ in range(121):
        assert log.allowed([CALL]) == {CALL}
        seconds.now += 1
    assert len(told(store)) == 3
    with reading_as("bo", purpose="audit"):
        assert log.allowed([CALL]) == {CALL}
    assert log.allowed([OF_CALLER]) == {OF_CALLER}
    assert len(told(store)) == 5


def test_a_changed_decision_is_recorded_at_once(store: refold.Store) -> None:
    """Within the window too: the policy is asked at each read."""
    answers: Iterator[bool | str] = iter((True, "no more", True, True))

    def allow(*_: str) -> bool | str:
        return next(answers)

    log = AccessLog(store, ANN, allow=allow, monotonic=Seconds())
    assert [bool(log.allowed([CALL])) for _ in range(4)] == [True, False, True, True]
    assert [type(event) for event in told(store)] == [AccessRecorded, AccessDenied]


def test_who_reads_can_be_named_for_a_block(store: refold.Store) -> None:
    """A server reads for each of its users; a destination says where it goes."""
    log = AccessLog(store, Reading())
    with reading_as("ann", purpose="subject request", destination="ann.json"):
        assert log.allowed([CALL]) == {CALL}
    assert log.allowed([CALL]) == set()
    assert told(store)[0] == AccessRecorded(
        "ann", "subject request", subject="subject-1", streams=["call-42"], destination="ann.json"
    )


def test_who_reads_is_known_where_a_store_is_awaited(tmp_path: Path) -> None:
    """Its calls run on other threads, and each task reads for another; page by page too."""
    url = tmp_path / "a.db"
    privacy = Privacy(new_keyring(), {"said": ["/text"]}, actor="server")
    read: dict[str, list[str]] = {}

    async def read_as(store: refold.AsyncStore, actor: str) -> None:
        with reading_as(actor):
            read[actor] = [one.data["text"] async for one in store.read(f"call-{actor}")]

    async def both() -> None:
        async with refold.open_async(url, privacy=privacy) as store:
            for actor in ("ann", "bo"):
                said = [refold.Event("said", {"text": f"{actor} {at}"}) for at in range(600)]
                await store.append(f"call-{actor}", said)
            await asyncio.gather(*(read_as(store, actor) for actor in ("ann", "bo")))

    asyncio.run(both())
    assert [len(said) for said in read.values()] == [600, 600]
    with refold.open(url, privacy=privacy) as store:
        found = [(one.actor, one.streams) for one in accesses(store)]
    assert sorted(found) == [("ann", ["call-ann"]), ("bo", ["call-bo"])]


@pytest.mark.parametrize("actor", ["", None, 3])
def test_an_actor_has_a_name(actor: object) -> None:
    """Or the log would not say who it was."""
    with pytest.raises(UsageError), reading_as(actor):  # type: ignore[arg-type]
        pass


def test_what_cannot_be_recorded_is_not_read(tmp_path: Path) -> None:
    """In a store that is open for reading alone: the reader is told what to do."""
    refold.open(tmp_path / "log.db").close()
    with refold.open(tmp_path / "log.db", mode="read") as store:
        log = AccessLog(store, ANN)
        for _ in range(2):
            with pytest.raises(Unavailable, match="journal=URL") as raised:
                log.allowed([CALL])
            assert raised.value.code == "access_not_recorded"
        assert AccessLog(store, Reading()).allowed([CALL]) == set()


def test_nothing_is_remembered_that_was_not_recorded(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk today: tomorrow the read is recorded."""
    log = AccessLog(store, ANN)

    def fail(*_: object, **__: object) -> None:
        raise Unavailable("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(store, "append", fail)
        with pytest.raises(Unavailable, match="disk is full"):
            log.allowed([CALL])
    assert log.allowed([CALL]) == {CALL}
    assert len(told(store)) == 1


def test_the_report_tells_who_read_what(store: refold.Store) -> None:
    """In order, by actor, subject or stream, and time."""
    with reading_as("ann", purpose="care"):
        AccessLog(store, Reading()).allowed([CALL, MAIL])
    with reading_as("bo", purpose="curiosity", destination="bo.json"):
        AccessLog(store, Reading(), allow=lambda *_: "no").allowed([CALL])
    every = list(accesses(store))
    assert [(one.actor, one.subject, one.decision, one.reason) for one in every] == [
        ("ann", "subject-1", "allowed", ""),
        ("ann", "subject-2", "allowed", ""),
        ("bo", "subject-1", "denied", "no"),
    ]
    assert [one.id for one in every] == [f"{ACCESS_STREAM}@{version}" for version in range(3)]
    assert list(accesses(store, actor="bo")) == every[2:]
    assert list(accesses(store, subject="subject-2")) == every[1:2]
    assert list(accesses(store, subject="call-42")) == [every[0], every[2]]
    assert list(accesses(store, since_us=every[2].at_us)) == [
        one for one in every if one.at_us >= every[2].at_us
    ]
    assert every[2].destination == "bo.json"


def test_a_log_without_reads_has_an_empty_report(store: refold.Store) -> None:
    """It is no error that nobody read."""
    assert list(accesses(store)) == []


def test_old_decisions_are_forgotten(store: refold.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded: beyond that, a read is recorded again within the window."""
    monkeypatch.setattr("refold.privacy.access._REMEMBERED_MAX", 2)
    log = AccessLog(store, ANN, monotonic=Seconds())
    for wanted in (CALL, MAIL, OF_CALLER, CALL):
        log.allowed([wanted])
    assert len(told(store)) == 4


@pytest.fixture
def store() -> refold.Store:
    """A log in memory."""
    return refold.open("memory:")
