"""`refold datasets`: named lists of conversations, each up to an event."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING, Final, Self

import click
import msgspec

import refold
from refold.cli import jsontext, output
from refold.cli.choosing import Choice, choosing, chosen
from refold.cli.groups import Listing
from refold.cli.label import recorded
from refold.cli.options import command, group, opened, option
from refold.cli.text import clean, counted
from refold.errors import RefoldError, UsageError

if TYPE_CHECKING:
    from refold.replay.datasets import Dataset

_ONCE: Final = "{} is in a dataset once: give it once"


@group("datasets", cls=Listing)
def datasets_command() -> None:
    """Keep named lists of conversations, in versions.

    Each conversation is in it up to the event that was its last when the dataset was made. Without
    a command: list them. Wherever conversations are chosen, --dataset NAME takes them.

        refold datasets make hard --last 7d --with-error
        refold datasets
        refold replay --dataset hard --prompt new-prompt.txt
    """


@command("list", group=datasets_command)
def list_datasets(url: str) -> None:
    """List the datasets of a store, each in its last version.

    refold datasets list --json | jq -r .name
    """
    from refold.replay.datasets import Dataset

    with opened(url) as store:
        kept = Dataset.all(store)
    for one in kept:
        output.show(one, _line(one))
    if not kept:
        output.note("there is no dataset in this store: `refold datasets make NAME` makes one")


@command("make", group=datasets_command)
@click.argument("name")
@click.argument("streams", nargs=-1, metavar="[STREAM]...")
@option("--category", metavar="NAME", help="All streams of this category too.")
@choosing()
def make_dataset(
    url: str, name: str, streams: tuple[str, ...], category: str | None, wanted: Choice | None
) -> None:
    """Make a dataset, or the next version of it, of conversations as they are now.

    Those named, or of a category, and all that the other options say must hold of them. The id of
    an event (call-42@7) names its conversation up to it; --dataset takes each as far as it is in
    that. How they were chosen is kept beside. The same again changes nothing.

        refold datasets make hard --last 7d --with-error
        refold datasets make sample --category call --sample 50 --seed 7 --stratify task
        refold datasets make odd call-42 call-57
    """
    from refold.replay.datasets import Dataset

    streams, pinned = _pinned(url, streams)
    found = chosen(url, streams, category, wanted)
    versions = {name: pinned.get(name, until) for name, until in found.items()}
    items = [name if at is None else f"{name}@{at}" for name, at in versions.items()]
    said = {} if wanted is None else wanted.said()
    said |= {} if category is None else {"category": category}
    with opened(url, mode="write") as store:
        made = Dataset.make(store, name, items, chosen_by=said)
    output.show(made, _line(made))


def _pinned(url: str, given: Sequence[str]) -> tuple[tuple[str, ...], dict[str, int]]:
    """The streams of what is given, and the versions of those that ids of events name."""
    names, pinned = [], dict[str, int]()
    with opened(url) as store:
        for one in given:
            stream, _, version = one.rpartition("@")
            is_id = stream and version.isdecimal() and store.head(one) < 0 <= store.head(stream)
            names.append(stream if is_id else one)
            if is_id and pinned.setdefault(stream, int(version)) != int(version):
                raise UsageError(_ONCE.format(clean(stream)))
    for stream in pinned.keys() & {*given}:
        raise UsageError(_ONCE.format(clean(stream)))
    return tuple(names), pinned


@command("show", group=datasets_command)
@click.argument("name", metavar="NAME[@VERSION]")
def show_dataset(url: str, name: str) -> None:
    """Show a dataset: its conversations, up to which event, and how they were chosen.

    refold datasets show hard
    refold datasets show hard@0 --json | jq -r '.items[]'
    """
    from refold.replay.datasets import Dataset

    with opened(url) as store:
        found = Dataset.named(store, name)
    output.show(found, _lines(found))


@command("export", group=datasets_command)
@click.argument("name", metavar="NAME[@VERSION]")
def export_dataset(url: str, name: str) -> None:
    """Print a dataset as JSON lines: a conversation each, with what it is known by.

    "id" is the event up to which it is in the dataset; then come its task, agents, outcome, scores,
    labels and the like, as they are now. For its words: `refold export openai-chat --dataset NAME`.

        refold datasets export hard > hard.jsonl
        refold datasets export hard | jq -r 'select(.scores.reward == 0).id'
    """
    from refold.conversation import Attributes
    from refold.replay.datasets import Dataset

    with opened(url) as store:
        found = Dataset.named(store, name)
        for item, stream in zip(found.items, found.versions, strict=True):
            known = Attributes.of(store.read(stream))
            said = {"id": item, "outcome": known.outcome, **msgspec.to_builtins(known)}
            output.line(output.compact(said))


@command("import", group=datasets_command)
@click.argument("name")
@click.argument("file")
@option("--rater", metavar="NAME", help="Who gave the labels and scores that the file has.")
def import_dataset(url: str, name: str, file: str, rater: str | None) -> None:
    """Make a dataset of JSON lines: objects with an "id" (call-42@7) or a "stream" each.

    With --rater, the "labels", "scores" and "tags" of a line that its conversation has not yet are
    recorded as this person's: so what was printed can be labelled elsewhere and brought back. All
    is done, or nothing; - is the standard input.

        refold datasets import hard hard.jsonl
        refold datasets import hard labelled.jsonl --rater ann
    """
    from refold.replay.datasets import Dataset, item_of
    from refold.replay.labels import LABELLED_MAX

    text = jsontext.stdin() if file == "-" else jsontext.file_text(file)
    lines = [(n, line) for n, line in enumerate(text.splitlines(), 1) if line.strip()]
    places = [f"{file}, line {number}" for number, _ in lines]
    given = [_Labelled.of(line, place) for (_, line), place in zip(lines, places, strict=True)]
    if not given:
        raise UsageError(f"{file} holds no conversations: a JSON object a line is needed")
    with opened(url, mode="write") as store:
        items = [item_of(store, one.item) for one in given]
        said = map(partial(_said, store, rater or ""), places, items, given)
        new = [append for append in said if append.events]
        beside = new if rater else []
        if len(beside) > LABELLED_MAX:
            raise UsageError(
                f"{file} has something new of {len(beside):,} conversations, and {LABELLED_MAX} are"
                " recorded at once: import it in parts first, then the whole"
            )
        made = Dataset.make(store, name, items, chosen_by={"file": file}, beside=beside)
    output.show(made, _line(made))
    if rater:
        output.note(recorded(sum(len(append.events) for append in beside)))
    elif new:
        output.note(
            f"{file} has labels, scores or tags of {counted(len(new), 'conversation')} that are"
            " not recorded: say whose they are, with --rater NAME"
        )


def _said(store: refold.Store, rater: str, place: str, item: str, line: _Labelled) -> refold.Append:
    """What a line says and its conversation has not yet, found fit to be stored."""
    from refold.replay.labels import unsaid

    try:
        stream = item.rpartition("@")[0]
        return unsaid(store, stream, rater, line.labels, line.scores, line.tags)
    except RefoldError as error:
        raise UsageError(f"{place}: {error.message}") from error


class _Labelled(msgspec.Struct):
    """A line of a dataset: what is in it, and what somebody says of that."""

    id: str = ""
    stream: str = ""
    labels: dict[str, str] = {}
    scores: dict[str, float] = {}
    tags: list[str] = []

    @property
    def item(self) -> str:
        return self.id or self.stream

    @classmethod
    def of(cls, line: str, where: str) -> Self:
        try:
            made = msgspec.json.decode(line, type=cls)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise UsageError(f"{where} is no line of a dataset: {error}") from error
        if not made.item:
            raise UsageError(f"{where} has neither an id nor a stream")
        return made


def _line(one: Dataset) -> str:
    name = output.styled(f"{one.name}@{one.version}", bold=True)
    by = " ".join(f"{key}={value}" for key, value in one.chosen_by.items())
    return f"{name}  {one.made_at[:16]}  {counted(len(one.items), 'conversation')}  {clean(by)}"


def _lines(one: Dataset) -> Iterator[str]:
    yield _line(one)
    yield from (f"  {clean(item)}" for item in one.items)
