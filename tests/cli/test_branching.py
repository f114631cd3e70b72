"""`what-if` and `diff`: what changes when something had not happened."""

from pathlib import Path

import refold
from tests.cli.running import Refold


def test_what_if_shows_the_state_and_what_lost_its_ground(run: Refold, call: str) -> None:
    """Without its call, a tool's result is named; the state's changes are a patch."""
    (found,) = run("what-if", call, "--without", "call-1@3", "--json").lines
    assert [event["id"] for event in found["removed"]] == ["call-1@3"]
    assert [(one["id"], one["type"]) for one in found["groundless"]] == [
        ("call-1@4", "tool.result"),
        ("call-1@5", "agent.utterance"),
    ]
    assert found["fold"] == "conversation"
    assert "/tool_calls/0" in [operation["path"] for operation in found["state"]]
    assert found["saved"] is None
    plain = run("what-if", call, "--without", "call-1@3")
    assert plain.code == 0
    assert "call-1@4" in plain.out


def test_a_basis_a_message_and_a_cause_are_grounds(run: Refold) -> None:
    """Events that name a removed one as basis, message or cause are reported; others are not."""
    with refold.open("refold.db") as store:
        store.append(
            "call-1",
            [
                refold.Event("user.utterance", {"text": "a"}),
                refold.Event("decision.recorded", {"basis": ["call-1@0"]}),
                refold.Event("model.request", {"api": "chat", "messages": ["call-1@0"]}),
                refold.Event("user.utterance", {"text": "b"}, metadata={"causation": "call-1@0"}),
                refold.Event("decision.recorded", {"basis": ["call-1@1"]}),
            ],
        )
    (found,) = run("what-if", "call-1", "--without", "0", "--json").lines
    lost = ["call-1@1", "call-1@2", "call-1@3", "call-1@4"]
    assert [one["id"] for one in found["groundless"]] == lost
    assert found["groundless"][3]["reason"] == "rests on call-1@1 (decision.recorded)"


def test_a_call_id_that_is_used_again_is_told_apart(run: Refold) -> None:
    """A result rests on its own call, not on an earlier one that had the same call id."""
    with refold.open("refold.db") as store:
        asked = refold.Event("tool.call", {"call_id": "c1", "name": "slots"})
        given = refold.Event("tool.result", {"call_id": "c1", "result": "x"})
        store.append("call-1", [asked, given, asked, given])
    (found,) = run("what-if", "call-1", "--without", "2", "--json").lines
    assert [one["id"] for one in found["groundless"]] == ["call-1@3"]


def test_an_answer_rests_on_what_it_answers(run: Refold) -> None:
    """Where nobody wrote down causes: on all that came since the last; each is named once."""
    with refold.open("refold.db") as store:
        store.append(
            "call-1",
            [
                refold.Event("user.utterance", {"text": "Who am I?"}),
                refold.Event("tool.call", {"call_id": "c1", "name": "who"}),
                refold.Event("tool.call", {"call_id": "c2", "name": "when"}),
                refold.Event("tool.result", {"call_id": "c1", "result": "Mia"}),
                refold.Event("tool.result", {"call_id": "c2", "result": "now"}),
                refold.Event("agent.utterance", {"text": "You are Mia."}),
                refold.Event("user.utterance", {"text": "Thanks."}),
                refold.Event("agent.utterance", {"text": "Bye."}),
            ],
        )
    (found,) = run("what-if", "call-1", "--without", "3", "--json").lines
    assert [one["id"] for one in found["groundless"]] == ["call-1@5"]
    (found,) = run("what-if", "call-1", "--without", "1", "--without", "2", "--json").lines
    assert [one["id"] for one in found["groundless"]] == ["call-1@3", "call-1@4", "call-1@5"]
    (found,) = run("what-if", "call-1", "--without", "6", "--json").lines
    assert [one["id"] for one in found["groundless"]] == ["call-1@7"]


def test_money_that_was_not_there_cannot_have_been_paid(run: Refold) -> None:
    """Of a wallet: what its guards would have refused, without what was left out, is named."""
    paid = {"amount": "5", "asset": "EUR"}
    with refold.open("refold.db") as store:
        kinds = ("funds.deposited", "funds.withdrawn", "funds.withdrawn")
        amounts = ("9", "5", "4")
        events = [
            refold.Event(kind, {**paid, "amount": amount})
            for kind, amount in zip(kinds, amounts, strict=True)
        ]
        store.append("agent-1", events)
    (found,) = run("what-if", "agent-1", "--without", "0", "--json").lines
    assert [one["id"] for one in found["impossible"]] == ["agent-1@1", "agent-1@2"]
    assert "insufficient_funds" in found["impossible"][0]["reason"]
    assert "cannot have happened" in run("what-if", "agent-1", "--without", "0").out
    assert run("what-if", "agent-1", "--without", "2", "--json").lines[0]["impossible"] == []


