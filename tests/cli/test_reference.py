"""docs/reference/cli.md is what the commands say."""

import subprocess
import sys

from tests.house.tree import ROOT

PAGE = ROOT / "docs" / "reference" / "cli.md"


def test_the_page_is_current() -> None:
    """Every command and option stands on the page as the program has it now."""
    made = subprocess.run(
        [sys.executable, ROOT / "tools" / "cli_reference.py"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert PAGE.read_text() == made, f"run: .venv/bin/python tools/cli_reference.py >{PAGE}"
