"""Which conversation a call belongs to: each rule of docs/explanation/capture.md, and limits."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold.capture.exact import check_exact, request_of
from refold.capture.recorder import CallRecorder
from refold.capture.streams import LOOKED_UP_MAX, STREAMS_MAX
from refold.conversation import Conversation, to_messages
from refold.conversation.apis.anthropic_messages import ANTHROPIC_MESSAGES
from tests.capture.talk import (
    START_US,
    Message,
    agent,
    answered,
    asked,
    call_of,
    ends,
    result,
    streamed,
    talk,
    user,
)

SYSTEM = {"role": "system", "content": "You help."}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[refold.Store]:
    with refold.open(tmp_path / "agents.db") as opened:
        yield opened


@pytest.fixture(params=["the same process", "another process"])
def recorders(request: pytest.FixtureRequest, store: refold.Store) -> Iterator[CallRecorder]:
    """Recorders of one process, or each of another, which knows what is stored alone."""
    one = CallRecorder(store)

    def endless() -> Iterator[CallRecorder]:
        while True:
            yield one if request.param == "the same process" else CallRecorder(store)

    return endless()


def streams_of(store: refold.Store) -> list[str]:
    return [info.stream for info in store.streams() if info.stream != "wire-branches"]


def words_in(store: refold.Store, stream: str) -> list[str]:
    return [one.text for one in store.fold(stream, Conversation).state.transcript]


# -- a new one, or the one that it goes on with ---------------------------------------------------


def test_each_new_beginning_is_a_conversation(store: refold.Store) -> None:
    """The same words of two users too, before anybody has answered and after."""
    recorder = CallRecorder(store)
    both = [call_of(asked([SYSTEM, user("Hi")])) for _ in range(2)]
    for call in both:
        recorder.begin(call)
    for call in both:
        ends(recorder, call, [answered(agent("Hello"))])
    talk(recorder, [SYSTEM, user("Hi")], agent("Hello"))
    assert [words_in(store, stream) for stream in streams_of(store)] == [["Hi", "Hello"]] * 3
    assert len(streams_of(store)) == 3


def test_conversations_that_are_alike_go_on_each_by_itself(
    store: refold.Store, recorders: Iterator[CallRecorder]
) -> None:
    """While their histories are the same they cannot be told apart; neither is lost or branched."""
    for _ in range(3):
        talk(next(recorders), [SYSTEM, user("Hi")], agent("Hello"))
    for n in range(3):
        talk(next(recorders), [SYSTEM, user("Hi"), agent("Hello"), user(f"I am {n}")], agent("Ah"))
    said = sorted(words_in(store, stream) for stream in streams_of(store))
    assert said == [["Hi", "Hello", f"I am {n}", "Ah"] for n in range(3)]


def test_of_many_that_are_alike_the_newest_are_looked_at(
    store: refold.Store, recorders: Iterator[CallRecorder]
) -> None:
    """Of 11 with one and the same history 8 go on; whoever comes then is a branch of the newest.

    No history is lost for it: each stands whole in a stream.
    """
    shared = [SYSTEM, user("Hi"), agent("Hello")]
    for _ in range(STREAMS_MAX + 3):
        talk(next(recorders), shared[:2], agent("Hello"))
    roots = streams_of(store)
    for n in range(STREAMS_MAX + 3):
        talk(next(recorders), [*shared, user(f"I am {n}")], agent("Ah"))
    said = {stream: words_in(store, stream) for stream in streams_of(store)}
    gone_on = [["Hi", "Hello", f"I am {n}", "Ah"] for n in range(STREAMS_MAX + 3)]
    assert sorted(one for one in said.values() if len(one) > 2) == sorted(gone_on)
    branches = [stream for stream in said if "~" in stream]
    assert sorted(len(said[stream]) for stream in roots) == [2] * 3 + [4] * STREAMS_MAX
    assert {stream.partition("~")[0] for stream in branches} <= {*roots}
    assert len(branches) == 3
    talk(next(recorders), [*shared, user("I am 9"), agent("Ah"), user("So?")], agent("So."))
    assert len(streams_of(store)) == len(said)


@pytest.mark.parametrize("count", [LOOKED_UP_MAX - 1, LOOKED_UP_MAX])
def test_the_store_is_asked_for_the_longest_beginnings_alone(
    store: refold.Store, count: int
) -> None:
    """Another process finds a history behind which no more than 7 messages are new.

    One that has seen it finds it behind however many; where it is not found, nothing is lost.
    """
    messages, own = [SYSTEM, user("Hi")], CallRecorder(store)
    talk(own, messages, agent("Hello"))
    said = [f"and {n}" for n in range(count)]
    talk(CallRecorder(store), [*messages, *map(user, said)], agent("Ah"))
    is_found = count < LOOKED_UP_MAX
    found = [words_in(store, stream) for stream in streams_of(store)]
    whole = ["Hi", "Hello", *said, "Ah"]
    assert sorted(found, key=len) == ([] if is_found else [["Hi", "Hello"]]) + [whole]
    talk(own, [*messages, *map(user, said), user("more")], agent("Oh"))
    assert len(streams_of(store)) == len(found) + is_found


def test_conversations_alike_for_several_turns_are_not_branched(
    store: refold.Store, recorders: Iterator[CallRecorder]
) -> None:
    """The same first two turns of three users: the third is each one's own."""
    shared = [SYSTEM, user("Hi"), agent("Hello"), user("Thanks"), agent("Sure")]
    for _ in range(3):
        talk(next(recorders), shared[:2], agent("Hello"))
    for _ in range(3):
        talk(next(recorders), shared[:4], agent("Sure"))
    for n in range(3):
        talk(next(recorders), [*shared, user(f"I am {n}")], agent("Ah"))
    said = sorted(words_in(store, stream) for stream in streams_of(store))
    assert said == [["Hi", "Hello", "Thanks", "Sure", f"I am {n}", "Ah"] for n in range(3)]


