"""A number written with any digits comes back with the same value by every door, or is refused."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import msgspec
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.cli.main import main
from refold.conversation.importers import import_files
from refold.core.jsonvalue import equal, read
from refold.errors import InvalidEvent, UsageError
from refold.feeds.reading import read_json
from tests.cli.running import Ran
from tests.fuzz.values import fuzzed

DIGITS = st.text("0123456789", min_size=1, max_size=40)
NUMBERS = st.builds(
    lambda sign, whole, part, power: f"{sign}{whole.lstrip('0') or '0'}{part}{power}",
    st.sampled_from(["", "-"]),
    DIGITS,
    st.just("") | DIGITS.map(lambda digits: f".{digits}"),
    st.just("") | st.integers(-260, 260).map(lambda power: f"e{power:+d}"),
)
LONG = "1.000000000000000001"


def run(folder: str, command: str, *args: str, db: str = "log.db", stdin: str = "") -> Ran:
    """A command on a store in a folder, in this process."""
    store = ["--db", str(Path(folder, db)), "--json"]
    done = CliRunner().invoke(main, [command, *store, *args], input=stdin)
    return Ran(done.exit_code, done.stdout, done.stderr)


def value_in(line: str) -> Any:
    """What a printed event says."""
    return read(line)["data"]["n"]


@fuzzed(25, 500)
@given(text=NUMBERS)
def test_the_same_value_comes_back(text: str) -> None:
    """By the library, the command line, a journal and a feed; and two such do not differ."""
    payload, wanted = f'{{"n":{text}}}', Decimal(text)
    with TemporaryDirectory() as folder:
        with refold.open(Path(folder, "log.db")) as store:
            store.append("call-1", [refold.Event("a.b", msgspec.Raw(payload.encode()))])
        said = ["--type", "a.b", "--untyped", "--data", payload, "--metadata", payload]
        assert run(folder, "append", "call-2", *said).code == 0
        line = f'{{"type":"a.b","data":{payload},"metadata":{payload}}}\n'
        for db in ("log.db", "log.jsonl"):
            assert run(folder, "append", "call-3", "--untyped", db=db, stdin=line).code == 0
        shown = run(folder, "log").out.splitlines()
        shown += run(folder, "show", "call-3", db="log.jsonl").out.splitlines()
        again = run(folder, "append", "call-4", "--untyped", stdin=shown[-1])
        assert again.code == 0
        shown += run(folder, "show", "call-4").out.splitlines()
        assert [Decimal(str(value_in(one))) for one in shown] == [wanted] * 5
        noted = [read(one)["metadata"] for one in shown[1:]]
        assert [Decimal(str(one["n"])) for one in noted] == [wanted] * 4
        assert run(folder, "diff", "call-1", "call-2").code == 0
    assert Decimal(str(read_json(payload.encode())["n"])) == wanted


@fuzzed(60, 1_000)
@given(text=NUMBERS)
def test_a_class_that_takes_floats_is_given_none_that_it_rounds(text: str) -> None:
    """It reads the value that was written, or the event is refused with where it stands."""
    with TemporaryDirectory() as folder:
        payload = json.dumps({"cost": 1, "latency_ms": "N"}).replace('"N"', text)
        ran = run(folder, "append", "call-1", "--type", "model.response", "--data", payload)
        if ran.code == 0:
            with refold.open(Path(folder, "log.db")) as store:
                read = store.event("call-1@0").event.latency_ms
                assert Decimal(text) in (Decimal(repr(read)), Decimal(read))
        else:
            assert "latency_ms" in ran.error["message"]


@pytest.mark.parametrize("door", ["data", "metadata", "stdin"])
def test_a_key_that_stands_twice_is_refused(door: str, tmp_path: Path) -> None:
    """Of the two another reader may take the other."""
    twice, folder = '{"a": 1, "\\u0061": 2}', str(tmp_path)
    said = ["--type", "a.b", "--untyped", f"--{door}", twice]
    stdin = f'{{"type": "a.b", "data": {twice}}}'
    named = () if door == "stdin" else said
    ran = run(folder, "append", "call-1", *(named or ["--untyped"]), stdin=stdin)
    assert ran.code == 2
    assert "'a' stands twice" in ran.error["message"]
    assert not Path(folder, "log.db").exists()


def test_a_difference_is_one_of_values(tmp_path: Path) -> None:
    """1 is 1.0 and 1e0, in any order of keys; a digit that differs is a change with a patch."""
    texts = ['{"n":1,"m":[2]}', '{"m":[2.0],"n":1.0}', '{"n":1e0,"m":[2]}']
    texts.append(texts[0].replace("1", LONG))
    with refold.open("memory:") as store:
        for index, text in enumerate(texts):
            store.append(f"call-{index}", [refold.Event("a.b", msgspec.Raw(text.encode()))])
        one, two, three, other = (list(store.read(f"call-{index}")) for index in range(4))
    assert not refold.diff(one, two)
    assert refold.diff(one, three).shared == 1
    (change,) = refold.diff(one, other).changes
    assert [(op.path, op.before, op.value) for op in change.patch] == [("/n", 1, Decimal(LONG))]
    with refold.open(tmp_path / "log.db") as store:
        for index in (0, 3):
            store.append(f"call-{index}", [refold.Event("a.b", msgspec.Raw(texts[index].encode()))])
    ran = run(str(tmp_path), "diff", "call-0", "call-3")
    assert ran.code == 1
    assert equal(read(ran.out)["changes"][0]["patch"][0]["value"], Decimal(LONG))


def test_an_importer_keeps_a_number_as_text_or_says_that_it_is_odd(tmp_path: Path) -> None:
    """And a conversation with a key that stands twice fails alone, with its line."""
    call = {"type": "function", "id": "c1", "function": {"name": "pay", "arguments": "A"}}
    talk = {"messages": [{"role": "assistant", "content": None, "tool_calls": [call]}]}
    arguments = json.dumps(f'{{"amount": {LONG}}}')
    lines = [
        json.dumps({**talk, "seen": "N"}).replace('"A"', arguments).replace('"N"', LONG),
        '{"messages": [{"role": "user", "content": "Hi", "role": "system"}]}',
        json.dumps({**talk, "latency_sec": "N", "response": {}}).replace('"N"', LONG),
    ]
    path = tmp_path / "chats.jsonl"
    path.write_text("\n".join(lines))
    with refold.open("memory:") as store:
        report = import_files(store, "openai-chat", [path])
        ((problem),) = report.problems
        assert (problem.line, "'role' stands twice" in problem.message) == (2, True)
        assert any("digits" in loss.what for loss in report.loss)
        stored = b"".join(event.raw for event in store.read_all())
        started = next(iter(store.read_all())).metadata["openai_chat"]
    assert LONG.encode() in stored
    assert started["seen"] == LONG


def test_what_is_sent_to_a_model_is_not_rounded(tmp_path: Path) -> None:
    """A parameter with more digits than a float has is refused before anything is asked."""
    with refold.open(tmp_path / "log.db") as store:
        store.append("call-1", [refold.Event("user.utterance", {"text": "Hi"})])
    ran = run(str(tmp_path), "replay", "call-1", "--param", f"temperature={LONG}")
    assert ran.code == 2
    assert LONG in ran.error["message"]


@pytest.mark.parametrize("at", [-1, "1969-12-31T23:59:59Z", -(2**63)])
def test_a_time_before_1970_is_refused(at: Any) -> None:
    """At the door, on every event; a copy of what is stored stays as it is."""
    with refold.open("memory:") as store:
        with pytest.raises((UsageError, InvalidEvent)):
            store.append("call-1", [refold.Event("a.b", {}, occurred_at=at)])
        assert store.log_head() == 0
