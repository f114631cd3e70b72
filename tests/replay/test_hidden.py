"""What cannot be read is told to no model: withheld is refused, gone for good is excluded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation.events import AgentUtterance, UserUtterance
from refold.conversation.what_if import what_if
from refold.errors import UsageError
from refold.freerun import FreeRun
from refold.freerun.goals import ask_goal, goal_of
from refold.privacy import CONVERSATION, Privacy, new_keyring
from refold.privacy.erasure import erase
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from refold.replay import Action, ChatRequest, Variant, compare, replay, replays
from refold.replay.again import ask_again
from refold.replay.judge import Judge
from refold.replay.judging import ask_judge
from tests.freerun.courses import AS_RECORDED, record, scripted, walked
from tests.replay.stories import CONFIGURED

VARIANT = Variant(prompt="Be brief.")
SECRET = "My number is 555-0100."


class Told:
    """A candidate that keeps what it is told."""

    def __init__(self, answer: Any = None) -> None:
        self.asked: list[str] = []
        self._answer = answer or (lambda _: Action(text="Yes."))

    def __call__(self, request: ChatRequest) -> Action:
        self.asked.append(str(request.messages))
        action: Action = self._answer(request)
        return action


def talk(store: refold.Store, stream: str = "call-1", subject: str = "ann") -> None:
    """Three decisions, the second on what is personal."""
    said = [UserUtterance("Hello?"), AgentUtterance("Who is it?", message_id="m1")]
    more = [UserUtterance(SECRET), AgentUtterance("And now?", message_id="m2")]
    last = [UserUtterance("Bye."), AgentUtterance("Bye.", message_id="m3")]
    store.append(stream, [CONFIGURED, *said], metadata={"subject": "nobody"})
    store.append(stream, more, metadata={"subject": subject})
    store.append(stream, last, metadata={"subject": "nobody"})


KEYRING = new_keyring()


def opened(path: Path, actor: str | None = "ann", **more: Any) -> refold.Store:
    return refold.open(path / "log.db", privacy=Privacy(KEYRING, CONVERSATION, actor=actor, **more))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with opened(tmp_path) as store:
        talk(store)
    return tmp_path


def what_if_asked(store: refold.Store, candidate: Told) -> object:
    return ask_again(store, what_if(store.branch("call-1"), without=["1"]), candidate, samples=1)


def judged(store: refold.Store, candidate: Told) -> object:
    judge = Judge(model="judge")
    return ask_judge(store, ["call-1"], [(VARIANT, None)], judge, candidate)


PAID: dict[str, Callable[[refold.Store, Told], object]] = {
    "next step": lambda store, told: replay(store, ["call-1"], VARIANT, told),
    "free run": lambda store, told: replay(store, ["call-1"], VARIANT, told, mode=FreeRun()),
    "what if": what_if_asked,
    "goal": lambda store, told: ask_goal(store.read("call-1"), told, by="a model"),
    "judge": judged,
}


@pytest.mark.parametrize("asks", PAID.values(), ids=PAID)
@pytest.mark.parametrize("reader", ["no keyring", "no actor", "not allowed"])
def test_what_is_withheld_from_who_reads_is_refused_before_anybody_is_asked(
    path: Path, asks: Callable[[refold.Store, Told], object], reader: str
) -> None:
    """By the event and how it is read; nothing is put on record, of a plan or of a branch."""
    told = Told()
    stores = {
        "no keyring": lambda: refold.open(path / "log.db"),
        "no actor": lambda: opened(path, actor=None),
        "not allowed": lambda: opened(path, allow=lambda *_: "not yours"),
    }
    with stores[reader]() as store:
        before = {info.stream for info in store.streams()} | {"refold-access"}
        with pytest.raises(UsageError, match="--actor NAME --keyring FILE") as raised:
            asks(store, told)
        assert {info.stream for info in store.streams()} <= before
    assert raised.value.code == "withheld"
    assert "call-1" in raised.value.message
    assert told.asked == []


def test_who_may_read_asks_with_what_was_said(path: Path) -> None:
    """The values themselves, with nothing excluded."""
    told = Told()
    with opened(path) as store:
        said = replay(store, ["call-1"], VARIANT, told)
    assert (said.answered, said.excluded) == (3, 0)
    assert SECRET in told.asked[-1]


def gone_by_key(store: refold.Store) -> None:
    erase(store, "ann", wanted=Removal("asked", by="dpo"))


def gone_by_hand(store: refold.Store) -> None:
    redact(store, ["call-1"], match="555-0100", wanted=Removal("a number", by="dpo"))


@pytest.fixture(params=[gone_by_key, gone_by_hand], ids=["erased", "redacted"])
def gone(request: pytest.FixtureRequest, path: Path) -> Iterator[refold.Store]:
    """A conversation of which the second of three turns is gone for good."""
    with opened(path) as store:
        request.param(store)
        yield store


def test_a_decision_on_what_is_gone_is_excluded_and_counted(gone: refold.Store) -> None:
    """Nobody is told a mark as if somebody had said it; run and comparison say what is left out."""
    told = Told()
    said = replay(gone, ["call-1"], VARIANT, told)
    assert (said.decisions, said.answered, said.excluded) == (1, 1, 2)
    assert not any("[redacted]" in one or "[erased]" in one for one in told.asked)
    figures = compare(gone, ["call-1"], VARIANT).figures
    account = figures.accounting
    assert (account.decisions, account.answered, account.excluded) == (3, 1, 2)
    assert (account.missing, account.is_complete) == (0, True)
    decisions = compare(gone, ["call-1"], VARIANT).conversations[0].decisions
    assert [(one.level, one.why) for one in decisions[1:]] == [("excluded", "withheld")] * 2
    (run,) = [one.run(gone, 0) for one in replays(gone)]
    assert (run.decisions, run.answered, run.excluded, run.missing) == (3, 1, 2, 0)


def test_what_was_answered_before_stays_compared(path: Path) -> None:
    """What led there is gone since, but neither answer is."""
    with opened(path) as store:
        replay(store, ["call-1"], VARIANT, Told())
        gone_by_hand(store)
        account = compare(store, ["call-1"], VARIANT).figures.accounting
    assert (account.answered, account.excluded) == (3, 0)


def test_a_course_ends_where_nobody_can_be_told_what_was_said(gone: refold.Store) -> None:
    """What is come to before is comparable, the rest excluded, with the reason."""
    told = Told(lambda _: Action(text="Who is it?"))
    course = walked(gone, told).figures.course
    assert course is not None
    assert (course.comparable, course.diverged, course.excluded) == (1, {}, {"withheld": 2})
    assert course.is_whole
    assert len(told.asked) == 1


def test_a_course_that_cannot_begin_is_excluded_without_asking(path: Path) -> None:
    """The first turn is gone: nobody is asked, and all of it has its reason."""
    told = Told()
    with opened(path) as store:
        redact(store, ["call-1@1"], field="text", wanted=Removal("a slip", by="dpo"))
        course = walked(store, told).figures.course
        assert course is not None
        assert (course.comparable, course.excluded) == (0, {"withheld": 3})
        assert told.asked == []
        said = replay(store, ["call-1"], VARIANT, told)
        assert (said.excluded, told.asked) == (3, [])


def test_a_recorded_result_that_is_gone_is_told_to_nobody(tmp_path: Path) -> None:
    """The course ends with its call, and is excluded from there: no tool gave that mark."""
    told = Told(scripted(AS_RECORDED))
    with opened(tmp_path) as store:
        record(store)
        redact(store, ["call-1"], match="room.{3}4", wanted=Removal("a slip", by="dpo"))
        course = walked(store, told).figures.course
    assert course is not None
    assert not any("[redacted]" in one for one in told.asked)
    assert course.excluded == {"withheld": 7 - course.comparable}
    assert course.diverged == {}


def test_a_goal_is_proposed_of_what_can_be_read(path: Path) -> None:
    """By rules and by a model; where nothing of the user's is left, somebody has to state it."""
    with opened(path) as store:
        gone_by_key(store)
        history = list(store.read("call-1"))
    assert goal_of(history).text == "Hello?"
    told = Told(lambda _: Action(text='{"text": "x"}'))
    ask_goal(history, told, by="a model")
    assert "Hello?" in told.asked[0] and "[erased]" not in told.asked[0]
    only = [one for one in history if one.version > 2 and "Bye." not in one.data.values()]
    with pytest.raises(UsageError, match="state their goal"):
        goal_of(only)


