"""`refold bisect`: over events of a stream, over what was in force, over prompts to ask with."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.conversation.events import AgentConfigured, AgentUtterance, Prompt, UserUtterance
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from tests.cli.endpoints import serving
from tests.cli.running import Refold

REFUND = ("--fails", "never_says=refund")


@pytest.fixture
def desk(tmp_path: Path) -> None:
    """Eight versions of a desk, two conversations under each; from the sixth on it says refund."""
    with refold.open(tmp_path / "refold.db") as store:
        for number in range(16):
            version = number // 2
            words = "Your refund comes." if version >= 5 else "One moment."
            configured = AgentConfigured(
                agent="desk",
                model="m-1",
                version=f"v{version}",
                prompt=Prompt(f"Prompt {version}."),
            )
            at = f"2026-03-{number + 1:02}T09:00:00Z"
            events = [configured, UserUtterance("Hello?"), AgentUtterance(words)]
            store.append(f"call-{number}", [refold.Event.of(e, occurred_at=at) for e in events])


def test_it_finds_the_event_and_says_how_many_it_looked_at(run: Refold, call: str) -> None:
    """The first event after which the check fails, by its id; where it never does, exits with 1."""
    (found,) = run("bisect", call, "--fails", "only_tools=none", "--json").lines
    with refold.open("refold.db") as store:
        first = next(one for one in store.read(call) if one.type == "tool.call")
    assert found["first"]["id"] == first.id
    assert first.id in run("bisect", call, "--fails", "only_tools=none").out
    never = run("bisect", call, *REFUND)
    assert never.code == 1
    assert "not so at the end of call-1: check:never_says=refund fails" in never.out


@pytest.mark.usefixtures("desk")
def test_it_finds_the_version_and_the_prompt_that_were_in_force(run: Refold) -> None:
    """Of eight four are looked at, and each is told with its share on stderr."""
    for over, name, before in (("versions", "v5", "v4"), ("prompts", "v5", "v4")):
        ran = run("bisect", "--over", over, *REFUND, "--json")
        (found,) = ran.lines
        assert found["first"].endswith(name)
        assert found["before"].endswith(before)
        assert len(found["looked_at"]) == len(ran.err.splitlines()) == 4
        assert "2 of 2 conversations" in ran.err
    until = ("--until", "2026-03-11T12:00:00Z")
    (early,) = run("bisect", "--over", "versions", *REFUND, *until, "--json").lines
    assert early["first"] == "v5"
    assert early["looked_at"]["v5"] == {"so": 1, "told": 1}
    assert run("bisect", "--over", "versions", *REFUND, "--until", "2026-03-09").code == 1


@pytest.mark.usefixtures("desk")
def test_the_same_conversations_are_asked_with_each_prompt_and_answers_are_kept(
    run: Refold, tmp_path: Path
) -> None:
    """Three of four prompts are asked with; run again, nobody is asked and it says the same."""

    def answer(request: dict[str, Any]) -> tuple[int, bytes]:
        words = "A refund." if request["messages"][0]["content"] >= "P3" else "No."
        message = {"role": "assistant", "content": words}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return 200, json.dumps({"id": "x", "model": "m-1", "choices": [choice]}).encode()

    for number in range(1, 5):
        (tmp_path / f"p{number}.md").write_text(f"P{number}")
    prompts = [part for number in range(1, 5) for part in ("--prompt", f"p{number}.md")]
    with serving(answer) as service:
        command = ("bisect", "call-0", "call-1", *prompts, *REFUND, "--base-url", service.url)
        (found,) = run(*command, "--json").lines
        assert found["first"] == "prompt 3"
        assert found["before"] == "prompt 2"
        asked = len(service.requests)
        assert asked == 2 * len(found["looked_at"]) == 6
        assert run(*command, "--json").lines == [found]
        assert len(service.requests) == asked


@pytest.mark.usefixtures("desk")
def test_where_nobody_answers_nothing_is_told(run: Refold, tmp_path: Path) -> None:
    """Not that it is not so: the reason stands there, and the exit code is its own."""
    (tmp_path / "p1.md").write_text("P1")
    with serving(lambda _: (404, b'{"error": {"message": "no such model"}}')) as service:
        asked = ("bisect", "call-0", "--prompt", "p1.md", *REFUND, "--base-url", service.url)
        found = run(*asked)
    assert found.code == 4
    assert "nothing can be told of any" in found.out
    assert "prompt 1: 1 decision without an answer" in found.err
    assert "no such model" in found.err


@pytest.mark.usefixtures("desk")
def test_after_an_interruption_another_check_asks_for_what_is_missing_alone(
    run: Refold, tmp_path: Path
) -> None:
    """A bound ends it with what it has; answers are kept, whatever is looked for in them."""
    prompts: list[str] = []

    def answer(request: dict[str, Any]) -> tuple[int, bytes]:
        prompts.append(request["messages"][0]["content"])
        choice = {"index": 0, "message": {"role": "assistant", "content": "A refund of 5."}}
        usage = {"prompt_tokens": 1_000_000, "completion_tokens": 0, "total_tokens": 1_000_000}
        said = {"id": "x", "model": "m-1", "choices": [choice], "usage": usage}
        return 200, json.dumps(said).encode()

    for number in range(1, 5):
        (tmp_path / f"p{number}.md").write_text(f"P{number}")
    given = [part for number in range(1, 5) for part in ("--prompt", f"p{number}.md")]
    with serving(answer) as service:
        command = ("bisect", "call-0", "call-1", *given, "--base-url", service.url)
        bound = ("--max-cost", "1", "--price", "m-1=1,1", "--workers", "1")
        stopped = run(*command, *REFUND, *bound)
        assert stopped.code == 2
        assert "the budget is spent" in stopped.err and "asks for the rest" in stopped.err
        assert len(prompts) <= 1
        (found,) = run(*command, *REFUND, "--json").lines
        assert found["first"] == "prompt 1"
        asked = len(prompts)
        assert asked == len({*prompts}) * 2 == 2 * len(found["looked_at"])
        never = run(*command, "--holds", "never_says=refund", "--json")
        assert (never.code, never.lines[0]["first"]) == (1, None)
        assert len(prompts) == asked


def test_a_conversation_that_names_no_version_is_left_out_and_told_of(
    run: Refold, desk: None
) -> None:
    """Among those that were chosen: nothing is dropped in silence."""
    with refold.open("refold.db") as store:
        store.append("call-90", [UserUtterance("Hello?"), AgentUtterance("A refund.")])
    ran = run("bisect", "--over", "versions", "call-0", "call-15", "call-90", *REFUND, "--json")
    assert "1 conversation left out: nothing says which version was in force" in ran.err
    (found,) = ran.lines
    assert (found["first"], found["before"]) == ("v7", "v0")


def test_an_empty_store_has_nothing_to_look_at(run: Refold) -> None:
    """Neither a stream, nor a prompt or version that was in force."""
    refold.open("refold.db").close()
    gone = run("bisect", "call-1", *REFUND)
    assert gone.code != 0 and "call-1" in gone.err
    for over in ("prompts", "versions"):
        none = run("bisect", "--over", over, *REFUND)
        assert (none.code, none.out) == (2, "")
        assert f"no conversation says which {over[:-1]} was in force" in none.err


def test_a_check_of_the_users_own_that_raises_is_an_error(run: Refold, call: str) -> None:
    """It names the check, what it raised and where it looked; nothing is found."""
    Path("own.py").write_text("def rule(state, history):\n    return history[99]\n")
    ran = run("bisect", call, "--fails", "own.py:rule")
    assert (ran.code, ran.out) == (2, "")
    assert "rule failed at call-1" in ran.err and "IndexError" in ran.err


def test_what_is_gone_from_a_conversation_is_told(run: Refold, call: str) -> None:
    """A check cannot find words that were redacted: whoever reads the answer knows."""
    with refold.open("refold.db") as store:
        user = next(one.id for one in store.read(call) if one.type == "user.utterance")
        redact(store, [user], field="text", wanted=Removal("a name", by="dpo"))
    ran = run("bisect", call, "--fails", "only_tools=none")
    assert ran.code == 0
    assert "1 event of it redacted or erased" in ran.err
    assert "took it that what came stayed" in ran.out


@pytest.mark.usefixtures("desk")
def test_a_bound_in_dollars_is_kept_by_the_prices_that_are_given(run: Refold) -> None:
    """Where nobody says what a model costs, the option that the error names is there."""

    def answer(_: dict[str, Any]) -> tuple[int, bytes]:
        choice = {"index": 0, "message": {"role": "assistant", "content": "A refund."}}
        usage = {"prompt_tokens": 10, "completion_tokens": 5}
        said = {"id": "x", "model": "m-1", "choices": [choice], "usage": usage}
        return 200, json.dumps(said).encode()

    with serving(answer) as service:
        asking = ("--prompt", "Be kind.", "--workers", "1", "--base-url", service.url)
        command = ("bisect", "call-0", "call-1", *asking, *REFUND, "--max-cost", "1")
        assert "--price NAME=IN,OUT" in run(*command).err
        (found,) = run(*command, "--price", "m-1=1,2", "--json").lines
    assert found["first"] == "prompt 1"


@pytest.mark.usefixtures("desk")
@pytest.mark.parametrize(
    ("given", "said"),
    [
        (["call-1"], "--holds CHECK, or --fails CHECK"),
        (["call-1", *REFUND, "--holds", "ended=done"], "two searches: give one of them"),
        ([*REFUND], "name one stream"),
        (["call-1", "call-2", *REFUND], "name one stream"),
        (["call-1", "--fails", "never_say=x"], "never_says"),
        (["call-1", *REFUND, "--share", "0.3"], "--share"),
        (["call-1", *REFUND, "--model", "openai:x"], "without --prompt"),
        (["--over", "versions", *REFUND, "--share", "0"], "share"),
    ],
)
def test_what_makes_no_sense_is_refused(run: Refold, given: list[str], said: str) -> None:
    """Before anything is looked at, with what to say instead."""
    ran = run("bisect", *given)
    assert ran.code == 2
    assert said in ran.err
