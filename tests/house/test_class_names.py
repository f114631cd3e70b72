"""One word, one meaning: no two classes of the package share a name."""

import re
from collections import Counter

from tests.house.tree import SRC, files_under


def test_every_class_has_a_name_of_its_own() -> None:
    """Whoever searches for a class finds one."""
    names = Counter(
        name
        for path in files_under(SRC, suffix=".py")
        for name in re.findall(r"^class (\w+)", path.read_text(), re.MULTILINE)
    )
    assert len(names) > 300
    assert [name for name, count in names.items() if count > 1] == []
