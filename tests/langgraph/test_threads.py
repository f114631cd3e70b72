"""Threads in the log: forks, writes, what is deleted, several writers, names, sizes."""

import os
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from langgraph.checkpoint.base import BaseCheckpointSaver, empty_checkpoint
from langgraph.checkpoint.memory import InMemorySaver
from langgraph.checkpoint.serde.encrypted import EncryptedSerializer
from langgraph.checkpoint.serde.types import ERROR, INTERRUPT

import refold
from refold.errors import Conflict, UsageError
from refold.langgraph import RefoldSaver
from tests.langgraph.graphs import logging, thread


@pytest.fixture
def store(tmp_path: Path) -> Iterator[refold.Store]:
    """A store in a file."""
    with refold.open(str(tmp_path / "agents.db")) as opened:
        yield opened


class Pad:
    """A cipher whose bytes are others each time, as good ones are."""

    def encrypt(self, plaintext: bytes) -> tuple[str, bytes]:
        """A pad of random bytes, and the text with it."""
        pad = os.urandom(len(plaintext))
        return "pad", pad + bytes(a ^ b for a, b in zip(pad, plaintext, strict=True))

    def decrypt(self, ciphername: str, ciphertext: bytes) -> bytes:
        """The text again."""
        half = len(ciphertext) // 2
        pairs = zip(ciphertext[:half], ciphertext[half:], strict=True)
        return bytes(a ^ b for a, b in pairs)


def put(saver: BaseCheckpointSaver[Any], parent: Any, version: int = 1, **values: Any) -> Any:
    """Save a checkpoint with these values, all of them new, after a parent; its config."""
    checkpoint = empty_checkpoint()
    versions: Any = dict.fromkeys(values, version)
    checkpoint["channel_values"], checkpoint["channel_versions"] = values, versions
    at: Any = {"configurable": {"checkpoint_ns": "", **parent["configurable"]}}
    return saver.put(at, checkpoint, {"source": "loop", "step": version}, versions)


def values_of(saver: BaseCheckpointSaver[Any], config: Any) -> Any:
    """The values of the channels at a checkpoint."""
    found = saver.get_tuple(config)
    return found and found.checkpoint["channel_values"]


def replayed(saver: RefoldSaver, config: Any, channel: str = "d") -> list[Any]:
    """The writes from which a delta channel is made at a checkpoint."""
    history = saver.get_delta_channel_history(config=config, channels=[channel])
    return [value for _, _, value in history[channel]["writes"]]


def test_each_child_has_the_writes_that_led_to_it(store: refold.Store) -> None:
    """Two children of one checkpoint: the same task wrote for each, at the same place."""
    saver = RefoldSaver(store)
    base = put(saver, thread(), x=1)
    saver.put_writes(base, [("d", "left")], "task", "path")
    left = put(saver, base, x=2)
    saver.put_writes(base, [("d", "fork")], "task", "path")
    fork = put(saver, base, x=3)
    for each in (saver, RefoldSaver(store)):
        assert replayed(each, put(each, left, x=4)) == ["left"]
        assert replayed(each, fork) == ["fork"]
        found = each.get_tuple(base)
        assert found is not None
        assert found.pending_writes == [("task", "d", "fork")]


def test_a_checkpoint_whose_parent_is_not_the_last_is_a_branch(store: refold.Store) -> None:
    """Each fork is a stream that shares what stands before it; forks of forks too."""
    saver = RefoldSaver(store)
    first = put(saver, thread(), log=["a"])
    second = put(saver, first, log=["a", "b"])
    fork = put(saver, first, log=["a", "c"])
    put(saver, put(saver, fork, log=["a", "c", "d"]), log=["e"])
    again = put(saver, fork, log=["a", "c", "f"])
    streams = {each.stream: each.fork for each in store.streams()}
    assert list(streams) == ["thread-t", "thread-t~1", "thread-t~2"]
    assert streams["thread-t~1"] == ("thread-t", 0)
    assert streams["thread-t~2"] == ("thread-t~1", 2)
    for each in (saver, RefoldSaver(store)):
        assert values_of(each, again) == {"log": ["a", "c", "f"]}
        assert values_of(each, second) == {"log": ["a", "b"]}
        assert values_of(each, fork) == {"log": ["a", "c"]}


