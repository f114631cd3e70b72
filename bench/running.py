"""Subjects as processes that answer one request at a time."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from bench import database
from bench.environments import ROOT, python_for

ANSWER_S_MAX: Final = 1_200
"""A subject that has not answered after this is ended, and its measurements are missing."""

RIVALS: Final = {
    "eventsourcing": "eventsourcing",
    "eventsource-py": "eventsource-py",
    "langgraph": "langgraph-checkpoint-sqlite",
    "eventsourcing-postgres": "eventsourcing-postgres",
    "eventsource-py-postgres": "eventsource-py-postgres",
    "langgraph-postgres": "langgraph-checkpoint-postgres",
}
"""Subjects that need an environment of their own, with the name of its requirements."""


class Failed(Exception):
    """A subject could not answer; the message says why."""


class Process:
    """One subject's process."""

    def __init__(self, subject: str, folder: Path, told: Mapping[str, str]) -> None:
        requirements = RIVALS.get(subject)
        python = Path(sys.executable) if requirements is None else python_for(requirements)
        module = f"bench.subjects.{subject.replace('-', '_')}"
        self._subject = subject
        self._log = (folder / f"{subject}.log").open("w+")
        self._process = subprocess.Popen(
            [str(python), "-m", module, str(folder / subject)],
            cwd=ROOT,
            env={**os.environ, **told, "PYTHONPATH": f"{ROOT}{os.pathsep}{ROOT / 'src'}"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def ask(self, do: str, **arguments: Any) -> dict[str, Any]:
        """The answer to one request; :class:`Failed` when there is none."""
        process = self._process
        if process.poll() is not None:
            raise Failed(f"{self._subject} ended: {self._last_words()}")
        assert process.stdin is not None and process.stdout is not None
        process.stdin.write(json.dumps({"do": do, "with": arguments}) + "\n")
        process.stdin.flush()
        ready, _, _ = select.select([process.stdout], [], [], ANSWER_S_MAX)
        line = process.stdout.readline() if ready else ""
        if not line:
            self.close()
            raise Failed(f"{self._subject} did not answer {do}: {self._last_words()}")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Failed(f"{self._subject}: {answer['error']}")
        return answer

    def close(self) -> None:
        """End the process; it removes its own files."""
        if self._process.stdin is not None and not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _last_words(self) -> str:
        self._log.seek(0)
        lines = self._log.read().strip().splitlines()
        return lines[-1] if lines else "it said nothing"


class Processes:
    """The subjects that are needed, started when they first are."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._running: dict[str, Process] = {}
        self._servers = ExitStack()
        self._told: dict[str, str] = {}
        self.failed: dict[str, str] = {}

    def ask(self, subject: str, do: str, **arguments: Any) -> dict[str, Any]:
        """Ask a subject, started with the usual events if it does not run yet."""
        if subject in self.failed:
            raise Failed(self.failed[subject])
        process = self._running.get(subject)
        if process is None:
            try:
                told = self._server() if subject.endswith("-postgres") else {}
                process = self._running[subject] = Process(subject, self._folder, told)
                process.ask("use")
            except Exception as error:
                self.failed[subject] = f"{subject}: {error}"
                raise Failed(self.failed[subject]) from error
        return process.ask(do, **arguments)

    def _server(self) -> Mapping[str, str]:
        """Where the server is that all who want one share; it is started once."""
        if not self._told:
            self._told = self._servers.enter_context(database.server())
        return self._told

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        with self._servers:
            for process in self._running.values():
                process.close()
