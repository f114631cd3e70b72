"""The items of a session: as a list would have them, in the log with all that is taken away."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from agents.memory import OpenAIResponsesCompactionSession, SessionSettings
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import refold
from refold.conversation import Conversation, ToolCall, rendered, transcript
from refold.errors import InvalidEvent, StoreClosed, UsageError
from refold.openai_agents import RefoldSession
from tests.openai_agents.responses import call, thought, words
from tests.support.forking import Answer, told_by_child


def run(asked: Coroutine[Any, Any, Any]) -> Any:
    """What a call comes to."""
    return asyncio.run(asked)


def user(text: Any) -> Any:
    """A message of the user, as a run adds it."""
    return {"role": "user", "content": text}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[refold.Store]:
    """A store in a file."""
    with refold.open(str(tmp_path / "agents.db")) as opened:
        yield opened


LEAVES = (
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=9)
)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=8,
)
KINDS = st.sampled_from(
    ["message", "function_call", "function_call_output", "reasoning", "item_reference", "odd", ""]
)
ITEMS = st.builds(user, st.text(st.characters(), max_size=9)) | st.dictionaries(
    st.sampled_from(["role", "content", "call_id", "name", "arguments", "output", "id", "other"]),
    VALUES | st.sampled_from(["user", "assistant", "system"]),
).flatmap(lambda item: KINDS.map(lambda kind: {**item, "type": kind} if kind else item))


class SessionIsAList(RuleBasedStateMachine):
    """A session beside a list: what is added, popped, cleared; by two objects in turn."""

    def __init__(self) -> None:
        super().__init__()
        self.store = refold.open("memory:")
        self.sessions = [RefoldSession(self.store, "42"), RefoldSession(self.store, "42")]
        self.items: list[Any] = []
        self.history: dict[int, list[Any]] = {}

    def teardown(self) -> None:
        """Every list that there was is there still."""
        for version, items in self.history.items():
            assert run(self.sessions[0].get_items(version=version)) == items
        self.store.close()

    @rule(items=st.lists(ITEMS, max_size=3), who=st.sampled_from([0, 1]))
    def add(self, items: list[Any], who: int) -> None:
        run(self.sessions[who].add_items(items))
        self.items += items

    @rule(who=st.sampled_from([0, 1]))
    def pop(self, who: int) -> None:
        popped = run(self.sessions[who].pop_item())
        assert popped == (self.items.pop() if self.items else None)

    @rule(who=st.sampled_from([0, 1]))
    def clear(self, who: int) -> None:
        run(self.sessions[who].clear_session())
        self.items.clear()

    @rule(limit=st.integers(0, 4), who=st.sampled_from([0, 1]))
    def last(self, limit: int, who: int) -> None:
        found = run(self.sessions[who].get_items(limit))
        assert found == self.items[len(self.items) - min(limit, len(self.items)) :]

    @invariant()
    def is_the_list(self) -> None:
        assert run(self.sessions[1].get_items()) == self.items
        if (head := self.store.head("session-42")) >= 0:
            self.history[head] = list(self.items)


TestSessionIsAList = SessionIsAList.TestCase
TestSessionIsAList.settings = settings(max_examples=25, stateful_step_count=20, deadline=None)


HALF = "half \ud83d of a character"
ODD = {
    "half": user(HALF),
    "nan": {"type": "function_call_output", "call_id": "c", "output": [float("nan"), 1e400]},
    "deep": user("[" * 300),
    "large": user("x" * 9_000_000 + "é"),
    "number": {**user("n"), "seed": 2**70, "zero": -0.0},
}
ODD["deep"]["more"] = [[]]
for _ in range(200):
    ODD["deep"]["more"] = [ODD["deep"]["more"]]


@pytest.mark.parametrize("name", ODD)
def test_what_no_event_can_say_is_kept(store: refold.Store, name: str) -> None:
    """It comes back as it was, and what of it can be said is told."""
    run(RefoldSession(store, "42").add_items([user("before"), ODD[name], user("after")]))
    found: Any = run(RefoldSession(store, "42").get_items())
    assert str(found) == str([user("before"), ODD[name], user("after")])
    said = [one.text for one in store.fold("session-42", Conversation).state.transcript]
    assert [said[0], said[-1]] == ["before", "after"]
    if name == "half":
        assert said[1] == HALF.replace("\ud83d", "\ufffd")
    if name == "large":
        assert said[1].startswith("[9,000,001 characters of SHA-256")
    assert all(check.good for check in store.check())


def test_more_items_than_an_append_may_hold(store: refold.Store) -> None:
    """All or none of them, in order."""
    items = [user(str(number)) for number in range(5_010)]
    run(RefoldSession(store, "42").add_items(items))
    assert run(RefoldSession(store, "42").get_items()) == items


def test_what_is_no_json_is_refused(store: refold.Store) -> None:
    """Nothing of the call is kept, and the error says what it is."""
    session = RefoldSession(store, "42")
    with pytest.raises(InvalidEvent, match="is not JSON"):
        run(session.add_items([user("one"), user(object())]))
    assert run(session.get_items()) == []
    assert store.head("session-42") == -1


@pytest.mark.parametrize("session_id", ["", None, 5])
def test_an_id_that_is_none_is_refused(store: refold.Store, session_id: Any) -> None:
    """So is a category that would not be one."""
    with pytest.raises(UsageError, match="session's id"):
        RefoldSession(store, session_id)
    with pytest.raises(UsageError, match="category"):
        RefoldSession(store, "42", category="a-b")
    with pytest.raises(InvalidEvent, match="control character"):
        RefoldSession(store, "a\nb")


def test_a_session_that_is_not_there_was_empty_at_any_version(store: refold.Store) -> None:
    """As it is now."""
    session = RefoldSession(store, "42")
    assert run(session.get_items()) == run(session.get_items(version=3)) == []


def test_an_item_that_a_caller_changes_is_not_changed_in_the_session(store: refold.Store) -> None:
    """Each asker has a list and items of his own."""
    session = RefoldSession(store, "42")
    given: Any = user("one")
    run(session.add_items([given]))
    given["content"] = "other"
    found: Any = run(session.get_items())
    found[0]["content"] = "another"
    assert run(session.get_items()) == [user("one")]


def test_settings_limit_what_is_given(store: refold.Store) -> None:
    """A number that is asked for comes first; below 0 there is no limit, as in the SDK's own."""
    session = RefoldSession(store, "42", session_settings=SessionSettings(limit=1))
    run(session.add_items([user("one"), user("two")]))
    assert run(session.get_items()) == [user("two")]
    assert run(session.get_items(limit=-1)) == [user("one"), user("two")]
    assert run(session.get_items(0)) == []


