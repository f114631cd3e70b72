"""`refold projections`: keep tables, see how they stand, set them right."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import refold
from refold import Event
from refold.projections import Projector
from refold.readmodels import built_in
from tests.cli.running import Refold

MODULE = """
import msgspec
from refold.projections import Projection, Table

class Sum(msgspec.Struct):
    stream: str
    amount: int = 0

SUMS = Table("sums", Sum, key="stream")
sums = Projection("sums", tables=[SUMS], revision=REVISION)

@sums.on("added")
def _(rows, event, recorded):
    row = rows.get(SUMS, recorded.stream) or Sum(recorded.stream)
    row.amount += event["n"]
    rows.put(SUMS, row)

def both():
    return [sums]
"""


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A projection of the caller's own, over a store with one event that it fails on."""
    define(tmp_path, 1)
    monkeypatch.setenv("REFOLD_PROJECTIONS_FROM", "own_sums:sums")
    with refold.open(tmp_path / "refold.db", synchronous="NORMAL") as store:
        for n in range(12):
            store.append(f"s-{n % 3}", [Event("added", {"n": n if n != 7 else "seven"})])
    return "sums"


def define(folder: Path, revision: int) -> None:
    """Write the caller's module; a run must not find an older one."""
    (folder / "own_sums.py").write_text(MODULE.replace("REVISION", str(revision)))
    sys.modules.pop("own_sums", None)


def sums(folder: Path) -> dict[str, int]:
    """The rows, as anybody reads them."""
    with refold.open(folder / "refold.db", mode="read") as store:
        return dict(Projector(store, []).query("SELECT stream, amount FROM sums"))


def test_status_tells_what_is_to_be_done(run: Refold, own: str, tmp_path: Path) -> None:
    """Never started; then set aside, which is a finding; retried; skipped; then fine."""
    (new,) = run("projections", "status", "--json").lines
    assert (new["name"], new["state"], new["lag_events"]) == (own, "new", 12)
    assert run("projections", "status").code == 0
    assert run("projections", "run", "--once").code == 0
    ended = run("projections", "status")
    assert ended.code == 1
    assert "s-1@2" in ended.out
    (stopped,) = run("projections", "status", "--json").lines
    assert stopped["parked"][0]["event"] == "s-1@2"
    assert sums(tmp_path) == {"s-0": 18, "s-1": 5, "s-2": 26}
    failed = run("projections", "retry", own, "--json")
    assert failed.code == 1
    assert failed.lines[0]["failed"][0]["event"] == "s-1@2"
    assert run("projections", "skip", own, "s-1@2").code == 2
    skipped = run("projections", "skip", own, "s-1@2", "--reason", "a word", "--json")
    assert (skipped.code, skipped.lines) == (0, [{"projection": own, "failed": []}])
    assert run("projections", "run", "--once", "--json").lines[0]["lag_events"] == 0
    assert run("projections", "status").code == 0
    assert sums(tmp_path) == {"s-0": 18, "s-1": 15, "s-2": 26}


