"""Tests that share what is dear to make go to one worker."""

import re

from tests.house.tree import ROOT, files_under, shown
from tests.support.dealing import group_of

TESTS = [path for path in files_under(ROOT / "tests", suffix=".py") if path.match("test_*.py")]
BROKERS = re.compile(r"def test_\w+\([^)]*\bbrokers: Cluster")


def test_all_that_need_brokers_are_of_one_group() -> None:
    """Each file whose tests ask for them: or every worker would start three of its own."""
    asking = [shown(path) for path in TESTS if BROKERS.search(path.read_text())]
    assert len(asking) > 5
    assert {group_of(name) for name in asking} == {"kafka"}


def test_a_file_with_something_made_once_is_a_group() -> None:
    """And one without is none."""
    name = "tests/replay/test_real_conversations.py"
    assert group_of(name) == name
    assert group_of("tests/core/test_fingerprint.py") is None
    assert group_of("tests/there_is_no_such_file.py") is None
