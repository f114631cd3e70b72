"""`show`, `log`, `streams`, `state`: what was recorded comes out, now or as it was."""

from pathlib import Path

import pytest

import refold
from refold.conversation import RedactionApplied, UserUtterance
from tests.cli.running import CALL, Refold

KEYS = [
    "position",
    "stream",
    "version",
    "id",
    "type",
    "schema",
    "occurred_at",
    "recorded_at",
    "data",
    "metadata",
]


def test_show_json_has_exactly_the_promised_keys(run: Refold, call: str) -> None:
    """One object a line, its keys and their order fixed, its times RFC 3339 in UTC."""
    lines = run("show", call, "--json").lines
    assert [list(line) for line in lines] == [KEYS] * len(CALL)
    third = lines[2]
    assert third.pop("recorded_at").endswith("Z")
    assert third == {
        "position": 3,
        "stream": "call-1",
        "version": 2,
        "id": "call-1@2",
        "type": "user.utterance",
        "schema": 1,
        "occurred_at": "2026-03-01T09:02:00Z",
        "data": {"text": "Is Tuesday free?"},
        "metadata": {"actor": "test"},
    }


def test_a_conversation_is_shown_as_a_transcript(run: Refold, call: str) -> None:
    """Words, tool calls and results in order, each with its version."""
    done = run("show", call)
    assert done.code == 0
    rows = [" ".join(row.split()) for row in done.out.splitlines()]
    assert rows[0] == "2026-03-01"
    assert "2 09:02:00 user Is Tuesday free?" in rows
    assert any(row.startswith("3 09:03:00") and "slots" in row for row in rows)


def test_a_long_name_of_a_speaker_does_not_widen_every_line(run: Refold) -> None:
    """It is cut, as in a transcript of the library."""
    said = [UserUtterance(text="Hi", party="Ann " * 50), UserUtterance(text="Bye")]
    with refold.open("refold.db") as store:
        store.append("call-9", said)
    rows = run("show", "call-9").out.splitlines()[1:]
    assert max(map(len, rows)) < 60
    assert rows[0].endswith("…  Hi")
    assert rows[0].index("Hi") == rows[1].index("Bye")


def test_other_streams_are_shown_as_their_events(run: Refold) -> None:
    """A stream without a word of conversation is a plain list."""
    with refold.open("refold.db") as store:
        store.append("parcel-1", [refold.Event("parcel.sent", {"kg": 2})])
    assert 'parcel-1@0  parcel.sent  {"kg":2}' in run("show", "parcel-1").out


@pytest.mark.parametrize(
    ("moment", "last"),
    [
        (["--version", "0"], 0),
        (["--version", "99"], 6),
        (["--position", "4"], 3),
        (["--at", "2026-03-01T09:03:30Z"], 3),
        (["--at", "2026-03-01T11:03:30+02:00"], 3),
        (["--at", "2026-03-02"], 6),
        (["--at", "2026-03-02", "--version", "5"], 5),
        (["--known-at", "1h"], None),
        (["--known-at", "1h ago"], None),
        (["--known-at", "2100-01-01"], 6),
    ],
)
def test_show_and_state_agree_on_every_moment(
    run: Refold, call: str, moment: list[str], last: int | None
) -> None:
    """Version, position and both clocks give the same prefix to `show` and to `state`."""
    versions = [line["version"] for line in run("show", call, *moment, "--json").lines]
    assert versions == list(range(0 if last is None else last + 1))
    (state,) = run("state", call, *moment, "--with-version", "--json").lines
    assert state["version"] == (-1 if last is None else last)
    told = len(state["state"]["transcript"])
    assert told == sum(type_.endswith("utterance") for type_, _ in CALL[: len(versions)])


@pytest.mark.parametrize("text", ["yesterday", "2026-13-01", "2026-03-01T09:00:00", "2y", "--json"])
def test_what_is_no_instant_is_wrong_usage(run: Refold, call: str, text: str) -> None:
    """A time that names no instant, or has no zone, exits with 2 and names the option."""
    done = run("show", call, "--at", text)
    assert done.code == 2
    assert "--at" in done.err


