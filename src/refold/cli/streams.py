"""`refold streams`."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import islice
from typing import TYPE_CHECKING, Any

from refold.cli import output, suggest
from refold.cli.choosing import choosing, found, nothing_fits
from refold.cli.options import command, count_option, opened, option
from refold.cli.text import clean, counted
from refold.times import rfc3339

if TYPE_CHECKING:
    from refold import Store
    from refold.readmodels.finding import Wanted


@command("streams")
@option("--category", metavar="NAME", help="Only this category: the text before the first hyphen.")
@choosing()
@count_option("--limit", help="At most this many.")
@option("--all", "every", is_flag=True, help="Those too that only hold what refold keeps beside.")
def streams_command(
    url: str, category: str | None, wanted: Wanted | None, limit: int | None, every: bool
) -> None:
    """List the streams of a store.

    By name, with their last version and when it was written. A branch (a ~ in its name) is listed
    with the stream and version that it left, and is in a category of its own: the branches of
    call-42 are in call~. Left out are branches that only hold bytes of the wire, and what replays
    set out to do. All options must fit; a branch is found by what it holds itself, a replay by
    none.

        refold streams
        refold streams --last 7d --tool refund --with-error
        refold streams --category call --json | jq -r .stream
    """
    those = None if wanted is None else found(url, wanted)
    left: list[str] = []
    with opened(url) as store:
        of_category = store.streams(category=category)
        fitting = (info for info in of_category if those is None or info.stream in those.streams)
        listed = (info for info in fitting if every or not _is_beside(store, info, left))
        count = sum(_show(info) for info in islice(listed, limit))
        if left:
            output.note(f"left out {counted(len(left), 'stream')} of wire bytes and plans (--all)")
        elif not count and those is not None and not those.streams:
            output.note(nothing_fits(those))
        elif not count and limit != 0 and (category is not None or those is not None):
            suggest.note_nothing(store, categories=[category] if category else [])


def _show(info: Any) -> int:
    one = {
        "stream": info.stream,
        "version": info.version,
        "recorded_at": rfc3339(info.recorded_at_us),
        "fork": None if info.fork is None else info.fork._asdict(),
    }
    output.show(one, _line(one))
    return 1


def _is_beside(store: Store, info: Any, left: list[str]) -> bool:
    """Whether a stream has nothing that was said or done; it is noted among those ``left`` out."""
    fork, is_beside = info.fork, str(info.stream).startswith("replay~plan-")
    if fork is not None:
        own = store.read(info.stream, from_version=fork.version + 1)
        is_beside = all(event.type.startswith(("wire.", "session.forked")) for event in own)
    left += [info.stream] if is_beside else []
    return is_beside


def _line(one: Mapping[str, Any]) -> str:
    fork = one["fork"]
    left = "" if fork is None else f"  from {clean(fork['parent'])}@{fork['version']}"
    name = output.styled(f"{clean(one['stream']):<32}", bold=True)
    return f"{name} {one['version']:>6}  {one['recorded_at'][:19]}{left}"
