"""Transcripts in the log: entries once, what is deleted, names, several writers, odd entries."""

import asyncio
import copy
import threading
from collections.abc import Coroutine, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import (
    InMemorySessionStore,
    delete_session_via_store,
    fork_session_via_store,
    get_session_messages_from_store,
    list_sessions_from_store,
    rename_session_via_store,
)
from claude_agent_sdk.types import SessionStore
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

import refold
from refold.claude_agent_sdk import RefoldSessionStore
from refold.conversation import Conversation, rendered, transcript
from refold.errors import InvalidEvent, StoreClosed, UsageError
from tests.support.forking import Answer, told_by_child

KEY: Any = {"project_key": "-home-me-app", "session_id": "s1"}
SUB: Any = {**KEY, "subpath": "subagents/agent-1"}
STREAM = "claude--home-me-app/s1"


def run(asked: Coroutine[Any, Any, Any]) -> Any:
    """What a call comes to."""
    return asyncio.run(asked)


@pytest.fixture
def store(tmp_path: Path) -> Iterator[refold.Store]:
    """A store in a file."""
    with refold.open(str(tmp_path / "agents.db")) as opened:
        yield opened


def entry(uuid: str | None, text: Any, role: Any = "user", **more: Any) -> Any:
    """An entry of a transcript with a message."""
    message = {"role": role, "content": text, **({"id": "msg_1"} if role == "assistant" else {})}
    own = {} if uuid is None else {"uuid": uuid}
    return {"type": role, **own, "message": message, **more}


ANSWER = [{"type": "text", "text": "Let me look."}]
CALL = [{"type": "tool_use", "id": "t1", "name": "Read", "input": {"path": "a.txt"}}]
RESULT = [{"type": "tool_result", "tool_use_id": "t1", "content": "found"}]
AT = {"timestamp": "2026-03-01T09:00:00.000Z"}


def test_the_stream_tells_the_conversation(store: refold.Store) -> None:
    """Words, calls and results, at their times; what the SDK says in the user's name is not."""
    entries = [
        {"type": "queue-operation", "operation": "enqueue"},
        entry("u0", "<local-command-caveat>", isMeta=True),
        entry("u1", "Read it", **AT),
        entry("a1", [{"type": "thinking", "thinking": "Hm.", "signature": "c2ln"}], "assistant"),
        entry("a2", ANSWER, "assistant", **AT),
        entry("a3", CALL, "assistant", **AT),
        entry("u2", RESULT, **AT),
        entry("u3", "This session is continued…", isCompactSummary=True),
        {"type": "summary", "summary": "Reading", "leafUuid": "u2"},
    ]
    sessions = RefoldSessionStore(store)
    run(sessions.append(KEY, entries))
    assert run(sessions.load(KEY)) == entries
    lines = rendered(transcript(store.read(STREAM)))
    assert lines == [
        "2026-03-01",
        "09:00:00  user         Read it",
        "09:00:00  agent        Let me look.",
        '09:00:00  tool call    Read({"path":"a.txt"})',
        "09:00:00  tool result  Read: found",
    ]
    said = [each.event for each in store.read(STREAM) if each.type == "tool.call"]
    assert [one.message_id for one in said] == ["msg_1"]


def test_a_subagent_has_a_stream_of_its_own(store: refold.Store) -> None:
    """Its words are told as its own, and beside those of the session."""
    sessions = RefoldSessionStore(store)
    run(sessions.append(KEY, [entry("u1", "Do it")]))
    side = {"isSidechain": True, "agentId": "1"}
    run(
        sessions.append(
            SUB, [entry("s1", "Look", **side), entry("s2", ANSWER, "assistant", **side)]
        )
    )
    state = store.fold(f"{STREAM}/subagents/agent-1", Conversation).state
    assert [(one.party, one.text) for one in state.transcript] == [
        (None, "Look"),
        ("1", "Let me look."),
    ]
    assert [one.text for one in store.fold(STREAM, Conversation).state.transcript] == ["Do it"]


def test_an_entry_that_comes_again_is_kept_once(store: refold.Store) -> None:
    """In one batch, in the next, by another store object; one without a uuid is another."""
    batch = [entry("u1", "one"), entry("u1", "one"), entry(None, "tag"), entry("u2", "two")]
    run(RefoldSessionStore(store).append(KEY, batch))
    again = RefoldSessionStore(store)
    run(again.append(KEY, batch[:2]))
    head = store.head(STREAM)
    run(again.append(KEY, [*batch[:2], entry("u3", "three")]))
    assert store.head(STREAM) == head + 2
    found = run(again.load(KEY))
    assert found == [batch[0], batch[2], batch[3], entry("u3", "three")]


