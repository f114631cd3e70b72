"""What `refold replay` says of its own answers, and what it puts on record of how they were got."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from shlex import split

import pytest

import refold
from refold.cli import output
from refold.cli import replay as command
from refold.replay import Variant, branch_name
from refold.replay.judge import Judge
from refold.replay.leases import Leases, _going_on
from refold.replay.plan import plans
from tests.cli.endpoints import garbage, says, serving
from tests.cli.running import Refold
from tests.support.chat_server import Body, ChatServer

TALK = [
    ("agent.configured", {"prompt": {"text": "Be brief."}, "model": "m-1"}),
    ("user.utterance", {"text": "Is Tuesday free?"}),
    ("agent.utterance", {"text": "Yes, at nine."}),
]


def recorded(count: int) -> None:
    with refold.open("refold.db") as store:
        for number in range(count):
            events = [refold.Event(*one) for one in TALK]
            store.append(f"talk-{number}", events, metadata={"subject": f"person-{number // 2}"})


RUN = ("replay", "--category", "talk", "--label", "new")


@pytest.mark.parametrize(
    "asked",
    [
        ("--control",),
        ("--check", "max_words=2"),
        ("--ignore", "book/request_id"),
        ("--primary", "same_calls"),
        ("--guardrail", "cost"),
    ],
)
def test_what_was_asked_about_is_answered(run: Refold, asked: tuple[str, ...]) -> None:
    """A control, a check, a metric: without a gate and a report, the comparison is printed too."""
    recorded(6)
    with serving(says("No.")) as service:
        done = run(*RUN, "--base-url", service.url, *asked)
    assert done.code == 0, done
    assert "6  100.0 %  other words, with the same calls or none" in done.out
    assert ("control " in done.out) is ("--control" in asked)


def test_nothing_that_was_not_asked_about_is_printed(run: Refold) -> None:
    """A replay by itself says what it did, and how to compare."""
    recorded(1)
    with serving(says("No.")) as service:
        done = run(*RUN, "--base-url", service.url)
    assert "the same action" not in done.out
    assert "compare: refold compare --variant" in done.out


def test_a_check_decides_in_the_run_itself(run: Refold) -> None:
    """One command replays and judges: an answer that is too long is worse, exit 1."""
    recorded(8)
    with serving(says("No, and that is more than was asked for.")) as service:
        gate = ("--check", "max_words=3", "--primary", "check:max_words=3", "--fail-on", "worse")
        done = run(*RUN, "--base-url", service.url, *gate)
    assert done.code == 1, done
    assert "Do not ship it: worse in words of an answer, at most: 3." in done.out


def test_what_a_run_declared_decides_when_it_is_compared(run: Refold) -> None:
    """Later, with nothing said again: what decides was chosen before the answers were there."""
    recorded(8)
    declared = ("--primary", "check:max_words=3", "--margin", "10pt")
    with serving(says("No.")) as service:
        run(*RUN, "--base-url", service.url, "--check", "max_words=3", *declared)
    (told,) = run("compare", "--check", "max_words=3", "--json").lines
    primary = told["verdicts"]["primary"]
    assert (primary["metric"]["name"], primary["margin"]) == ("check:max_words=3", 0.1)
    (other,) = run("compare", "--primary", "same_calls", "--json").lines
    primary = other["verdicts"]["primary"]
    assert (primary["metric"]["name"], primary["margin"]) == ("same_calls", None)
    without = run("compare", "--json")
    assert without.lines[0]["verdicts"]["primary"]["metric"]["name"] == "broken_answers"
    assert "check:max_words=3 was to decide" in without.err


@pytest.mark.parametrize(
    ("said", "level"),
    [
        ("maximum context length is 10 tokens", "own_limit"),
        ("filtered due to the prompt triggering our content management policy", "filtered"),
    ],
)
def test_a_candidate_that_takes_nothing_is_worse(run: Refold, said: str, level: str) -> None:
    """Each request is refused for what it is, from the first on: that is its answer."""
    recorded(24)
    refusal = json.dumps({"error": {"message": said}}).encode()
    with serving(lambda _request: (400, refusal)) as service:
        asked = ("replay", "--category", "talk", "--base-url", service.url)
        gated = run(*asked, "--label", "new", "--fail-on", "worse", "--margin", "2pt")
        alone = run(*asked, "--label", "again")
    assert (gated.code, alone.code) == (1, 1), (gated, alone)
    assert "Do not ship it: worse in answers that are broken." in gated.out
    assert level in gated.out
    assert f"status 400: {said}" in alone.err


def test_a_service_that_fails_behind_what_is_over_a_limit_has_failed(run: Refold) -> None:
    """However many were over it before, and are told."""
    recorded(24)
    limit = 400, b'{"error": {"message": "maximum context length is 10 tokens"}}'
    answers = iter([limit] * 22)
    with serving(lambda request: next(answers, None) or garbage(request)) as service:
        asked = ("replay", "--category", "talk", "--base-url", service.url, "--workers", "1")
        done = run(*asked, "--label", "new", "--attempts", "1")
    assert done.code == 3, done
    assert "garbage" in done.err


def test_the_seed_of_a_sample_is_in_the_plan(run: Refold) -> None:
    """What was chosen by chance can be chosen again; where nothing was, there is none."""
    recorded(6)
    with serving(says("No.")) as service:
        for label, more in (("some", ("--sample", "2", "--seed", "7")), ("all", ())):
            asked = ("replay", "--category", "talk", "--label", label, *more)
            assert run(*asked, "--base-url", service.url).code == 0
    with refold.open("refold.db", mode="read") as store:
        seeds = {plan.variant.label: (plan.terms.seed, len(plan.versions)) for plan in plans(store)}
    assert seeds == {"some": (7, 2), "all": (None, 6)}


def test_an_edited_prompt_under_an_old_label_is_told(run: Refold) -> None:
    """It is another variant, asked for itself: the old answers are not the new prompt's."""
    recorded(2)
    prompt = Path("new.md")
    with serving(says("No.")) as service:
        asked = (*RUN, "--prompt", "new.md", "--base-url", service.url)
        prompt.write_text("Be short.")
        first = run(*asked)
        assert "the label new" not in first.err
        assert "the label new" not in run(*asked).err
        assert len(service.requests) == 2
        prompt.write_text("Be very short.")
        edited = run(*asked)
        assert len(service.requests) == 4
    old = first.out.split()[1].rstrip(",")
    assert f"the label new is that of {old} too, which changes something else" in edited.err


