"""The public API changes on purpose only: its names stand in `exported_names.txt`."""

from pathlib import Path

import refold

NAMES_MAX = 30
PINNED = Path(__file__).with_name("exported_names.txt")


def pinned_names() -> list[str]:
    """The names of the list, one a line; lines that start with ``#`` are for the reader."""
    lines = (line.strip() for line in PINNED.read_text().splitlines())
    return [line for line in lines if line and not line.startswith("#")]


def test_the_exported_names_are_the_pinned_ones() -> None:
    """`refold.__all__` is the pinned list: a name comes or goes together with its line there."""
    assert sorted(refold.__all__) == sorted(pinned_names())


def test_every_exported_name_is_there_and_named_once() -> None:
    """Each name of `refold.__all__` can be imported, and none is listed twice."""
    assert [name for name in refold.__all__ if not hasattr(refold, name)] == []
    assert len(set(refold.__all__)) == len(refold.__all__)


def test_the_public_names_stay_few() -> None:
    """The package exports at most 30 names."""
    assert len(refold.__all__) <= NAMES_MAX


def test_every_exported_function_and_class_has_a_docstring() -> None:
    """What is public says what it promises."""
    exported = [(name, getattr(refold, name)) for name in refold.__all__]
    silent = [name for name, value in exported if callable(value) and not value.__doc__]
    assert silent == []
