"""How `refold what-if --ask` asks a decision again, and what it says came of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import msgspec

from refold.cli import endpoint, output
from refold.cli.options import int_option, option, read_by, together
from refold.cli.printing import detail
from refold.cli.text import clean, counted, one_line

if TYPE_CHECKING:
    from refold import Store
    from refold.conversation.what_if import WhatIf
    from refold.replay import ChatEndpoint
    from refold.replay.again import AskedAgain

ACTION_CHARS_MAX = 60
asking_options = together(
    endpoint.variant_options,
    endpoint.base_url_option,
    endpoint.api_option("--api"),
    option(
        "--timeout", type=float, default=120.0, metavar="SECONDS", help="How long one may take."
    ),
    int_option("--samples", 1, 1_000, default=5, help="Answers of each side."),
    int_option("--workers", 1, 256, default=4, help="Requests at a time."),
    option("--max-cost", type=read_by(endpoint.amount), metavar="USD", help="Spend no more."),
    int_option("--max-tokens", 0, 10**15, default=None, help="Use no more tokens, both ways."),
    endpoint.price_options,
)


def candidate_of(how: dict[str, Any]) -> ChatEndpoint:
    """Whom the options ask, which are taken out of them."""
    address, timeout_s = how.pop("base_url"), how.pop("timeout")
    return endpoint.endpoint(address, timeout_s=timeout_s, api=how.pop("api"))


def asked_again(
    store: Store, found: WhatIf, candidate: ChatEndpoint, how: dict[str, Any]
) -> AskedAgain:
    """Ask it, as the rest of the options say."""
    from refold.replay.again import ask_again

    variant, how = endpoint.variant_of(how), endpoint.prices_of(how)
    with output.progress("ask again") as tell:
        progress = lambda done, total, *more: tell(done, total, detail(*more))  # noqa: E731
        asked = ask_again(store, found, candidate, variant, progress=progress, **how)
    if asked.stopped:
        output.note(f"stopped: {asked.stopped}; the same command asks for the rest")
    return asked


def said_of(asked: AskedAgain) -> dict[str, Any]:
    """As JSON says it."""
    said: dict[str, Any] = msgspec.to_builtins(asked)
    return {**said, "verdict": asked.verdict}


def lines_of(asked: AskedAgain) -> Iterator[str]:
    """How often which calls came on each side, how far they are from the record; the verdict."""
    yield f"asked again at {clean(asked.decision)}, {counted(asked.samples, 'sample')} a side"
    rows: list[tuple[str, object, object]] = [("", "as it was", "changed")]
    for was, changed, words in (
        (asked.was.actions, asked.changed.actions, ""),
        (asked.was.levels, asked.changed.levels, "against the record: "),
    ):
        kinds = sorted({**was, **changed}, key=lambda kind: -was.get(kind, 0))
        rows += [(words + kind, was.get(kind, 0), changed.get(kind, 0)) for kind in kinds]
    shown = [one_line(clean(name), ACTION_CHARS_MAX) for name, *_ in rows]
    width = max(map(len, shown))
    for name, (_, was_count, changed_count) in zip(shown, rows, strict=True):
        yield f"  {name:{width}}  {was_count!s:>9}  {changed_count!s:>9}"
    for side in (asked.was, asked.changed):
        if side.error:
            output.note(
                f"{clean(side.stream)}: {counted(side.failed, 'sample')} failed: {side.error}"
            )
    yield asked.verdict
