"""`refold what-if --ask`: the next decision asked again, with a change and without."""

from __future__ import annotations

import json
from typing import Any

from tests.cli.endpoints import Endpoint, says, serving
from tests.cli.running import Refold


def knows(request: dict[str, Any]) -> tuple[int, bytes]:
    """An endpoint that says another thing once it has seen the tool's result."""
    told = "Yes." if "09:00" in json.dumps(request["messages"]) else "I do not know."
    return says(told)(request)


def asked(run: Refold, call: str, at: Endpoint, *more: str) -> Any:
    what = ["--without", "4", "--ask", "--base-url", at.url]
    return run("what-if", call, *what, *more)


def test_it_is_told_how_often_what_came_on_each_side(run: Refold, call: str) -> None:
    """In JSON and as text, with a sentence; the same command asks nobody any more."""
    with serving(knows) as at:
        (found,) = asked(run, call, at, "--samples", "6", "--json").lines
        count = len(at.requests)
        plain = asked(run, call, at, "--samples", "6")
        assert (count, len(at.requests)) == (12, 12)
    again = found["asked"]
    assert again["decision"] == "call-1@5"
    assert again["was"]["actions"] == again["changed"]["actions"] == {"words only": 6}
    assert again["was"]["levels"] == {"words": 6}
    assert "its words it does" in again["verdict"]
    assert plain.code == 0
    assert "asked again at call-1@5, 6 samples a side" in plain.out
    assert again["verdict"] in plain.out
    assert [one["streams"] for one in run("replays", "--json").lines] == [
        sorted([again["was"]["stream"], again["changed"]["stream"]])
    ] * 6


def test_an_endpoint_that_answers_nothing_leaves_nothing_known(run: Refold, call: str) -> None:
    """It ends as a replay does that got nowhere."""
    with serving(lambda _request: (400, b'{"error": {"message": "no"}}')) as at:
        (found,) = asked(run, call, at, "--samples", "1", "--json").lines
    assert found["asked"]["was"]["failed"] == found["asked"]["changed"]["failed"] == 1
    assert found["asked"]["verdict"].startswith("A side has no answer")


def test_how_to_ask_has_no_effect_where_nothing_is_asked(run: Refold, call: str) -> None:
    """Whoever forgets --ask is told, and not answered without."""
    refused = run("what-if", call, "--without", "4", "--samples", "8")
    assert refused.code == 2
    assert "--samples has no effect without --ask" in refused.err
