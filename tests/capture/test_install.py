"""A whole process is recorded, and `refold run` does it to a program that knows nothing of it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import weakref
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import httpx2
import openai
import pytest

import refold
from refold import capture
from refold.capture.writer import _all
from refold.conversation import Conversation
from refold.errors import UsageError
from refold.readmodels import Wanted, find
from tests.capture.model_server import ModelServer, chat, chat_stream
from tests.house.tree import BIN

AGENT = """
import asyncio, sys
import openai

url, words = sys.argv[1], sys.argv[2:]
messages = [{"role": "system", "content": "You are brief."}]

def whole():
    with openai.OpenAI(api_key="x", base_url=url) as client:
        for word in words[:1]:
            messages.append({"role": "user", "content": word})
            said = client.chat.completions.create(model="m", messages=messages)
            messages.append(said.choices[0].message.model_dump(exclude_unset=True))

async def streamed():
    async with openai.AsyncOpenAI(api_key="x", base_url=url) as client:
        for word in words[1:]:
            messages.append({"role": "user", "content": word})
            stream = await client.chat.completions.create(model="m", messages=messages, stream=True)
            said = "".join([c.choices[0].delta.content or "" async for c in stream if c.choices])
            messages.append({"role": "assistant", "content": said})

whole()
asyncio.run(streamed())
"""


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    yield
    capture.uninstall()


def ask(server: ModelServer, text: str = "Hi") -> None:
    with openai.OpenAI(api_key="x", base_url=f"{server.url}/v1") as client:
        client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}])


def types(path: Path) -> list[str]:
    with refold.open(path, mode="read") as store:
        return [event.type for event in store.read_all()]


def test_all_of_a_process_is_recorded_until_it_is_uninstalled(
    server: ModelServer, tmp_path: Path
) -> None:
    """By both libraries; the same store again is no matter, another is refused."""
    path = tmp_path / "a.db"
    before = (httpx2.Client.send, httpx2.AsyncClient.send, httpx.Client.send)
    capture.install(path)
    capture.install(path)
    ask(server)
    body = {"model": "m", "messages": [{"role": "user", "content": "Hey"}]}
    httpx.post(f"{server.url}/v1/chat/completions", json=body)
    httpx.get(f"{server.url}/other")
    with pytest.raises(UsageError, match="another store"):
        capture.install(tmp_path / "b.db")
    capture.uninstall()
    capture.uninstall()
    assert (httpx2.Client.send, httpx2.AsyncClient.send, httpx.Client.send) == before
    ask(server, "unseen")
    assert types(path).count("model.request") == 2
    assert types(path).count("model.response") == 2
    capture.install(path)
    ask(server, "seen")
    capture.uninstall()
    assert (httpx2.Client.send, httpx2.AsyncClient.send, httpx.Client.send) == before
    assert types(path).count("model.response") == 3


def test_the_name_of_a_conversation_leaves_while_nothing_is_installed_alone(
    server: ModelServer, tmp_path: Path
) -> None:
    """Nothing of an installation stays in the libraries, whatever the agent goes on to send."""
    capture.install(tmp_path / "a.db")
    named = {"x-refold-conversation": "call-42"}
    for library in (httpx2, httpx):
        with library.Client(headers=named) as client:
            client.post(f"{server.url}/v1/chat/completions", json={"messages": []})
    capture.uninstall()
    assert not any("x-refold-conversation" in each.headers for each in server.received)
    with httpx2.Client(headers=named, timeout=60) as client:
        client.post(f"{server.url}/v1/chat/completions", json={"messages": []})
    assert server.received[-1].headers["x-refold-conversation"] == "call-42"
    assert types(tmp_path / "a.db").count("model.request") == 2


def test_one_client_among_installed_ones_records_a_call_once(
    server: ModelServer, tmp_path: Path
) -> None:
    """In the store of the client."""
    capture.install(tmp_path / "all.db")
    own = capture.client(tmp_path / "own.db")
    with openai.OpenAI(api_key="x", base_url=f"{server.url}/v1", http_client=own) as client:
        said: Any = [{"role": "user", "content": "Hi"}]
        client.chat.completions.create(model="m", messages=said)
    assert capture.flush()
    capture.uninstall()
    assert types(tmp_path / "own.db").count("model.request") == 1
    assert not (tmp_path / "all.db").exists()


def test_recording_that_fails_does_not_fail_the_call(
    server: ModelServer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Unless that is asked for."""
    for path in (tmp_path / "a.db", tmp_path / "b.db"):
        refold.open(path).close()
    capture.install(tmp_path / "a.db")
    (tmp_path / "a.db").write_bytes(b"no database " * 100)
    ask(server)
    ask(server)
    assert capture.flush()
    assert len(caplog.records) == 1
    capture.uninstall()
    capture.install(tmp_path / "b.db", on_error="raise")
    (tmp_path / "b.db").write_bytes(b"no database " * 100)
    with pytest.raises(refold.RefoldError):
        ask(server)