def test_a_history_written_back_otherwise_is_the_same(
    store: refold.Store, recorders: Iterator[CallRecorder]
) -> None:
    """SDKs write a message back with more keys, without nulls, with other white space in JSON."""
    messages = [SYSTEM, user("Hi")]
    talk(next(recorders), messages, agent(None, ("c1", "look", '{"a": 1}'), ("c2", "look", "{}")))
    back = agent("", ("c1", "look", '{"a":1}'), ("c2", "look", ""))
    parts = [{"type": "text", "text": "Hi", "cache_control": {"type": "ephemeral"}}]
    messages = [
        SYSTEM,
        {"role": "user", "content": parts},
        {**back, "refusal": None, "audio": None},
        result("c1", "x"),
        result("c2", "y"),
    ]
    talk(next(recorders), messages, agent("Done"))
    messages[3] = {**result("c1", ""), "content": [{"type": "text", "text": "x"}]}
    talk(next(recorders), [*messages, user("More")], agent("Yes"))
    (stream,) = streams_of(store)
    assert words_in(store, stream) == ["Hi", "Done", "More", "Yes"]
    assert store.fold(stream, Conversation).state.open_calls == {}


@pytest.mark.parametrize(("one", "other"), [(1, True), (0, False), (1, 1.0)])
def test_what_python_takes_for_equal_is_not_the_same(
    store: refold.Store, recorders: Iterator[CallRecorder], one: Any, other: Any
) -> None:
    """1, 1.0 and true in a message are three: the second history is no more of the first."""

    def begun(value: Any) -> list[Message]:
        parts = [{"type": "image_url", "image_url": {"url": "x", "detail": value}}]
        return [SYSTEM, {"role": "user", "content": parts}]

    for value, words in ((one, "a"), (other, "b")):
        messages = begun(value)
        talk(next(recorders), messages, agent("Hello"))
        talk(next(recorders), [*messages, user(words)], agent("Ah"))
    messages = [*begun(other), agent("Hello"), user("b"), agent("Ah"), user("c")]
    talk(next(recorders), messages, agent("So"))
    said = sorted(words_in(store, stream) for stream in streams_of(store))
    assert said == [["", "Hello", "a", "Ah"], ["", "Hello", "b", "Ah", "c", "So"]]


