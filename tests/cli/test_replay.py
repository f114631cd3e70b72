"""`refold replay` and `refold compare`, against a real endpoint on this machine."""

import json
import shlex
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

import refold
from refold.recording import record
from tests.cli.endpoints import Answer, garbage, says, serving, status
from tests.cli.running import Refold

ONCE = ("--attempts", "1", "--workers", "1")


def test_a_replay_asks_what_is_missing_and_nothing_twice(run: Refold, call: str) -> None:
    """Two decisions, two requests; the second run keeps both answers and asks nothing."""
    with serving(says("Yes, at nine.")) as service:
        options = ("--base-url", service.url, "--json")
        first = run("replay", call, *options)
        assert first.code == 0, first
        assert len(service.requests) == 2
        (again,) = run("replay", call, *options).lines
        assert len(service.requests) == 2
    (summary,) = first.lines
    assert (summary["answered"], summary["kept"], summary["failed"]) == (2, 0, 0)
    assert (again["answered"], again["kept"]) == (0, 2)
    assert service.requests[0]["model"] == "m-1"


def test_the_variant_is_what_the_endpoint_gets(run: Refold, call: str, tmp_path: Path) -> None:
    """Prompt (file or text), model, tools and parameters are those of the options."""
    (tmp_path / "new.txt").write_text("Be long.\n")
    tool = {"type": "function", "effect": "read", "function": {"name": "slots", "parameters": {}}}
    (tmp_path / "tools.json").write_text(json.dumps([tool]))
    with serving(says("Hm.")) as service:
        changed = (
            *("--prompt", "new.txt", "--model", "openai:other", "--tools", "tools.json"),
            *("--param", "temperature=0", "--param", "user=me", "--param", "stop=[1]"),
        )
        assert run("replay", call, "--base-url", service.url, *changed).code == 0
        text = ("--prompt", "Be very brief.")
        assert run("replay", call, "--base-url", service.url, *text).code == 0
    asked, other = service.requests[0], service.requests[-1]
    assert asked["messages"][0] == {"role": "system", "content": "Be long.\n"}
    assert asked["model"] == "other"
    assert [sorted(tool) for tool in asked["tools"]] == [["function", "type"]]
    assert (asked["temperature"], asked["user"], asked["stop"]) == (0, "me", [1])
    assert other["messages"][0]["content"] == "Be very brief."


def test_answers_are_asked_for_in_pieces_where_that_is_wanted(run: Refold, call: str) -> None:
    """--stream says so in each request."""
    with serving(says("Hm.")) as service:
        for more in (("--label", "whole"), ("--label", "pieces", "--stream")):
            assert run("replay", call, "--base-url", service.url, *more).code == 0
    assert [body.get("stream") for body in service.requests] == [None, None, True, True]


def test_the_key_comes_from_the_environment_alone(run: Refold, call: str) -> None:
    """The key of the environment is sent, and stands in no event and no output."""
    with serving(says("Hm.")) as service:
        done = run("replay", call, "--base-url", service.url, OPENAI_API_KEY="sk-secret")
    assert service.keys[0] == "Bearer sk-secret"
    assert "sk-secret" not in done.out + done.err + run("log", "--json").out


def test_openai_itself_is_not_asked_without_a_key(run: Refold, call: str) -> None:
    """The default endpoint without a key: exit 2 before anything is asked, naming the variable."""
    none = {"OPENAI_API_KEY": "", "REFOLD_API_KEY": "", "OPENAI_BASE_URL": ""}
    done = run("replay", call, "--model", "openai:gpt-4o", **none)
    assert done.code == 2
    assert "OPENAI_API_KEY" in done.err


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(429), "429"),
        (status(500), "500"),
        (status(401), "401"),
        (garbage, "garbage"),
        (None, "timeout"),
    ],
)
def test_an_endpoint_that_fails_is_named(
    run: Refold, call: str, answer: Answer | None, reason: str
) -> None:
    """429, 500, 401, garbage, a hang: exit 3, why and where on stderr, and a later run repairs."""
    with serving(answer) as service:
        done = run("replay", call, "--base-url", service.url, "--timeout", "0.3", *ONCE)
        assert done.code == 3
        assert reason in done.err
        assert service.url in done.err
        assert "Traceback" not in done.err
    with serving(says("Yes.")) as service:
        (summary,) = run("replay", call, "--base-url", service.url, "--json").lines
    assert (summary["answered"], summary["failed"]) == (2, 0)


