"""How tests are dealt to the workers of pytest-xdist, where there are several."""

from __future__ import annotations

import re
from functools import cache
from typing import Final

from xdist.scheduler import LoadScopeScheduling

from tests.house.tree import ROOT

_GROUP: Final = re.compile(r'\bxdist_group\("(\w+)"\)')
_SHARED: Final = re.compile(r'\bfixture\([^)]*\bscope="module"')


class ByFile(LoadScopeScheduling):  # type: ignore[misc] # untyped
    """One worker runs all tests of a group, or of a file that makes something for all of its tests.

    So it is made once, such as the brokers of Kafka. Others are dealt one by one. pytest-xdist has
    groups too, which it tells the workers by names that pytest 9.2 no longer lets it change: with
    the two of them every worker started brokers of its own.
    """

    def _split_scope(self, nodeid: str) -> str:
        """What the tests dealt together have in common."""
        return group_of(nodeid.partition("::")[0]) or nodeid


@cache
def group_of(file: str) -> str | None:
    """By what a file of tests says; None where each of its tests stands alone."""
    path = ROOT / file
    text = path.read_text() if path.is_file() else ""
    if group := _GROUP.search(text):
        return group[1]
    return file if _SHARED.search(text) else None