def test_agents_that_hand_over_share_a_conversation(
    store: refold.Store, recorders: Iterator[CallRecorder]
) -> None:
    """The prompt, the model and the tools are no part of the history; they are told as they are."""
    messages = [SYSTEM, user("I want my money")]
    talk(next(recorders), messages, agent(None, ("c1", "transfer", "{}")))
    messages[0] = {"role": "system", "content": "You pay."}
    messages.append(result("c1", "to payments"))
    talk(next(recorders), messages, agent("Paid"), rest={"model": "m-2"})
    (stream,) = streams_of(store)
    agents = [one.data for one in store.read(stream) if one.type == "agent.configured"]
    assert [(one["prompt"]["text"], one["model"]) for one in agents] == [
        ("You help.", "m-1"),
        ("You pay.", "m-2"),
    ]


def test_the_agent_is_told_only_when_it_changes(store: refold.Store) -> None:
    """Also where a system message stands in the middle of a conversation."""
    recorder, messages = CallRecorder(store), [SYSTEM, user("a")]
    talk(recorder, messages, agent("b"))
    messages += [{"role": "system", "content": "Be brief."}, user("c")]
    talk(recorder, messages, agent("d"))
    messages.append(user("e"))
    talk(recorder, messages, agent("f"))
    talk(recorder, [*messages, user("g")], agent("h"), rest={"temperature": 0.5})
    (stream,) = streams_of(store)
    agents = [one.data for one in store.read(stream) if one.type == "agent.configured"]
    assert [one["prompt"]["text"] for one in agents] == ["You help.", "Be brief.", "Be brief."]


def test_a_prompt_right_behind_what_was_read_before_changes_the_agent(
    store: refold.Store, recorders: Iterator[CallRecorder]
) -> None:
    """It is none of those that come before all others."""
    messages = [SYSTEM, user("a")]
    recorder, first = next(recorders), call_of(asked(messages), conversation="chat-1")
    recorder.begin(first)
    ends(recorder, first, [b"{}"], status=500)
    messages += [{"role": "system", "content": "Be brief."}, user("c")]
    talk(next(recorders), messages, agent("d"), conversation="chat-1")
    messages.append(user("e"))
    talk(next(recorders), messages, agent("f"), conversation="chat-1")
    agents = [one.data for one in store.read("chat-1") if one.type == "agent.configured"]
    assert [one["prompt"]["text"] for one in agents] == ["You help.", "Be brief."]


def test_what_is_unread_is_named_by_its_place_in_the_whole_request(
    store: refold.Store, recorders: Iterator[CallRecorder]
) -> None:
    """Also where the messages before it were read with an earlier request."""
    messages = [SYSTEM, user("a")]
    talk(next(recorders), messages, agent("b"))
    odd: Message = {"role": "user", "content": [{"type": "text", "text": 3}]}
    talk(next(recorders), [*messages, odd], agent("c"), rest={"tools": [3]})
    (*_, request) = store.read_all(types=["model.request"])
    assert sorted(request.noted("unread")) == ["/messages/3/content/0", "/tools/0"]


def test_a_beginning_that_was_not_captured_is_recorded_with_the_first_call(
    store: refold.Store,
) -> None:
    """As examples in a prompt, or a conversation that began elsewhere."""
    messages = [SYSTEM, user("1"), agent(None, ("c1", "f", "{}")), result("c1", "r"), agent("2")]
    messages.append(user("3"))
    talk(CallRecorder(store), messages, agent("4"))
    (stream,) = streams_of(store)
    assert to_messages(store.read(stream)) == messages
    calls = [one.data["message_id"] for one in store.read(stream) if "message_id" in one.data]
    assert len(set(calls)) == 3


# -- branches -------------------------------------------------------------------------------------


