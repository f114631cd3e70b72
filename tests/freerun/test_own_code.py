"""The user's own code in a replay: what it asks is asked, and it touches nothing."""

from __future__ import annotations

import random
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx2
import openai
import pytest

import refold
from refold import capture
from refold.conversation.events import AgentUtterance, UserUtterance
from refold.errors import OutsideRefused, UsageError
from refold.freerun import FreeRun, OwnCode
from refold.freerun.rerun import Rerun, RunOutcome, turns_of
from refold.replay import Action, ChatRequest, Variant, branch_name, compare, replay
from refold.tools import standing_in
from tests.freerun.desks import AGENTS, NOWHERE, PROMPT, RAN, dated, graph, own_loop
from tests.replay.stories import VARIANT, as_message, asks_tool, opening, record, tells
from tests.support.chat_server import ChatServer

THANKS = [UserUtterance(text="Thanks!"), AgentUtterance(text="You are welcome.", message_id="m6")]
TALK: list[dict[str, Any]] = [
    {"role": "system", "content": "Another prompt."},
    {"role": "user", "content": "Where is booking B1?"},
    {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function",
     "function": {"name": "lookup", "arguments": '{"id": "B1"}'}}]},
    {"role": "tool", "tool_call_id": "c1", "content": '{"gate": 4}'},
    {"role": "assistant", "content": "At gate 4."},
    {"role": "user", "content": "Thanks!"},
]  # fmt: skip
BEGAN_US = 1_700_000_000_000_000


def came(begin: Callable[[], Any], talk: Any = TALK, at: str = "call-1@7") -> RunOutcome:
    """What code comes to after a talk."""
    return Rerun(ChatRequest(messages=talk, at=at, began_us=BEGAN_US)).run(begin)


def says(body: Any) -> Any:
    """What was recorded, and thanks for thanks."""
    is_thanked = body["messages"][-1]["content"] == "Thanks!"
    return {"role": "assistant", "content": "Bye."} if is_thanked else as_message(body)


@pytest.fixture
def server() -> Iterator[ChatServer]:
    """The candidate: it says what was recorded."""
    with ChatServer(says) as made:
        yield made


@pytest.mark.parametrize("kind", AGENTS)
def test_its_own_questions_are_asked_and_its_tools_do_not_run(
    kind: str, server: ChatServer
) -> None:
    """With its own prompt, model and tool, going on freely; its course is a branch to compare."""
    RAN.clear()
    named = server.base_url.replace("127.0.0.1", "localhost")
    candidate = OwnCode(AGENTS[kind](), named)
    with refold.open("memory:") as store:
        record(store, "call-1", opening(), asks_tool(), tells(), THANKS)
        summary = replay(store, ["call-1"], VARIANT, candidate, mode=FreeRun(), workers=1)
        (compared,) = compare(store, ["call-1"], summary.variant).conversations
        *_, told = store.read(f"replay~plan-{summary.variant_id}")
    assert (summary.answered, summary.failed) == (3, 0)
    assert [one.level for one in compared.decisions] == ["same", "same", "words"]
    assert (RAN, told.data.get("refused")) == ([], None)
    assert sum(told.data["connections"].values()) == 1
    asked = server.requests
    assert [one["model"] for one in asked] == ["own-model"] * 3
    assert all(one["messages"][0]["content"] == PROMPT for one in asked)
    assert {tool["function"]["name"] for one in asked for tool in one["tools"]} == {"lookup"}
    roles = [message["role"] for message in asked[-1]["messages"]]
    assert roles == ["system", "user", "assistant", "tool", "assistant", "user"]
    assert asked[-1]["messages"][3]["content"].replace(" ", "") == '{"gate":4}'


def test_the_endpoint_may_be_asked_for_another_model(server: ChatServer) -> None:
    """That of the endpoint, or of the variant, in place of the code's own."""
    candidate = OwnCode(own_loop, server.base_url, model="small")
    with refold.open("memory:") as store:
        record(store, "call-1", opening(), tells())
        replay(store, ["call-1"], Variant(label="a"), candidate)
        replay(store, ["call-1"], Variant(model="large"), candidate)
    assert [one["model"] for one in server.requests] == ["small", "large"]


def test_words_that_no_model_said_are_the_answer(server: ChatServer) -> None:
    """What the code itself gives for a turn, now and when it is led through it again."""

    def begin() -> Any:
        return lambda said: f"You said: {said}"

    assert came(begin, TALK[:2]).answer == Action(text="You said: Where is booking B1?")
    known = [TALK[1], {"role": "assistant", "content": "You said: Where is booking B1?"}, TALK[-1]]
    assert came(begin, known).answer == Action(text="You said: Thanks!")


def test_clock_chance_and_identifiers_are_the_same_each_time() -> None:
    """The clock begins where the conversation did; another conversation has chance of its own."""
    (once,), (again,), (other,) = (
        came(dated, TALK[1:2], at).asked.messages  # type: ignore[union-attr]
        for at in ("call-1@1", "call-1@1", "call-2@1")
    )
    assert once == again != other
    told = once["content"].split()
    assert abs(float(told[-4]) - BEGAN_US / 1_000_000) < 1
    assert abs(time.time() - float(told[-4])) > 1_000_000
    assert uuid.UUID(told[-1]).version == 4


