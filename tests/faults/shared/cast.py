"""The processes of a run: started, killed and started again, ended in order."""

from __future__ import annotations

import subprocess
import sys
from contextlib import suppress
from pathlib import Path
from random import Random
from signal import SIGUSR1
from threading import Lock
from time import monotonic, sleep

import msgspec
from msgspec.structs import replace

from tests.faults.shared.working import Settings
from tests.house.tree import ROOT

END_S = 60
TRACE_S = 1
"""How long it may take to say where it hangs."""


class Member:
    """One process, and those that take its place when it is killed."""

    def __init__(self, role: str, settings: Settings) -> None:
        self.role, self._settings = role, settings
        self._turn = Lock()
        self._process = self._started()

    @property
    def name(self) -> str:
        """What its files are called by."""
        return self._settings.name

    def _started(self) -> subprocess.Popen[bytes]:
        given = msgspec.json.encode(self._settings).decode()
        command = [sys.executable, "-m", "tests.faults.shared.working", self.role, given]
        with self._settings.journal("said").open("ab") as said:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=said, stderr=said, cwd=ROOT
            )

    def kill(self) -> None:
        """kill -9, and another in its place."""
        with self._turn:
            self._process.kill()
            self._process.communicate()
            self._settings = replace(self._settings, life=self._settings.life + 1)
            self._process = self._started()

    def has_ended(self) -> bool:
        """Whether it has ended by itself, which it should not; then another takes its place."""
        with self._turn:
            if self._process.poll() is None:
                return False
        self.kill()
        return True

    def begin_to_end(self) -> None:
        """Tell it to finish what it is at."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(b"end\n")
            self._process.stdin.flush()

    def end(self, until_s: float) -> str:
        """Wait until it has ended, after it was told to; why it did not as it should, if so."""
        try:
            code = self._process.wait(max(0.0, until_s - monotonic()))
            return "" if code == 0 else f"ended with {code}"
        except subprocess.TimeoutExpired:
            self._process.send_signal(SIGUSR1)
            sleep(TRACE_S)
            said = self._settings.journal("said").read_text(errors="replace")
            return f"did not end: {said[-3_000:]}"
        finally:
            self.stop()

    def stop(self) -> None:
        """End it at once."""
        with self._turn:
            self._process.kill()
            self._process.communicate()


class Cast:
    """All of them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.members: list[Member] = []
        self.complaints: list[str] = []

    def add(self, role: str, settings: Settings) -> None:
        """One more."""
        self.members.append(Member(role, settings))

    def kill_one(self, lot: Random, *roles: str) -> bool:
        """Kill one of some role; whether there is one."""
        found = [one for one in self.members if one.role in roles]
        if found:
            lot.choice(found).kill()
        return bool(found)

    def look(self) -> None:
        """Note who has ended by himself."""
        self.complaints += [f"{one.name} ended" for one in self.members if one.has_ended()]

    def end(self, *roles: str) -> None:
        """End those of some roles in order."""
        ending = [one for one in self.members if one.role in roles]
        for one in ending:
            one.begin_to_end()
        until_s = monotonic() + END_S
        for one in ending:
            if why := one.end(until_s):
                self.complaints.append(f"{one.name} {why}")
        self.members = [one for one in self.members if one not in ending]

    def stop(self) -> None:
        """End them all at once."""
        for one in self.members:
            one.stop()

    def unexpected(self) -> list[str]:
        """What they said that they should not have to say."""
        said = [
            f"{path.name}: {line}"
            for path in sorted(self._folder.glob("said.*"))
            for line in path.read_text(errors="replace").splitlines()
            if line.startswith("unexpected")
        ]
        return self.complaints + said