def test_events_that_happened_late_are_left_out_wherever_they_stand(run: Refold) -> None:
    """`--at` asks what had happened by then, not what stands before it in the log."""
    with refold.open("refold.db") as store:
        said = [
            refold.Event("user.utterance", {"text": when}, occurred_at=f"2026-03-0{day}T00:00:00Z")
            for when, day in [("later", 5), ("earlier", 2)]
        ]
        store.append("call-1", said)
    shown = run("show", "call-1", "--at", "2026-03-03", "--json").lines
    assert [line["data"]["text"] for line in shown] == ["earlier"]


def test_the_log_is_in_order_of_position(run: Refold, call: str) -> None:
    """`log --json` prints every event of every stream with the keys of `show`, by position."""
    with refold.open("refold.db") as store:
        store.append("mail-1", [refold.Event("user.utterance", {"text": "Hi"})])
    lines = run("log", "--json").lines
    assert [line["position"] for line in lines] == list(range(1, len(CALL) + 2))
    assert list(lines[0]) == KEYS
    assert len(run("log").out.splitlines()) == len(lines)


@pytest.mark.parametrize(
    ("options", "positions"),
    [
        (["--after", "6"], [7, 8]),
        (["--limit", "2"], [1, 2]),
        (["--limit", "0"], []),
        (["--category", "mail"], [8]),
        (["--category", "mail", "--category", "call", "--after", "6"], [7, 8]),
        (["--category", "none"], []),
        (["--type", "user.utterance"], [3, 8]),
        (["--type", "tool.call", "--type", "tool.result"], [4, 5]),
        (["--type", "user.utterance", "--category", "call"], [3]),
    ],
)
def test_the_log_is_narrowed(
    run: Refold, call: str, options: list[str], positions: list[int]
) -> None:
    """After a position, by category, by type, up to a number, and all together."""
    with refold.open("refold.db") as store:
        store.append("mail-1", [refold.Event("user.utterance", {"text": "Hi"})])
    assert [line["position"] for line in run("log", "--json", *options).lines] == positions


def test_streams_are_listed_with_version_and_fork(run: Refold, call: str) -> None:
    """The newest first; a branch says which version of which stream it left."""
    run("what-if", call, "--without", "3", "--save", "call-1~b")
    lines = run("streams", "--json").lines
    assert [(line["stream"], line["version"], line["fork"]) for line in lines] == [
        ("call-1~b", 6, {"parent": "call-1", "version": 2}),
        ("call-1", 6, None),
    ]
    branch, first = run("streams").out.splitlines()
    assert "from call-1@2  Yes, at nine." in branch
    assert first.endswith("  Is Tuesday free?")
    assert [list(line) for line in lines] == [
        ["stream", "category", "version", "recorded_at", "fork", "opening"]
    ] * 2
    assert [line["stream"] for line in run("streams", "--json", "--category", "call").lines] == [
        "call-1"
    ]
    (newest,) = run("streams", "--json", "--limit", "1").lines
    assert (newest["stream"], newest["opening"]) == ("call-1~b", "Yes, at nine.")


def test_long_names_do_not_break_the_columns(run: Refold) -> None:
    """Names of 32 hex digits, with a category or without, and short ones: times stand in one."""
    names = ["call-1", "0a1b2c3d" * 4, f"call-{'0a1b2c3d' * 4}"]
    with refold.open("refold.db") as store:
        for name in names:
            store.append(name, [refold.Event("user.utterance", {"text": "Hi"})])
    lines = run("streams").out.splitlines()
    assert {line.split()[0] for line in lines} == {*names}
    # A name of 37 characters, a blank, six for the version, two blanks.
    assert {line.index(" 20", 37) for line in lines} == {45}


def test_redacted_words_do_not_stand_in_the_list(run: Refold) -> None:
    """What was removed from an event is shown nowhere, though its bytes may be stored still."""
    with refold.open("refold.db") as store:
        store.append("call-9", [UserUtterance("my card is 4711"), UserUtterance("thank you")])
        removed = RedactionApplied("call-9@0", "/text", method="delete", reason="card")
        store.append("call-9", [removed])
    (line,) = run("streams", "--json").lines
    assert line["opening"] == "thank you"