def test_who_else_draws_is_not_disturbed() -> None:
    """Chance outside goes on as if nothing had been run."""
    random.seed(7)
    wanted = [random.random() for _ in range(4)]
    random.seed(7)
    found = []
    for _ in range(4):
        found.append(random.random())
        came(dated, TALK[1:2])
    assert found == wanted


def test_it_may_speak_first(server: ChatServer) -> None:
    """With what it is said to open with; without, that one decision fails and names the option."""
    greeting = AgentUtterance(text="Good morning!", message_id="m0")
    with refold.open("memory:") as store:
        record(store, "call-1", [opening()[0], greeting, opening()[1]], tells())
        for label, said in (("mute", {}), ("open", {"opening": "Hello."})):
            variant = Variant(label=label)
            candidate = OwnCode(own_loop, server.base_url, **said)
            summary = replay(store, ["call-1"], variant, candidate)
            assert (summary.answered, summary.failed) == ((2, 0) if said else (1, 1))
        branch = list(store.read(branch_name("call-1", Variant(label="open"))))
    assert "Hello." in [event.data.get("text") for event in branch]


# -- what does not work out ------------------------------------------------------------------------


def failing(turn: Callable[[str], Any]) -> str:
    """Why code does not come to a question."""
    return came(lambda: turn, TALK[:2]).refused


def _connects(_: str) -> None:
    with socket.socket() as one:
        one.connect(("127.0.0.1", 9))


def _in_a_thread(said: str) -> None:
    found: list[BaseException] = []

    def connect() -> None:
        try:
            _connects(said)
        except BaseException as error:
            found.append(error)

    thread = threading.Thread(target=connect)
    thread.start()
    thread.join()
    raise found[0]


@pytest.mark.parametrize(
    "turn",
    [_connects, _in_a_thread, lambda _: subprocess.run(["true"], check=True)],
    ids=["connects", "in a thread", "starts a program"],
)
def test_it_reaches_nothing(turn: Any) -> None:
    """Neither by itself nor from a thread, and starts nothing."""
    why = failing(turn)
    assert OutsideRefused.__name__ in why
    assert "test_own_code.py" in why


def test_a_pool_that_it_began_serves_others_afterwards() -> None:
    """Its threads are not shut in for good: the process goes on, and so do its tools."""

    def reach(where: Any) -> None:
        with socket.socket() as own:
            own.connect(where)

    with ThreadPoolExecutor(1) as pool, socket.create_server(("127.0.0.1", 0)) as server:
        place = server.getsockname()

        def turn(_: str) -> str:
            with pytest.raises(OutsideRefused):
                pool.submit(reach, place).result()
            return "Hello."

        assert came(lambda: turn, [{"role": "user", "content": "Hi"}]).answer is not None
        pool.submit(reach, place).result()
        assert pool.submit(standing_in.get).result() is None


def test_it_reaches_nothing_by_http_either() -> None:
    """A request that asks no model is refused before anything is sent, whoever handles errors."""

    def turn(_: str) -> None:
        try:
            httpx2.get("http://127.0.0.1:9/weather")
        except Exception:
            pytest.fail("it was an error of its own")

    assert "by itself" in failing(turn)
    assert "/weather" in failing(turn)


def test_what_it_does_itself_is_told() -> None:
    """An exception, a tool that no model called, a turn without an answer, another API."""

    def fails(_: str) -> None:
        raise ValueError("no")

    def tools(_: str) -> None:
        from tests.freerun.desks import lookup

        lookup("B2")

    def anthropic(_: str) -> None:
        httpx2.post(f"{NOWHERE}/messages", headers={"anthropic-version": "1"}, json={})

    assert "ValueError: no" in failing(fails)
    assert "ran lookup by itself" in failing(tools)
    assert "came to no question" in failing(lambda _: None)
    assert "not by an API of OpenAI's" in failing(anthropic)


@pytest.mark.parametrize("has_ids", [True, False])
def test_an_id_that_is_used_again_gives_each_call_its_own_result(*, has_ids: bool) -> None:
    """Some models call ``call_0`` in every turn: the first is told what the first gave."""
    again = [
        *TALK[1:5],
        {"role": "user", "content": "And B2?"},
        {"role": "assistant", "content": None, "tool_calls": [{"id": "c1", "type": "function",
         "function": {"name": "lookup", "arguments": '{"id": "B2"}'}}]},
        {"role": "tool", "tool_call_id": "c1", "content": '{"gate": 5}'},
    ]  # fmt: skip
    rerun = Rerun(ChatRequest(messages=again, at="call-1@9"))
    own_id = "c1" if has_ids else None
    told = [rerun.tool("lookup", {"id": id}, own_id) for id in ("B1", "B2")]
    assert told == ['{"gate": 4}', '{"gate": 5}']
    if not has_ids:
        other = Rerun(ChatRequest(messages=again, at="call-1@9"))
        assert other.tool("lookup", {"id": "B2"}, None) == '{"gate": 5}'


