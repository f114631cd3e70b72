"""What is written in the search box, as what conversations must be; and back.

Words are looked for in what was said. ``tool:refund`` or ``agent:"front desk"`` asks for more, by
the names that the options of ``refold streams`` have.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from typing import Any, Final

from refold.errors import UsageError
from refold.readmodels import Wanted
from refold.times import to_us
from refold.ui.visit import DIGITS_MAX

_TERM: Final = re.compile(r'([a-z][a-z-]*):(?!//)("[^"]*"|\S+)|"([^"]*)"|(\S+)')
_YES: Final = {"yes": True, "no": False}
NAMES: Final = (
    "category", "since", "last", "until", "agent", "prompt-version", "model", "tool", "outcome",
    "tag", "with-error", "cost-over", "dataset", "sample", "seed", "stratify",
)  # fmt: skip
"""What may stand before a colon."""
FILTERS: Final = {
    **dict.fromkeys(("agent", "prompt-version", "model", "tool", "outcome", "tag"), ""),
    **dict.fromkeys(("since", "until"), "2026-03-01 or 7d"),
    **{"with-error": "yes", "cost-over": "0.05", "category": "call", "dataset": "name@2"},
    **{"sample": "20", "seed": "0", "stratify": "task"},
}
"""What is asked by a field of its own too, and how it looks."""


def asked(text: str, *, now_us: int | None = None) -> Wanted:
    """What a search asks for; :class:`~refold.errors.UsageError` says what it cannot mean."""
    given: dict[str, Any] = {}
    for name, value in _named(text):
        if name not in NAMES:
            raise UsageError(f"{name}: is none of {', '.join(NAMES)}; quote it to look for it")
        key = {"last": "since"}.get(name, name.replace("-", "_"))
        if key in given:
            raise UsageError(f"{name}: is asked twice")
        given[key] = _READ.get(key, _as_it_is)(value, now_us)
    given.pop("dataset", None)
    words = [quoted or word for name, _, quoted, word in _TERM.findall(text) if not name]
    return Wanted(**given, text=" ".join(words) or None)


def terms(text: str) -> dict[str, str]:
    """What is asked by a name, such as a ``dataset``; the last where it is asked twice."""
    return dict(_named(text))


def words(text: str) -> str:
    """What is asked by no name, as it is written."""
    return " ".join(one[0] for one in _TERM.finditer(text) if not one[1])


def _named(text: str) -> Iterator[tuple[str, str]]:
    for name, value, *_ in _TERM.findall(text):
        if name:
            yield name, value.strip('"')


def asking(text: str, name: str, value: str) -> str:
    """The search that asks for one thing more, or for this in place of what it asked of it."""
    kept = [one[0] for one in _TERM.finditer(text) if one[1] != name]
    safe = value.replace('"', "")
    return " ".join([*kept, f'{name}:"{safe}"' if re.search(r"\s", safe) else f"{name}:{safe}"])


def _as_it_is(value: str, _now_us: int | None) -> str:
    return value


def _moment(value: str, now_us: int | None) -> int:
    return to_us(value, now_us=time.time_ns() // 1_000 if now_us is None else now_us)


def _count(value: str, _now_us: int | None) -> int:
    if not value.isascii() or not value.isdigit() or len(value) > DIGITS_MAX:
        raise UsageError(f"{value!r} is no whole number")
    return int(value)


def _yes_or_no(value: str, _now_us: int | None) -> bool:
    if value not in _YES:
        raise UsageError(f"with-error:{value} is neither yes nor no")
    return _YES[value]


_READ: Final[dict[str, Callable[[str, int | None], Any]]] = {
    "since": _moment,
    "until": _moment,
    "with_error": _yes_or_no,
    "sample": _count,
    "seed": _count,
}