def test_an_entry_that_says_something_else_takes_the_place_of_the_first(
    store: refold.Store,
) -> None:
    """As a row that is written again would; the log has both."""
    sessions = RefoldSessionStore(store)
    run(sessions.append(KEY, [entry("u1", "one"), entry("u2", "two")]))
    run(sessions.append(KEY, [entry("u1", "other")]))
    assert run(sessions.load(KEY)) == [entry("u1", "other"), entry("u2", "two")]
    kept = [each for each in store.read(STREAM) if each.type == "claude.entry"]
    assert len(kept) == 3


def test_of_several_states_in_one_batch_the_last_is_kept_once(store: refold.Store) -> None:
    """Where the first stood; the batch again adds nothing."""
    sessions = RefoldSessionStore(store)
    batch = [entry("u1", "one"), entry("u2", "two"), entry("u1", "other")]
    for _ in range(3):
        run(sessions.append(KEY, batch))
    assert run(sessions.load(KEY)) == [entry("u1", "other"), entry("u2", "two")]
    assert [each.type for each in store.read(STREAM)].count("claude.entry") == 2


def test_what_is_deleted_is_found_no_more_and_stands_in_the_log(store: refold.Store) -> None:
    """And what comes after is there, with uuids that were there before."""
    sessions = RefoldSessionStore(store)
    run(sessions.append(KEY, [entry("u1", "secret", customTitle="old")]))
    run(sessions.append(SUB, [entry("s1", "side")]))
    run(sessions.delete(KEY))
    run(sessions.delete(KEY))
    assert [each.type for each in store.read(STREAM)][-1] == "claude.deleted"
    assert any(b"secret" in each.raw for each in store.read(STREAM))
    for each in (sessions, RefoldSessionStore(store)):
        assert run(each.load(KEY)) is None
        assert run(each.load(SUB)) is None
        assert run(each.list_session_summaries(KEY["project_key"])) == []
    head = store.head(STREAM)
    run(sessions.delete(KEY))
    assert store.head(STREAM) == head
    run(sessions.append(KEY, [entry("u1", "secret")]))
    assert run(sessions.load(KEY)) == [entry("u1", "secret")]
    (summary,) = run(sessions.list_session_summaries(KEY["project_key"]))
    assert "custom_title" not in summary["data"]
    assert run(sessions.list_subkeys(KEY)) == []


def test_the_sdk_lists_forks_renames_and_deletes(store: refold.Store) -> None:
    """Its own functions for that work on the store, as on its store in memory."""

    async def talk(sessions: SessionStore) -> list[Any]:
        project = await _project(sessions)
        listed = await list_sessions_from_store(sessions, "/home/me/app")
        forked = await fork_session_via_store(sessions, project, "/home/me/app")
        messages = await get_session_messages_from_store(
            sessions, forked.session_id, "/home/me/app"
        )
        after = await list_sessions_from_store(sessions, "/home/me/app")
        await delete_session_via_store(sessions, project, "/home/me/app")
        left = await list_sessions_from_store(sessions, "/home/me/app")
        return [
            [one.summary for one in listed],
            [one.message for one in messages],
            sorted(one.summary for one in after),
            [one.session_id == forked.session_id for one in left],
        ]

    assert run(talk(RefoldSessionStore(store))) == run(talk(InMemorySessionStore()))


async def _project(sessions: SessionStore) -> str:
    """A session in the store, with a title; its id."""
    own = "11111111-1111-4111-8111-111111111111"
    key: Any = {"project_key": "-home-me-app", "session_id": own}
    ids = [f"{digit * 8}-1111-4111-8111-111111111111" for digit in "23"]
    more: Any = {"sessionId": own, "parentUuid": None, **AT}
    await sessions.append(
        key,
        [
            entry(ids[0], "Read it", **more),
            entry(ids[1], ANSWER, "assistant", **{**more, "parentUuid": ids[0]}),
        ],
    )
    await rename_session_via_store(sessions, own, "Reading", "/home/me/app")
    return own


KEYS: list[Any] = [
    {"project_key": project, "session_id": session, **sub}
    for project in ("p", "p/x", "p~")
    for session in ("a", "b/c", "%2F", "é\u2028")
    for sub in ({}, {"subpath": "subagents/agent-1"}, {"subpath": "x~y%/z"})
]
ENTRIES = st.lists(
    st.builds(
        entry,
        st.none(),
        st.text(max_size=5),
        st.sampled_from(["user", "assistant", "odd"]),
        customTitle=st.text(max_size=3),
        timestamp=st.sampled_from(["2026-03-01T09:00:00Z", "0001-01-01T00:00:00Z", "never", 5]),
    ),
    max_size=3,
)


