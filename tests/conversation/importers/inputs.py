"""Files to import: real ones where they are, small ones written for a test."""

import json
from pathlib import Path
from typing import Any

import pytest

SHARED_DATA = Path(__file__).resolve().parents[4] / "shared" / "data"


def real(*parts: str) -> Path:
    """A file or folder of the shared test data; the test is skipped where it is missing."""
    path = SHARED_DATA.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"missing {'/'.join(parts)} of the shared test data")
    return path


def tau_element(task: int = 0, trial: int = 0, **changed: Any) -> dict[str, Any]:
    """A small tau-bench conversation: one tool call, which fails."""
    call = {"id": "c", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}
    traj = [
        {"role": "system", "content": "Be kind"},
        {"role": "user", "content": f"Task {task}, please"},
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "c", "name": "look_up", "content": "Error: none"},
        {"role": "user", "content": "###STOP###"},
    ]
    info = {"task": {"user_id": f"u{task}", "instruction": "Ask"}, "user_cost": 0.1}
    whole = {"task_id": task, "reward": 1.0, "info": info, "traj": traj, "trial": trial}
    return {**whole, **changed}


def line(**value: Any) -> str:
    """A JSON line."""
    return json.dumps(value) + "\n"