def test_what_if_writes_nothing_unless_asked(run: Refold, call: str) -> None:
    """`--save` keeps the branch under its name; without it the log stays as it was."""
    run("what-if", call, "--without", "3")
    assert [line["stream"] for line in run("streams", "--json").lines] == [call]
    saved = run("what-if", call, "--without", "3", "--without", "4", "--save", "call-1~b", "--json")
    assert saved.lines[0]["saved"] == "call-1~b"
    kept = run("show", "call-1~b", "--json").lines
    assert "tool.call" not in [line["type"] for line in kept]
    again = run("what-if", call, "--without", "3", "--save", "call-1~b", "--json")
    assert (again.code, again.error["code"]) == (1, "conflict")
    assert "exists already: give another name" in again.error["message"]


def test_what_if_refuses_what_is_not_there(run: Refold, call: str) -> None:
    """An id that is no id, an event of another stream, and no event at all: exit 2."""
    for wanted in (["--without", "xyz"], ["--without", "call-2@1"], ["--without", "77"], []):
        assert run("what-if", call, *wanted).code == 2
    assert run("what-if", call, "--without", "3", "--save", "call-2").code == 2


def test_diff_ends_as_diff_does(run: Refold, call: str) -> None:
    """0 where nothing differs, 1 where something does, 2 where it cannot be told."""
    run("append", "call-2", stdin=run("show", call, "--json").out)
    assert run("diff", call, call).code == 0
    assert run("diff", f"{call}@3", call).code == 1
    assert run("diff", call, "call-9").code == 2


def test_diff_gives_events_and_state(run: Refold, call: str) -> None:
    """Shared events are counted; each change has both sides; the state's is an RFC 6902 patch."""
    run("append", "call-2", "--type", "session.started", "--data", '{"channel": "chat"}')
    (found,) = run("diff", f"{call}@0", "call-2", "--json").lines
    (change,) = found["changes"]
    assert (found["shared"], change["kind"]) == (0, "changed")
    assert (change["before"]["id"], change["after"]["id"]) == ("call-1@0", "call-2@0")
    assert change["patch"][0]["path"] == "/channel"
    assert "/channel" in [operation["path"] for operation in found["state"]]
    plain = run("diff", f"{call}@0", "call-2").out
    assert "/channel" in plain


def test_a_stream_may_be_named_like_a_point(run: Refold, call: str) -> None:
    """`a@1` is version 1 of `a` only where no stream is called `a@1`."""
    run("append", "call-1@2", "--type", "session.ended")
    (found,) = run("diff", "call-1@2", "call-1@2", "--json").lines
    assert found["shared"] == 1
    assert run("diff", "call-1@1", "call-1@1", "--json").lines[0]["shared"] == 2


def test_what_if_puts_other_events_in(run: Refold, call: str) -> None:
    """In the place of one or after one, as JSON or from a file; nothing is written unless asked."""
    told = '{"type": "tool.result", "data": {"call_id": "c1", "result": "none"}}'
    Path("more.json").write_text('[{"type": "user.utterance", "data": {"text": "Stop."}}]')
    given = ("--replace", f"4={told}", "--add", "call-1@2=@more.json", "--json")
    (found,) = run("what-if", call, *given).lines
    assert [one["id"] for one in found["removed"]] == ["call-1@4"]
    assert [one["data"] for one in found["added"]] == [
        {"text": "Stop."},
        {"call_id": "c1", "result": "none"},
    ]
    assert "did not know of call-1~@" in found["groundless"][0]["reason"]
    assert "with\n" in run("what-if", call, "--replace", f"4={told}").out


def test_what_if_refuses_what_is_no_change(run: Refold, call: str) -> None:
    """No change at all, no event, an event twice, what cannot be appended either."""
    told = '{"type": "user.utterance", "data": {"text": "x"}}'
    for wrong, said in (
        ((), "--without, --replace or --add"),
        (("--replace", told), "EVENT_ID=JSON"),
        (("--add", "4"), "EVENT_ID=JSON"),
        (("--replace", f"4={told}", "--replace", f"4={told}"), "twice"),
        (("--add", '4={"data": {}}'), "type"),
        (("--add", "4=@none.json"), "none.json"),
    ):
        ran = run("what-if", call, *wrong)
        assert ran.code == 2, ran
        assert said in ran.err


def test_a_fold_that_takes_none_of_the_events_is_told(run: Refold, tmp_path: Path) -> None:
    """Nothing changed in a state that none of them is in says nothing: yours is to be named."""
    with refold.open(tmp_path / "refold.db") as store:
        store.append("robot-1", [refold.Event("wheel.turned", {"by": 3})] * 2)
    for asked in (("state", "robot-1"), ("what-if", "robot-1", "--without", "0")):
        done = run(*asked)
        assert done.code == 0
        assert "no fold of refold takes these events: --fold names" in done.err
