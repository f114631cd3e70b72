"""The command in this process (quick) and as a process of its own (what a shell sees)."""

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn
from click.testing import CliRunner

import refold
from refold.cli.main import main
from tests.cli.running import CALL, Ran, Refold

LIMIT_S = 60


@pytest.fixture(autouse=True)
def in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """No test sees another's store, nor the settings of the machine."""
    for name in list(os.environ):
        if name.startswith("REFOLD_") or name in ("NO_COLOR", "FORCE_COLOR"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "no" / "settings"))
    monkeypatch.chdir(tmp_path)
    path = list(sys.path)
    yield
    sys.path[:] = path


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch) -> Refold:
    """`refold` with these arguments, in this process, where `refold ui` serves nobody and ends."""
    monkeypatch.setattr(uvicorn.Server, "run", lambda *_, **__: None)

    def run_here(*args: str, stdin: str = "", **env: str) -> Ran:
        done = CliRunner().invoke(main, args, input=stdin, env=env)
        return Ran(done.exit_code, done.stdout, done.stderr)

    return run_here


@pytest.fixture
def process() -> Refold:
    """`python -m refold` with these arguments, as a process."""

    def run_there(*args: str, stdin: str = "", **env: str) -> Ran:
        done = subprocess.run(
            [sys.executable, "-m", "refold", *args],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
            env={**os.environ, **env},
        )
        return Ran(done.returncode, done.stdout, done.stderr)

    return run_there


@pytest.fixture
def call(tmp_path: Path) -> str:
    """The stream `call-1` in `refold.db`: seven events, a minute apart, from 09:00 that day."""
    events = [
        refold.Event(type_, data, occurred_at=f"2026-03-01T09:0{minute}:00Z")
        for minute, (type_, data) in enumerate(CALL)
    ]
    with refold.open(tmp_path / "refold.db") as store:
        store.append("call-1", events, metadata={"actor": "test"})
    return "call-1"
