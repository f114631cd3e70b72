"""The TypeScript client against a served store, whatever happens between them."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path
from threading import Timer
from typing import Any

import pytest

import refold
from refold.conversation import Conversation
from tests.house.snippets import blocks_of
from tests.house.tree import ROOT
from tests.server.faulty import BUSY, GATEWAY, PASS, SILENT, UNANSWERED, UNHEARD, faulty
from tests.server.node import CLIENT, LIMIT_S, compiled, node, program
from tests.server.process import serving
from tests.server.serving import served

PAGE = ROOT / "docs" / "how-to" / "record-from-typescript.md"
TS = "typescript"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The client and its own tests, compiled."""
    return compiled(tmp_path_factory.mktemp("compiled"))


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[tuple[refold.Store, str]]:
    """A store of its own, and where it is served."""
    with refold.open(tmp_path / "s.db") as store, served(store) as client:
        yield store, str(client.base_url)


def test_what_is_sent_is_what_was_meant(built: Path) -> None:
    """The client's own tests."""
    command = ["node", "--test", f"{built}/test/"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S, check=False)
    assert done.returncode == 0, done.stdout
    assert "# pass 9" in done.stdout


def test_a_talk_is_recorded_and_read(built: Path, empty: tuple[refold.Store, str]) -> None:
    """Once under its key, to the last digit, refusals by their codes; and Python folds it."""
    store, url = empty
    said = node(program("talk"), built / "refold.js", url)
    assert said["first"] == {
        **said["first"], "stream": "call-42 ü/1", "firstVersion": 0, "lastVersion": 2,
        "duplicate": False, "key": "k1",
    }  # fmt: skip
    assert said["again"] == {**said["first"], "duplicate": True}
    assert said["refusals"] == [
        [409, "conflict", "redecide"],
        [422, "key_reused", "never"],
        [422, "invalid_event", "never"],
        [404, "not_found", "never"],
    ]
    types = ["user.utterance", "agent.utterance", "till.counted"]
    assert said["pages"] == [[version, type] for version, type in enumerate(types)]
    assert said["all"] == [1, 2, 3]
    assert said["exact"] == [True, "0.10000000000000000000001", str(2**60)]
    assert said["heard"] == [[2, ["How much?", "17."]], [0, ["How much?"]]]
    state = store.fold("call-42 ü/1", Conversation).state
    assert [one.text for one in state.transcript] == ["How much?", "17."]
    counted = store.event("call-42 ü/1@2")
    assert counted.raw == b'{"cents":9007199254740993,"rate":0.10000000000000000000001}'


def test_what_the_pages_show_is_so(
    built: Path, empty: tuple[refold.Store, str], tmp_path: Path
) -> None:
    """Their programs are compiled, run, and print what stands below them."""
    store, url = empty
    page = [*blocks_of(PAGE)]
    readme = [*blocks_of(CLIENT / "README.md")]
    (tmp_path / "refold.ts").write_bytes((CLIENT / "refold.ts").read_bytes())
    named = {one.lines[0].removeprefix("// file: "): one for one in page if one.language == TS}
    named["readme.ts"] = next(one for one in readme if one.language == TS)
    for name, block in named.items():
        (tmp_path / name).write_text("\n".join(block.lines))
    compiled(tmp_path / "made", [*named], root=tmp_path)
    printed = [run(tmp_path / "made" / name, url) for name in ("agent.js", "reader.js")]
    shown = next(one for one in page if one.language == "text")
    assert "".join(printed).splitlines() == shown.lines
    state = store.fold("call-42", Conversation).state
    assert [one.text for one in state.transcript][-1] == "Done, Tuesday is cancelled."
    assert (state.agent and state.agent.agent, len(state.tool_calls)) == ("reception", 1)