# -- refold run -----------------------------------------------------------------------------------


def run(
    *program: str, db: Path, own: tuple[str, ...] = (), **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run a program by `refold run` with options of its own."""
    command = [str(BIN / "refold"), "run", "--db", str(db), *own, "--", *program]
    return subprocess.run(
        command, capture_output=True, text=True, timeout=60, check=False, **options
    )


@pytest.fixture
def agent(tmp_path: Path) -> str:
    path = tmp_path / "agent.py"
    path.write_text(AGENT)
    return str(path)


def test_a_program_is_recorded_without_a_line_of_it_changed(
    server: ModelServer, tmp_path: Path, agent: str
) -> None:
    """Whole and streamed calls of one conversation, blocking and async, exactly."""
    server.script = [chat("One."), chat_stream(["Tw", "o."]), chat_stream(["Three."])]
    db = tmp_path / "a.db"
    ended = run(sys.executable, agent, f"{server.url}/v1", "a", "b", "c", db=db)
    assert ended.returncode == 0, ended.stderr
    assert "recorded 3 model calls in 1 stream" in ended.stderr
    with refold.open(db, mode="read") as store:
        (stream,) = [info.stream for info in store.streams()]
        state = store.fold(stream, Conversation).state
        sent = [
            capture.request_of(store, stream, event.version)
            for event in store.read(stream)
            if event.type == "wire.request"
        ]
    said = [(turn.role, turn.text) for turn in state.transcript]
    assert said == [
        ("user", "a"),
        ("agent", "One."),
        ("user", "b"),
        ("agent", "Two."),
        ("user", "c"),
        ("agent", "Three."),
    ]
    assert sent == [received.body for received in server.received]
    assert state.agent is not None
    assert state.agent.prompt is not None
    assert state.agent.prompt.text == "You are brief."


def test_an_agent_that_is_named_is_found(server: ModelServer, tmp_path: Path, agent: str) -> None:
    """What goes over the wire names none: who records it does, and it is configured once."""
    server.script = [chat("One."), chat_stream(["Tw", "o."])]
    db = tmp_path / "a.db"
    ended = run(
        sys.executable, agent, f"{server.url}/v1", "a", "b", db=db, own=("--agent", "reception")
    )
    assert ended.returncode == 0, ended.stderr
    with refold.open(db) as store:
        (stream,) = find(store, Wanted(agent="reception")).streams
        configured = [one.data for one in store.read(stream) if one.type == "agent.configured"]
        assert [one["agent"] for one in configured] == ["reception"]


def test_the_programs_that_it_begins_are_recorded_too(
    server: ModelServer, tmp_path: Path, agent: str
) -> None:
    """Each process opens the store for itself."""
    parent = tmp_path / "parent.py"
    parent.write_text(
        "import subprocess, sys\n"
        "for word in 'ab':\n"
        f"    command = [sys.executable, {agent!r}, {server.url + '/v1'!r}, word]\n"
        "    subprocess.run(command, check=True)\n"
    )
    ended = run(sys.executable, str(parent), db=tmp_path / "a.db")
    assert ended.returncode == 0, ended.stderr
    assert "recorded 2 model calls in 2 streams" in ended.stderr


def test_nothing_attached_is_an_error(tmp_path: Path) -> None:
    """A wrapper that captures nothing must not look as if it had."""
    for program in ([sys.executable, "-I", "-c", "1"], [sys.executable, "-c", "1"], ["true"]):
        ended = run(*program, db=tmp_path / "a.db")
        assert ended.returncode == 3
        assert "no model call" in ended.stderr
        for to_check in ("came to a call of a model", "httpx", "refold is installed", "-I, -E"):
            assert to_check in ended.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_store_is_made_by_the_first_call_alone(
    server: ModelServer, tmp_path: Path, agent: str
) -> None:
    """Where nothing is recorded none is left, and one that is there stays as it is."""
    folder = tmp_path / "kept"
    folder.mkdir()
    db = folder / "a.db"
    assert run("true", db=db).returncode == 3
    assert run("no-such-program", db=db).returncode == 2
    assert list(folder.iterdir()) == []
    server.script = [chat("One.")]
    ended = run(sys.executable, agent, f"{server.url}/v1", "a", db=db)
    assert (ended.returncode, list(folder.iterdir())) == (0, [db])
    held = db.read_bytes()
    assert run("true", db=db).returncode == 3
    assert db.read_bytes() == held
    missing = run("true", db=tmp_path / "none" / "a.db")
    assert missing.returncode == 2
    assert "the folder" in missing.stderr


def test_prices_of_thousands_of_models_reach_the_program(
    server: ModelServer, tmp_path: Path, agent: str
) -> None:
    """More than fits into a variable of an environment; a run inside has its own, or none."""
    server.script = [chat("One.")]
    command = [sys.executable, agent, f"{server.url}/v1", "a"]
    for name, program, prices in (
        ("outer", [sys.executable, str(tmp_path / "inner.py")], "{'m-1': one, **others}"),
        ("inner", command, "sys.argv[1:] and {'m-1': one}"),
    ):
        (tmp_path / f"{name}.py").write_text(
            "import sys\nfrom refold.capture.run import run\n"
            "one = {'input': '1.5', 'output': '6'}\n"
            "others = {f'provider/model-{n}': one for n in range(4_000)}\n"
            f"run({program!r}, 'a.db', prices={prices})\n"
            + (f"run({command!r}, 'a.db', prices={prices})\n" * (name == "outer"))
        )
    outer = [sys.executable, str(tmp_path / "outer.py")]
    ended = subprocess.run(outer, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert (ended.returncode, ended.stderr) == (0, "")
    with refold.open(tmp_path / "a.db") as store:
        costs = [e.event.cost for e in store.read_all(types=["model.response"])]
    assert costs == [None, Decimal("0.0000405")]


def test_the_exit_code_is_the_programs(tmp_path: Path) -> None:
    """And a program that is not there is named."""
    ended = run(sys.executable, "-c", "import httpx2; raise SystemExit(7)", db=tmp_path / "a.db")
    assert ended.returncode == 7
    (said,) = ended.stderr.splitlines()
    assert said.startswith("error: ")
    assert said.endswith("failed with exit code 7: no model call was recorded")
    killed = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    ended = run(sys.executable, "-c", killed, db=tmp_path / "a.db")
    assert ended.returncode == 137
    assert "was ended by signal 9: no model call was recorded" in ended.stderr
    missing = run("no-such-program", db=tmp_path / "a.db")
    assert missing.returncode == 2
    assert "there is no program 'no-such-program'" in missing.stderr
    assert "python" not in missing.stderr


@pytest.mark.parametrize("mode", [0o644, 0o755], ids=["not executable", "without a first line"])
@pytest.mark.parametrize("name", ["agent.py", "./agent.py"])
def test_a_script_that_is_no_program_is_told_how_to_run(
    tmp_path: Path, agent: str, name: str, mode: int
) -> None:
    """The whole command that does, its arguments with it."""
    Path(agent).chmod(mode)
    ended = run(name, "two words", db=tmp_path / "a.db", cwd=tmp_path)
    assert ended.returncode == 2
    assert f"try: refold run -- python {name} 'two words'" in ended.stderr


def test_what_answers_cost_is_known_by_prices(
    server: ModelServer, tmp_path: Path, agent: str
) -> None:
    """As `refold replay` takes them; one that is none is refused before anything runs."""
    server.script = [chat("One.")]
    db, url = tmp_path / "a.db", f"{server.url}/v1"
    ended = run(sys.executable, agent, url, "a", db=db, own=("--price", "m-1=1.5,6"))
    assert ended.returncode == 0, ended.stderr
    with refold.open(db, mode="read") as store:
        (info,) = store.streams()
        assert store.fold(info.stream, Conversation).state.cost == {"USD": Decimal("0.0000405")}
    ended = run(sys.executable, agent, url, "a", db=db, own=("--price", "m-1=cheap"))
    assert (ended.returncode, "NAME=INPUT,OUTPUT" in ended.stderr) == (2, True)


def test_the_users_own_sitecustomize_is_run(tmp_path: Path) -> None:
    """As it would have been."""
    (tmp_path / "sitecustomize.py").write_text("print('own one')\n")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    ended = run(sys.executable, "-c", "import httpx2", db=tmp_path / "a.db", env=environment)
    assert ended.returncode == 3, ended.stderr
    # By the Python of refold, and by that of the program.
    assert ended.stdout == "own one\n" * 2


def test_a_process_outside_is_not_touched(tmp_path: Path) -> None:
    """What is not run by it does not import refold."""
    run(sys.executable, "-c", "import httpx2", db=tmp_path / "a.db")
    shown = subprocess.run(
        [sys.executable, "-c", "import sys; print('refold' in sys.modules)"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "False\n"


def test_a_killed_program_leaves_what_had_come(
    server: ModelServer, tmp_path: Path, agent: str
) -> None:
    """The pieces of the answer are there; the conversation goes on and says that it was cut."""
    server.script = [chat("One."), chat_stream(["word "] * 400, size=400, pause_s=0.05)]
    db, pid = tmp_path / "a.db", tmp_path / "pid"
    command = [str(BIN / "refold"), "run", "--json", "--db", str(db), "--"]
    program = [sys.executable, "-c", TELLS, str(pid), agent, f"{server.url}/v1", "a", "b"]

    def kill() -> None:
        while len(server.received) < 2 or server.pieces < 30:
            time.sleep(0.01)
        os.kill(int(pid.read_text()), signal.SIGKILL)

    killer = threading.Thread(target=kill, daemon=True)
    killer.start()
    ended = subprocess.run(
        [*command, *program], capture_output=True, text=True, timeout=60, check=False
    )
    killer.join()
    assert ended.returncode == 128 + signal.SIGKILL, ended.stderr
    assert json.loads(ended.stdout)["calls"] == 2
    with refold.open(db) as store:
        (stream,) = [info.stream for info in store.streams()]
        last = [e.version for e in store.read(stream) if e.type == "wire.request"][-1]
        had_come = capture.answer_of(store, stream, last)
    assert had_come.count(b'"word "') > 3
    assert server.sent[1].startswith(had_come)
    # It goes on: the next process says what is known of the call that was cut.
    server.script = [chat("Two.")]
    with (
        refold.open(db) as store,
        openai.OpenAI(
            api_key="x", base_url=f"{server.url}/v1", http_client=capture.client(store)
        ) as client,
    ):
        said: Any = [
            {"role": "system", "content": "You are brief."},
            {"role": "user", "content": "a"},
            {"role": "assistant", "content": "One."},
            {"role": "user", "content": "b"},
        ]
        client.chat.completions.create(model="m", messages=said)
        assert capture.flush()
        state = store.fold(stream, Conversation).state
        assert [info.stream for info in store.streams()] == [stream]
    (failure,) = state.model_failures
    assert "ended before the answer was whole" in failure.event.error
    assert state.transcript[-1].text == "Two."


TELLS = """
import os, pathlib, runpy, sys
pathlib.Path(sys.argv[1]).write_text(str(os.getpid()))
sys.argv = sys.argv[2:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


POOL = """
import multiprocessing, sys
import httpx2
from refold import capture

def ask(n):
    body = {"messages": [{"role": "user", "content": f"Hi {n}"}]}
    httpx2.post(sys.argv[2] + "/v1/chat/completions", json=body, timeout=60)

if __name__ == "__main__":
    capture.install(sys.argv[1])
    ask(0)
    for n, how in enumerate(["fork"], 1):
        child = multiprocessing.get_context(how).Process(target=ask, args=(n,))
        child.start()
        child.join()
"""


def test_a_process_of_multiprocessing_writes_what_is_left(
    server: ModelServer, tmp_path: Path
) -> None:
    """It ends without a look at atexit, but not before what was captured is recorded."""
    script, path = tmp_path / "pool.py", tmp_path / "agents.db"
    script.write_text(POOL)
    subprocess.run([sys.executable, script, path, server.url], check=True)
    with refold.open(path) as store:
        said = [one for info in store.streams() for one in store.read(info.stream)]
    assert sorted(one.data["text"] for one in said if one.type == "user.utterance") == [
        "Hi 0",
        "Hi 1",
    ]
    assert sum(one.type == "agent.utterance" for one in said) == 2


def test_a_stream_that_goes_on_is_recorded_to_its_end(server: ModelServer, tmp_path: Path) -> None:
    """Though what was installed is not any more."""
    path, server.script = tmp_path / "agents.db", [chat_stream(pause_s=0.01)]
    capture.install(path)
    with openai.OpenAI(api_key="x", base_url=f"{server.url}/v1") as client:
        messages: Any = [{"role": "user", "content": "Hi"}]
        stream = client.chat.completions.create(model="m", messages=messages, stream=True)
        next(stream)
        capture.uninstall()
        assert len([*stream]) == 7
        assert capture.flush()
        server.script = [chat()]
        ask(server)
    assert capture.flush()
    assert types(path)[-2:] == ["model.response", "agent.utterance"]
    assert types(path).count("wire.request") == 1


def test_what_others_put_around_it_stays(
    server: ModelServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Uninstalled and installed again; each call is recorded once all the same."""
    monkeypatch.setattr(httpx2.Client, "send", httpx2.Client.send)  # As it is now, afterwards.
    capture.install(tmp_path / "agents.db")
    own: Any = (httpx2.Client.send, httpx.Client.send)

    def others(client: Any, request: Any, **options: Any) -> Any:
        return own[0](client, request, **options)

    monkeypatch.setattr(httpx2.Client, "send", others)
    capture.uninstall()
    assert vars(httpx2.Client)["send"] is others
    assert vars(httpx.Client)["send"] is not own[1]
    capture.install(tmp_path / "agents.db")
    ask(server)
    capture.uninstall()
    assert types(tmp_path / "agents.db").count("model.request") == 1


@pytest.mark.parametrize("address", ["calls.jsonl", "memory:"])
def test_a_store_of_one_process_is_refused_before_the_program_runs(
    tmp_path: Path, address: str
) -> None:
    """Its processes could not write there."""
    program: list[str | Path] = [BIN / "refold", "run", "--db", address, "--", "touch", "ran"]
    ran = subprocess.run(program, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert ran.returncode == 2
    assert "record into a database" in ran.stderr
    assert [*tmp_path.iterdir()] == []


# -- what is refused where it is given ------------------------------------------------------------


@pytest.mark.parametrize(
    "wrong",
    [
        {"store": 5},
        {"store": None},
        {"store": "/nosuch/x.db"},
        {"prices": {"tiny-1": (1, 2)}},
        {"prices": "nofile.json"},
        {"metadata": "x"},
        {"conversation": 7},
        {"conversation": ""},
        {"on_error": "warn"},
    ],
)
@pytest.mark.parametrize("way", [capture.client, capture.async_client, capture.install])
def test_what_is_wrong_is_refused_before_any_call(
    tmp_path: Path, way: Any, wrong: dict[str, Any]
) -> None:
    """Not logged at the first call, when the agent is at work."""
    given = {"store": tmp_path / "a.db", **wrong}
    with pytest.raises((UsageError, refold.RefoldError)):
        way(given.pop("store"), **given)


def test_a_conversation_may_be_given_by_its_name(server: ModelServer, tmp_path: Path) -> None:
    """A string is the stream of all calls of a client."""
    with refold.open(tmp_path / "a.db") as store:
        own = capture.client(store, conversation="call-42")
        with openai.OpenAI(api_key="x", base_url=f"{server.url}/v1", http_client=own) as client:
            said: Any = [{"role": "user", "content": "Hi"}]
            client.chat.completions.create(model="m", messages=said)
        assert capture.flush()
        assert [info.stream for info in store.streams()] == ["call-42"]


def test_a_program_that_ends_leaves_one_file(server: ModelServer, tmp_path: Path) -> None:
    """What was opened by its address is closed at the end, though nobody says so."""
    program = (
        "import sys, openai\n"
        "from refold import capture\n"
        "capture.install(sys.argv[2])\n"
        "client = openai.OpenAI(api_key='x', base_url=sys.argv[1])\n"
        "client.chat.completions.create(model='m', messages=[{'role': 'user', 'content': 'Hi'}])\n"
    )
    command = [sys.executable, "-c", program, f"{server.url}/v1", str(tmp_path / "a.db")]
    subprocess.run(command, check=True, timeout=60)
    assert [path.name for path in tmp_path.iterdir() if path.name != "a.db.lock"] == ["a.db"]
    assert types(tmp_path / "a.db").count("model.response") == 1


def test_a_client_that_is_gone_records_no_more(tmp_path: Path) -> None:
    """At once, not when the garbage of the process is next collected."""
    made = capture.client(tmp_path / "agents.db")
    seen = weakref.ref(made)
    writers = {writer for writer in _all() if not writer.is_stopped}
    del made
    assert seen() is None
    assert [writer.is_stopped for writer in writers].count(True) == 1
