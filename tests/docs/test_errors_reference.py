"""docs/reference/errors.md names every error as the code defines it."""

import re

from refold import errors
from refold.errors import RefoldError
from refold.replay import ModelFailure
from tests.house.tree import ROOT, SRC, files_under

PAGE = (ROOT / "docs" / "reference" / "errors.md").read_text()


def error_classes() -> list[type[RefoldError]]:
    """The errors of `refold.errors`, and those that a part adds."""
    defined = [value for value in vars(errors).values() if isinstance(value, type)]
    return [*(cls for cls in defined if issubclass(cls, RefoldError)), ModelFailure]


def test_every_error_is_listed_with_its_code_and_retry() -> None:
    """The row of each class says what the class says, and there is no row of any other."""
    rows = re.findall(r"^\| `(\w+)` \| `(\w+)` \| `(\w+)` \|", PAGE, re.MULTILINE)
    assert len(rows) > 10
    assert rows == [(cls.__name__, cls.code, cls.retry) for cls in error_classes()]


def test_every_error_class_of_the_package_is_known_to_the_page() -> None:
    """No module of the package defines an error that the page leaves out."""
    defined = {
        name
        for path in files_under(SRC, suffix=".py")
        for name, base in re.findall(r"^class (\w+)\((\w+)\):", path.read_text(), re.MULTILINE)
        if base in {cls.__name__ for cls in error_classes()}
    }
    assert defined == {cls.__name__ for cls in error_classes()} - {"RefoldError"}


def test_every_narrower_code_is_listed() -> None:
    """A code given where an error is raised stands in the second table, and nothing else does."""
    given = {
        code
        for path in files_under(SRC, suffix=".py")
        for code in re.findall(r'\bcode="(\w+)"', path.read_text())
    }
    # The client gives the code of a failure beside its words.
    http = (SRC / "http.py").read_text()
    given |= set(re.findall(r'return "(\w+)", f"', http))
    _, _, second = PAGE.partition("## Codes that narrow a class")
    listed = re.findall(r"^\| `(\w+)` \| `\w+` \|", second, re.MULTILINE)
    assert set(listed) == given