class StoreIsThatOfTheSdk(RuleBasedStateMachine):
    """The store beside the SDK's own in memory, under all keys."""

    def __init__(self) -> None:
        super().__init__()
        self.opened = refold.open("memory:")
        self.stores = [RefoldSessionStore(self.opened), RefoldSessionStore(self.opened)]
        self.model: dict[str, tuple[Any, list[Any]]] = {}

    def teardown(self) -> None:
        """What each transcript holds is what was added since it was deleted."""
        for at, (key, entries) in self.model.items():
            assert run(self.stores[0].load(key)) == (entries or None), at
        self.opened.close()

    @rule(key=st.sampled_from(KEYS), entries=ENTRIES, who=st.sampled_from([0, 1]))
    def append(self, key: Any, entries: list[Any], who: int) -> None:
        run(self.stores[who].append(key, copy.deepcopy(entries)))
        self.model.setdefault(str(key), (key, []))[1].extend(entries)

    @rule(key=st.sampled_from(KEYS), who=st.sampled_from([0, 1]))
    def delete(self, key: Any, who: int) -> None:
        run(self.stores[who].delete(key))
        for other, entries in self.model.values():
            if {**other, **key} == other:
                entries.clear()

    @invariant()
    def lists_are_those_of_the_model(self) -> None:
        live = [key for key, entries in self.model.values() if entries]
        for project in ("p", "p/x", "p~"):
            found = sorted(
                one["session_id"]
                for one in live
                if one["project_key"] == project and "subpath" not in one
            )
            listed = run(self.stores[0].list_sessions(project))
            assert sorted(one["session_id"] for one in listed) == found
            summed = run(self.stores[1].list_session_summaries(project))
            assert sorted(one["session_id"] for one in summed) == found
            times = {one["session_id"]: one["mtime"] for one in listed}
            assert all(one["mtime"] == times[one["session_id"]] for one in summed)
            for session in found:
                key: Any = {"project_key": project, "session_id": session}
                subs = [one["subpath"] for one in live if one.items() > key.items()]
                assert sorted(run(self.stores[1].list_subkeys(key))) == sorted(subs)


TestStoreIsThatOfTheSdk = StoreIsThatOfTheSdk.TestCase
TestStoreIsThatOfTheSdk.settings = settings(max_examples=15, stateful_step_count=15, deadline=None)


def test_summaries_are_those_of_the_sdk(store: refold.Store) -> None:
    """Added in whatever batches, by whichever store object."""
    batches: list[Any] = [
        [entry("u1", "First words", cwd="/home/me", gitBranch="main", **AT)],
        [{"type": "tag", "tag": "work"}, entry("a1", ANSWER, "assistant")],
        [{"type": "custom-title", "customTitle": "half \ud83d of a character"}],
    ]
    own = InMemorySessionStore()
    for batch in batches:
        run(own.append(KEY, batch))
        run(RefoldSessionStore(store).append(KEY, batch))
    (wanted,) = run(own.list_session_summaries(KEY["project_key"]))
    (found,) = run(RefoldSessionStore(store).list_session_summaries(KEY["project_key"]))
    title = wanted["data"].pop("custom_title")
    assert found["data"].pop("custom_title") == title.replace("\ud83d", "\ufffd")
    assert found["data"] == wanted["data"]


@pytest.mark.parametrize(
    "odd",
    [
        entry("u1", "half \ud83d of a character"),
        entry("u1", "x" * 9_000_000),
        entry("u1", float("nan")),
        entry("u1", [{"type": "text", "text": None}, 5, {"type": "new"}]),
        {"type": "user", "message": "words", "uuid": 5, "timestamp": {}},
    ],
    ids=["half", "large", "nan", "blocks", "fields"],
)
def test_an_odd_entry_comes_back(store: refold.Store, odd: Any) -> None:
    """With those before and after it; what of it can be said is told."""
    batch = [entry("b", "before"), odd, entry("a", "after")]
    run(RefoldSessionStore(store).append(KEY, batch))
    assert str(run(RefoldSessionStore(store).load(KEY))) == str(batch)
    said = [one.text for one in store.fold(STREAM, Conversation).state.transcript]
    assert [said[0], said[-1]] == ["before", "after"]


@pytest.mark.parametrize(
    "key",
    [
        {"project_key": "p", "session_id": ""},
        {"project_key": "", "session_id": "s"},
        {"session_id": "s"},
        {"project_key": "p", "session_id": 5},
    ],
)
def test_a_key_that_is_none_is_refused(store: refold.Store, key: Any) -> None:
    """Whatever is asked with it."""
    sessions = RefoldSessionStore(store)
    for asked in (
        sessions.append(key, [entry("u", "x")]),
        sessions.load(key),
        sessions.delete(key),
    ):
        with pytest.raises(UsageError, match="no key of a session"):
            run(asked)
    with pytest.raises(UsageError, match="category"):
        RefoldSessionStore(store, category="a~")


