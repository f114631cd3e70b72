"""Which format a file probably has, by the keys that stand first in it."""

from __future__ import annotations

import re
from typing import Final

_FORMAT_OF: Final = {
    b"task_id": "tau-bench",
    b"traj": "tau-bench",
    b"positions": "ai-trader",
    b"this_action": "ai-trader",
    b"messages": "openai-chat",
    b"role": "openai-chat",
}
_KEY: Final = re.compile(rb'"(' + b"|".join(_FORMAT_OF) + rb')"\s*:')


def format_of(head: bytes) -> str | None:
    """The name of the format that the first bytes of a file look like; None for none."""
    found = _KEY.search(head)
    return None if found is None else _FORMAT_OF[found[1]]
