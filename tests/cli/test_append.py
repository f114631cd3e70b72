"""`refold append`: what goes in, and what is refused."""

import json
from pathlib import Path

import pytest

import refold
from tests.cli.running import Refold

UTTERANCE = ("--type", "user.utterance", "--data", '{"text": "Hi"}')


def recorded(stream: str) -> list[refold.Recorded]:
    """The events of a stream of the store in this folder."""
    with refold.open("refold.db", mode="read") as store:
        return list(store.read(stream))


def test_an_event_is_recorded_and_its_place_printed(run: Refold) -> None:
    """One event by options: its id and position on stdout, its payload in a store made for it."""
    done = run("append", "call-1", *UTTERANCE, "--metadata", '{"actor": "me"}')
    assert (done.code, done.out) == (0, "call-1@0, position 1\n")
    (event,) = recorded("call-1")
    assert (event.type, event.data, event.metadata) == (
        "user.utterance",
        {"text": "Hi"},
        {"actor": "me"},
    )


def test_json_says_where_the_events_landed(run: Refold) -> None:
    """`--json` prints one object with ids, version, position, time and whether it was known."""
    (told,) = run("append", "call-1", *UTTERANCE, "--json").lines
    when = told.pop("recorded_at")
    assert when.endswith("Z")
    assert told == {
        "stream": "call-1",
        "version": 0,
        "position": 1,
        "event_count": 1,
        "duplicate": False,
        "ids": ["call-1@0"],
    }


def test_lines_of_stdin_are_one_append(run: Refold) -> None:
    """Events on stdin, one object a line, empty lines between: all or none, in order."""
    lines = [
        {"type": "user.utterance", "data": {"text": "Hi"}, "metadata": {"a": 1}},
        {"type": "session.ended", "occurred_at": "2026-03-01T09:00:00Z"},
    ]
    done = run("append", "call-1", stdin="\n\n".join(json.dumps(line) for line in lines))
    assert done.out == "call-1@0 to call-1@1, position 2\n"
    first, second = recorded("call-1")
    assert first.metadata == {"a": 1}
    assert second.occurred_at.isoformat() == "2026-03-01T09:00:00+00:00"
    bad = run("append", "call-1", stdin=json.dumps(lines[0]) + '\n{"type": "no.such"}')
    assert bad.code == 2
    assert len(recorded("call-1")) == 2


def test_what_show_prints_can_be_appended(run: Refold, call: str) -> None:
    """The lines of `show --json` are accepted as they are: a stream is copied by a pipe."""
    shown = run("show", call, "--json")
    assert run("append", "call-2", stdin=shown.out).code == 0
    first, second = recorded(call), recorded("call-2")
    assert [(e.type, e.data, e.occurred_at_us) for e in first] == [
        (e.type, e.data, e.occurred_at_us) for e in second
    ]


def test_data_comes_from_a_file_or_stdin(run: Refold, tmp_path: Path) -> None:
    """`--data @file` and `--data -` read the payload from there."""
    (tmp_path / "hi.json").write_text('{"text": "from a file"}')
    assert run("append", "a", "--type", "user.utterance", "--data", "@hi.json").code == 0
    typed = ("append", "a", "--type", "user.utterance", "--data", "-")
    assert run(*typed, stdin='{"text": "from stdin"}').code == 0
    assert [e.data["text"] for e in recorded("a")] == ["from a file", "from stdin"]


@pytest.mark.parametrize(
    ("expected", "code"), [("any", 0), ("exists", 0), ("0", 0), ("none", 1), ("4", 1)]
)
def test_an_append_holds_to_the_expected_version(run: Refold, expected: str, code: int) -> None:
    """A stream at version 0 satisfies any, exists and 0; none and 4 are a conflict: exit 1."""
    run("append", "call-1", *UTTERANCE)
    done = run("append", "call-1", *UTTERANCE, "--expected", expected, "--json")
    assert done.code == code
    if code:
        assert done.error["code"] == "conflict"
        assert done.error["retry"] == "redecide"
        assert done.error["actual"] == 0


