"""A name that matches nothing: said on stderr, with the names that were probably meant."""

from __future__ import annotations

import pytest

import refold
from tests.cli.running import Refold


@pytest.fixture(autouse=True)
def store_of_calls() -> None:
    """Two categories, three types, a branch."""
    with refold.open("refold.db") as store:
        store.append("call-42", [refold.Event("user.utterance", {"text": "Hi"})])
        store.append("call-43", [refold.Event("agent.utterance", {"text": "Hello"})])
        store.append("agent-001", [refold.Event("note.taken.v2", {"text": "x"})])
        store.branch("call-42").save("call-42~b")


@pytest.mark.parametrize(
    ("args", "near"),
    [
        (["--category", "cal"], "call"),
        (["--category", "agents"], "agent"),
        (["--type", "user.uterance"], "user.utterance"),
        (["--type", "note.takn"], "note.taken"),
        (["--category", "zzz"], None),
        (["--type", "zzz"], None),
    ],
)
def test_a_log_of_nothing_says_which_name_is_not_there(
    run: Refold, args: list[str], near: str | None
) -> None:
    """Nothing on stdout, exit code 0, and the nearest names on stderr."""
    for as_json in ([], ["--json"]):
        ran = run("log", *args, *as_json)
        assert (ran.code, ran.out) == (0, "")
        assert repr(args[1]) in ran.err
        assert ("did you mean" in ran.err) == (near is not None)
        assert near is None or near in ran.err


def test_names_that_are_there_are_not_blamed(run: Refold) -> None:
    """Both exist, but no event is of both; or all of them stand before the position asked for."""
    for args in (["--category", "agent", "--type", "user.utterance"], ["--type", "note.taken.v2"]):
        ran = run("log", *args, "--after", "3")
        assert (ran.code, ran.out, ran.err) == (0, "", "no events match\n")
    assert run("log", "--after", "99").err == "no events match\n"
    assert run("log", "--type", "nothing", "--limit", "0").err == ""


@pytest.mark.parametrize(
    "command",
    [
        ("show", "call-44"),
        ("state", "call-44"),
        ("what-if", "call-44", "--without", "0"),
        ("diff", "call-42", "call-44"),
        ("export", "openai-chat", "call-44"),
        ("replay", "call-44", "--mode", "verify"),
        ("replay", "call-44", "--model", "openai:m"),
    ],
)
def test_a_stream_that_is_not_there_suggests_near_ones(
    run: Refold, command: tuple[str, ...]
) -> None:
    """With exit code 2, wherever a stream is named."""
    ran = run(*command, "--json", REFOLD_API_KEY="none")
    assert ran.code == 2
    assert (ran.error["code"], ran.error["stream"]) == ("not_found", "call-44")
    assert "did you mean call-43 or call-42" in ran.error["message"]


def test_an_export_of_a_category_that_is_not_there_suggests_near_ones(run: Refold) -> None:
    """The same for `export` and `streams`."""
    ran = run("export", "openai-chat", "--category", "cal", "--json")
    assert (ran.code, ran.error["category"]) == (2, "cal")
    assert "did you mean call" in ran.error["message"]
    assert "did you mean call" in run("streams", "--category", "cal").err


def test_a_version_that_is_not_there_is_told_the_last(run: Refold) -> None:
    """`--without 999` says how far the stream goes; an id does too."""
    ran = run("what-if", "call-42", "--without", "999", "--json")
    assert (ran.code, ran.error["code"], ran.error["last"]) == (2, "not_found", 0)
    assert "its last is 0" in ran.error["message"]
    ran = run("what-if", "call-42", "--without", "call-42@999", "--json")
    assert (ran.code, ran.error["last"]) == (2, "call-42@0")


def test_schemas_of_a_type_that_is_not_there_are_told(run: Refold) -> None:
    """Nothing of it is stored; near types are named."""
    ran = run("schemas", "--type", "note.takn")
    assert (ran.code, ran.out) == (0, "")
    assert "did you mean note.taken" in ran.err


def test_names_that_are_near_to_none_are_told_those_that_there_are(run: Refold) -> None:
    """Of a category, wherever it is asked for: what is there, not only that it is not."""
    there = "there are agent, call"
    for command in (
        ("streams", "--category", "zzz"),
        ("export", "openai-chat", "--category", "zzz"),
        ("replay", "--category", "zzz", "--mode", "verify"),
        ("compare", "--a", "zzz", "--b", "call"),
    ):
        assert there in run(*command).err, command


def test_a_cost_that_nobody_knows_is_told_and_not_searched_for_in_silence(run: Refold) -> None:
    """Where no conversation has a cost; where one has, it is only not over that."""
    told = "of no stream is it known what it cost, so none is over 3"
    assert told in run("streams", "--cost-over", "3").err
    assert told in run("export", "openai-chat", "--cost-over", "3").err
    with refold.open("refold.db") as store:
        paid = {"message_id": "m", "cost": "0.01", "currency": "USD"}
        store.append("call-44", [refold.Event("model.response", paid)])
    assert run("streams", "--cost-over", "3").err == "no stream fits --cost-over\n"


def test_what_was_meant_is_said_once(run: Refold) -> None:
    """Whoever looks a stream up and whoever opens the store do not both say it."""
    for given, said in (("call-4x", "did you mean"), ("zzz", "there are")):
        assert run("show", given).err.count(said) == 1
        assert run("export", "vcon", given).err.count(said) == 1
    with refold.open("refold.db") as store:
        for number in range(20):
            store.append(f"other-{number}", [refold.Event("x", {})])
    assert "`refold streams` lists those here" in run("show", "zzz").err


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--db", "refold.db", "streams"], "options stand behind a command"),
        (["help"], "did you mean --help?"),
        (["version"], "did you mean --version or verify?"),
    ],
)
def test_the_program_itself_is_told_what_it_takes(run: Refold, args: list[str], said: str) -> None:
    """An option before the command, and what other programs have a command for."""
    done = run(*args)
    assert (done.code, done.out) == (2, "")
    assert said in done.err
