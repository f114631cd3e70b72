"""A warm append and a warm fold pass through few functions, in the modules that the page names."""

import gc
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

import refold
from refold.backends.sqlite.place import SETTLED_NS
from refold.conversation import AgentUtterance, Conversation, UserUtterance
from tests.house.tree import ROOT, SRC

PAGE = ROOT / "docs" / "explanation" / "a-line-through-the-house.md"
FUNCTIONS_MAX, MODULES_MAX = 10, 6
"""Of a warm append, and of a warm fold of a short stream, its steps apart."""
STEPS = "conversation/"
"""Where the steps of the fold stand: they are the reader's own, as a program's are."""


def functions_called(call: Callable[[], object]) -> dict[str, set[str]]:
    """The functions of refold that a call runs, by module; comprehensions are part of theirs."""
    found: dict[str, set[str]] = {}

    def watch(frame: FrameType, event: str, _: Any) -> None:
        code = frame.f_code
        path, name = code.co_filename, code.co_qualname
        if event == "call" and path.startswith(f"{SRC}/") and not code.co_name.startswith("<"):
            found.setdefault(str(Path(path).relative_to(SRC)), set()).add(name)

    gc.collect()
    gc.disable()  # What other tests left behind must not end within the call.
    sys.setprofile(watch)
    try:
        call()
    finally:
        sys.setprofile(None)
        gc.enable()
    return found


@pytest.fixture
def store(tmp_path: Path) -> Iterator[refold.Store]:
    """A store in a file whose stream, types and connections are warm, and its folder at rest."""
    with refold.open(tmp_path / "agents.db") as opened:
        for _ in range(5):
            opened.append("call-1", [UserUtterance(text="Hi"), AgentUtterance(text="Hello")])
            time.sleep(SETTLED_NS / 1e9)
            opened.append("call-1", [UserUtterance(text="Hi")])
            opened.fold("call-1", Conversation)
        yield opened


def test_a_warm_append_passes_through_few_functions(store: refold.Store) -> None:
    """At most ten functions in six modules from the call to the disk, SQLite's own included."""
    found = functions_called(lambda: store.append("call-1", [UserUtterance(text="Hi")]))
    assert "engine/store.py" in found
    assert sum(map(len, found.values())) <= FUNCTIONS_MAX, found
    assert len(found) <= MODULES_MAX, found


def test_a_warm_fold_passes_through_few_functions(store: refold.Store) -> None:
    """At most ten functions in six modules from the call to the state, the steps apart."""
    called = functions_called(lambda: store.fold("call-1", Conversation))
    found = {module: names for module, names in called.items() if not module.startswith(STEPS)}
    assert any(module.startswith(STEPS) for module in called)
    assert sum(map(len, found.values())) <= FUNCTIONS_MAX, found
    assert len(found) <= MODULES_MAX, found


def test_the_page_names_each_module_of_the_line_once(store: refold.Store) -> None:
    """What a warm append and a warm fold run stands on the page, each module once, and exists."""
    text = PAGE.read_text()
    named = re.findall(r"`((?:\w+/)*\w+\.py)`", text)
    append = functions_called(lambda: store.append("call-1", [UserUtterance(text="Hi")]))
    fold = functions_called(lambda: store.fold("call-1", Conversation))
    assert sorted(named) == sorted(set(named))
    assert {*append, *fold} - set(named) == set()
    assert [name for name in named if not (SRC / name).is_file()] == []