def test_the_same_beginning_continued_twice_branches(
    store: refold.Store, recorders: Iterator[CallRecorder]
) -> None:
    """And each goes on by itself, the branch of a branch too."""
    beginning = [SYSTEM, user("a")]
    talk(next(recorders), beginning, agent("b"))
    first, second = [*beginning, user("c1")], [*beginning, user("c2")]
    for messages in (first, second):
        talk(next(recorders), messages, agent("d"))
    third = [*second, user("e3")]
    for messages in (first, second):
        messages.append(user("e"))
        talk(next(recorders), messages, agent("f"))
    talk(next(recorders), third, agent("f"))
    root, *branches = sorted(streams_of(store), key=len)
    assert all(branch.startswith(f"{root}~") for branch in branches)
    assert words_in(store, root) == ["a", "b", "c1", "d", "e", "f"]
    assert sorted(words_in(store, branch) for branch in branches) == [
        ["a", "b", "c2", "d", "e", "f"],
        ["a", "b", "c2", "d", "e3", "f"],
    ]
    assert [check.good for check in check_exact(store)] == [True]


def test_an_answer_made_anew_is_a_branch(store: refold.Store) -> None:
    """The same request again, when it was answered."""
    recorder, messages = CallRecorder(store), [SYSTEM, user("a")]
    talk(recorder, messages, agent("b"))
    messages.append(user("c"))
    talk(recorder, [*messages], agent("d1"))
    call = talk(recorder, [*messages], agent("d2"))
    root, branch = sorted(streams_of(store), key=len)
    assert words_in(store, root) == ["a", "b", "c", "d1"]
    assert words_in(store, branch) == ["a", "b", "c", "d2"]
    requests = [one for one in store.read(branch) if one.type == "model.request"]
    assert len(requests) == 2
    assert request_of(store, branch, requests[-1].version) == call.request


def test_calls_at_once_with_the_same_history_are_told_apart(store: refold.Store) -> None:
    """The second is a branch, whichever ends first; the conversation goes on with the first."""
    recorder, messages = CallRecorder(store), [SYSTEM, user("a")]
    talk(recorder, messages, agent("b"))
    messages.append(user("c"))
    first, second = (call_of(asked(messages)) for _ in range(2))
    recorder.begin(first)
    recorder.begin(second)
    ends(recorder, second, [answered(agent("d2"))])
    ends(recorder, first, [answered(agent("d1"))])
    talk(recorder, [*messages, agent("d1"), user("e")], agent("f"))
    root, branch = sorted(streams_of(store), key=len)
    assert words_in(store, root) == ["a", "b", "c", "d1", "e", "f"]
    assert words_in(store, branch) == ["a", "b", "c", "d2"]


def test_sub_agents_have_streams_of_their_own(store: refold.Store) -> None:
    """They begin otherwise; while they run, the one that asked them waits."""
    recorder, main = CallRecorder(store), [SYSTEM, user("Find it")]
    talk(recorder, main, agent(None, ("c1", "research", "{}")))
    sub = [{"role": "system", "content": "You research."}, user("it")]
    for turn in range(2):
        talk(recorder, sub, agent(None, (f"s{turn}", "search", "{}")))
        sub.append(result(f"s{turn}", "page"))
    talk(recorder, sub, agent("Found"))
    main.append(result("c1", "Found"))
    talk(recorder, main, agent("Here"))
    said = sorted(words_in(store, stream) for stream in streams_of(store))
    assert said == [["Find it", "Here"], ["it", "Found"]]


# -- named ----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "rest",
    [
        {"metadata": {"conversation_id": "42"}},
        {"metadata": {"session_id": "42", "thread_id": "no"}},
        {"metadata": {"thread_id": "42"}},
        {"metadata": {"conversation_id": "", "session_id": "42"}},
        {"conversation": "42"},
        {"conversation": {"id": "42"}},
    ],
)
def test_metadata_names_the_conversation(store: refold.Store, rest: dict[str, Any]) -> None:
    """Also for calls whose messages have nothing in common."""
    recorder = CallRecorder(store)
    for words in "ab":
        talk(recorder, [SYSTEM, user(words)], agent(words.upper()), rest=rest)
    assert streams_of(store) == ["chat-42"]
    assert words_in(store, "chat-42") == ["a", "A", "b", "B"]


def test_a_session_in_the_user_id_names_it(store: refold.Store) -> None:
    """As coding agents write it into the metadata of Anthropic's API."""
    session = "0f6a8b4e-5ee4-4f2c-9f1f-0a3f6f0c2d11"
    rest = {"metadata": {"user_id": f"user_abc_account__session_{session}"}}
    talk(CallRecorder(store), [user("a")], agent("b"), rest=rest)
    assert streams_of(store) == [f"chat-{session}"]