def test_an_endpoint_that_is_down_is_named(run: Refold, call: str) -> None:
    """Nobody listens: exit 3, with the address and what to do."""
    with serving(says("")) as service:
        pass
    done = run("replay", call, "--base-url", service.url, *ONCE)
    assert done.code == 3
    assert service.url in done.err


def test_one_decision_without_an_answer_is_a_finding(run: Refold, call: str) -> None:
    """Some answered, some not: exit 1, and the decision is named on stderr."""

    def fails_late(request: dict[str, object]) -> tuple[int, bytes]:
        messages = request["messages"]
        assert isinstance(messages, list)
        late = messages[-1]["role"] == "tool"
        return status(500)(request) if late else says("Hm.")(request)

    with serving(fails_late) as service:
        done = run("replay", call, "--base-url", service.url, *ONCE)
    assert done.code == 1
    assert "call-1@5" in done.err


def test_a_cost_is_compared_only_where_both_are_known(run: Refold, tmp_path: Path) -> None:
    """Where an answer is missing, the sums are of different decisions: no percentage is made."""
    with refold.open(tmp_path / "refold.db") as store, record(store, "call-1") as session:
        for number in range(2):
            session.user_said(f"question {number}")
            session.model_answered("Hm.", model="m-1", cost=Decimal("1.00"))

    def fails_late(request: dict[str, Any]) -> tuple[int, bytes]:
        is_late = "question 1" in str(request["messages"])
        return status(500)(request) if is_late else says("Hm.")(request)

    options = ("--model", "openai:m-1", "--price", "m-1=100000,0", *ONCE)
    with serving(fails_late) as service:
        assert run("replay", "call-1", "--base-url", service.url, *options).code == 1
    (told,) = (line for line in run("compare").out.splitlines() if line.startswith("cost $"))
    assert told == "cost $2.00 recorded, $1.00 candidate  +$0.00 where both are known"


def test_a_price_may_be_given_when_answers_are_compared(run: Refold, call: str) -> None:
    """Nothing is asked again; beside two recorded selections it is taken too."""
    replayed(run, call, "Yes, at nine.")

    def cost(*options: str) -> str | None:
        (found,) = run("compare", "--json", *options).lines
        told: str | None = found["figures"]["candidate"]["cost"]
        return told

    assert cost() is None
    assert cost("--price", "other=1,1") is None
    assert Decimal(cost("--price", "m-1=100000,0") or 0) == 2
    assert "cost – recorded, $2.00 candidate" in run("compare", "--price", "m-1=100000,0").out
    assert run("compare", "--price", "m-1=1,1", "--price", "m-1=2,2").code == 2
    assert run("compare", "--price", "m-1=nan,1").code == 2


def test_a_comparison_says_what_was_tried_again(run: Refold, call: str) -> None:
    """The requests that were not answered are counted; garbage may have been charged."""
    first: list[Answer] = [garbage]

    def answer(request: dict[str, Any]) -> tuple[int, bytes]:
        return (first.pop() if first else says("Yes, at nine."))(request)

    with serving(answer) as service:
        assert run("replay", call, "--workers", "1", "--base-url", service.url).code == 0
    told = run("compare").out
    assert "1 answer tried again, 1 request more" in told
    assert "1 of them may have been charged without saying so" in told
    (found,) = run("compare", "--json", "--price", "m-1=100000,0").lines
    candidate = found["figures"]["candidate"]
    assert (float(candidate["cost"]), candidate["cost_known"]) == (1.0, 1)


@pytest.mark.parametrize(
    "options",
    [
        ["call-1", "--prompt", "missing.txt"],
        ["call-1", "--prompt", "@missing.txt"],
        ["call-1", "--prompt", ""],
        ["call-1", "--tools", "missing.json"],
        ["call-1", "--tools", "broken.json"],
        ["call-1", "--model", "gpt-4o"],
        ["call-1", "--model", "openai:"],
        ["call-1", "--param", "temperature"],
        ["call-1", "--param", 'stop={"a": 1, "a": 2}'],
        ["call-1", "--param", "stop=['a']"],
        ["call-1", "--price", "m=nan,1"],
        ["call-1", "--price", "m=-1,1"],
        ["call-1", "--param", "model=x"],
        ["call-1", "--price", "gpt-4o=1"],
        ["call-1", "--price", "gpt-4o=a,b"],
        ["call-1", "--base-url", "ftp://x"],
        ["call-1", "--timeout", "0"],
        ["call-1", "--rps", "0"],
        ["call-1", "--workers", "0"],
        ["call-1", "--mode", "free"],
        ["call-1", "--mode", "next-step", "--user", "rules"],
        ["call-9"],
        [],
    ],
)
def test_a_replay_that_cannot_be_is_refused(
    run: Refold, call: str, tmp_path: Path, options: list[str]
) -> None:
    """A missing file, a wrong model, parameter, price, URL, stream or number: exit 2."""
    (tmp_path / "broken.json").write_text("{")
    base = [] if "--base-url" in options else ["--base-url", "http://127.0.0.1:9/v1"]
    done = run("replay", *options, *base)
    assert done.code == 2, done
    assert "Traceback" not in done.err


