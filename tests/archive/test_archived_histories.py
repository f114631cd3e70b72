"""Histories, months of which are archived: every answer is that of a store in memory."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

import refold
from refold import Append, Event
from refold.conversation import Conversation
from refold.conversation.importers import import_files
from refold.core.clock import to_us
from refold.core.encode import copied
from refold.core.fold import Fold
from refold.core.query import Query
from refold.partitions import Partitions
from refold.times import restart_clock
from tests.conversation.importers.inputs import real
from tests.support import postgres
from tests.support.soak import bound

NAMES = ("call-1", "call-2", "agent-1")
DAY = 86_400_000_000
START = to_us("2024-01-20T00:00:00Z")
SUM = Fold("sum", int)
SUM.on("test.a", "test.b")(lambda state, event: state + event["n"])
STEPS = st.lists(
    st.one_of(
        st.tuples(
            st.just("append"),
            st.sampled_from(NAMES),
            st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 9)), min_size=1, max_size=3),
            st.sampled_from([(), ("x:1",), ("x:1", "y:2")]),
        ),
        st.tuples(st.just("days"), st.sampled_from([1, 12, 35, 70])),
        st.tuples(st.just("branch"), st.sampled_from(NAMES), st.integers(-1, 5)),
        st.just(("wrong clock",)),
    ),
    min_size=4,
    max_size=14,
)


def record(store: refold.Store, steps: list[Any], clock: list[int]) -> None:
    """What the steps say, and something in a month that stays."""
    clock[0] = START
    for number, (what, *given_) in enumerate(steps):
        clock[0] += 1_000_000
        if what == "days":
            clock[0] += given_[0] * DAY
        elif what == "append":
            name, said, tags = given_
            key = f"key-{number}" if number % 3 == 0 else None
            events = [Event(f"test.{kind}", {"n": n}) for kind, n in said]
            store.append(name, events, key=key, tags=tags, metadata={"step": number})
        elif what == "branch" and store.head(given_[0]) >= 0:
            branch = store.branch(given_[0], at=given_[1]).adding(Event("test.a", {"n": 1}))
            branch.save(f"{given_[0]}~{number}")
        elif what == "wrong clock" and store.log_head():
            right, clock[0] = clock[0], to_us("2025-05-01T00:00:00Z")
            store.append("agent-1", [Event("test.c")])
            clock[0] = right
            if not any(info.stream == "refold-clock" for info in store.streams()):
                restart_clock(store)
    clock[0] = to_us("2025-07-01T00:00:00Z")
    store.append("call-1", [Event("test.a", {"n": 0})])


def told(store: refold.Store) -> dict[str, Any]:
    """All that a store answers."""
    answers: dict[str, Any] = {
        "log": [(e, e.position, e.recorded_at_us, e.metadata, e.data) for e in store.read_all()],
        "narrowed": [e.id for e in store.read_all(types=["test.b"], categories=["call", "agent"])],
        "streams": list(store.streams()),
        "keys": [store.find(f"key-{number}") for number in range(15)],
    }
    for tags in (["x:1"], ["x:1", "y:2"]):
        answers[f"tags {tags}"] = [e.id for e in store.read_all(matching=Query(tags=tags))]
    until = [START + days * DAY for days in (0, 13, 40, 80, 500)]
    for info in store.streams():
        name = info.stream
        answers[name] = [
            [e.id for e in store.read(name)],
            [e.id for e in store.read(name, direction="backward", limit=3)],
            [e.id for e in store.read(name, from_version=1, to_version=2)],
            [store.fold(name, SUM, position=at) for at in range(0, store.log_head(), 3)],
            [store.fold(name, SUM, recorded_until=at) for at in until],
            [store.fold(name, SUM, occurred_until=at) for at in until],
        ]
    return answers


@settings(
    max_examples=bound(5, 100),
    suppress_health_check=[HealthCheck.too_slow],
    phases=[Phase.explicit, Phase.generate],  # To shrink one takes minutes.
)
@given(steps=STEPS, choice=st.randoms(use_true_random=False))
def test_any_history_reads_on_in_its_archive(steps: list[Any], choice: Any) -> None:
    """Whichever months are out, in whatever order they left; copied and brought back too."""
    url, clock = postgres.schema_of_its_own(), [0]
    with refold.open("memory:", clock=lambda: clock[0]) as model:
        record(model, steps, clock)
        expected = told(model)
    with tempfile.TemporaryDirectory() as folder:
        with refold.open(url, clock=lambda: clock[0]) as store:
            record(store, steps, clock)
            assert told(store) == expected
            partitions = Partitions(store)
            done = [one.month for one in partitions.archive("2025-07", folder)]
            gone = choice.sample(done, k=min(len(done), choice.randint(1, 4)))
            for month in gone:
                (partitions.drop if choice.random() < 0.7 else partitions.detach)(month)
            assert [check for check in store.check() if not check.good] == []
        with refold.open(f"{url}&archive={folder}", clock=lambda: clock[0]) as store:
            assert told(store) == expected
            assert [check for check in store.check() if not check.good] == []
            with refold.open(Path(folder) / "copy.db", clock=lambda: clock[0]) as copy:
                store.copy_into(copy)
                assert told(copy) == expected
            for month in gone:
                Partitions(store).attach(month)
            assert told(store) == expected
            assert [check for check in store.check() if not check.good] == []


def test_real_conversations_read_on_in_their_archive(tmp_path: Path) -> None:
    """Each event an append of its own, over months: the same bytes and the same state."""
    url, clock = postgres.schema_of_its_own(), [START]
    with refold.open("memory:") as source, refold.open(url, clock=lambda: clock[0]) as store:
        import_files(source, None, [real("tau-bench", "gpt-4o-airline.json")])
        names = [info.stream for info in source.streams()][:24]
        for name in names:
            clock[0] += 4 * DAY
            list(store.append_many(Append(name, [copied(e)]) for e in source.read(name)))
        before = {name: ([e.raw for e in store.read(name)], state(store, name)) for name in names}
        assert before == {
            name: ([e.raw for e in source.read(name)], state(source, name)) for name in names
        }
        clock[0] = to_us("2025-01-01T00:00:00Z")
        store.append(names[0], [Event("note.taken")])
        months = [one.month for one in Partitions(store).archive("2024-04", tmp_path)]
        assert len(months) == 3
        for month in months:
            Partitions(store).drop(month)
    with refold.open(f"{url}&archive={tmp_path}") as store:
        for name in names[1:]:
            assert ([e.raw for e in store.read(name)], state(store, name)) == before[name]
        assert store.head(names[0]) == len(before[names[0]][0])
        assert [check for check in store.check() if not check.good] == []


def state(store: refold.Store, name: str) -> object:
    """What a conversation folds to."""
    return store.fold(name, Conversation).state