def test_the_name_of_a_project_may_be_long(store: refold.Store) -> None:
    """Two that begin alike are two; a session's that is too long is refused by name."""
    sessions = RefoldSessionStore(store)
    for end in "ab":
        key: Any = {**KEY, "project_key": "é" * 300 + end}
        run(sessions.append(key, [entry("u", end)]))
    for end in "ab":
        key = {**KEY, "project_key": "é" * 300 + end}
        assert run(sessions.load(key)) == [entry("u", end)]
        (listed,) = run(sessions.list_sessions(key["project_key"]))
        assert listed["session_id"] == "s1"
    with pytest.raises(InvalidEvent, match="over 255"):
        key = {**KEY, "session_id": "s" * 300}
        run(sessions.append(key, [entry("u", "x")]))


def test_threads_and_processes_lose_and_double_nothing(tmp_path: Path) -> None:
    """Each adds its own entries and those that all add."""
    path = str(tmp_path / "agents.db")

    def work(name: str, sessions: RefoldSessionStore | None = None) -> None:
        if sessions is None:
            with refold.open(path) as own:
                return work(name, RefoldSessionStore(own))
        for number in range(6):
            mine = [entry(f"{name}{number}", name), entry(f"all{number}", "all")]
            run(sessions.append(KEY, mine))
        return None

    children = [Answer(partial(work, name)) for name in "ab"]
    with refold.open(path) as store:
        shared = RefoldSessionStore(store)
        threads = [threading.Thread(target=work, args=(name, shared)) for name in "cd"]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        for child in children:
            child.get()
        found = [one["uuid"] for one in run(shared.load(KEY))]
        wanted = [f"{name}{number}" for name in ("a", "b", "c", "d", "all") for number in range(6)]
        assert sorted(found) == sorted(wanted)
        kept = [each for each in store.read(STREAM) if each.type == "claude.entry"]
        assert len(kept) == len(wanted)


def test_who_comes_second_looks_again(store: refold.Store, monkeypatch: pytest.MonkeyPatch) -> None:
    """What another added between its look and its append is not added again, and is summed up."""
    append_together = store.append_together
    before = [[entry("u1", "one", customTitle="theirs")]]

    def raced(*args: Any, **given: Any) -> Any:
        while before:
            run(RefoldSessionStore(store).append(KEY, before.pop()))
        return append_together(*args, **given)

    monkeypatch.setattr(store, "append_together", raced)
    mine = [entry("u1", "one", customTitle="theirs"), entry("u2", "two", aiTitle="mine")]
    run(RefoldSessionStore(store).append(KEY, mine))
    kept = [
        each.data["value"]["uuid"] for each in store.read(STREAM) if each.type == "claude.entry"
    ]
    assert kept == ["u1", "u2"]
    (summary,) = run(RefoldSessionStore(store).list_session_summaries(KEY["project_key"]))
    assert (summary["data"]["custom_title"], summary["data"]["ai_title"]) == ("theirs", "mine")


def test_a_store_of_another_process_is_refused(store: refold.Store) -> None:
    """Nor is a closed one used."""
    sessions = RefoldSessionStore(store)
    run(sessions.append(KEY, [entry("u1", "one")]))
    for asked in (partial(sessions.append, KEY, [entry("u2", "two")]), partial(sessions.load, KEY)):
        with pytest.raises(UsageError, match="forked"):
            told_by_child(partial(_asked, asked))
    assert run(sessions.load(KEY)) == [entry("u1", "one")]
    store.close()
    with pytest.raises(StoreClosed):
        run(sessions.load(KEY))
    with pytest.raises(StoreClosed):
        run(sessions.append(KEY, [entry("u2", "two")]))


def _asked(call: Any) -> Any:
    return run(call())


def test_what_is_no_entry_is_refused(store: refold.Store) -> None:
    """Nothing of the batch is kept."""
    sessions = RefoldSessionStore(store)
    odd: Any
    deep: Any = []
    for _ in range(100_000):
        deep = [deep]
    for odd in (["no", "object"], {"type": object()}, {"type": "odd", "deep": deep}):
        with pytest.raises(InvalidEvent, match=r"no entry|not JSON"):
            run(sessions.append(KEY, [entry("u1", "one"), odd]))
    assert store.head(STREAM) == -1


def test_other_events_may_stand_in_the_stream(store: refold.Store) -> None:
    """Whoever else appends to it is passed over."""
    sessions = RefoldSessionStore(store)
    run(sessions.append(KEY, [entry("u1", "one")]))
    store.append(STREAM, [refold.Event("note", {"value": 5})])
    assert run(sessions.load(KEY)) == [entry("u1", "one")]
    assert len(run(sessions.list_session_summaries(KEY["project_key"]))) == 1
    run(sessions.append(KEY, [entry("u1", "one"), entry("u2", "two")]))
    assert len(run(sessions.load(KEY))) == 2
