"""The options that say which model judges answers, and asking it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final

from refold.cli import endpoint, output
from refold.cli.options import ignored, no_effect, option, read_by, together
from refold.cli.text import clean
from refold.errors import UsageError

if TYPE_CHECKING:
    from refold import Store
    from refold.replay import ChatEndpoint, Variant
    from refold.replay.judge import Judge

KEY: Final = "REFOLD_JUDGE_API_KEY"
"""The key of the judge, where it has one of its own."""
_MORE: Final = ("judge_prompt", "judge_url", "judge_api")

_MODEL, _PROMPT = read_by(endpoint.model_name), read_by(endpoint.prompt_text)
judge_options: Final = together(
    option("--judge", type=_MODEL, metavar="openai:NAME", help="A model that judges answers."),
    option("--judge-prompt", type=_PROMPT, metavar="FILE|TEXT", help="What it is to look for."),
    option("--judge-url", metavar="URL", help="Where it is served.  [default: as what is asked]"),
    endpoint.api_option("--judge-api"),
)
"""Who judges; :func:`judge_of` takes them."""


def judge_of(
    options: dict[str, Any], base_url: str = endpoint.OPENAI_URL
) -> tuple[Judge, ChatEndpoint] | None:
    """The judge that a command's options name and whom to ask for it; they are taken out of them.

    It is served at ``base_url`` where they do not say.
    """
    said = {name: options.pop(name) for name in ("judge", *_MORE)}
    if said["judge"] is None:
        no_effect("without --judge", *_MORE)
        return None
    from refold.replay.judge import PROMPT, Judge

    if file := ignored("judge-url"):
        raise UsageError(f"{file} names who judges: say so yourself, with --judge-url or --config")
    url, of = (said["judge_url"], "judge_url") if said["judge_url"] else (base_url, "base_url")
    asked = endpoint.endpoint(url, of=of, key=KEY, api=said["judge_api"])
    prompt = said["judge_prompt"] or PROMPT
    return Judge(model=said["judge"], prompt=prompt, endpoint=asked.url), asked


def ask(
    store: Store,
    streams: Iterable[str],
    variants: Iterable[tuple[Variant | None, int | None]],
    judging: tuple[Judge, ChatEndpoint],
    **how: Any,
) -> None:
    """Have a judge say what it has not said yet of the answers, and tell what came of it."""
    from refold.replay.judging import ask_judge
    from refold.replay.report.formatting import at_least
    from refold.replay.wording import money

    with output.progress(f"judge {judging[0].id}") as tell:
        how["progress"] = lambda done: tell(done, None)
        done = ask_judge(store, streams, variants, *judging, waits=output.waits, **how)
    asked = done.chose + done.failed
    said = f"judge {clean(judging[0].model)}: {done.chose:,} choices made, {done.failed:,} not"
    cost = at_least(money(done.cost), done.cost_known, asked) if done.cost_known else "not known"
    output.note(f"{said}; what that cost: {cost}" if asked else said)
    if done.unread:
        unread = clean(done.unread)[:100]
        output.note(f'{unread!r} is no {{"better": 0, 1 or 2}}; such are asked for again')
    if done.stopped:
        output.note(f"stopped: {done.stopped}; the same command asks for the rest")