@pytest.mark.parametrize("odd", ["x" * 300, "a\nb", 7, None, {}, [], "\u2028"])
def test_an_odd_name_does_no_harm(store: refold.Store, odd: Any) -> None:
    """What cannot name a stream stands for one all the same, or is passed over."""
    recorder = CallRecorder(store)
    for words in "ab":
        rest = {"metadata": {"session_id": odd}, "conversation": odd}
        talk(recorder, [user(words)], agent("x"), rest=rest)
    assert len(streams_of(store)) == (1 if isinstance(odd, str) else 2)


def test_what_the_caller_names_goes_before_metadata(
    store: refold.Store, recorders: Iterator[CallRecorder]
) -> None:
    """And before the history, which another stream may have too."""
    messages = [SYSTEM, user("a")]
    talk(next(recorders), messages, agent("b"), conversation="call-1")
    messages.append(user("c"))
    talk(
        next(recorders),
        messages,
        agent("d"),
        conversation="call-2",
        rest={"metadata": {"session_id": "9"}},
    )
    assert streams_of(store) == ["call-1", "call-2"]
    assert words_in(store, "call-2") == ["a", "b", "c", "d"]


def test_a_window_that_slides_stays_in_its_named_conversation(
    store: refold.Store, recorders: Iterator[CallRecorder]
) -> None:
    """Only what is new of it is recorded; the requests stay exact."""
    messages: list[Message] = []
    for turn in range(6):
        messages = [*messages, user(f"q{turn}")][-4:]
        talk(next(recorders), messages, agent(f"a{turn}"), conversation="call-1")
    assert streams_of(store) == ["call-1"]
    assert words_in(store, "call-1") == [f"{who}{turn}" for turn in range(6) for who in "qa"]


def test_another_agent_in_a_named_conversation_has_a_stream_beside_it(
    store: refold.Store, recorders: Iterator[CallRecorder]
) -> None:
    """One with another prompt and other tools, whose messages are not of the conversation."""
    tool = {"type": "function", "function": {"name": "look", "parameters": {}}}
    main = [SYSTEM, user("Find it")]
    known: Any = {"conversation": "call-1"}
    talk(next(recorders), main, agent(None, ("c1", "look", "{}")), rest={"tools": [tool]}, **known)
    sub = [{"role": "system", "content": "You research."}, user("it")]
    talk(next(recorders), sub, agent("What?"), **known)
    talk(next(recorders), [*sub, user("That")], agent("Found"), **known)
    main.append(result("c1", "Found"))
    talk(next(recorders), main, agent("Here"), rest={"tools": [tool]}, **known)
    talk(next(recorders), [*main, user("Thanks")], agent("!"), rest={"tools": [tool]}, **known)
    first, beside = streams_of(store)
    assert (first, beside[:7]) == ("call-1", "call-1.")
    assert words_in(store, first) == ["Find it", "Here", "Thanks", "!"]
    assert words_in(store, beside) == ["it", "What?", "That", "Found"]
    assert {one.metadata["correlation"] for one in store.read(beside)} == {"call-1"}


def test_a_response_that_is_gone_on_from_is_found(
    store: refold.Store, recorders: Iterator[CallRecorder]
) -> None:
    """By its id, where a request sends only what is new; twice makes a branch."""

    def ask(words: str, answer: str, **rest: Any) -> None:
        recorder = next(recorders)
        call = call_of(asked([user(words)], **rest))
        recorder.begin(call)
        ends(recorder, call, [answered(agent(answer), id=f"resp_{answer}")])

    ask("a", "b")
    ask("c", "d", previous_response_id="resp_b")
    ask("e", "f", previous_response_id="resp_d")
    ask("x", "y", previous_response_id="resp_b")
    ask("z", "w", previous_response_id="resp_y")
    for odd in ("resp_of another store", "x" * 300, "\n", 7):
        ask("new", "n", previous_response_id=odd)
    said = sorted(words_in(store, stream) for stream in streams_of(store))
    assert said == [list("abcdef"), list("abxyzw"), *[["new", "n"]] * 4]