def test_code_that_leaves_the_program_ends_its_own_run_alone() -> None:
    """The process is not that of the code."""
    assert "SystemExit" in failing(lambda _: sys.exit(3))


def test_a_conversation_that_it_would_not_lead_so_is_no_answer() -> None:
    """Code that asks less often than is on record is not taken to be where the record is."""

    def begin() -> Any:
        asked = own_loop()
        return lambda said: asked(said) if said == "Thanks!" else None

    assert "2 answers were not taken" in came(begin).refused


def test_it_is_a_failed_decision(server: ChatServer) -> None:
    """And the reason is on the branch."""
    candidate = OwnCode(lambda: _connects, server.base_url)
    variant = Variant(label="broken")
    with refold.open("memory:") as store:
        record(store, "call-1", opening(), tells())
        summary = replay(store, ["call-1"], variant, candidate)
        (failed,) = [
            event.data["error"]
            for event in store.read(branch_name("call-1", variant))
            if event.type == "model.failed"
        ]
    assert (summary.answered, summary.failed) == (0, 1)
    assert "OutsideRefused" in failed
    assert server.requests == []


def test_what_is_no_agent_is_refused(server: ChatServer) -> None:
    """Something that cannot be called, and a function that gives none."""
    with pytest.raises(UsageError, match="an agent of LangGraph"):
        OwnCode(3, server.base_url)
    assert "gives no function" in came(OwnCode(lambda: 3, server.base_url)._begin).refused


def test_what_is_captured_is_what_was_done(server: ChatServer) -> None:
    """An agent that is captured records nothing while it is run again, and after that it does."""
    with refold.open("memory:") as store:
        http = capture.client(store, headers={"connection": "close"})
        client = openai.OpenAI(base_url=server.base_url, api_key="none", http_client=http)

        def turn(said: str) -> None:
            messages: Any = [{"role": "user", "content": said}]
            client.chat.completions.create(model="own-model", messages=messages)

        assert came(lambda: turn, TALK[:2]).asked is not None
        capture.flush()
        assert (list(store.streams()), server.requests) == ([], [])
        turn("Hello")
        capture.flush()
        client.close()
        assert len(list(store.streams())) == 1


def test_a_graph_keeps_its_own_threads(server: ChatServer) -> None:
    """Its saver is not written to."""
    from langgraph.checkpoint.memory import InMemorySaver

    saver = InMemorySaver()
    own = graph()
    own.checkpointer = saver
    assert came(OwnCode(own, server.base_url)._begin).asked is not None
    assert list(saver.list(None)) == []


def test_turns_are_what_the_user_said_at_once() -> None:
    """With the answers to each; a greeting before it is no answer."""
    user, agent = {"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}
    assert turns_of([agent, user, user, agent, user]) == [("a\na", [agent]), ("a", [])]
    parts = {"role": "user", "content": [{"type": "text", "text": "c"}, {"type": "image_url"}]}
    assert turns_of([parts]) == [("c", [])]


def test_the_clock_is_its_own_again_afterwards() -> None:
    """Nothing of the process goes through what was pinned, once the code has run."""
    before = time.time, time.time_ns, uuid.uuid4
    assert came(lambda: lambda said: time.time() and "Hm.", TALK[:2]).answer == Action(text="Hm.")
    assert (time.time, time.time_ns, uuid.uuid4) == before


HANGING = f"""
import sys, threading
import refold
from refold.freerun import FreeRun, LiveRead, OwnCode, ToolPolicies
from refold.replay import Variant, replay
from tests.replay.stories import opening, record, tells

def hangs(*said, **asked):
    print("led", flush=True)
    threading.Event().wait()

def calls(request):
    function = {{"name": "look", "arguments": "{{}}"}}
    call = {{"id": "x", "type": "function", "function": function}}
    return {{"content": None, "tool_calls": [call]}}

live = ToolPolicies(effects={{"look": "read"}}, otherwise={{"look": LiveRead(hangs)}})
candidate = calls if sys.argv[1] == "tool" else OwnCode(lambda: hangs, {NOWHERE!r})
with refold.open("memory:") as store:
    record(store, "call-1", opening(), tells())
    replay(store, ["call-1"], Variant(label="x"), candidate, mode=FreeRun(tools=live))
"""


@pytest.mark.parametrize("what", ["code", "tool"])
def test_what_hangs_does_not_keep_the_process_from_ending(what: str) -> None:
    """Ctrl-C ends the run, whatever code of the user's waits for."""
    how: Any = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL, "text": True}
    with subprocess.Popen([sys.executable, "-c", HANGING, what], **how) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "led\n"
            process.send_signal(signal.SIGINT)
            assert process.wait(60) == -signal.SIGINT
        finally:
            process.kill()
