"""`refold streams`."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from typing import Any, Final

from refold import Store
from refold.cli import output, suggest
from refold.cli.choosing import Choice, choosing, found, nothing_fits
from refold.cli.options import command, count_option, opened, option
from refold.cli.text import clean, counted, one_line
from refold.times import rfc3339

OPENING_EVENTS_MAX: Final = 50
"""The first words are looked for in so many events of a stream."""
OPENING_CHARS_MAX: Final = 200
NAME_WIDTH, NAME_WIDTH_MAX = 32, 64
"""The column of names is as wide as the longest of them, between these."""
_BESIDE: Final = ("replay~", "dataset~")
_WORDS: Final = ("user.utterance", "agent.utterance")


@command("streams")
@option("--category", metavar="NAME", help="Only this category: the text before the first hyphen.")
@choosing()
@count_option("--limit", help="At most this many.")
@option("--all", "every", is_flag=True, help="Those too that only hold what refold keeps beside.")
def streams_command(
    url: str, category: str | None, wanted: Choice | None, limit: int | None, every: bool
) -> None:
    """List the streams of a store.

    The newest first, with their last version, when it was written and the first words. A branch (a
    ~ in its name) is listed with the stream and version that it left, and is in a category of its
    own: the branches of call-42 are in call~. Left out are replays, branches that only hold bytes
    of the wire, and what replays and datasets keep beside; how many is told. All options must
    fit; a branch is found by what it holds itself, a replay by none.

        refold streams --limit 20
        refold streams --last 7d --tool refund --with-error
        refold streams --category call --json | jq -r .stream
    """
    those = None if wanted is None else found(url, wanted)
    left: list[str] = []
    with opened(url) as store:
        of_category = sorted(store.streams(category=category), key=_newest)
        fitting = (info for info in of_category if those is None or info.stream in those.streams)
        listed = (info for info in fitting if every or not _is_beside(store, info, left))
        redacted = {one.data.get("event") for one in store.read_all(types=["redaction.applied"])}
        longest = max((len(i.stream) for i in of_category if "~" not in i.stream), default=0)
        names = min(max(longest, NAME_WIDTH), NAME_WIDTH_MAX)
        shown = enumerate(islice(listed, limit))
        count = sum(_show(store, info, place, redacted, names) for place, info in shown)
        if left:
            kept = counted(len(left), "stream")
            output.note(f"left out {kept} of replays, plans, datasets and wire bytes (--all)")
        elif not count and those is not None and not those.streams:
            output.note(nothing_fits(those))
        elif not count and limit != 0 and (category is not None or those is not None):
            suggest.note_nothing(store, categories=[category] if category else [])


def _newest(info: Any) -> tuple[int, str]:
    return -info.recorded_at_us, info.stream


def _show(store: Store, info: Any, place: int, redacted: set[str], names: int) -> int:
    fork = info.fork
    one = {
        "stream": info.stream,
        "category": suggest.category_of(info.stream),
        "version": info.version,
        "recorded_at": rfc3339(info.recorded_at_us),
        "fork": None if fork is None else fork._asdict(),
        "opening": _opening(store, info, redacted),
    }
    output.show(one, _lines(one, names, has_heading=place == 0 and sys.stdout.isatty()))
    return 1


def _opening(store: Store, info: Any, redacted: set[str]) -> str:
    """The first words of a stream, a branch's own; those of a person before those of an agent."""
    first = 0 if info.fork is None else info.fork.version + 1
    events = islice(store.read(info.stream, from_version=first), OPENING_EVENTS_MAX)
    said: dict[str, str] = {}
    for event in events:
        text = event.data.get("text") if event.type in _WORDS else None
        if isinstance(text, str) and text.strip() and event.origin_id not in redacted:
            said.setdefault(event.type, text)
            if event.type == _WORDS[0]:
                break
    return one_line(next((said[one] for one in _WORDS if one in said), ""), OPENING_CHARS_MAX)


def _is_beside(store: Store, info: Any, left: list[str]) -> bool:
    """Whether a stream has nothing that was said or done; it is noted among those ``left`` out."""
    fork = info.fork
    is_beside = suggest.REPLAY_MARK in info.stream or info.stream.startswith(_BESIDE)
    if fork is not None and not is_beside:
        own = store.read(info.stream, from_version=fork.version + 1)
        is_beside = all(event.type.startswith(("wire.", "session.forked")) for event in own)
    left += [info.stream] if is_beside else []
    return is_beside


def _lines(one: Mapping[str, Any], names: int, *, has_heading: bool) -> Iterator[str]:
    if has_heading:
        heads = f"{'stream':<{names}} {'last':>6}  {'recorded':<19}  first words"
        yield output.styled(heads, dim=True)
    fork = one["fork"]
    left = "" if fork is None else f"  from {clean(fork['parent'])}@{fork['version']}"
    name = clean(one["stream"])
    head = f"{one['version']:>6}  {one['recorded_at'][:19]}{left}"
    width = max(output.width() - max(len(name), names) - len(head) - 3, 20)
    words = one_line(one["opening"], width)
    yield f"{output.styled(f'{name:<{names}}', bold=True)} {head}  {words}".rstrip()
