"""The options that choose conversations, on every command that takes many."""

from decimal import Decimal
from pathlib import Path

import click
import pytest

import refold
from refold.cli.main import main
from refold.conversation import (
    AgentConfigured,
    AgentUtterance,
    ModelFailed,
    ModelRequest,
    ModelResponse,
    ToolCall,
    ToolResult,
    UserUtterance,
)
from tests.cli.running import Refold
from tests.cli.test_nothing_in_silence import refused
from tests.cli.test_settings import leaves

NAMES = (
    *("--since", "--until", "--agent", "--prompt-version", "--tool", "--outcome", "--tag"),
    *("--with-error", "--cost-over", "--text", "--dataset", "--sample", "--seed", "--stratify"),
)
"""The options, but that of the model, which is called otherwise where another model is asked."""


@pytest.fixture
def calls(tmp_path: Path) -> Path:
    """Three calls: one of March with a refund, one of April that failed, one on a branch."""
    path = tmp_path / "refold.db"
    march, april = "2026-03-01T09:00:00Z", "2026-04-01T09:00:00Z"
    with refold.open(path) as store:
        refund = [
            AgentConfigured(agent="desk", model="small-1"),
            UserUtterance('My "gift card", please'),
            ToolCall(call_id="c1", name="refund", arguments='{"card": 7}'),
            ToolResult(call_id="c1", name="refund", result="no such card", is_error=True),
            AgentUtterance("I am sorry."),
            ModelResponse(cost=Decimal("0.30")),
        ]
        for stream, events, at in (
            ("call-1", refund, march),
            ("call-2", [UserUtterance("Hello?"), ModelFailed("status 500")], april),
        ):
            store.append(stream, [refold.Event.of(one, occurred_at=at) for one in events])
        store.append("note-1", [refold.Event("note.taken", {}, occurred_at=april)])
        store.branch("call-1", at=1).adding(UserUtterance("and a teapot")).save("call-1~b")
    return path


@pytest.mark.parametrize(
    ("options", "streams"),
    [
        (("--text", "gift CARD"), ["call-1"]),
        (("--text", '"card", AND please'), []),
        (("--text", "teapot"), ["call-1~b"]),
        (("--text", "card"), ["call-1"]),
        (("--tool", "refund", "--with-error"), ["call-1"]),
        (("--with-error",), ["call-1", "call-2"]),
        (("--agent", "desk", "--model", "small-1"), ["call-1"]),
        (("--cost-over", "0.29"), ["call-1"]),
        (("--cost-over", "0.3"), []),
        (("--since", "2026-03-15", "--until", "2026-04-02"), ["call-2", "note-1"]),
        (("--until", "2026-03-15"), ["call-1", "call-1~b"]),
        (("--category", "note", "--since", "2026-03-15"), ["note-1"]),
    ],
)
def test_streams_are_found(
    run: Refold, calls: Path, options: tuple[str, ...], streams: list[str]
) -> None:
    """By one option or by all of several; branches by what they hold themselves."""
    assert calls.exists()
    done = run("streams", "--json", *options)
    assert (done.code, sorted(one["stream"] for one in done.lines)) == (0, streams)
    assert bool(done.err) == (not streams)


def test_last_is_an_age(run: Refold, calls: Path) -> None:
    """`--last 7d` and `--since` are the same option, so that both together are refused."""
    with refold.open(calls) as store:
        store.append("call-3", [UserUtterance("now")])
    assert [one["stream"] for one in run("streams", "--last", "1h", "--json").lines] == ["call-3"]
    refused(run("streams", "--last", "7d", "--since", "2026-01-01"), "given 2 times")


def test_the_log_of_what_is_found(run: Refold, calls: Path) -> None:
    """The events of the streams, in the time alone; with words, those that say them."""
    assert calls.exists()
    assert [e["id"] for e in run("log", "--text", "card", "--json").lines] == [
        "call-1@1",
        "call-1@2",
        "call-1@3",
    ]
    told = run("log", "--with-error", "--since", "2026-03-15", "--json", "--limit", "1")
    assert [e["id"] for e in told.lines] == ["call-2@0"]
    assert (
        run("log", "--agent", "dask").err == "no stream has the agent 'dask': did you mean desk?\n"
    )
    assert run("log", "--agent", "desk", "--type", "session.ended").err.startswith(
        "nothing of event"
    )


def test_every_command_that_chooses_has_the_options(run: Refold) -> None:
    """Whoever takes a category to choose conversations by takes all the others too."""
    taking = {
        name: [o.opts[0] for o in one.params if isinstance(o, click.Option)]
        for name, one in leaves(main)
    }
    having = {name for name, options in taking.items() if {*NAMES} <= {*options}}
    assert having == {
        "refold streams",
        "refold log",
        "refold replay",
        "refold goals",
        "refold compare",
        "refold gate",
        "refold bisect",
        "refold ui",
        "refold export openai-chat",
        "refold export vcon",
        "refold datasets make",
        "refold redact",
    }
    categories = {name for name, options in taking.items() if "--category" in options}
    # A feed or a token is narrowed for ever, not for once.
    others = {"refold replays", "refold feed kafka", "refold hold place", "refold tokens create"}
    assert {n for n in categories if "import" not in n} - having == others
    assert run("streams", "--help").code == 0


