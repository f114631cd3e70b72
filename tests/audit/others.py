"""Programs by others, asked whether they accept what refold made.

`make system` builds them (`tools/go.sh`), and so does the first test that asks where it has not.
"""

from __future__ import annotations

import fcntl
import json
import subprocess
from base64 import b64encode
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from tests.house.tree import ROOT

_FOLDER: Final = ROOT / ".cache" / "go"


def program() -> Path:
    """The program, built where it is not there; several processes may ask at once."""
    _FOLDER.mkdir(parents=True, exist_ok=True)
    with (_FOLDER / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        done = subprocess.run(["sh", "tools/go.sh"], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return _FOLDER / "others"


def vectors() -> Path:
    """The folder of the test vectors of github.com/transparency-dev/merkle."""
    program()
    (found,) = _FOLDER.glob("modules/github.com/transparency-dev/merkle@*/testdata")
    return found


class Judge:
    """Answers questions; hashes are given as bytes."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def refusal(self, question: str, /, **facts: Any) -> str | None:
        """Why it refuses; None where it accepts."""
        return self._answer(question, facts).get("refused")

    def said(self, question: str, /, **facts: Any) -> str:
        """What it says, which accepts."""
        answer = self._answer(question, facts)
        assert "refused" not in answer, answer
        return str(answer["said"])

    def _answer(self, question: str, facts: dict[str, Any]) -> dict[str, str]:
        asked = {"ask": question} | {name: _plain(value) for name, value in facts.items()}
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps(asked) + "\n")
        self._process.stdin.flush()
        answer: dict[str, str] = json.loads(self._process.stdout.readline())
        return answer


def _plain(value: Any) -> Any:
    if isinstance(value, bytes):
        return b64encode(value).decode()
    return [_plain(one) for one in value] if isinstance(value, list) else value


@contextmanager
def judging() -> Iterator[Judge]:
    """A judge, which ends with the block."""
    command, pipe = [str(program()), "judge"], subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        yield Judge(process)
        assert process.stdin
        process.stdin.close()


@contextmanager
def witnessing(log_key: str, witness_key: str) -> Iterator[str]:
    """A witness of one log, by its two keys, at an address that is given.

    ``log_key`` may be ``@`` and the file that will hold it.
    """
    command = [str(program()), "witness", log_key, witness_key]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            yield f"http://{process.stdout.readline().strip()}"
        finally:
            process.kill()
