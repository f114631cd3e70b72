"""The files of a gate: there whatever becomes of stdout, and never those of an earlier run."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

import pytest

from tests.cli.endpoints import Answer, says, serving, status
from tests.cli.running import Ran, Refold
from tests.cli.test_replay_judged import RUN, recorded

FILES = {"--summary": "out.md", "--junit": "out.xml", "--report": "out.html"}
WORDS = [word for pair in FILES.items() for word in pair]
OLD = "of an earlier run"


def old_files() -> None:
    for name in FILES.values():
        Path(name).write_text(OLD)


@pytest.mark.parametrize("command", ["replay", "gate", "compare"])
def test_files_are_there_before_anything_is_printed(run: Refold, command: str) -> None:
    """Whoever reads the first line and leaves, as `head -1` does, has the files."""
    recorded(6)
    with serving(says("No.")) as service:
        asked = ["--category", "talk", "--label", "new", "--base-url", service.url]
        if command == "compare":
            assert run("replay", *asked).code == 0
            asked = []
        words = [sys.executable, "-m", "refold", command, *asked, "--margin", "2pt", *WORDS]
        read, written = os.pipe()
        os.close(read)
        try:
            done = subprocess.run(words, stdout=written, check=False)
        finally:
            os.close(written)
    assert done.returncode == 141
    assert "refold" in Path("out.md").read_text()
    assert ElementTree.parse("out.xml").getroot().tag == "testsuites"
    assert "The verdict" in Path("out.html").read_text()


def told_of_failure(done: Ran, code: int) -> None:
    """Each file says that there is no verdict, and why."""
    assert done.code == code, done
    texts = [Path(name).read_text() for name in FILES.values()]
    assert not any(OLD in text for text in texts)
    assert all("No verdict, the run failed: " in text for text in texts)
    suite = ElementTree.parse("out.xml").getroot()[0]
    counts = {name: suite.attrib[name] for name in ("tests", "errors", "failures")}
    assert counts == {"tests": "1", "errors": "1", "failures": "0"}
    assert Path("out.md").read_text().startswith("### ❗ refold: No verdict")


@pytest.mark.parametrize("answer", [None, status(401)])
def test_a_run_that_failed_leaves_no_verdict_of_another(run: Refold, answer: Answer | None) -> None:
    """Nobody is there, or nothing is answered: exit 3, and the files of before are gone."""
    recorded(3)
    with serving(says("No.")) as service:
        url = service.url
    old_files()
    once = ("--attempts", "1", "--outage", "0", "--fail-on", "worse", *WORDS)
    if answer is None:
        done = run(*RUN, "--base-url", url, *once)
    else:
        with serving(answer) as service:
            done = run(*RUN, "--base-url", service.url, *once)
    told_of_failure(done, 3)


def test_nor_does_one_for_which_nothing_fits(run: Refold) -> None:
    """A quiet week: there is nothing to ask, and so no verdict either."""
    recorded(3)
    old_files()
    url = ("--base-url", "http://127.0.0.1:9/v1")
    told_of_failure(run("gate", "--last", "7d", "--tool", "none", *url, *WORDS), 2)


def test_a_comparison_that_fails_leaves_none_either(run: Refold) -> None:
    """No store, or no replay in it."""
    old_files()
    told_of_failure(run("compare", *WORDS), 2)
    old_files()
    told_of_failure(run("compare", "--a", "x", "--b", "y", *WORDS), 2)


def test_what_a_link_leads_to_is_not_removed(run: Refold) -> None:
    """As /dev/stdout is one; it is written through."""
    recorded(1)
    Path("kept.md").write_text(OLD)
    Path("out.md").symlink_to("kept.md")
    with serving(says("No.")) as service:
        assert run(*RUN, "--base-url", service.url, "--summary", "out.md").code == 0
    assert Path("out.md").is_symlink()
    assert OLD not in Path("kept.md").read_text()