def test_writes_are_in_the_order_in_which_they_are_applied(store: refold.Store) -> None:
    """By the path of their task; a task's ordinary write counts once, a special one anew."""
    saver = RefoldSaver(store)
    at = put(saver, thread(), x=1)
    saver.put_writes(at, [("a", 1), ("b", 2)], "z-task", "~1")
    saver.put_writes(at, [("a", 3)], "a-task", "~2")
    saver.put_writes(at, [("a", "again")], "z-task", "~1")
    saver.put_writes(at, [(ERROR, "one"), (INTERRUPT, "i")], "z-task", "~1")
    saver.put_writes(at, [(ERROR, "two")], "z-task", "~1")
    found = saver.get_tuple(at)
    assert found is not None
    said = {(task, channel): value for task, channel, value in found.pending_writes or []}
    assert said["z-task", ERROR] == "two"
    assert said["z-task", INTERRUPT] == "i"
    ordinary = [w for w in found.pending_writes or [] if not w[1].startswith("__")]
    assert ordinary == [("z-task", "a", 1), ("z-task", "b", 2), ("a-task", "a", 3)]


def test_writes_may_come_before_their_checkpoint(store: refold.Store) -> None:
    """LangGraph saves both at once, in no order."""
    saver = RefoldSaver(store)
    checkpoint = empty_checkpoint()
    at = thread(checkpoint_ns="", checkpoint_id=checkpoint["id"])
    saver.put_writes(at, [("d", 1)], "task")
    saver.put(thread(checkpoint_ns=""), checkpoint, {}, {})
    found = saver.get_tuple(at)
    assert found is not None
    assert found.pending_writes == [("task", "d", 1)]


ENTRIES = st.lists(st.integers(0, 3) | st.text(max_size=3) | st.just("long " * 30), max_size=6)
STATES = st.fixed_dictionaries(
    {},
    optional={
        "log": ENTRIES,
        "files": st.dictionaries(st.text(max_size=3), ENTRIES, max_size=3),
        "/odd~1": st.floats() | st.binary() | st.none(),
        "": st.booleans(),
    },
)


@given(st.lists(st.tuples(STATES, st.integers(0, 9)), min_size=1, max_size=9))
def test_every_state_of_a_tree_comes_back(steps: list[tuple[dict[str, Any], int]]) -> None:
    """Whatever changed since whichever parent, to the one who saved it and to another."""
    with refold.open("memory:") as store:
        saver, model = RefoldSaver(store), InMemorySaver()
        configs: list[Any] = [thread()]
        for version, (values, parent) in enumerate(steps):
            configs.append(put(saver, configs[parent % len(configs)], version, **values))
        for reader in (saver, RefoldSaver(store)):
            for config, (values, _) in zip(configs[1:], steps, strict=True):
                found = values_of(reader, config)
                assert model.serde.dumps_typed(found) == model.serde.dumps_typed(
                    {name: values[name] for name in found}
                )
                assert found.keys() == values.keys()


STEPS = st.lists(
    st.tuples(
        st.integers(0, 2), st.sampled_from(["put", "put", "write", "hide"]), st.integers(0, 9)
    ),
    min_size=1,
    max_size=14,
)


def told(saver: RefoldSaver) -> list[Any]:
    """All that is found of a thread, newest first."""
    found = saver.list(thread())
    return [(t.config, t.parent_config, t.checkpoint, t.pending_writes) for t in found]


@given(STEPS)
def test_who_saved_some_of_it_knows_what_one_who_reads_it_all_does(
    steps: list[tuple[int, str, int]],
) -> None:
    """Whoever else saved, wrote or pruned in between: what is saved is not read again."""
    with refold.open("memory:") as store:
        savers = [RefoldSaver(store) for _ in range(3)]
        configs: list[Any] = [put(savers[0], thread(), log=[])]
        for step, (who, what, where) in enumerate(steps):
            saver, at = savers[who], configs[where % len(configs)]
            if what == "put":
                configs.append(put(saver, at, step, log=[step]))
            elif what == "write":
                saver.put_writes(at, [("d", step)], f"task-{where}")
            else:
                saver.prune(["t"])
        whole = told(RefoldSaver(store))
        assert whole
        for saver in savers:
            assert told(saver) == whole
        assert [each.good for each in store.check() if not each.good] == []


