"""What a command does not need is not imported: that is what keeps `refold --help` quick."""

import os
import subprocess
import sys

import pytest

LAZY = ("cryptography", "httpx2", "jinja2", "rich", "zstandard")

HELP = """
import contextlib, io, sys
sys.argv = ["refold", "--help"]
from refold.cli.main import main
with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()) as printed:
    main()
assert "Usage" in printed.getvalue(), printed.getvalue()
"""


def imported_early(source: str) -> list[str]:
    """Which of the lazy packages a fresh interpreter holds after running ``source``."""
    report = f"\nimport sys\nprint(*(name for name in {LAZY!r} if name in sys.modules))"
    done = subprocess.run(
        [sys.executable, "-c", source + report],
        capture_output=True,
        text=True,
        timeout=60,
        env={k: v for k, v in os.environ.items() if not k.startswith("REFOLD_")},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize(
    "source",
    [
        pytest.param("import refold", id="import refold"),
        pytest.param("import refold.cli.main", id="import the command line"),
        pytest.param(HELP, id="refold --help"),
        pytest.param("import refold.replay.report.formatting", id="import the report"),
    ],
)
def test_heavy_packages_wait_until_they_are_needed(source: str) -> None:
    """Importing refold or asking for help loads no HTTP, no colours, no templates."""
    assert imported_early(source) == []


def test_an_early_import_is_seen() -> None:
    """The check reports a package that was imported."""
    assert imported_early("import rich") == ["rich"]