def test_a_key_makes_it_idempotent_and_refuses_other_bytes(run: Refold) -> None:
    """The same key and bytes: stored once, marked as duplicate. Other bytes: an error, exit 2."""
    keyed = ("append", "call-1", *UTTERANCE, "--key", "k1", "--json")
    assert [run(*keyed).lines[0]["duplicate"] for _ in range(2)] == [False, True]
    other = run("append", "call-1", "--type", "session.ended", "--key", "k1", "--json")
    assert other.code == 2
    assert other.error["key"] == "k1"
    assert len(recorded("call-1")) == 1


def test_an_unknown_type_is_refused_with_the_nearest(run: Refold, tmp_path: Path) -> None:
    """A type that is not in the vocabulary: exit 2, near names, and no store is made."""
    done = run("append", "call-1", "--type", "user.uterance", "--json")
    assert done.code == 2
    assert done.error["code"] == "unknown_event_type"
    assert done.error["type"] == "user.uterance"
    assert "user.utterance" in done.error["message"]
    assert not (tmp_path / "refold.db").exists()


def test_untyped_allows_unknown_types_and_still_checks_known_ones(run: Refold) -> None:
    """`--untyped` records a type of one's own; a known type must fit its class all the same."""
    own = ("append", "a", "--type", "parcel.sent", "--data", '{"kg": 2}', "--untyped")
    assert run(*own).code == 0
    assert recorded("a")[0].data == {"kg": 2}
    assert run("append", "a", "--type", "tool.call", "--untyped").code == 2


@pytest.mark.parametrize(
    ("type_name", "data", "facts"),
    [
        ("user.utterance", "{}", {"type": "user.utterance"}),
        ("user.utterance", '{"txt": "x"}', {"field": "txt"}),
        ("user.utterance", '{"text": 5}', {"type": "user.utterance"}),
        ("user.utterance", "[]", {"type": "user.utterance"}),
        ("user.utterance", '{"text": "x', {"line": 1, "column": 10}),
        ("user.utterance", '{"text":\n "x"\n]', {"line": 3, "column": 1}),
        ("session.ended", '{"reason": "done", "error": NaN}', {"source": "--data", "line": 1}),
    ],
)
def test_a_payload_that_does_not_fit_is_refused(
    run: Refold, type_name: str, data: str, facts: dict[str, object]
) -> None:
    """A missing, unknown or wrong field, or broken JSON: exit 2, saying which and where."""
    done = run("append", "a", "--type", type_name, "--data", data, "--json")
    assert done.code == 2
    assert done.error["code"] == "invalid_event"
    assert facts.items() <= done.error.items()


@pytest.mark.parametrize(
    ("stdin", "line"),
    [
        ('{"type": "session.ended"}\n{"type": ', 2),
        ('{"type": "session.ended"}\n\n[1]', 3),
        ('{"data": {}}', 1),
        ('{"type": "session.ended", "dat": {}}', 1),
        ('{"type": "session.ended", "schema": "x"}', 1),
        ('{"type": "session.ended", "occurred_at": "soon"}', 1),
        ('{"type": "user.utterance", "data": {}}', 1),
        ("[" * 100_000, 1),
    ],
)
def test_a_bad_line_of_stdin_is_named(run: Refold, stdin: str, line: int) -> None:
    """The error of a line says its number; nothing is recorded."""
    done = run("append", "a", "--json", stdin=stdin)
    assert done.code == 2
    assert f"stdin, line {line}" in done.error["message"]


def test_data_without_a_type_is_wrong_usage(run: Refold) -> None:
    """`--data` belongs to `--type`: without it the events would come from stdin."""
    assert run("append", "a", "--data", "{}").code == 2


def test_a_file_of_data_that_is_not_there_is_named(run: Refold) -> None:
    """`--data @file` of a missing file: exit 2 with its path."""
    done = run("append", "a", "--type", "session.ended", "--data", "@gone.json", "--json")
    assert (done.code, done.error["path"]) == (2, "gone.json")


def test_events_of_one_append_are_bounded(run: Refold) -> None:
    """More events than an append may hold are refused, not split in silence."""
    done = run("append", "a", stdin='{"type": "session.ended"}\n' * 10_001)
    assert done.code == 2
