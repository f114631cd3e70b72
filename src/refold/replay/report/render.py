"""Pages from templates: all that goes into one is escaped, and one that lacks a value fails.

A line break in a template is what it is in JSX: nothing beside a tag or an expression, and a space
between words; so templates are indented to be read, and pages carry none of it.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cache
from importlib import resources
from types import FunctionType
from typing import Final
from urllib.parse import quote

from jinja2 import Environment, PackageLoader, StrictUndefined
from jinja2.ext import Extension
from jinja2.lexer import Token, TokenStream
from markupsafe import Markup

from refold.replay import wording
from refold.replay.report import formatting

PIECE_CHARS: Final = 1 << 16
"""A piece of a page has so many characters, or what a template writes at once."""
_BESIDE_A_TAG: Final = re.compile(r"(?:\A|(?<=>))\s*\n\s*|\s*\n\s*(?=<|\Z)")
_TEXT: Final = re.compile(">[^<]+")
_BETWEEN_WORDS: Final = re.compile(r"\s*\n\s*")


def pieces(template: str, **values: object) -> Iterator[str]:
    """A page, piece by piece, from the template of a name."""
    waiting, size = list[str](), 0
    for text in environment().get_template(template).generate(**values):
        waiting.append(text)
        size += len(text)
        if size > PIECE_CHARS:
            yield finished("".join(waiting))
            waiting, size = [], 0
    yield finished("".join(waiting))


def finished(piece: str) -> str:
    """A piece of a page with nothing that is no character in HTML, and with quotes as they are."""
    return with_quotes(formatting.clean(piece))


def macro(template: str, name: str, *values: object) -> str:
    """What a macro of a template writes."""
    written: str = getattr(environment().get_template(template).module, name)(*values)
    return written


def text(template: str, **values: object) -> str:
    """Plain text from the template of a name: nothing is escaped, its lines are the template's."""
    plain = environment().overlay(autoescape=False, trim_blocks=True, lstrip_blocks=True)
    plain.extensions.clear()
    return plain.get_template(template).render(**values)


def with_quotes(html: str) -> str:
    """The same page with quotes as they are outside of tags, where they are no markup.

    A page that shows JSON is a tenth smaller so.
    """
    return _TEXT.sub(lambda text: text[0].replace("&#34;", '"').replace("&#39;", "'"), html)


def resource(name: str) -> str:
    """The text of a file that stands beside this module."""
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")


def embedded(template: str, *, to: str, **values: object) -> str:
    """A part of another page: its figures lead to the name of what is behind them after ``to``."""
    return Markup(finished(environment(to).get_template(template).render(**values)))


@cache
def environment(to: str = "#") -> Environment:
    """What the templates are compiled with: its filters are the functions of the two.

    ``to`` is what an address begins with that leads to a place by its name.
    """
    made = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        loader=PackageLoader(__package__),
        auto_reload=False,
        extensions=[_JoinedLines],
    )
    for module in (formatting, wording):
        made.filters |= {n: one for n, one in vars(module).items() if isinstance(one, FunctionType)}
    script = resource("report.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    made.globals.update(script=script, script_digest=f"sha256-{digest}")
    made.globals.update(style=resource("report.css"))
    made.globals["to"] = lambda place: to + (place if to == "#" else quote(place, safe=":~@"))
    return made


class _JoinedLines(Extension):
    """Takes line breaks and indentation out of a template; tracebacks keep its line numbers."""

    def filter_stream(self, stream: TokenStream) -> Iterable[Token]:
        for token in stream:
            yield token if token.type != "data" else token._replace(value=_joined(token.value))


def _joined(text: str) -> str:
    return _BETWEEN_WORDS.sub(" ", _BESIDE_A_TAG.sub("", text))
