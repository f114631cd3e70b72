"""The errors: one tree, each with a code, a way on, and its facts."""

from __future__ import annotations

import copy
import pickle
import re

import pytest

from refold import errors
from refold.errors import Conflict, InvalidEvent, RefoldError, Rejected, UsageError

EXAMPLES = [
    Conflict(stream="call-1", expected=3, actual=5),
    InvalidEvent("is bad", path="/a/0", index=2),
    Rejected("too_little", missing=5),
    UsageError("another code", code="key_reused", key="tx-1"),
    errors.OutcomeUnknown("who knows", path="x.db"),
]


def classes() -> list[type[RefoldError]]:
    """Every error class of the module."""
    found = [kind for kind in vars(errors).values() if isinstance(kind, type)]
    return [kind for kind in found if issubclass(kind, RefoldError)]


def test_the_tree_at_the_top_of_the_file_is_the_tree() -> None:
    """Each class is drawn once, under its parent, with what ``retry`` says."""
    drawn = re.findall(r"^ {4}[│ ]*[├└] (\w+)(?: +(\w+))?", str(errors.__doc__), re.MULTILINE)
    assert sorted(name for name, _ in drawn) == sorted(
        kind.__name__ for kind in classes() if kind is not RefoldError
    )
    for name, retry in drawn:
        if retry:
            assert getattr(errors, name).retry == retry


def test_every_error_has_a_code_of_its_own() -> None:
    """A program tells errors apart by a stable slug."""
    codes = [kind.code for kind in classes()]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_an_error_crosses_processes_whole(error: RefoldError) -> None:
    """Pickled or copied, it keeps its class, message, code and facts."""
    for twin in (pickle.loads(pickle.dumps(error)), copy.copy(error), copy.deepcopy(error)):
        assert type(twin) is type(error)
        assert (str(twin), twin.code, twin.facts) == (str(error), error.code, error.facts)
        assert twin.retry == error.retry


def test_facts_are_attributes() -> None:
    """What the message is about can be asked for by name; what is not there is not."""
    conflict = EXAMPLES[0]
    assert (conflict.stream, conflict.expected, conflict.actual) == ("call-1", 3, 5)
    invalid = EXAMPLES[1]
    assert (invalid.reason, invalid.path, invalid.index) == ("is bad", "/a/0", 2)
    assert not hasattr(conflict, "colour")
    with pytest.raises(AttributeError):
        _ = conflict.colour