@pytest.mark.parametrize("command", ["show", "state", "what-if", "diff", "export"])
def test_the_only_name_that_begins_so_is_taken(run: Refold, call: str, command: str) -> None:
    """Which it is is told; of several none is taken, and replays are left out."""
    with refold.open("refold.db") as store:
        store.append("chat-3f2a91", [UserUtterance("hi"), UserUtterance("bye")])
        for name in ("chat-3f2a91~replay-a-0", "mail-1", "mail-2"):
            store.append(name, [UserUtterance("ho")])
    more = {
        "what-if": ("--without", "1"),
        "diff": ("chat-3f2a91",),
    }.get(command, ())
    of = ("export", "openai-chat") if command == "export" else (command,)
    exact, short = run(*of, "chat-3f2a91", *more), run(*of, "chat-3f", *more)
    assert short.out.replace("chat-3f ", "chat-3f2a91 ") == exact.out
    assert short.err == "took chat-3f2a91 for chat-3f\n" + exact.err
    refused = run(*of, "mail-", *more)
    assert (refused.code, "did you mean mail-1 or mail-2?" in refused.err) == (2, True)


def test_an_event_in_the_place_of_a_stream_points_to_its_version(run: Refold, call: str) -> None:
    """What is shown up to an event is asked for by --version."""
    for command in ("show", "state"):
        done = run(command, "call-1@3")
        assert done.code == 2
        assert f"`refold {command} call-1 --version 3`" in done.err


def test_state_prints_what_the_fold_gives(run: Refold, call: str) -> None:
    """The state of the conversation fold, as JSON, is what the library folds."""
    from refold.conversation import Conversation

    with refold.open("refold.db", mode="read") as store:
        folded = store.fold(call, Conversation)
    (state,) = run("state", call, "--fold", "conversation").lines
    assert state["status"] == folded.state.status == "ended"
    assert [turn["text"] for turn in state["transcript"]] == ["Is Tuesday free?", "Yes, at nine."]


def test_a_fold_of_ones_own_is_found_in_the_current_folder(
    run: Refold, call: str, tmp_path: Path
) -> None:
    """`--fold module:attribute` imports it from where the command is run."""
    (tmp_path / "counting_fold.py").write_text(
        "import refold\n"
        "spoken = refold.Fold('spoken', int)\n"
        "spoken.on('user.utterance', 'agent.utterance')(lambda count, event: count + 1)\n"
        "keyed = refold.Fold('keyed', object)\n"
    )
    assert run("state", call, "--fold", "counting_fold:spoken").out == "2\n"
    assert run("state", call, "--fold", "counting_fold:keyed").code == 2


@pytest.mark.parametrize(
    "name", ["conversatio", "no_such_module:x", "json:loads", "json:none", ":x"]
)
def test_what_is_no_fold_is_wrong_usage(run: Refold, call: str, name: str) -> None:
    """An unknown fold, module or attribute, or what is not a Fold: exit 2, no traceback."""
    done = run("state", call, "--fold", name)
    assert done.code == 2
    assert done.err.startswith("error: ")


@pytest.mark.parametrize("command", ["show", "state"])
def test_a_stream_that_is_not_there_is_an_error(run: Refold, call: str, command: str) -> None:
    """A name without a stream: exit 2 and the name in the facts."""
    done = run(command, "call-9", "--json")
    assert (done.code, done.error["code"], done.error["stream"]) == (2, "not_found", "call-9")


def test_control_characters_are_spelled_out(run: Refold) -> None:
    """What a caller said cannot move the cursor or colour the terminal of who reads it."""
    with refold.open("refold.db") as store:
        evil = {"text": "\x1b[2J\x07gone\u202e", "party": "\x1b]0;x"}
        store.append("call-1", [refold.Event("user.utterance", evil)])
        store.append("x-1", [refold.Event("x.y", {"\x1b[31m": "\x1b[2J"})])
    for shown in (run("show", "call-1"), run("show", "x-1"), run("log"), run("state", "call-1")):
        assert shown.code == 0
        assert not {"\x1b", "\x07", "\u202e"} & set(shown.out)