def test_a_model_without_a_price_is_asked_once_and_told(run: Refold) -> None:
    """Nobody says what it costs, so that no budget can be kept: exit 2, and what to do."""
    recorded(5)
    with serving(says("No.")) as service:
        asked = (*RUN, "--base-url", service.url, "--max-cost", "1", "--workers", "4")
        done = run(*asked)
        assert done.code == 2, done
        assert "nobody says what m-1 costs, so --max-cost cannot be kept" in done.err
        assert "--price NAME=IN,OUT" in done.err
        assert len(service.requests) == 1
        assert run(*asked, "--price", "m-1=1,1").code == 0
        assert len(service.requests) == 5


def test_a_maintained_list_has_prices(run: Refold) -> None:
    """Of models that are given none; so a budget can be kept, and the comparison has a cost."""
    recorded(2)
    with ChatServer(lambda _: {"role": "assistant", "content": "No."}) as server:
        asked = (*RUN, "--model", "openai:gpt-4o", "--base-url", server.base_url)
        assert run(*asked, "--max-cost", "1").code == 2
        done = run(*asked, "--max-cost", "1", "--price-list", "--json")
        assert done.code == 0, done
        assert json.loads(done.out)["cost"].startswith("0.000")
        told = json.loads(run("compare", "--price-list", "--json").out)
    assert told["figures"]["candidate"]["cost_known"] == 2


def test_a_first_request_that_the_budget_does_not_hold_is_not_sent(run: Refold) -> None:
    """What it may cost at most is more than there is: nothing is asked, and that is said."""
    recorded(3)
    with ChatServer(lambda _: {"role": "assistant", "content": "No."}) as server:
        asked = ("--base-url", server.base_url, "--price", "m-1=1,1", "--max-cost", "0.0001")
        done = run(*RUN, *asked)
        assert done.code == 1, done
        assert "of 0.0001 US dollars 0.000000 are spent, and the next may cost 0.00" in done.err
        assert server.requests == []