def test_status_lists_what_has_rows_whether_its_code_is_given_or_not(
    run: Refold, own: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without `--from`, the caller's own stand beside the built-in ones, and end it with 1."""
    run("projections", "run", "--once")
    monkeypatch.delenv("REFOLD_PROJECTIONS_FROM")
    ended = run("projections", "status", "--json")
    states = {line["name"]: line["state"] for line in ended.lines}
    assert states == {**dict.fromkeys(names_built_in(), "new"), own: "unknown"}
    assert ended.code == 1
    (one,) = (line for line in ended.lines if line["name"] == own)
    assert [parked["event"] for parked in one["parked"]] == ["s-1@2"]
    assert "s-1@2" in run("projections", "status").out
    assert (
        f'parked_streams{{projection="{own}"}} 1' in run("projections", "status", "--metrics").out
    )


def names_built_in() -> list[str]:
    """What the read models of refold are called."""
    return [one.name for one in built_in()]


def test_a_stream_that_is_set_aside_is_told(run: Refold, own: str) -> None:
    """One line on stderr names the event and the error, when it happens and not again."""
    first = run("projections", "run", "--once", "--json")
    (line,) = first.err.splitlines()
    assert own in line
    assert "s-1@2" in line
    assert "TypeError" in line
    assert run("projections", "run", "--once").err == ""


def test_a_changed_projection_is_rebuilt(run: Refold, own: str, tmp_path: Path) -> None:
    """Another revision: refused with advice, rebuilt, taken back, shown again, confirmed."""
    run("projections", "run", "--once")
    define(tmp_path, 22)  # Of another size: its compiled form is told from the old one by that.
    refused = run("projections", "run", "--once")
    assert refused.code == 2
    assert "refold projections rebuild sums" in refused.err
    assert run("projections", "status").code == 1
    (rebuilt,) = run("projections", "rebuild", own, "--json").lines
    assert (rebuilt["generation"], rebuilt["events"]) == (2, 12)
    assert run("projections", "run", "--once").code == 0
    assert run("projections", "rollback", own, "--json").lines[0]["generation"] == 1
    assert run("projections", "run", "--once").code == 2
    assert run("projections", "rollback", own).code == 0
    assert run("projections", "confirm", own, "--json").lines[0]["dropped_generation"] == 1
    assert "nothing to drop" in run("projections", "confirm", own).out
    assert run("projections", "rollback", own).code == 2
    assert sums(tmp_path)["s-0"] == 18


def test_metrics_are_openmetrics_text(run: Refold, own: str) -> None:
    """Each line is a comment or one sample; the end is marked."""
    run("projections", "run", "--once")
    ended = run("projections", "status", "--metrics")
    assert ended.code == 0
    *lines, last = ended.out.splitlines()
    assert last == "# EOF"
    sample = re.compile(r'refold_projection_[a-z_]+\{projection="sums"\} [0-9.e+]+')
    samples = [line for line in lines if not line.startswith("# ")]
    assert samples
    assert all(sample.fullmatch(line) for line in samples)
    assert 'refold_projection_parked_streams{projection="sums"} 1' in samples
    assert 'refold_projection_position{projection="sums"} 12' in samples


def test_the_built_in_ones_are_there_without_asking(run: Refold, call: str) -> None:
    """Without `--from` the read models of refold are kept."""
    assert run("projections", "run", "--once").code == 0
    names = [line["name"] for line in run("projections", "status", "--json").lines]
    assert "conversations" in names
    assert run("projections", "rebuild", *names).code == 0
    wrong = run("projections", "rebuild", "conversation")
    assert wrong.code == 2
    assert "conversations" in wrong.err


@pytest.mark.parametrize(
    "place", ["own_sums", "own_sums:nothing", "nothing:at_all", "own_sums:SUMS", ":"]
)
def test_a_place_without_projections_is_refused(run: Refold, own: str, place: str) -> None:
    """`--from` must lead to projections; so must what a function gives."""
    assert run("projections", "status", "--from", place).code == 2
    assert run("projections", "status", "--from", f"{own and 'own_sums'}:both").code == 0


def test_run_follows_until_it_is_told_to_end(own: str, tmp_path: Path) -> None:
    """A process that follows has what is appended beside it, and ends well on SIGTERM."""
    command = [sys.executable, "-m", "refold", "projections", "run", "--json"]
    environment = {**os.environ, "REFOLD_PROJECTIONS_FROM": "own_sums:sums"}
    with (
        refold.open(tmp_path / "refold.db") as store,
        subprocess.Popen(
            command, cwd=tmp_path, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
        ) as process,
    ):
        assert process.stderr is not None
        assert b"s-1@2" in process.stderr.readline()
        assert b"following sums" in process.stderr.readline()
        position = store.append("s-0", [Event("added", {"n": 100})]).position
        store.wait_for("sums", position, timeout_s=30)
        process.send_signal(signal.SIGTERM)
        out, _ = process.communicate(timeout=30)
    assert process.returncode == 0
    assert b'"lag_events":0' in out
    assert sums(tmp_path)["s-0"] == 118