def test_who_saves_what_follows_on_his_own_reads_nothing(
    store: refold.Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step is as many calls of the store as it has appends."""
    saver = RefoldSaver(store)
    at = put(saver, thread(), log=[])

    def asked(*_: object, **__: object) -> Any:
        raise AssertionError("it was read")

    with monkeypatch.context() as patched:
        patched.setattr(refold.Store, "read", asked)
        patched.setattr(refold.Store, "head", asked)
        for step in range(2, 12):
            saver.put_writes(at, [("log", [step])], f"task-{step}")
            at = put(saver, at, step, log=[*range(2, step + 1)])
    assert values_of(saver, at) == {"log": [*range(2, 12)]}
    assert told(RefoldSaver(store)) == told(saver)


def test_a_channel_that_did_not_change_is_kept_once(store: refold.Store) -> None:
    """Its version says so: what it holds is not looked at again, and is not stored again."""
    saver = RefoldSaver(store)
    big = {f"file-{n}": f"word-{n} " * 200 for n in range(20)}
    at = put(saver, thread(), files=big, log=[])
    for step in range(2, 30):
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"files": big, "log": [f"entry {n}" for n in range(step)]}
        checkpoint["channel_versions"] = {"files": 1, "log": step}
        at = saver.put(at, checkpoint, {"step": step}, {"log": step})
    one = put(saver, at, 99, files={**big, "file-3": "new"}, log=[])
    assert values_of(RefoldSaver(store), one)["files"] == {**big, "file-3": "new"}
    assert values_of(RefoldSaver(store), at)["files"] == big
    sizes = [len(each.raw) for each in store.read("thread-t")]
    assert sizes[0] > 20_000
    assert max(sizes[1:]) < 2_000


def test_a_channel_without_a_version_is_what_was_given(store: refold.Store) -> None:
    """Nothing says that it did not change."""
    saver = RefoldSaver(store)
    at: Any = thread(checkpoint_ns="")
    for value in ("one", "two"):
        checkpoint = empty_checkpoint()
        checkpoint["channel_values"] = {"x": value}
        at = saver.put(at, checkpoint, {}, {})
        assert values_of(RefoldSaver(store), at) == {"x": value}


def test_a_serialiser_that_encrypts_leaves_no_words_in_the_log(store: refold.Store) -> None:
    """State, metadata and writes are its bytes, and come back."""
    serde = EncryptedSerializer(Pad())
    saver = RefoldSaver(store, serde=serde)
    at = put(saver, thread(), said=["hushed"])
    after = put(saver, at, 2, said=["hushed", "still"])
    saver.put_writes(after, [("d", "hushed")], "task")
    assert values_of(RefoldSaver(store, serde=serde), after) == {"said": ["hushed", "still"]}
    assert replayed(saver, put(saver, after, 3, said=[])) == ["hushed"]
    assert not any(b"hushed" in each.raw or b"loop" in each.raw for each in store.read("thread-t"))


def test_the_checkpoints_of_a_run_are_deleted_in_every_thread(store: refold.Store) -> None:
    """Those of other runs stay, and a parent that is gone is found no more."""
    saver = RefoldSaver(store)
    ends = {}
    for name in ("t", "u"):
        at: Any = thread(name, checkpoint_ns="")
        for run in ("a", "b"):
            at = saver.put(at, empty_checkpoint(), {"run_id": run}, {})
        ends[name] = at
    saver.delete_for_runs(["a", "none"])
    left = list(RefoldSaver(store).list(None))
    assert {each.config["configurable"]["thread_id"] for each in left} == {"t", "u"}
    assert [each.metadata.get("run_id") for each in left] == ["b", "b"]
    for each in left:
        assert each.parent_config is not None
        assert saver.get_tuple(each.parent_config) is None


def test_a_state_larger_than_an_event_is_kept(store: refold.Store) -> None:
    """Documents of 11 MB go into pieces."""
    saver = RefoldSaver(store)
    values: dict[str, Any] = {"pages": ["é" * 1_000_000, "x" * 9_000_000, "y"]}
    at = put(saver, thread(), **values)
    after = put(saver, at, 2, pages=[*values["pages"], "z"])
    assert values_of(RefoldSaver(store), at) == values
    assert values_of(RefoldSaver(store), after) == {"pages": [*values["pages"], "z"]}


def test_threads_and_forks_of_many_writers_lose_nothing(tmp_path: Path) -> None:
    """Two stores of one file, each with threads that save in the same thread at once."""
    path = str(tmp_path / "agents.db")
    ends: list[Any] = []

    def work(saver: RefoldSaver, worker: int, start: Any) -> None:
        at = start
        for step in range(5):
            saver.put_writes(at, [("d", [worker, step])], f"task-{worker}-{step}")
            at = put(saver, at, step, who=[worker] * (step + 1))
        ends.append((worker, at))

    with refold.open(path) as one, refold.open(path) as two:
        start = put(RefoldSaver(one), thread(), who=[])
        savers = [RefoldSaver(one), RefoldSaver(two)]
        workers = [threading.Thread(target=work, args=(savers[n % 2], n, start)) for n in range(4)]
        for each in workers:
            each.start()
        for each in workers:
            each.join()
        fresh = RefoldSaver(two)
        assert len(list(fresh.list(thread()))) == 1 + 4 * 5
        assert len(ends) == 4
        for worker, at in ends:
            assert values_of(fresh, at) == {"who": [worker] * 5}
            found = replayed(fresh, at)
            assert found[-4:] == [[worker, step] for step in range(1, 5)]
        assert [each.good for each in one.check() if not each.good] == []


def test_what_is_deleted_is_found_no_more_and_stands_in_the_log(store: refold.Store) -> None:
    """A deletion is an event; a thread of the same name begins anew."""
    saver = RefoldSaver(store)
    at = put(saver, thread(), secret=["word"])
    fork = put(saver, at, secret=["fork"])
    put(saver, at, secret=["other"])
    saver.put_writes(at, [("d", 1)], "task")
    other = put(saver, thread("u"), x=1)
    saver.delete_thread("t")
    saver.delete_thread("never there")
    for each in (saver, RefoldSaver(store)):
        assert [values_of(each, config) for config in (thread(), at, fork)] == [None] * 3
        assert list(each.list(thread())) == []
        assert [t.config for t in each.list(None)] == [other]
    assert any(b"word" in each.raw for each in store.read("thread-t"))
    assert [each.type for each in store.read("thread-t")][-1] == "langgraph.deleted"
    anew = put(saver, thread(), x=2)
    assert [t.config for t in RefoldSaver(store).list(thread())] == [anew]


def test_a_pruned_thread_has_the_values_of_its_delta_channels(store: refold.Store) -> None:
    """keep_latest leaves one checkpoint, and it says what it said."""
    graph = logging(RefoldSaver(store), "run")
    graph.invoke({"delta": ["in"], "whole": ["in"]}, thread())
    graph.invoke({"delta": ["again"], "whole": ["again"]}, thread())
    before = graph.get_state(thread()).values
    RefoldSaver(store).prune(["t"])
    after = logging(RefoldSaver(store), "more")
    assert len(list(after.get_state_history(thread()))) == 1
    assert after.get_state(thread()).values == before
    after.invoke({"delta": ["on"], "whole": ["on"]}, thread())
    assert after.get_state(thread()).values["delta"] == after.get_state(thread()).values["whole"]
    with pytest.raises(UsageError, match="keep_latest"):
        RefoldSaver(store).prune(["t"], strategy="keep_some")


def test_a_copy_has_the_forks_and_goes_its_own_way(store: refold.Store) -> None:
    """What is added to a copy is not in the thread it was made of; a copy onto a thread is none."""
    saver = RefoldSaver(store)
    graph = logging(saver, "run")
    graph.invoke({"delta": ["in"], "whole": ["in"]}, thread())
    middle = next(each for each in graph.get_state_history(thread()) if each.next == ("two",))
    graph.update_state(middle.config, {"delta": ["hand"], "whole": ["hand"]})
    saver.copy_thread("t", "copy")
    both = [[each.values for each in graph.get_state_history(thread(n))] for n in ("t", "copy")]
    assert both[0] == both[1]
    graph.invoke(None, thread("copy"))
    assert [each.values for each in graph.get_state_history(thread())] == both[0]
    assert graph.get_state(thread("copy")).values["delta"] == ["in", "run-one", "hand", "run-two"]
    with pytest.raises(Conflict):
        saver.copy_thread("t", "copy")


@pytest.mark.parametrize("name", ["a~b", "50%", "a%7Eb", "é-ü", "tab\tend", "7", ""])
def test_any_text_names_a_thread(store: refold.Store, name: str) -> None:
    """A ~ in it makes no branch of it, and it comes back as it was."""
    saver = RefoldSaver(store, category="support")
    at = put(saver, thread(name), x=1)
    put(saver, thread(name + "x"), x=2)
    assert [t.config for t in RefoldSaver(store, category="support").list(None)][-1] == at
    assert values_of(RefoldSaver(store, category="support"), thread(name)) == {"x": 1}
    assert values_of(RefoldSaver(store), thread(name)) is None


def test_a_fork_is_no_thread_nor_is_another_stream(store: refold.Store) -> None:
    """Each checkpoint is listed once, of the thread that it is of."""
    saver = RefoldSaver(store)
    first = put(saver, thread(), x=1)
    put(saver, first, x=2)
    put(saver, first, x=3)
    store.append("thread", [refold.Event("note", {})])
    store.append("threads-1", [refold.Event("note", {})])
    for each in (saver, RefoldSaver(store)):
        assert [*each._thread_ids()] == ["t"]
        found = [t.config["configurable"] for t in each.list(None)]
        assert [one["thread_id"] for one in found] == ["t"] * 3
        assert len({one["checkpoint_id"] for one in found}) == 3


@pytest.mark.parametrize("given", ["agents.db", Path("agents.db"), None])
def test_what_is_no_open_store_is_refused(given: Any) -> None:
    """Where it is given, with what to write there."""
    with pytest.raises(UsageError, match=r"takes an open store: refold\.open\("):
        RefoldSaver(given)


@pytest.mark.parametrize("category", ["", "a-b", "a~"])
def test_a_category_that_is_none_is_refused(store: refold.Store, category: str) -> None:
    """Its threads would be in another."""
    with pytest.raises(UsageError, match="category"):
        RefoldSaver(store, category=category)


def test_other_events_may_stand_in_the_stream_of_a_thread(store: refold.Store) -> None:
    """Whoever else appends to it, in whatever shape, is passed over."""
    saver = RefoldSaver(store)
    at = put(saver, thread(), x=1)
    store.append("thread-t", [refold.Event("note", {"id": 5, "ns": None, "writes": "none"})])
    after = put(saver, at, 2, x=2)
    assert [t.config for t in RefoldSaver(store).list(thread())] == [after, at]
    assert [each.stream for each in store.streams()] == ["thread-t"]


def test_a_history_is_a_stream_to_be_folded(store: refold.Store) -> None:
    """A fold of a user's own reads what a graph did, without the saver."""
    count = refold.Fold("steps", dict[str, int])

    @count.on("langgraph.checkpoint", "langgraph.writes")
    def counted(state: dict[str, int], event: dict[str, Any], recorded: Any) -> dict[str, int]:
        return {**state, recorded.type: state.get(recorded.type, 0) + 1}

    logging(RefoldSaver(store), "run").invoke({"delta": ["in"], "whole": ["in"]}, thread())
    assert store.fold("thread-t", count).state == {
        "langgraph.checkpoint": 4,
        "langgraph.writes": 3,
    }
    events = [each.data for each in store.read("thread-t")]
    assert [0, "delta", ["run-two"]] in [one for each in events for one in each.get("writes", [])]
