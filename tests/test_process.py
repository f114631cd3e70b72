"""Whether a process that is known by its name alone has ended."""

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from refold.process import has_ended, this_process

SAYS = "from refold.process import this_process; print(this_process(), flush=True); input()"
HERE, NUMBER, BEGAN = this_process().rsplit(":", 2)


@pytest.fixture
def other() -> Iterator["subprocess.Popen[str]"]:
    """A process that says its name, and ends when it is told."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", SAYS], stdin=pipe, stdout=pipe, text=True) as one:
        yield one


def test_a_process_has_ended_when_it_is_gone(other: "subprocess.Popen[str]") -> None:
    """Not while it runs, and no other that got its number before it runs under that name."""
    assert other.stdout is not None
    name = other.stdout.readline().strip()
    assert name.startswith(f"{HERE}:{other.pid}:")
    assert not has_ended(name)
    assert has_ended(f"{HERE}:{other.pid}:1")
    other.communicate("\n")
    assert has_ended(name)


def test_this_process_has_not_ended() -> None:
    """But one that had its number before it has."""
    assert str(os.getpid()) == NUMBER
    assert not has_ended(this_process())
    assert has_ended(f"{HERE}:{NUMBER}:1")


def test_of_another_machine_or_container_nothing_is_known(other: "subprocess.Popen[str]") -> None:
    """Be its host of the same name: nor of what is no name of a process."""
    other.communicate("\n")
    host, start, space = HERE.rsplit(".", 2)
    for where in (host, f"{host}.{start}.1", f"{host}.00000000.{space}", f"x.{start}.{space}"):
        for number in (other.pid, NUMBER):
            assert not has_ended(f"{where}:{number}:1")
    assert not any(map(has_ended, ("", "no name", "None", f"{HERE}:x:1", HERE)))


def test_where_a_system_tells_less_a_running_process_has_not_ended(
    other: "subprocess.Popen[str]", monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its number alone says whether it is gone, as on macOS."""
    assert other.stdout is not None
    name = other.stdout.readline().strip()
    monkeypatch.setattr("refold.process._began", lambda number: "")
    assert not has_ended(name)
    other.communicate("\n")
    assert has_ended(name)