def test_the_log_tells_what_was_taken_away(store: refold.Store) -> None:
    """What was popped is a line of its own, and the words before it stay."""
    session = RefoldSession(store, "42")
    run(session.add_items([user("Hi"), words("No."), thought(), call("look")]))
    run(session.pop_item())
    run(session.clear_session())
    run(session.clear_session())
    lines = [line.split(None, 1)[1] for line in rendered(transcript(store.read("session-42")))[1:]]
    assert lines == [
        "user                   Hi",
        "agent                  No.",
        "tool call              look({}) (no result)",
        'openai_agents.popped   {"version":6}',
        "openai_agents.cleared  {}",
    ]


def test_what_an_agent_says_at_once_is_one_message(store: refold.Store) -> None:
    """Its words and calls share an id that no other message of the stream has."""
    session = RefoldSession(store, "42")
    for _ in range(2):
        run(session.add_items([user("Hi"), words("Let me look."), call("look"), call("look")]))
    said = [each.event.message_id for each in store.read("session-42") if _is_of_agent(each)]
    assert len(said) == 6
    assert len(set(said)) == 2
    assert len(set(said[:3])) == 1


def _is_of_agent(each: refold.Recorded) -> bool:
    return each.type in ("agent.utterance", "tool.call")


def test_a_branch_is_a_session(store: refold.Store) -> None:
    """What was popped is there where the branch leaves, and each goes on by itself."""
    session = RefoldSession(store, "42")
    run(session.add_items([user("one"), user("two")]))
    before = store.head("session-42")
    run(session.pop_item())
    store.branch("session-42", at=before).save("session-42~b")
    other = RefoldSession(store, "42~b")
    run(other.add_items([user("three")]))
    run(other.pop_item())
    run(other.pop_item())
    run(other.add_items([user("four")]))
    assert run(RefoldSession(store, "42~b").get_items()) == [user("one"), user("four")]
    assert run(session.get_items()) == [user("one")]