def test_a_branch_has_no_part_in_calls_that_its_parent_ends(store: refold.Store) -> None:
    """Of calls at once in one named stream, the branch begins while one goes on."""
    recorder, known = CallRecorder(store), {"conversation": "call-1"}
    slow = call_of(asked([user("slow")]), **known)
    recorder.begin(slow)
    messages = [user("a")]
    talk(recorder, messages, agent("b"), **known)
    for words in ("c1", "c2"):
        talk(recorder, [*messages, user(words)], agent("d"), **known)
    ends(recorder, slow, [answered(agent("late"))])
    talk(recorder, [*messages, user("c2"), agent("d"), user("e")], agent("f"), **known)
    said = {stream: words_in(store, stream) for stream in streams_of(store)}
    assert all(failures_in(store, stream) == [] for stream in said)
    assert ["slow", "a", "b", "c2", "d", "e", "f"] in said.values()


# -- what fails -----------------------------------------------------------------------------------


def failures_in(store: refold.Store, stream: str) -> list[tuple[str, int, int | None]]:
    events = [one.event for one in store.read(stream) if one.type == "model.failed"]
    return [(one.error, one.attempt, one.status) for one in events]


def test_retries_of_one_call_are_one_turn(
    store: refold.Store, recorders: Iterator[CallRecorder]
) -> None:
    """The same bytes again after a refusal: each attempt is told, the words once."""
    body = asked([SYSTEM, user("a")])
    for attempt, status in ((1, 429), (2, 500), (3, 200)):
        recorder = next(recorders)
        call = call_of(body, attempt=attempt)
        recorder.begin(call)
        refusal = json.dumps({"error": {"message": f"no {status}"}}).encode()
        piece = answered(agent("b")) if status == 200 else refusal
        ends(recorder, call, [piece], status=status)
    (stream,) = streams_of(store)
    assert words_in(store, stream) == ["a", "b"]
    assert failures_in(store, stream) == [("no 429", 1, 429), ("no 500", 2, 500)]
    requests = [one.data for one in store.read(stream) if one.type == "model.request"]
    assert [one.get("attempt", 1) for one in requests] == [1, 2, 3]


def test_a_first_call_that_failed_is_not_gone_on_with_much_later(store: refold.Store) -> None:
    """Another may have said the same."""
    recorder, body = CallRecorder(store), asked([user("Hi")])
    for minutes in (0, 11):
        call = call_of(body, started_us=START_US + minutes * 60_000_000)
        recorder.begin(call)
        ends(recorder, call, ending="unreachable", status=None, error="ConnectError: refused")
    assert len(streams_of(store)) == 2


@pytest.mark.parametrize("partial", [True, False], ids=["with the words", "without them"])
def test_a_conversation_goes_on_after_an_answer_that_was_cut(
    store: refold.Store, recorders: Iterator[CallRecorder], partial: bool
) -> None:
    """Whether the agent tells the model what had come or not."""
    messages = [SYSTEM, user("a")]
    talk(next(recorders), messages, agent("b"))
    messages.append(user("c"))
    recorder, call = next(recorders), call_of(asked(messages))
    recorder.begin(call)
    ends(recorder, call, streamed("half an answer", end=False), ending="cut", error="ReadError")
    if partial:
        messages.append(agent("half an answer "))
    talk(next(recorders), [*messages, user("d")], agent("e"))
    (stream,) = streams_of(store)
    assert words_in(store, stream) == ["a", "b", "c", "half an answer ", "d", "e"]
    why = "the connection broke before the answer was whole: ReadError"
    assert failures_in(store, stream) == [(why, 1, 200)]


