"""`refold replay --mode free-run`, and `refold goals`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from tests.cli.endpoints import says, serving
from tests.cli.running import Refold


def test_a_free_run_is_asked_compared_and_listed_as_what_it_is(run: Refold, call: str) -> None:
    """Its mode stands on every figure, and what became of each decision adds up."""
    with serving(says("Yes, at nine.")) as service:
        asked = ("replay", call, "--mode", "free-run", "--user", "rules", "--base-url", service.url)
        assert run(*asked).code == 0
        assert run(*asked, "--json").lines[0]["requests"] == 0
    (found,) = run("compare", "--json").lines
    course: dict[str, Any] = found["figures"]["course"]
    parts = course["comparable"] + course["conditional"]
    parts += sum(course["diverged"].values()) + sum(course["excluded"].values())
    assert parts == course["decisions"] == found["figures"]["decisions"]
    assert found["mode"] == found["figures"]["mode"] == "simulated-user"
    (row,) = run("replays", "--json").lines
    assert row["mode"] == "simulated-user"
    listed = run("replays").out
    assert "  simulated-user  sample 0" in listed
    assert f"{course['conditional']} conditional" in listed
    told = run("compare").out
    assert f"Of {course['decisions']} decisions" in told
    assert "faults of its own" in told
    run("compare", "--report", "out.html")
    assert "What became of every decision" in Path("out.html").read_text()


def test_goals_are_proposed_edited_and_put_on_record(run: Refold, call: str) -> None:
    """What --json gives is edited in a file and read with --from; a second time adds nothing."""
    (proposed,) = run("goals", call, "--json").lines
    assert proposed["stream"] == call
    assert proposed["by"] == "rules"
    edited = proposed | {"text": "A table at nine.", "facts": {"guests": "4"}}
    Path("goals.jsonl").write_text(json.dumps(edited) + "\n")
    for is_new in (True, False):
        (said,) = run("goals", "--from", "goals.jsonl", "--by", "ann", "--json").lines
        assert said == {"stream": call, "recorded": is_new}
    (stated,) = run("goals", call, "--json").lines
    assert (stated["text"], stated["by"]) == ("A table at nine.", "ann")
    assert run("goals", "--from", "goals.jsonl", "--state").code == 2
    assert "error: STREAM has no effect with --from" in run("goals", call, "--from", "x").err


def test_goals_that_cannot_be_meant_so_are_refused_and_none_is_put_on_record(
    run: Refold, call: str
) -> None:
    """An empty file, a stream that is not there, two goals of one, a field that no goal has."""
    own: dict[str, Any] = {"stream": call, "text": "A table."}
    given: list[tuple[list[Any], str]] = [
        ([], "holds no goals"),
        ([own, own | {"stream": "call-none"}], "there is no stream 'call-none'"),
        ([own, own], f"is a second goal of {call}"),
        ([own | {"fact": {}}], "a goal has no 'fact'"),
    ]
    for wrong, said in given:
        Path("goals.jsonl").write_text("".join(f"{json.dumps(one)}\n" for one in wrong))
        refused = run("goals", "--from", "goals.jsonl")
        assert (refused.code, refused.out) == (2, "")
        assert said in refused.err
    assert "goal.stated" not in run("show", call, "--json").out


def test_what_a_model_proposed_is_kept_where_it_fails_at_the_next(run: Refold, call: str) -> None:
    """Each is put on record as it comes; a service that fails ends it with 3."""
    run("what-if", call, "--without", "3", "--save", "call-0~b")
    answers: list[Any] = [lambda _: (200, b"none"), says('{"text": "A table."}')]
    with serving(lambda request: answers.pop()(request)) as at:
        asked = ("--propose", "openai:m", "--base-url", at.url, "--state")
        done = run("goals", "call-0~b", call, *asked)
    assert (done.code, done.out) == (3, "call-0~b: stated\n")
    assert "not JSON" in done.err
    with serving(says("I cannot tell.")) as at:
        done = run("goals", call, "--propose", "openai:m", "--base-url", at.url)
    assert done.code == 3
    assert f"no goal of {call} as JSON" in done.err
    assert "try again, or another model" in done.err


def test_who_speaks_is_rules_or_a_model(run: Refold, call: str) -> None:
    """Anything else is refused with the option, and with both ways to write it."""
    for given in ("rule", "openai:"):
        asked = ("replay", call, "--mode", "free-run", "--base-url", "http://127.0.0.1:9/v1")
        refused = run(*asked, "--user", given)
        assert refused.code == 2
        assert "'--user': write rules or openai:" in refused.err


def test_a_metric_of_courses_is_refused_before_decisions_are_asked(run: Refold, call: str) -> None:
    """It is of whole conversations, which no one goes through decision by decision."""
    with serving(says("Yes.")) as at:
        asked = ("replay", call, "--base-url", at.url, "--primary", "same_course")
        refused = run(*asked)
        assert (refused.code, len(at.requests)) == (2, 0)
        assert "'same_course' is not measured here" in refused.err
        assert run(*asked, "--mode", "free-run").code == 0


def test_what_is_conditional_has_not_failed(run: Refold, call: str) -> None:
    """A course that parted is different; that its rest is held against nothing is no finding."""
    with serving(says("Yes.")) as at:
        run("replay", call, "--mode", "free-run", "--base-url", at.url)
    assert run("compare", "--fail-on", "failed").code == 0
    assert run("compare", "--fail-on", "different").code == 1


def test_a_course_that_was_cut_off_is_told_and_gone_on_with(run: Refold, call: str) -> None:
    """Who plays the user is away: nothing of the rates is missing, and yet it is not over."""
    with serving(says("Yes.")) as at, serving(lambda _: (400, b'{"error": {}}')) as away:
        asked = ("replay", call, "--mode", "free-run", "--base-url", at.url)
        assert run(*asked, "--user", "openai:u", "--user-url", away.url).code != 0
    assert "1 stopped in the midst: the same replay goes on" in run("compare").out
    assert "1 conversation stopped in the midst" in run("replays").out
    run("compare", "--report", "out.html")
    assert "1 stopped in the midst" in Path("out.html").read_text()