def test_a_decision_on_what_is_gone_is_not_asked_again(gone: refold.Store) -> None:
    """Nor are its two histories saved."""
    before = {info.stream for info in gone.streams()}
    found = what_if(gone.branch("call-1"), without=["1"])
    told = Told()
    asked = ask_again(gone, found, told, samples=1)
    assert asked.decision == "call-1@2"
    assert not any("[redacted]" in one or "[erased]" in one for one in told.asked)
    found = what_if(gone.branch("call-1"), without=["5"])
    with pytest.raises(UsageError, match="redacted or erased") as raised:
        ask_again(gone, found, told, samples=1)
    assert raised.value.facts["id"] == "call-1@3"
    more = {info.stream for info in gone.streams(category="call~")} - before
    assert all("call-1~" in one for one in more) and len({one[:12] for one in more}) == 2


def test_a_store_that_never_hid_anything_may_have_these_words_said() -> None:
    """They are what the user said: nothing is refused, nothing excluded."""
    told = Told()
    with refold.open("memory:") as store:
        words = [UserUtterance(f"I read [{one}].") for one in ("withheld", "redacted", "erased")]
        store.append("call-1", [*words, UserUtterance("[withheld]"), AgentUtterance("So?")])
        said = replay(store, ["call-1"], VARIANT, told)
    assert (said.answered, said.excluded) == (1, 0)
    assert "[redacted]" in told.asked[0]


def test_words_that_somebody_said_are_not_withheld(path: Path) -> None:
    """In a store with keys too: who may read it, reads what was said."""
    told = Told()
    with opened(path) as store, refold.open(path / "log.db") as plain:
        plain.append("call-2", [UserUtterance("[withheld]"), AgentUtterance("So?")])
        hidden = replay(store, ["call-2"], VARIANT, told)
    assert (hidden.answered, hidden.excluded) == (1, 0)