def test_a_conversation_by_messages_of_anthropic_is_one(
    store: refold.Store, recorders: Iterator[CallRecorder]
) -> None:
    """Its prompt beside the messages, results in the user's, the cache's marks moving on."""
    mark = {"cache_control": {"type": "ephemeral"}}
    thinking = {"type": "thinking", "thinking": "So.", "signature": "c2ln"}
    use = {"type": "tool_use", "id": "t1", "name": "look", "input": {"a": 1}}
    returned = {"type": "tool_result", "tool_use_id": "t1", "content": [_text("found")]}
    answers = [[thinking, _text("Let me see."), use], [_text("There.")], [_text("Bye.")]]
    first = {"role": "user", "content": [_text("Hi") | mark]}
    messages: list[list[dict[str, Any]]] = [
        [first],
        [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": [thinking, _text("Let me see."), use]},
            {"role": "user", "content": [returned | mark]},
        ],
        [
            {"role": "user", "content": [_text("Hi")]},
            {"role": "assistant", "content": [_text("Let me see."), use]},
            {"role": "user", "content": [returned]},
            {"role": "assistant", "content": "There."},
            {"role": "user", "content": [_text("Thanks") | mark]},
        ],
    ]
    for turn, content in enumerate(answers):
        body = {"model": "c-1", "max_tokens": 9, "system": [_text(f"It is {turn}.") | mark]}
        call = call_of(json.dumps(body | {"messages": messages[turn]}).encode())
        call.api, call.url = ANTHROPIC_MESSAGES, "https://models.example/v1/messages"
        answer = {
            "id": f"msg_{turn}",
            "type": "message",
            "role": "assistant",
            "model": "c-1",
            "content": content,
            "stop_reason": "tool_use" if use in content else "end_turn",
            "usage": {"input_tokens": 5, "output_tokens": 7},
        }
        recorder = next(recorders)
        recorder.begin(call)
        ends(recorder, call, [json.dumps(answer).encode()])
    (stream,) = streams_of(store)
    assert words_in(store, stream) == ["Hi", "Let me see.", "There.", "Thanks", "Bye."]
    state = store.fold(stream, Conversation).state
    assert [one.event.name for one in state.tool_calls] == ["look"]
    assert state.open_calls == {}
    assert state.usage.output_tokens == 21
    prompts = [one.data["prompt"]["text"] for one in store.read(stream) if "configured" in one.type]
    assert prompts == ["It is 0.", "It is 1.", "It is 2."]
    assert [check.good for check in check_exact(store)] == [True]


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


# -- all of it ------------------------------------------------------------------------------------


@given(st.data())
@settings(max_examples=25)
def test_whatever_is_gone_on_with_each_history_is_in_a_stream(data: st.DataObject) -> None:
    """Beginnings, turns, going back, cut answers and new processes, in any order; to the byte."""
    store = refold.open("memory:")
    recorder = CallRecorder(store)
    histories: list[list[Message]] = []
    for turn in range(data.draw(st.integers(1, 12))):
        if data.draw(st.integers(0, 3)) == 0:
            recorder = CallRecorder(store)
        earlier = data.draw(st.sampled_from([[], *histories]))
        cut = data.draw(st.integers(0, len(earlier) // 2)) * 2
        messages = [*earlier[:cut], user(f"question {turn}")]
        call = call_of(asked([SYSTEM, *messages]))
        recorder.begin(call)
        if data.draw(st.integers(0, 4)) == 0:
            ends(recorder, call, streamed("half", end=False), ending="cut")
            continue
        answer = agent(data.draw(st.sampled_from(["yes", "no"])))
        ends(recorder, call, [answered(answer)])
        histories.append([*messages, answer])
    said = [to_messages(store.read(stream)) for stream in streams_of(store)]
    beginnings = [[*said_in[:n]] for said_in in said for n in range(1, len(said_in) + 1)]
    assert all([SYSTEM, *history] in beginnings for history in histories)
    assert [check.good for check in check_exact(store)] == [True]


def test_an_answer_that_was_said_aloud_is_known_by_its_id(store: refold.Store) -> None:
    """A client sends nothing else of it again."""
    recorder = CallRecorder(store)
    spoken = {"id": "audio_1", "data": "UklGRg==", "expires_at": 9, "transcript": "Hello"}
    messages = [user("Hi")]
    talk(recorder, messages, {"role": "assistant", "content": None, "audio": spoken})
    messages[-1] = {"role": "assistant", "audio": {"id": "audio_1"}}
    talk(recorder, [*messages, user("Thanks")], agent("Bye"))
    (info,) = store.streams()
    said = store.fold(info.stream, Conversation).state.transcript
    assert [one.text for one in said] == ["Hi", "Hello", "Thanks", "Bye"]
