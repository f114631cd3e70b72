"""An environment for each rival, with exactly the packages that its requirements name."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from bench.pool import CACHE

ROOT: Final = Path(__file__).resolve().parents[1]
_REQUIREMENTS: Final = Path(__file__).resolve().parent / "requirements"
_INSTALL_S_MAX: Final = 600


class NoEnvironment(Exception):
    """A rival cannot be installed here; the message says why."""


def python_for(requirements: str) -> Path:
    """The interpreter of an environment with these requirements, made when missing."""
    wanted = (_REQUIREMENTS / f"{requirements}.txt").read_text()
    folder = CACHE / requirements
    python, stamp = folder / "bin" / "python", folder / "requirements.txt"
    if stamp.exists() and stamp.read_text() == wanted and python.exists():
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    _uv("venv", "--quiet", "--python", sys.executable, str(folder))
    source = str(_REQUIREMENTS / f"{requirements}.txt")
    _uv("pip", "install", "--quiet", "--python", str(python), "--requirement", source)
    stamp.write_text(wanted)
    return python


def _uv(*arguments: str) -> None:
    beside = Path(sys.executable).with_name("uv")
    uv = str(beside) if beside.exists() else shutil.which("uv")
    if uv is None:
        raise NoEnvironment("uv is neither beside this Python nor on PATH: run `make setup`")
    environment = {"UV_CACHE_DIR": str(ROOT / ".cache" / "uv"), **os.environ}
    try:
        subprocess.run(
            [uv, *arguments],
            check=True,
            capture_output=True,
            text=True,
            timeout=_INSTALL_S_MAX,
            env=environment,
        )
    except subprocess.CalledProcessError as error:
        raise NoEnvironment(error.stderr.strip()[-500:]) from error
    except subprocess.TimeoutExpired as error:
        raise NoEnvironment(f"not installed within {_INSTALL_S_MAX} s") from error