def test_a_replay_asks_about_what_fits(run: Refold, calls: Path) -> None:
    """Named, of a category or of all; branches where they are named."""
    assert calls.exists()
    verify = ("replay", "--mode", "verify", "--json")
    (of_all,) = run(*verify, "--with-error").lines
    (named,) = run(*verify, "call-1", "call-2", "--tool", "refund").lines
    (branch,) = run(*verify, "call-1", "call-1~b", "--text", "teapot").lines
    assert [one["conversations"] for one in (of_all, named, branch)] == [2, 1, 1]


def test_a_replay_of_no_decision_is_a_finding(run: Refold, calls: Path) -> None:
    """There is nothing to ask again, nor to verify: that is no success."""
    assert calls.exists()
    asked = ("replay", "call-2", "--model", "openai:m", "--base-url", "http://127.0.0.1:9")
    for args in (asked, ("replay", "call-2", "--mode", "verify")):
        done = run(*args)
        assert (done.code, "1 conversation, 0 decisions" in done.out) == (1, True)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("replay", "--category", "call~", "--mode", "verify"), "no stream but branches"),
        (("replay", "--mode", "verify"), "--category, --last, --dataset, --tool"),
        (("replay", "--text", "teapot", "--mode", "verify"), "no stream fits --text"),
        (
            ("replay", "--until", "2026-01-01", "--mode", "verify"),
            "went on then: all did from 2026-0",
        ),
        (("replay", "--tool", "refunt", "--mode", "verify"), "did you mean refund?"),
        (("export", "openai-chat", "--cost-over", "9", "--with-error"), "--with-error and --cost"),
        (("export", "openai-chat", "call-2", "--tool", "refund"), "no stream fits --tool"),
        (("streams", "--since", "2026-04-01", "--until", "2026-03-01"), "is after --until 2026"),
        (("streams", "--last", "2026-04-01", "--until", "2026-03-01"), "--last 2026-04-01"),
        (("streams", "--last", "soon"), "Invalid value for '--last'"),
        (("streams", "--last", "1h", "--last", "2h"), "--last was given 2 times"),
        (
            ("export", "openai-chat", "--last", "1h", "--tool", "refund"),
            "no stream went on then: all did from 2026-03-01T09",
        ),
        (("streams", "--seed", "7"), "--seed has no effect without --sample"),
        (("streams", "--stratify", "task"), "--stratify has no effect without --sample"),
        (("streams", "--sample", "2", "--stratify", "taks"), "has a taks to stratify by"),
        (("streams", "--sample", "0"), "Invalid value for '--sample'"),
        (("streams", "--since", "soon"), "not an instant"),
        (("log", "--text", "!?"), "is not 1 to 100 words"),
        (("log", "--cost-over", "much"), "error: --cost-over 'much' is no amount of money"),
        (("export", "openai-chat", "--tag", "odd"), "no stream has the tag 'odd'"),
        (("export", "openai-chat", "--outcome", "lost"), "no stream has the outcome 'lost'"),
        (
            ("export", "openai-chat", "--prompt-version", "v9"),
            "no stream has the prompt version 'v9'",
        ),
        (("log", "--dataset", "hard"), "there is no dataset 'hard': there is none"),
    ],
)
def test_what_chooses_nothing_is_refused(
    run: Refold, calls: Path, args: tuple[str, ...], said: str
) -> None:
    """In one line, where the command would have nothing to do."""
    assert calls.exists()
    refused(run(*args), said)


def test_who_is_asked_is_said_where_nobody_is_named(run: Refold, calls: Path) -> None:
    """The service that is asked by default, before anything is; not one that was named."""
    assert calls.exists()
    asked = ("replay", "call-2", "--model", "openai:m")
    by_default = run(*asked, OPENAI_API_KEY="a").err
    assert by_default.startswith("asks https://api.openai.com/v1/chat/completions: --base-url")
    assert run(*asked, "--base-url", "http://127.0.0.1:9").err == ""


def test_what_was_sent_elsewhere_is_not_sent_to_openai_by_default(
    run: Refold, tmp_path: Path
) -> None:
    """A key in the environment is no word on whom to ask: their address is asked for."""
    url = "http://127.0.0.1:8/v1/chat/completions"
    with refold.open(tmp_path / "refold.db") as store:
        failed = [UserUtterance("Hi"), ModelRequest("chat", url=url), ModelFailed("status 500")]
        store.append("call-1", failed)
    asked = ("replay", "call-1", "--model", "openai:m")
    refused(run(*asked, OPENAI_API_KEY="a"), f"call-1@1 was sent to {url}", "--base-url")
    assert run(*asked, "--base-url", "https://api.openai.com/v1", OPENAI_API_KEY="a").code == 1