def test_what_shut_the_gate_is_said_once(run: Refold) -> None:
    """On the page and in the summary for a pull request."""
    recorded(8)
    call = {"id": "x", "type": "function", "function": {"name": "book", "arguments": "{}"}}
    deaf = {"role": "assistant", "content": None, "tool_calls": [call]}
    kind = {"role": "assistant", "content": "No."}

    def answer(body: Body) -> Body:
        return deaf if body["messages"][0]["content"] == "Be deaf." else kind

    with ChatServer(answer) as server:
        gate = ("--fail-on", "changed", "--summary", "out.md", "--prompt", "Be deaf.")
        done = run(*RUN, "--base-url", server.base_url, *gate)
        assert done.code == 1, done
        again = run("compare", "--control", "control", "--variant", "new", *gate[:4])
        assert again.code == 1, again
    sentence = "Do not ship it: answers that call what was recorded: changed more than noise."
    assert done.out.count(sentence) == again.out.count(sentence) == 1
    told = Path("out.md").read_text().splitlines()[0]
    assert told == f"### ❌ refold: {sentence}"


def test_a_comparison_of_a_run_is_json_too(run: Refold) -> None:
    """A line for the run of each variant, and one for the comparison."""
    recorded(2)
    with serving(says("No.")) as service:
        done = run(*RUN, "--control", "--base-url", service.url, "--json")
    *summaries, compared = map(json.loads, done.out.splitlines())
    assert {one["variant"]["label"] for one in summaries} == {"control", "new"}
    assert compared["control"]["figures"]["decisions"] == 2


def compared_line(out: str) -> list[str]:
    """The words of the command that a replay says compares it, without the name of the program."""
    (line,) = [one for one in out.splitlines() if one.startswith("  compare: ")]
    return split(line)[2:]


@pytest.mark.parametrize(
    "asked",
    [
        ("--check", "max_words=2", "--guardrail", "check:max_words=2", "--margin", "2pt"),
        ("--primary", "cost", "--price", "m-1=1,1", "--margin", "1USD", "--peek"),
        ("--ignore", "book/id", "--fail-on", "changed", "--inconclusive", "pass"),
        ("--cluster", "customer", "--fail-on", "worse", "--fail-on", "broken_answers>0.5"),
    ],
)
def test_the_line_that_it_prints_comes_to_the_same_verdict(
    run: Refold, asked: tuple[str, ...]
) -> None:
    """It names both sides and all that was asked, wherever that was said."""
    recorded(8)
    with serving(says("No.")) as service:
        done = run(*RUN, "--base-url", service.url, "--control", *asked)
        again = run(*compared_line(done.out))
        assert (again.code, done.out.endswith(again.out)) == (done.code, True), (done, again)
        # As a file says it, and variables do.
        said = dict[str, list[str]]()
        for name, value in zip(asked, [*asked[1:], ""], strict=True):
            if name.startswith("--"):
                is_flag = not value or value.startswith("--")
                said.setdefault(name[2:], []).append("true" if is_flag else json.dumps(value))
        keys = [
            f"{key} = {of[0] if len(of) == 1 else f'[{of[0]}, {of[1]}]'}"
            for key, of in said.items()
        ]
        Path("own.toml").write_text("\n".join(["[replay]", *keys]))
        told = run(*RUN, "--base-url", service.url, "--control", "--config", "own.toml")
        assert told.out.endswith(again.out), told
        assert run(*compared_line(told.out)).out == again.out