def test_a_record_without_a_model_wants_one(run: Refold) -> None:
    """Where neither record nor options name a model: exit 2, and the option is named."""
    with refold.open("refold.db") as store:
        said = [("user.utterance", {"text": "Hi"}), ("agent.utterance", {"text": "Hello"})]
        store.append("chat-1", [refold.Event(type_, data) for type_, data in said])
    with serving(says("Hm.")) as service:
        done = run("replay", "chat-1", "--base-url", service.url)
    assert done.code == 2
    assert "--model" in done.err
    assert service.requests == []


def test_verify_asks_no_one_and_finds_nothing_wrong(run: Refold, call: str) -> None:
    """`--mode verify` needs no endpoint; a record that agrees with itself exits with 0."""
    (found,) = run("replay", call, "--mode", "verify", "--json").lines
    assert (found["conversations"], found["decisions"], found["mismatches"]) == (1, 2, [])
    assert run("replay", "--category", "call", "--mode", "verify").code == 0


def test_verify_reports_a_record_that_does_not_agree(run: Refold, call: str) -> None:
    """A result without its call is a mismatch: exit 1, named with its event."""
    run("what-if", call, "--without", "3", "--save", "call-1~b")
    done = run("replay", "call-1~b", "--mode", "verify")
    assert done.code == 1
    assert "call-1@4" in done.out  # The event that the branch copied.


def replayed(run: Refold, call: str, text: str, *options: str) -> str:
    """The id of the variant of a replay in which the endpoint says ``text``."""
    with serving(says(text)) as service:
        (summary,) = run("replay", call, "--base-url", service.url, "--json", *options).lines
    return str(summary["variant_id"])


def test_the_only_replay_is_the_one_compared(run: Refold, call: str, tmp_path: Path) -> None:
    """`compare` needs no name where there is one; it prints figures and writes the report."""
    with refold.open("refold.db") as store:
        store.append("mail-1", [refold.Event("user.utterance", {"text": "not replayed"})])
    variant_id = replayed(run, call, "Yes, at nine.")
    done = run("compare", "--report", "out.html")
    assert done.code == 0, done
    assert variant_id in done.out
    assert "next-step" in done.out
    assert "<html" in (tmp_path / "out.html").read_text()
    (found,) = run("compare", "--json").lines
    assert found["variant_id"] == variant_id
    counts = found["figures"]["counts"]
    assert (counts["tools"], counts["same"]) == (1, 1)
    assert [c["stream"] for c in found["conversations"]] == [call]


def test_a_replay_is_named_by_id_label_or_options(run: Refold, call: str) -> None:
    """Of several, one is named by its id, the beginning of it, its label, or what it changed."""
    plain = replayed(run, call, "Yes.")
    hot = replayed(run, call, "No.", "--param", "temperature=1", "--label", "hot")
    ambiguous = run("compare", "--json")
    assert ambiguous.code == 2
    assert plain in ambiguous.error["message"] and "hot" in ambiguous.error["message"]
    for named in (
        ["--variant", hot],
        ["--variant", hot[:6]],
        ["--variant", "hot"],
        ["--param", "temperature=1", "--label", "hot"],
    ):
        assert run("compare", "--json", *named).lines[0]["variant_id"] == hot
    (found,) = run("compare", "--json", "--variant", "hot", "--control", plain).lines
    assert found["control"]["variant_id"] == plain
    assert "the recorded agent again" in run("compare", "--variant", "hot", "--control", plain).out
    assert run("compare", "--variant", "hot", "--control", "hot").code == 2
    assert run("compare", "--variant", "cold").code == 2
    assert run("compare", "--variant", "hot", "--run", "5").code == 2


def test_the_gate_exits_with_1_only_when_asked(run: Refold, call: str) -> None:
    """A difference is no failure of `compare` unless --fail-on names it."""
    replayed(run, call, "Something else.")
    assert run("compare").code == 0
    assert run("compare", "--fail-on", "different").code == 1
    assert run("compare", "--fail-on", "failed").code == 0
    assert run("compare", "--fail-on", "failed", "--fail-on", "different").code == 1


