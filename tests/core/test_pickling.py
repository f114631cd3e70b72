"""Values that a user sends to another process, or copies, come out as they were."""

from __future__ import annotations

import copy
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation import Conversation, UserUtterance
from refold.core.registry import default_registry
from refold.errors import RefoldError, UsageError

WAYS: dict[str, Callable[[Any], Any]] = {
    "pickle": lambda value: pickle.loads(pickle.dumps(value)),
    "oldest pickle": lambda value: pickle.loads(pickle.dumps(value, 2)),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
}


@pytest.fixture
def store(tmp_path: Path) -> refold.Store:
    """A stream, its branch, tags and a key."""
    store = refold.open(tmp_path / "a.db")
    events = [UserUtterance(text="Hi"), refold.Event("e", {"n": 1}, metadata={"a": 1})]
    store.append("call-1", events, tags=["t"], key="k", metadata={"b": [1]})
    store.branch("call-1", at=0).adding(refold.Event("e", {"n": 2})).save("call-1~b")
    return store


@pytest.mark.parametrize("way", WAYS)
def test_values_come_out_equal(store: refold.Store, way: str) -> None:
    """What is read, appended, folded, listed and compared; used before or not."""
    branch = store.branch("call-1", at=0).adding(refold.Event("e", {"n": 3}))
    values: list[Any] = [
        *store.read("call-1"),
        *store.read("call-1~b"),
        *branch,
        *store.streams(),
        *(store.find("k") or []),
        *store.check(),
        *store.sizes(),
        store.fold("call-1", Conversation),
        refold.Append("a-1", [refold.Event("e", {"n": [1]})], refold.NO_STREAM),
        refold.Event("e", {"n": [1]}),
        refold.Query(types=["e"], tags=["t"]) | refold.Query(tags=["u"]),
        refold.diff(store.read("call-1"), store.read("call-1~b")),
        refold.ANY,
    ]
    for value in values:
        for attribute in ("data", "metadata", "raw"):
            getattr(value, attribute, None)  # What was decoded is decoded again there.
        made = WAYS[way](value)
        assert made == value
        assert (made != value) is False
    for recorded in store.read("call-1"):
        made = WAYS[way](recorded)
        assert (made.data, made.metadata, made.occurred_at) == (
            recorded.data,
            recorded.metadata,
            recorded.occurred_at,
        )
        made.data["n"] = made.metadata["b"].append(2)
        assert recorded.metadata["b"] == [1]
        assert recorded.data.get("n") in (None, 1)


@pytest.mark.parametrize("way", WAYS)
def test_errors_keep_their_facts(store: refold.Store, way: str) -> None:
    """Their class, code, words and facts."""
    wrong: list[Callable[[], Any]] = [
        lambda: store.append("call-1", [refold.Event("e")], expected=99),
        lambda: store.append("call-1", [refold.Event("e", {"a": object()})]),
        lambda: store.append("call-2", [refold.Event("e")], key="k"),
        lambda: store.read("call-9"),
        lambda: store.read("call-1", limit=-1),
        lambda: store.event("call-1@99"),
    ]
    for call in wrong:
        with pytest.raises(RefoldError) as caught:
            call()
        error, made = caught.value, WAYS[way](caught.value)
        assert type(made) is type(error)
        assert (made.code, made.retry, made.facts) == (error.code, error.retry, error.facts)
        assert str(made) == str(error)


def test_the_default_registry_is_that_of_the_process(store: refold.Store, tmp_path: Path) -> None:
    """Upcasters that cannot be sent stop no event; its classes are imported where it comes to."""
    name = "pickled.only.here"
    default_registry.upcast(name, schema=1)(lambda data: data)
    assert copy.deepcopy(default_registry) is default_registry
    (tmp_path / "it").write_bytes(pickle.dumps(next(store.read("call-1"))))
    program = (
        "import pickle, sys\n"
        "recorded = pickle.load(open(sys.argv[1], 'rb'))\n"
        "print(recorded.id, recorded.event.text)\n"
    )
    command = [sys.executable, "-c", program, str(tmp_path / "it")]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    assert told.stdout == "call-1@0 Hi\n"


@pytest.mark.parametrize("url", ["memory:", "s.db", "s.jsonl"])
@pytest.mark.parametrize("way", [way for way in WAYS if way != "copy"])
def test_what_holds_a_store_says_what_to_do_instead(tmp_path: Path, url: str, way: str) -> None:
    """A store is not sent to another process, nor is what reads or writes by it."""
    with refold.open(url if url == "memory:" else tmp_path / url) as store:
        for held in (store, store.subscribe(), [store]):
            with pytest.raises(UsageError, match="address") as error:
                WAYS[way](held)
            assert error.value.code == "not_copied"
        store.append("a-1", [refold.Event("e", {})])
