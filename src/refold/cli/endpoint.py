"""Options that say what a replay changes, and whom it asks."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from refold.cli import jsontext
from refold.cli.options import Decorator, ignored, option, read_by, together
from refold.cli.text import one_line
from refold.errors import InvalidEvent, UsageError

if TYPE_CHECKING:
    from refold import Store
    from refold.replay import ChatEndpoint, Price, Variant

OPENAI_URL: Final = "https://api.openai.com/v1"
REQUEST: Final = "model.request"
WORD_SHOWN_MAX: Final = 60
PATH_CHARS_MAX: Final = 255
_FILE_STARTS: Final = ("/", "./", "../", "~/")
_FILE_ENDINGS: Final = (".txt", ".md", ".prompt")
_SENTENCE_ENDINGS: Final = (".", "!", "?", ":", ")", '"')
_PREFIX: Final = "openai:"


def prompt_text(given: str) -> str:
    """The text of the file of this name; without one the text itself, unless it looks like one."""
    name = given.removeprefix("@")
    text = jsontext.file_text(name) if given.startswith("@") or _is_file(given) else given
    if not text.strip():
        raise click.BadParameter("it is empty: leave it out to ask with the one that there is")
    if text is given and _looks_like_a_file(given):
        raise click.BadParameter(
            f"{one_line(given, WORD_SHOWN_MAX)}: there is no such file; if this is the prompt "
            "itself, put it in a file"
        )
    return text


def _is_file(given: str) -> bool:
    try:
        return Path(given).is_file()
    except (OSError, ValueError):  # too long for a file's name, or not one at all
        return False


def _looks_like_a_file(given: str) -> bool:
    """One word; or one line that ends like a file, or has slashes and does not end a sentence."""
    line = given.strip()
    if not any(char.isspace() for char in line):
        return True
    if "\n" in line or len(line) > PATH_CHARS_MAX:
        return False
    if line.lower().endswith(_FILE_ENDINGS) or line.startswith(_FILE_STARTS):
        return True
    return "/" in line and not line.endswith(_SENTENCE_ENDINGS)


def model_name(given: str, *, of: str | None = None) -> str:
    """The name of ``openai:NAME``, the value of an option ``of`` which takes ``rules`` too."""
    name = given.removeprefix(_PREFIX)
    if name in ("", given):
        rules, hint = ("", None) if of is None else ("rules or ", f"'{of}'")
        raise click.BadParameter(f"write {rules}{_PREFIX}{name or 'NAME'}", param_hint=hint)
    return name


def _tools(name: str) -> list[dict[str, Any]]:
    tools = jsontext.floats(jsontext.parsed(jsontext.file_text(name), source=name), source=name)
    if not isinstance(tools, list) or not all(isinstance(tool, dict) for tool in tools):
        raise UsageError(f"{name} is not a list of tools", path=name)
    return [_without_effect(tool) for tool in tools]


def _without_effect(tool: dict[str, Any]) -> dict[str, Any]:
    """A tool as a service takes it: what it does to the world is our own note."""
    if isinstance(tool.get("function"), dict):
        tool = {**tool, "function": _without_effect(tool["function"])}
    return {key: value for key, value in tool.items() if key != "effect"}


def _param(text: str) -> tuple[str, Any]:
    """Name and value of ``name=value``; what is no JSON, and was not meant to be, is text."""
    name, equals, value = text.partition("=")
    if not equals or not name:
        raise click.BadParameter(f"{text!r} is not NAME=VALUE")
    try:
        read = jsontext.parsed(value, source="--param")
    except InvalidEvent:
        if value.lstrip().startswith(("{", "[")):
            raise
        return name, value
    return name, jsontext.floats(read, source=f"--param {name}")


def _changed(name: str, read: Callable[[str], Any], metavar: str, said: str) -> Decorator:
    """An option whose variable is the same in all commands."""
    variable = f"REFOLD_{name.upper()}"
    said = f"{said}  [default: as recorded]"
    return option(f"--{name}", type=read_by(read), envvar=variable, metavar=metavar, help=said)


variant_options: Final = together(
    _changed("prompt", prompt_text, "FILE|TEXT", "System prompt: a file, or the text itself."),
    _changed("model", model_name, "openai:NAME", "Model at an OpenAI-compatible endpoint."),
    _changed("tools", _tools, "FILE", "Tools as OpenAI takes them: a JSON list."),
    option(
        "--param",
        "params",
        type=read_by(_param),
        multiple=True,
        envvar="REFOLD_PARAM",
        metavar="NAME=VALUE",
        help="Request parameter such as temperature=0. May be given several times.",
    ),
    option("--label", envvar="REFOLD_LABEL", metavar="TEXT", help="Tells equal variants apart."),
    option("--for-agent", metavar="NAME", help="Change this agent, where several take turns."),
)
"""What is changed; :func:`variant_of` takes it."""


def price_option(decorated: Any) -> Any:
    """``--price``, a pair for :func:`by_name` each time."""
    said = "Dollars for a million tokens of a model, where the provider does not say the cost."
    read, metavar = read_by(price), "NAME=IN,OUT"
    made = option("--price", "prices", type=read, multiple=True, metavar=metavar, help=said)
    return made(decorated)


price_options: Final = together(
    price_option,
    option("--price-list", is_flag=True, help="For other models, prices of a maintained list."),
)
"""What tokens cost; :func:`prices_of` takes it."""


def prices_of(options: dict[str, Any]) -> dict[str, Any]:
    """The options with their ``prices`` by model, and those of the list where it is asked for."""
    prices: Mapping[str, Price] = by_name(options["prices"], "--price")
    if options.pop("price_list"):
        from refold.replay.price_list import ListedPrices

        prices = ListedPrices(prices)
    return options | {"prices": prices}


base_url_option: Final = option(
    "--base-url",
    envvar=["REFOLD_BASE_URL", "OPENAI_BASE_URL"],
    default=OPENAI_URL,
    metavar="URL",
    help="Where the model is served.",
)


def api_option(name: str) -> Decorator:
    """In which of the APIs a model is asked."""
    apis = click.Choice(["chat", "responses", "anthropic", "gemini"])
    return option(name, type=apis, default="chat", help="What the model is asked in.")


def by_name(pairs: Iterable[tuple[str, Any]], option: str) -> dict[str, Any]:
    """The values of an option that may be given several times; each name once."""
    made: dict[str, Any] = {}
    for name, value in pairs:
        if made.setdefault(name, value) is not value:
            raise UsageError(f"{option} says {name} twice: give each name once")
    return made


def variant_of(options: dict[str, Any]) -> Variant:
    """The variant that a command's options describe, which are taken out of them."""
    from refold.replay import Variant

    said = {name: options.pop(name) for name in ("prompt", "model", "tools", "label", "for_agent")}
    said["agent"] = said.pop("for_agent")
    return Variant(**said, params=by_name(options.pop("params"), "--param"))


