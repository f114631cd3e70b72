"""The pages as HTML from their templates; all that goes into one is escaped."""

from __future__ import annotations

from collections.abc import Sequence
from decimal import Decimal
from functools import cache
from importlib import resources
from typing import Any, Final
from urllib.parse import quote, urlencode

import msgspec
from jinja2 import Environment, PackageLoader, StrictUndefined
from msgspec import UNSET

from refold.replay import wording
from refold.replay.report.formatting import at_least, counted, number, value_text
from refold.replay.report.render import finished, resource

PRINTED_CHARS_MAX: Final = 40_000
"""So much is shown of a state, a payload, and of what a call sent or got."""
TEXT_CHARS_MAX: Final = 4_000
"""Longer words on a card are cut, and the page of the event has them whole."""
SCREENS: Final = {
    "Conversations": "/",
    "Prompts": "/prompts",
    "Replays": "/replays",
    "Money": "/money",
    "Projections": "/projections",
    "Proof": "/proof",
    "Live": "/live",
}
"""What the head of every page leads to."""
LATE_US_MIN: Final = 60_000_000
"""An event that was recorded this much later than those around it says so."""
ASSETS: Final = {
    "export.js": "text/javascript",
    "report.css": "text/css",
    "ui.css": "text/css",
    "ui.js": "text/javascript",
    "live.js": "text/javascript",
    "proof.js": "text/javascript",
    "htmx.min.js": "text/javascript",
}
"""What the pages load beside, all of it from here."""


def page(template: str, **values: object) -> str:
    """A page from the template of a name."""
    return finished(_environment().get_template(template).render(**values))


@cache
def asset(name: str) -> bytes:
    """The bytes of one of the :data:`ASSETS`; the report's style is that of the report."""
    if name == "report.css":
        return resource(name).encode()
    return resources.files(__package__).joinpath("static", name).read_bytes()


def money(amounts: dict[str, Decimal]) -> str:
    """``0.0123 USD + 2 EUR``; a dash where nothing is known."""
    said = [f"{amount.normalize():f} {currency}" for currency, amount in sorted(amounts.items())]
    return " + ".join(said) or "–"


def moment(at: str) -> str:
    """``2026-03-01 09:00:12`` of an RFC 3339 time."""
    return at[:19].replace("T", " ")


def pretty(value: Any) -> str:
    """A value as JSON with line breaks, exact numbers and all."""
    return msgspec.json.format(msgspec.json.encode(value, enc_hook=str), indent=2).decode()


def bounded(text: str) -> str:
    """The beginning of a text that is too long for a page, and how much more there is."""
    more = len(text) - PRINTED_CHARS_MAX
    return text if more <= 0 else f"{text[:PRINTED_CHARS_MAX]}\n… and {more:,} characters more"


def operation(change: Any) -> str:
    """An operation of a patch: the path, what was there and what is there now."""
    sides = [value_text(one) for one in (change.before, change.value) if one is not UNSET]
    return f"{change.op} {change.path or '/'}: {' → '.join(sides)}"


def place(stream: str) -> str:
    """A stream's name as a part of an address."""
    return quote(stream, safe="")


def queried(**values: object) -> str:
    """``?q=…&page=2`` of what is given, "" where nothing is."""
    given = {name: value for name, value in values.items() if value not in (None, "")}
    return f"?{urlencode(given)}" if given else ""


def queried_all(name: str, values: Sequence[str]) -> str:
    """``?mark=…&mark=…`` of one name with each of these."""
    return f"?{urlencode([(name, value) for value in values])}"


def seconds(ms: float) -> str:
    """``0.4 s``, ``12 s``."""
    return f"{ms / 1_000:.1f} s" if ms < 10_000 else f"{ms / 1_000:.0f} s"


def took(ms: float) -> str:
    """``430 ms``, ``1.2 s``."""
    return f"{ms:.0f} ms" if ms < 1_000 else seconds(ms)


@cache
def _environment() -> Environment:
    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=PackageLoader(__package__),
        auto_reload=False,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    filters = (
        at_least,
        bounded,
        counted,
        money,
        moment,
        number,
        operation,
        place,
        pretty,
        queried,
        seconds,
    )
    made.filters |= {one.__name__: one for one in filters}
    made.filters |= {"apart": wording.apart, "percent": wording.percent, "dollars": wording.money}
    limits = {"text_chars_max": TEXT_CHARS_MAX, "late_us_min": LATE_US_MIN}
    made.globals |= {"queried": queried, "queried_all": queried_all, "screens": SCREENS, **limits}
    return made
