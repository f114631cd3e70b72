"""What the figures were measured on."""

from __future__ import annotations

import os
import platform
import re
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw

import refold
from bench.environments import ROOT


def described(folder: Path) -> dict[str, Any]:
    """The machine, the versions, the moment, and how loaded the machine was at the start."""
    return {
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
        "machine": _name(),
        "processor": _processor(),
        "cores": os.cpu_count(),
        "load_at_start": os.getloadavg(),
        "system": f"{platform.system()} {platform.release()}",
        "file_system": _file_system(folder),
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "sqlite": apsw.sqlite_lib_version(),
        "refold": refold.__version__,
        "commit": _commit(),
    }


def result_name(machine: dict[str, Any]) -> str:
    """A file name of the moment and the machine."""
    at = re.sub(r"[^0-9T]", "", machine["at"][:19])
    return f"{at}-{machine['machine']}.json"


def _name() -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", platform.node()).strip("-") or "machine"


def _processor() -> str:
    try:
        text = Path("/proc/cpuinfo").read_text()
    except OSError:
        return platform.processor() or platform.machine()
    found = re.search(r"model name\s*: (.*)", text)
    return found[1] if found else platform.machine()


def _file_system(folder: Path) -> str:
    """The kind of file system that holds a folder; unknown where the system does not tell."""
    try:
        lines = Path("/proc/self/mounts").read_text().splitlines()
    except OSError:
        return "unknown"
    mounts = [line.split()[1:3] for line in lines]
    within = [(len(place), kind) for place, kind in mounts if folder.is_relative_to(place)]
    return max(within)[1] if within else "unknown"


def _commit() -> str:
    asked = ["git", "-C", str(ROOT), "rev-parse", "--short", "HEAD"]
    try:
        return subprocess.run(asked, capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