def test_a_comparison_is_narrowed(run: Refold, calls: Path) -> None:
    """To those that were replayed and fit."""
    assert calls.exists()
    from tests.cli.endpoints import says, serving

    with serving(says("Hm.")) as service:
        options = ("--model", "openai:m-1", "--base-url", service.url)
        assert run("replay", "call-1", "call-2", *options).code == 0
    (found,) = run("compare", "--tool", "refund", "--json").lines
    assert [one["stream"] for one in found["conversations"]] == ["call-1"]
    (found,) = run("compare", "--sample", "1", "--seed", "3", "--json").lines
    assert len(found["conversations"]) == 1
    refused(run("compare", "--agent", "nobody"), "no stream has the agent 'nobody'")


def test_a_journal_and_a_store_that_cannot_be_written_are_gone_through(
    run: Refold, calls: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each time, in memory; nothing is written."""
    journal = tmp_path / "calls.jsonl"
    with refold.open(journal) as store:
        store.append("call-1", [UserUtterance("a teapot")])
    before = journal.read_bytes()
    assert run("streams", "--text", "teapot", "--db", str(journal)).out.startswith("call-1 ")
    assert journal.read_bytes() == before

    really = refold.open

    def only_read(url: str, *, mode: str = "create", **how: object) -> refold.Store:
        if mode == "write":
            raise refold.errors.UsageError("read-only file system", code="not_writable")
        return really(url, mode=mode, **how)  # type: ignore[arg-type]

    monkeypatch.setattr(refold, "open", only_read)
    assert run("streams", "--text", "teapot").out.startswith("call-1~b ")
    with really(calls, mode="read") as store:
        assert "search" not in store._backend.query("SELECT name FROM sqlite_schema")  # type: ignore[attr-defined]


def test_what_could_not_be_read_is_told(run: Refold, tmp_path: Path) -> None:
    """An odd event sets its stream aside: what follows in it is not found."""
    odd = [refold.Event("user.utterance", {"text": "hello"}), refold.Event("tool.call", {})]
    with refold.open(tmp_path / "refold.db", registry=refold.Registry()) as store:
        store.append("call-1", odd)
    done = run("streams", "--text", "hello")
    assert done.out.startswith("call-1 ")
    assert done.err == "set aside, see `projections status`: call-1\n"


def test_what_refold_keeps_beside_is_left_out(run: Refold, calls: Path) -> None:
    """Branches of bytes and plans of replays: how many is told, and --all lists them."""
    with refold.open(calls) as store:
        store.branch("call-1").adding(refold.Event("wire.answer", {})).save("call-1~wire")
        store.append("replay~plan-0123456789ab", [refold.Event("replay.noted", {})])
    done = run("streams", "--json")
    names = [one["stream"] for one in done.lines]
    assert names == ["call-1~b", "note-1", "call-2", "call-1"]
    assert done.err == "left out 2 streams of replays, plans, datasets and wire bytes (--all)\n"
    every = run("streams", "--all", "--json")
    assert len(every.lines) == 6
    assert every.err == ""


def test_show_says_what_is_unfinished(run: Refold, calls: Path) -> None:
    """A conversation that stops half-way; not one that is shown up to a moment."""
    assert calls.exists()
    assert run("show", "call-1~b").out.endswith("\nunfinished: nobody answered\n")
    for finished in (("call-1",), ("call-2",), ("note-1",), ("call-1", "--version", "2")):
        assert "unfinished" not in run("show", *finished).out


def test_sql_says_what_makes_a_table(run: Refold, calls: Path, tmp_path: Path) -> None:
    """That of a read model is filled by its projection, a journal becomes a database by a copy."""
    assert calls.exists()
    refused(run("sql", "SELECT * FROM tool_calls"), "`refold projections run --once` fills it")
    refused(
        run("sql", "SELECT * FROM costs", "--db", str(calls)), f"run --once --db {calls}` fills"
    )
    assert "refold projections" not in run("sql", "SELECT * FROM nothing").err
    journal = tmp_path / "a.jsonl"
    with refold.open(journal) as store:
        store.append("a", [UserUtterance("hi")])
    of = ("--db", str(journal))
    refused(run("sql", "SELECT * FROM events", *of), f"`refold copy {journal} --db agents.db`")
    for command in (("stats",), ("backup", "b.db")):
        refused(run(*command, *of), "a journal is copied and measured as any file")


def test_sql_tells_a_number_without_an_end_from_nothing(run: Refold, calls: Path) -> None:
    """JSON has no infinity: in an object it is text, beside a null and the largest float."""
    assert calls.exists()
    (row,) = run("sql", "--json", "SELECT 9e999 AS a, -9e999 AS b, NULL AS c, 1.5e308 AS d").lines
    assert row == {"a": "inf", "b": "-inf", "c": None, "d": 1.5e308}
