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