def test_the_line_names_what_was_asked_among_others(
    run: Refold, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the same was asked about other conversations before, which this run did not judge."""
    recorded(8)
    asked = [f"talk-{n}" for n in range(2, 8)]
    words = iter((" ", " ", *("Yes, at nine." for _ in asked)))
    with serving(lambda request: says(next(words))(request)) as service:
        where = ("--base-url", service.url, "--workers", "1")
        assert run("replay", "talk-0", "talk-1", *RUN[3:], *where).code == 0
        done = run("gate", *asked, *RUN[3:], *where, "--margin", "2pt")
        again = run(*compared_line(done.out))
        assert (again.code, done.out.endswith(again.out)) == (done.code, True), (done, again)
        monkeypatch.setattr(command, "NAMED_MAX", 5)
        long = run("gate", *asked, *RUN[3:], *where, "--margin", "2pt")
    (line,) = [one for one in long.out.splitlines() if " compare: " in one]
    assert line.endswith(" --fail-on worse  # and all others that the variant was tried on")


def test_so_does_the_line_of_a_gate(run: Refold) -> None:
    """Which stops what is worse, though nobody said so."""
    recorded(8)
    with serving(says(" ")) as service:
        done = run("gate", *RUN[1:], "--base-url", service.url)
    again = run(*compared_line(done.out))
    assert (again.code, done.out.endswith(again.out)) == (done.code, True), (done, again)
    assert done.code == 1


def test_the_only_two_sides_need_no_name(run: Refold) -> None:
    """Of several, one is proposed that can be judged, and not a control."""
    recorded(8)
    with serving(says("No.")) as service:
        assert run(*RUN, "--base-url", service.url, "--control").code == 0
        plain = run("compare")
        assert (plain.code, "\ncontrol " in plain.out) == (0, True), plain
        assert run("replay", "--category", "talk", "--base-url", service.url).code == 0
    several = run("compare")
    assert several.code == 2, several
    named = several.err.partition("several replays fit: name one, as --variant ")[2][:12]
    assert named not in ("", plans_of("control"))


def test_only_what_is_assessed_is_called_the_same_action(run: Refold) -> None:
    """Other words are in no share of it: not at the top, by what was done, of a control."""
    recorded(6)
    with serving(says("No.")) as service:
        done = run(*RUN, "--base-url", service.url, "--control", "--report", "out.html")
    assert "\nNo decision is assessed; 6 in other words are not assessed\n" in done.out
    assert [line.split(",")[0] for line in done.out.splitlines() if "same action" in line] == [
        "same action in – of 0 decisions assessed",
        "same action in – of 0 conversations",
        "same action in – of 0 decisions where the record called a tool",
        f"control {plans_of('control')}",
    ]
    assert "same action in – of 0 decisions assessed; 6 in other words are not assessed" in done.out
    assert "no call either in 100.0 % of 6 where it only spoke" in done.out
    page = re.sub(r"<[^>]+>", "", " ".join(Path("out.html").read_text().split()))
    assert "No decision is assessed; 6 in other words are not assessed" in page
    assert "same action throughout" not in page


def plans_of(label: str) -> str:
    with refold.open("refold.db", mode="read") as store:
        (one,) = [plan.variant.id for plan in plans(store) if plan.variant.label == label]
    return one


@pytest.fixture
def held(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., None]]:
    """Has another run hold some names, which ends when somebody says that he waits for it."""
    ends: list[Callable[[], None]] = []

    def hold(*names: str) -> None:
        with refold.open("refold.db") as store:
            leases = Leases(store)
            leases.of_others()
            assert leases.take(names)
        holder = leases._holder
        ends.append(lambda: _going_on.discard(holder))

    def waits(count: int) -> None:
        told(count)
        ends.pop()()

    told = output.waits
    monkeypatch.setattr(output, "waits", waits)
    yield hold
    assert not ends


def test_whoever_waits_for_another_run_says_so(run: Refold, held: Callable[..., None]) -> None:
    """Once, with how many conversations those are: for the answers, and for a judge."""
    recorded(3)
    waits = "waits for another run, which is asking about 3 conversations\n"
    held(*(branch_name(f"talk-{n}", Variant(label="new")) for n in range(3)))
    with serving(says("No.")) as service:
        asked = (*RUN, "--base-url", service.url)
        done = run(*asked)
        assert (done.code, done.err.count(waits), len(service.requests)) == (0, 1, 3), done
        assert waits not in run(*asked).err
    with serving(says('{"better": 1}')) as service:
        judge = Judge(model="m-2", endpoint=f"{service.url}/chat/completions")
        held(*(f"{judge.stream}:talk-{n}" for n in range(3)))
        judged = ("compare", "--judge", "openai:m-2", "--judge-url", service.url)
        done = run(*judged, "--max-cost", "1", "--price", "m-2=1,1")
        assert (done.code, done.err.count(waits)) == (0, 1), done
        assert "judge m-2: 6 choices made, 0 not; what that cost: $0.0000720" in done.err
        assert len(service.requests) == 6


def test_the_budget_of_a_judge_holds_in_a_comparison_too(run: Refold) -> None:
    """What it may spend; of a model without a price nobody knows what it spends."""
    recorded(3)
    with serving(says("No.")) as service:
        run(*RUN, "--base-url", service.url)
    with serving(says('{"better": 1}')) as service:
        judged = ("compare", "--judge", "openai:m-2", "--judge-url", service.url)
        unknown = run(*judged, "--max-cost", "1")
        assert unknown.code == 2, unknown
        assert "nobody says what m-2 costs, so --max-cost cannot be kept" in unknown.err
        some = run(*judged, "--max-cost", "0.00001", "--price", "m-2=1,1")
        assert "stopped: the budget is spent: of 0.00001 US dollars" in some.err
        asked = len(service.requests)
        assert asked < 6
        free = run(*judged)
        assert "what that cost: not known" in free.err
        assert len(service.requests) == 6
    refused = run("compare", "--max-cost", "1")
    assert (refused.code, "--max-cost has no effect without --judge" in refused.err) == (2, True)