def test_an_append_is_stored_once_whatever_happens_to_it(
    built: Path, empty: tuple[refold.Store, str]
) -> None:
    """A busy server, a proxy's page, a connection that breaks before or after, or says nothing."""
    store, url = empty
    each = [BUSY, PASS, GATEWAY, PASS, UNHEARD, PASS, UNANSWERED, PASS, SILENT, PASS]
    with faulty(url, [*each, UNANSWERED, BUSY, SILENT, UNHEARD, PASS]) as (proxied, asked):
        stored = node(program("appends"), built / "refold.js", proxied, 6, 1_500)
    assert [version for version, _ in stored] == [0, 1, 2, 3, 4, 5]
    # What was cut off after it was stored is a duplicate of itself.
    assert (stored[3][1], stored[5][1]) == (True, True)
    assert [one.data["number"] for one in store.read("call-1")] == [0, 1, 2, 3, 4, 5]
    assert len(asked) >= 15


def test_a_subscription_that_is_cut_anywhere_skips_and_doubles_nothing(
    built: Path, empty: tuple[refold.Store, str]
) -> None:
    """Inside a frame, between two, before the first byte."""
    store, url = empty
    count = 40
    for number in range(count):
        stream = "call-1" if number % 3 else "note-1"
        store.append(stream, [refold.Event("note.taken", {"number": number})])
    wanted = [[number + 1, number] for number in range(count) if number % 3]
    cuts: list[Any] = [1, 15, 100, UNHEARD, 333, GATEWAY, 500, BUSY, 777, 1_300, 1_301, 2_000]
    with faulty(url, cuts) as (proxied, asked):
        lines = run_lines(program("follow"), built / "refold.js", proxied, len(wanted))
    assert lines == wanted
    assert len(asked) > 8


def test_a_subscription_and_appends_outlast_the_server(built: Path, tmp_path: Path) -> None:
    """It is killed and started again in between: nothing is lost, doubled or skipped."""
    count, db = 300, tmp_path / "s.db"
    client = built / "refold.js"
    with serving(db) as first:
        url = first.url
        follower = started(program("follow"), client, url, count)
        writer = started(program("appends"), client, url, count, 30_000)
        seen = [line(follower) for _ in range(20)]
        first.kill()
    with serving(db, port=first.port) as second:
        seen += [line(follower) for _ in range(60)]
        second.kill()
    with serving(db, port=first.port):
        stored = json.loads(writer.communicate(timeout=LIMIT_S)[0])
        seen += [json.loads(one) for one in rest_of(follower)]
    assert seen == [[number + 1, number] for number in range(count)]
    assert [version for version, _ in stored] == [*range(count)]


def test_calls_end_when_they_are_told_to(built: Path, empty: tuple[refold.Store, str]) -> None:
    """By time or by the caller's signal; an append that may be stored says its key."""
    _, url = empty
    with faulty(url, [SILENT] * 9) as (proxied, _):
        told = node(program("ends"), built / "refold.js", proxied)
    assert told == [
        ["RefoldError", "unreachable", "check", "string"],
        ["TimeoutError", 23, None, "undefined"],
        ["AbortError", 20, None, "undefined"],
        ["AbortError", 20, None, "undefined"],
        ["TimeoutError", 23, None, "undefined"],
        ["RefoldError", "unreachable", "check", "string"],
        ["TypeError", None, None, "undefined"],
    ]


def run_lines(*command: Any) -> list[Any]:
    done = subprocess.run(
        ["node", *map(str, command)], capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def run(path: Path, url: str) -> str:
    environment = {**os.environ, "REFOLD_URL": url}
    done = subprocess.run(
        ["node", str(path)], env=environment, capture_output=True, text=True, timeout=LIMIT_S,
        check=False,
    )  # fmt: skip
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


def started(*command: Any) -> subprocess.Popen[str]:
    return subprocess.Popen(["node", *map(str, command)], stdout=subprocess.PIPE, text=True)


def line(process: subprocess.Popen[str]) -> Any:
    assert process.stdout is not None
    return json.loads(process.stdout.readline())


def rest_of(process: subprocess.Popen[str]) -> list[str]:
    """What a process says until its end, LIMIT_S at most.

    `communicate` would miss the lines that `readline` had read ahead.
    """
    assert process.stdout is not None
    limit = Timer(LIMIT_S, process.kill)
    limit.start()
    with process:
        said = process.stdout.readlines()
    limit.cancel()
    return said
