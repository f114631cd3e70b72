"""A keyed append with sets in it is the same append in every process."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import msgspec

import refold
from refold.core.encode import encode_body, encode_one_by_one

PROGRAM = """
import dataclasses, json, sys
import msgspec, refold

kinds = refold.Registry()

@kinds.event("struct")
class Struct(msgspec.Struct):
    tags: set[str]

@kinds.event("plain")
@dataclasses.dataclass
class Plain:
    tags: frozenset[str]

@kinds.event("model")
class Model:  # a stand-in for a pydantic model: the two methods it is known by
    def model_dump(self):
        return {"tags": WORDS}
    @classmethod
    def model_validate(cls, data):
        return cls()

WORDS = {f"word-{n}" for n in range(50)}
with refold.open(sys.argv[1], registry=kinds) as store:
    events = [
        Struct(WORDS),
        Plain(frozenset(WORDS)),
        Model(),
        refold.Event("loose", {"deep": [{"tags": WORDS}]}, metadata={"own": WORDS}),
    ]
    done = store.append("a-1", events, key="once", metadata={"shared": WORDS})
    first = store.event("a-1@3")
    print(json.dumps([done.duplicate, list(WORDS)[:3], first.data["deep"][0]["tags"][:2]]))
"""


def test_a_retry_of_another_process_is_the_same_append(tmp_path: Path) -> None:
    """Whatever the seed of its hashes; the sets are stored sorted."""
    answers = [
        json.loads(
            subprocess.run(
                [sys.executable, "-c", PROGRAM, str(tmp_path / "a.db")],
                env={"PYTHONHASHSEED": str(seed)},
                capture_output=True,
                text=True,
                check=True,
                timeout=60,
            ).stdout
        )
        for seed in range(1, 5)
    ]
    assert [duplicate for duplicate, _, _ in answers] == [False, True, True, True]
    assert len({tuple(order) for _, order, _ in answers}) > 1  # the processes did differ
    assert {tuple(stored) for _, _, stored in answers} == {("word-0", "word-1")}


def test_an_empty_set_is_written_though_defaults_are_left_out(tmp_path: Path) -> None:
    """As releases before wrote it, however it is encoded: their keys are known again."""
    kinds = refold.Registry()

    @kinds.event("visit")
    class Visit(msgspec.Struct, omit_defaults=True):
        count: int = 0
        tags: frozenset[str] = frozenset()
        note: str | None = None

    text = '[["visit",{"count":1,"tags":[]}]]'
    for encode in (encode_body, encode_one_by_one):
        assert encode([Visit(1)], kinds, repeatable=True).text == text
        assert encode([Visit(1)], kinds).text == '[["visit",{"count":1}]]'
    with refold.open(str(tmp_path / "a.db"), registry=kinds) as store:
        done = [store.append("a-1", [Visit(1)], key="once").duplicate for _ in range(2)]
        assert done == [False, True]
        assert store.event("a-1@0").raw == b'{"count":1,"tags":[]}'
