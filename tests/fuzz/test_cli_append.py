"""`refold append` with anything as its input: stored as it was given, or refused with its place."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

import refold
from refold.cli.main import main
from tests.cli.running import CALL, Ran
from tests.fuzz.values import HALVES, JSON_VALUES, KEYS, TEXT, damaged, fuzzed, same_json

TYPES = st.sampled_from([type_ for type_, _ in CALL]) | st.sampled_from(["a.b", "a.b.v3", ""])
LINES = st.fixed_dictionaries(
    {"type": TYPES | HALVES},
    optional={
        "data": JSON_VALUES | st.sampled_from([data for _, data in CALL]),
        "schema": st.integers(-1, 3) | JSON_VALUES,
        "metadata": st.dictionaries(KEYS, JSON_VALUES, max_size=2) | JSON_VALUES,
        "occurred_at": st.sampled_from(["2026-03-01T09:00:00Z", "2026-03-01", "x"]) | JSON_VALUES,
        "position": JSON_VALUES,
        "typ": JSON_VALUES,
    },
)
SOUND = b"".join(json.dumps({"type": t, "data": d}).encode() + b"\n" for t, d in CALL)


def run(folder: str, *args: str, stdin: bytes = b"") -> Ran:
    """The command with a store in a folder, in this process."""
    store = ["--db", str(Path(folder, "log.db")), "--json"]
    done = CliRunner().invoke(main, ["append", *store, "call-1", *args], input=stdin)
    return Ran(done.exit_code, done.stdout, done.stderr)


def judge(folder: str, ran: Ran) -> list[refold.Recorded]:
    """What was said is what is stored: all of it, or nothing and one error on stderr."""
    path = Path(folder, "log.db")
    if ran.code:
        assert ran.code == 2, ran
        assert ran.error["message"]
        assert ran.out == ""
        if not path.exists():
            return []
    with refold.open(path) as store:
        events = list(store.read_all())
    if ran.code:
        assert events == []
    else:
        assert [e.id for e in events] == ran.lines[0]["ids"]
    return events


@fuzzed(40, 500)
@given(stdin=damaged([SOUND]) | st.binary(max_size=60), untyped=st.booleans())
def test_any_bytes_on_stdin_are_events_or_an_error(stdin: bytes, untyped: bool) -> None:
    """Damaged lines, half a character, no JSON: exit code 2, one error, and nothing is stored."""
    with TemporaryDirectory() as folder:
        judge(folder, run(folder, *(["--untyped"] if untyped else []), stdin=stdin))


@fuzzed(50, 600)
@given(lines=st.lists(LINES | JSON_VALUES, max_size=3), untyped=st.booleans())
def test_any_json_on_stdin_is_stored_as_it_is_or_refused(lines: list[Any], untyped: bool) -> None:
    """An event a line: what is stored says what the lines said."""
    stdin = "\n".join(json.dumps(line) for line in lines).encode()
    with TemporaryDirectory() as folder:
        events = judge(folder, run(folder, *(["--untyped"] if untyped else []), stdin=stdin))
        for event, line in zip(events, lines, strict=False):
            assert same_json(event.data, line.get("data", {}))
            assert same_json(event.metadata, line.get("metadata") or {})


@fuzzed(50, 600)
@given(
    type_=TYPES | TEXT,
    data=st.builds(json.dumps, JSON_VALUES) | TEXT | st.just("@missing.json"),
    metadata=st.none() | st.builds(json.dumps, JSON_VALUES) | TEXT,
    key=st.none() | TEXT,
    occurred_at=st.none() | st.sampled_from(["2h", "2026-03-01", "9999-12-31"]) | TEXT,
)
def test_any_arguments_are_an_event_or_an_error(
    type_: str, data: str, metadata: str | None, key: str | None, occurred_at: str | None
) -> None:
    """Whatever a shell passes on."""
    options = {
        "--type": type_,
        "--data": data,
        "--metadata": metadata,
        "--key": key,
        "--occurred-at": occurred_at,
    }
    given_ = [f"{name}={value}" for name, value in options.items() if value is not None]
    with TemporaryDirectory() as folder:
        for event in judge(folder, run(folder, *given_, "--untyped")):
            assert same_json(event.data, json.loads(data))