def endpoint(
    base_url: str, *, of: str = "base_url", key: str | None = None, **how: Any
) -> ChatEndpoint:
    """The endpoint to ask; its key is only ever read from the environment.

    ``of`` is the parameter that says where it is, ``key`` a variable for it alone.
    """
    from refold.hosts import normal_url
    from refold.http import checked_url
    from refold.replay.candidate import KEY_VARIABLES, ChatEndpoint

    variables = " or ".join([*([] if key is None else [key]), *KEY_VARIABLES])
    try:
        checked_url(base_url, name=f"{of}=", instead=f"the key is read from {variables}")
    except UsageError as error:
        if f"{of}=" not in error.message:
            error.message = f"{of}= {error.message}"
        raise
    if file := ignored("base-url"):
        # Nor is anyone else asked: what a conversation holds was not meant for them.
        raise UsageError(f"{file} names whom to ask: say so yourself, with --base-url or --config")
    own = None if key is None else os.environ.get(key)
    has_key = own or any(os.environ.get(k) for k in KEY_VARIABLES)
    if normal_url(base_url) == OPENAI_URL and not has_key:
        raise UsageError(
            f"no key for {OPENAI_URL}: set {' or '.join(KEY_VARIABLES)}, "
            "or name your own endpoint with --base-url"
        )
    return ChatEndpoint(base_url, api_key=own, **how)


def check_meant(store: Store, streams: Mapping[str, int | None]) -> None:
    """Refuse to ask OpenAI because nobody says whom, where calls on record went elsewhere.

    What a conversation holds was meant for where it was sent.
    """
    from click.core import ParameterSource

    from refold.conversation.events import ModelRequest
    from refold.hosts import normal_url
    from refold.secrecy import without_keys

    source = click.get_current_context().get_parameter_source("base_url")
    if source is not ParameterSource.DEFAULT:
        return
    for stream, last in streams.items():
        requests = (one for one in store.read(stream, to_version=last) if one.type == REQUEST)
        for recorded in requests:
            url = recorded.to_class(ModelRequest).url
            if url and not normal_url(url).startswith(f"{OPENAI_URL}/"):
                raise UsageError(
                    f"{recorded.id} was sent to {without_keys(url)}, and nobody says whom to ask "
                    f"now: give that service's address with --base-url, or {OPENAI_URL}",
                    at=recorded.id,
                )


def amount(text: str) -> Decimal:
    """US dollars."""
    try:
        said = Decimal(text)
    except InvalidOperation:
        said = Decimal("NaN")
    if not (said.is_finite() and said >= 0):
        raise click.BadParameter(f"{text!r} is not an amount of US dollars")
    return said


def price(text: str) -> tuple[str, Price]:
    """A model and its price of ``NAME=INPUT,OUTPUT[,CACHED]``, in dollars for a million tokens."""
    from refold.replay import Price

    name, _, amounts = text.rpartition("=")
    try:
        input_, output, *cached = (Decimal(amount) for amount in amounts.split(","))
        (cached_input,) = cached or (None,)
    except (InvalidOperation, ValueError) as error:
        raise click.BadParameter(f"{text!r} is not NAME=INPUT,OUTPUT[,CACHED]") from error
    return name, Price(input=input_, output=output, cached_input=cached_input)