def test_a_session_that_compacts_keeps_its_history(store: refold.Store) -> None:
    """The SDK's own session for that stands on this one."""
    session = RefoldSession(store, "42")
    compacting = OpenAIResponsesCompactionSession("42", session)
    run(compacting.add_items([user("one"), user("two")]))
    run(compacting.clear_session())
    run(compacting.add_items([user("summary")]))
    assert run(session.get_items()) == [user("summary")]
    assert run(session.get_items(version=3)) == [user("one"), user("two")]


def test_threads_of_two_stores_lose_and_double_nothing(tmp_path: Path) -> None:
    """Each item that was added is popped by one, or is there at the end."""
    path = str(tmp_path / "agents.db")
    popped: list[Any] = []

    def work(session: RefoldSession, worker: int) -> None:
        for number in range(6):
            run(session.add_items([user(f"{worker}.{number}"), user(f"{worker}.{number}b")]))
            popped.append(run(session.pop_item()))
            assert all(one["role"] == "user" for one in run(session.get_items()))

    with refold.open(path) as one, refold.open(path) as two:
        shared = RefoldSession(one, "42")
        sessions = [shared, shared, RefoldSession(two, "42"), RefoldSession(two, "42")]
        threads = [
            threading.Thread(target=work, args=(session, worker))
            for worker, session in enumerate(sessions)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        left = run(RefoldSession(two, "42").get_items())
    everything = [one["content"] for one in [*popped, *left]]
    assert sorted(everything) == sorted(
        f"{worker}.{number}{end}" for worker in range(4) for number in range(6) for end in ("", "b")
    )


def test_two_processes_share_a_session(tmp_path: Path) -> None:
    """Each pops what the other added, and neither loses any."""
    path = str(tmp_path / "agents.db")

    def work(name: str) -> list[Any]:
        with refold.open(path) as own:
            session = RefoldSession(own, "42")
            for number in range(8):
                run(session.add_items([user(f"{name}{number}"), user(f"{name}{number}b")]))
            return [run(session.pop_item()) for _ in range(4)]

    children = [Answer(partial(work, name)) for name in "ab"]
    popped = [one for child in children for one in child.get()]
    with refold.open(path) as own:
        left = run(RefoldSession(own, "42").get_items())
    assert len(left) == 24
    assert len({one["content"] for one in [*popped, *left]}) == 32
    for name in "ab":
        told = [one["content"] for one in left if one["content"][0] == name]
        assert told == sorted(told)


def test_a_session_of_another_process_is_refused(store: refold.Store) -> None:
    """A store is not used in a process that was forked from its own, nor when it is closed."""
    session = RefoldSession(store, "42")
    run(session.add_items([user("one")]))
    with pytest.raises(UsageError, match="forked"):
        told_by_child(lambda: run(session.get_items()))
    with pytest.raises(UsageError, match="forked"):
        told_by_child(lambda: run(session.add_items([user("two")])))
    assert run(session.get_items()) == [user("one")]
    store.close()
    for asked in (session.get_items(), session.add_items([user("x")]), session.pop_item()):
        with pytest.raises(StoreClosed):
            run(asked)


def test_other_events_may_stand_in_the_stream(store: refold.Store) -> None:
    """Whoever else appends to it is passed over."""
    session = RefoldSession(store, "42")
    run(session.add_items([user("one")]))
    store.append("session-42", [refold.Event("note", {"version": 0, "value": {}})])
    store.append("session-42", [ToolCall("c", "other")])
    assert run(session.get_items()) == [user("one")]
    assert run(session.pop_item()) == user("one")


@settings(max_examples=60, deadline=None)
@given(st.lists(ITEMS, max_size=4))
def test_any_items_come_back_equal(items: list[Any]) -> None:
    """Whatever they hold, and whatever can be told of them."""
    with refold.open("memory:") as store:
        run(RefoldSession(store, "42").add_items(items))
        assert run(RefoldSession(store, "42").get_items()) == items
        transcript(store.read("session-42") if items else [])
