"""`refold demo`: the whole story in one command."""

from pathlib import Path

import pytest

import refold
from refold.demo.ways import AT_ONCE, NO_TIME
from tests.cli.running import Refold


def test_the_demo_tells_everything_and_writes_its_report(run: Refold, tmp_path: Path) -> None:
    """Recorded calls, a transcript, two states, a what-if, a comparison, a file: exit 0.

    Run again, it reuses what is there and asks nothing; `--json` prints the figures.
    """
    first = run("demo", "--report", "out.html")
    assert first.code == 0, first.err
    acted = "The candidate acted differently"
    for told in ("rule-based stand-in", "Recorded ", "what-if", acted, "next-step"):
        assert told in first.out
    assert "Look before you ship it" in first.out.partition("Would you ship the shorter prompt?")[2]
    todo = first.out.partition("What to do next")[2]
    assert "refold ui --db refold-demo.db" in todo
    assert (tmp_path / "out.html").as_uri() in todo
    assert "<html" in (tmp_path / "out.html").read_text()
    (found,) = run("demo", "--report", "out.html", "--json").lines
    recorded = found["recorded"]
    assert recorded["calls"] >= 40
    assert recorded["reused"] == recorded["calls"]
    assert found["requests"] == 0
    assert found["comparison"]["figures"]["decisions"] > 0
    assert "conversations" not in found["comparison"]
    assert not (tmp_path / "refold.db").exists()
    shown = run("show", found["shown"], "--db", "refold-demo.db", "--json").lines
    assert found["transcript"][0]["id"] in [line["id"] for line in shown]
    runs = run("replays", "--db", "refold-demo.db", "--json").lines
    free = [line for line in runs if line["mode"] == "free-run"]
    assert sorted(line["label"] for line in free) == [AT_ONCE, NO_TIME]
    for line in free:
        asked = ["compare", "--db", "refold-demo.db", "--variant", line["variant"], "--json"]
        named = f"--variant {line['variant']} --primary same_course --margin 25pt"
        assert f"where it led: refold compare {named} --db refold-demo.db\n" in first.out
        (told,) = run(*asked, "--primary", "same_course", "--margin", "25pt").lines
        primary = told["verdicts"]["primary"]
        assert primary["answer"] == (
            "changed more than noise" if line["label"] == NO_TIME else "no change seen"
        )


@pytest.mark.parametrize("args", [["--seed", "-1"], ["--report", "gone/out.html"]])
def test_a_demo_that_cannot_be_is_refused(run: Refold, args: list[str]) -> None:
    """A seed out of range, a report that cannot be written: exit 2."""
    assert run("demo", *args).code == 2


def test_a_store_in_use_is_left_alone(run: Refold, tmp_path: Path) -> None:
    """A store that holds anything else is refused, however it was named."""
    with refold.open(tmp_path / "own.db") as store:
        store.append("deal-1", [refold.Event("x")])
    assert run("demo", "--db", "own.db").code == 2
    (tmp_path / "refold.toml").write_text('db = "own.db"')
    assert run("demo").code == 2
    with refold.open(tmp_path / "own.db") as store:
        assert store.log_head() == 1