def test_samples_are_kept_apart(run: Refold, call: str) -> None:
    """`--samples 2` runs twice; each run is compared by its number, or set against the other."""
    with serving(says("Yes.")) as service:
        options = ("--base-url", service.url, "--samples", "2", "--json")
        assert [line["sample"] for line in run("replay", call, *options).lines] == [0, 1]
    (found,) = run("compare", "--json", "--run", "1").lines
    assert found["sample"] == 1
    same = ("--control", found["variant_id"], "--control-run", "0")
    assert run("compare", "--run", "1", *same).code == 0


def test_compare_without_a_replay_says_so(run: Refold, call: str) -> None:
    """A store without replays: exit 2 and the command to run first."""
    done = run("compare", "--json")
    assert (done.code, done.error["code"]) == (2, "not_found")


def test_a_report_that_cannot_be_written_is_refused(run: Refold, call: str) -> None:
    """A report into a folder that is not there: exit 2 and its path."""
    replayed(run, call, "Yes.")
    done = run("compare", "--report", "gone/out.html", "--json")
    assert (done.code, done.error["path"]) == (2, "gone/out.html")


def test_nothing_compared_is_not_the_same(run: Refold, call: str) -> None:
    """Where every decision failed, the gate on differences is shut."""
    with serving(status(500)) as service:
        assert run("replay", call, "--base-url", service.url, *ONCE).code == 3
    assert run("compare").code == 0
    assert run("compare", "--fail-on", "different").code == 1


def test_hints_name_the_store_that_was_named(run: Refold, call: str, tmp_path: Path) -> None:
    """The next command can be pasted; where no store was named, none is."""
    (tmp_path / "refold.db").rename(tmp_path / "my calls.db")
    with serving(says("Yes.")) as service:
        asked = ("replay", call, "--base-url", service.url)
        named = run(*asked, "--db", "my calls.db").out.splitlines()[-1]
        by_variable = run(*asked, REFOLD_URL="my calls.db").out.splitlines()[-1]
    assert named == f"{by_variable} --db 'my calls.db'"
    assert run(*shlex.split(named.partition("refold ")[2])).code == 0


def test_a_control_that_was_not_run_is_refused(run: Refold, call: str) -> None:
    """A number that no sample of the control has: exit 2, and what there is."""
    control = replayed(run, call, "Yes.")
    hot = replayed(run, call, "No.", "--label", "hot")
    done = run("compare", "--variant", hot, "--control", control, "--control-run", "5")
    assert done.code == 2
    assert f"sample 5 of {control}, 1 conversation\n" in done.err


def test_a_category_without_replays_is_named(run: Refold, call: str) -> None:
    """It is the category that has none, not the sample."""
    replayed(run, call, "Yes.")
    done = run("compare", "--category", "nope")
    assert done.code == 2
    assert "nothing in category 'nope' was replayed" in done.err


def test_an_endpoint_that_cannot_be_reached_is_named_once(run: Refold, tmp_path: Path) -> None:
    """However the replay ends."""
    with refold.open(tmp_path / "refold.db") as store, record(store, "call-1") as session:
        for number in range(9):
            session.user_said(f"question {number}")
            session.model_answered("Hm.", model="m-1")
    with serving(says("")) as service:
        pass
    options = ("--model", "openai:m-1", *ONCE)
    done = run("replay", "call-1", "--base-url", service.url, *options)
    assert done.code == 3
    assert "cannot be reached: no connection" in done.err
    assert done.err.count(service.url) == 1


@pytest.mark.parametrize("name", ["--base-url", "--judge-url"])
def test_an_address_with_a_password_says_where_the_key_is_read(
    run: Refold, call: str, name: str
) -> None:
    """In the words of the command line, and without the password."""
    judge = ("--judge", "openai:m") if name == "--judge-url" else ()
    done = run("replay", call, *judge, name, "http://me:hush@127.0.0.1:9/v1")
    assert done.code == 2
    assert f"{name} holds a user or password: the key is read from REFOLD_" in done.err
    assert "hush" not in done.err and "api_key" not in done.err
    env = {"REFOLD_BASE_URL": "http://me:hush@127.0.0.1:9/v1"}
    assert "REFOLD_BASE_URL holds a user" in run("replay", call, **env).err
    odd = run("replay", call, *judge, name, "nowhere")
    assert (odd.code, name in odd.err) == (2, True), odd
