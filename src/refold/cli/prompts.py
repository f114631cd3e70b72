"""`refold prompts`: which were in force when, and how they differ."""

from __future__ import annotations

from collections.abc import Iterator
from difflib import unified_diff
from typing import TYPE_CHECKING, Final

import click

from refold.cli import output
from refold.cli.errors import FINDING, FINE
from refold.cli.groups import Listing
from refold.cli.options import command, group, opened, option
from refold.cli.reading import reading_options
from refold.cli.text import clean, counted, one_line, suggestion
from refold.errors import NotFound, UsageError

if TYPE_CHECKING:
    from refold.readmodels.prompts import PromptVersion

HASH_CHARS: Final = 12
TEXT_CHARS: Final = 60


@group("prompts", cls=Listing)
def prompts_command() -> None:
    """Show which prompts were in force when, and how they differ.

    Without a command: list them. A version is named by the beginning of its hash, or by its label,
    and wherever conversations are chosen --prompt-version takes it.

        refold prompts
        refold prompts diff 3f2a91 8c01d4
        refold export openai-chat --prompt-version 3f2a91
    """


@command("list", group=prompts_command)
@option("--agent", metavar="NAME", help="Only those of this agent.")
def list_prompts(url: str, agent: str | None) -> None:
    """List the prompts in the order of their first time, with how many conversations had each.

    refold prompts list --agent desk
    refold prompts list --json | jq -r '.streams[]'
    """
    kept = [one for one in _kept(url) if agent is None or agent in one.agents]
    for one in kept:
        output.show(one, _line(one))
    if not kept:
        output.note("no conversation here has a prompt" + (f" of {agent!r}" if agent else ""))


@command("show", group=prompts_command)
@click.argument("version", metavar="HASH|LABEL")
@reading_options
def show_prompt(url: str, version: str) -> None:
    """Print the text of a prompt.

    refold prompts show 3f2a91 > prompt.txt
    """
    found = _version(_kept(url), version)
    output.show(found, found.text)


@command("diff", group=prompts_command)
@click.argument("before", metavar="A")
@click.argument("after", metavar="B")
@reading_options
def diff_prompts(url: str, before: str, after: str) -> int:
    """Show line by line how one prompt differs from another; exits with 1 where it does.

    refold prompts diff desk-3 desk-4
    """
    kept = _kept(url)
    pair = _version(kept, before), _version(kept, after)
    old, new = (one.text.splitlines() for one in pair)
    a, b = (f"{one.hash[:HASH_CHARS]} {one.first_at}" for one in pair)
    lines = list(unified_diff(old, new, a, b, lineterm=""))
    said = {"a": pair[0].hash, "b": pair[1].hash, "diff": lines}
    output.show(said, map(clean, lines))
    return FINDING if lines else FINE


def _kept(url: str) -> list[PromptVersion]:
    from refold.readmodels.prompts import prompt_versions

    with opened(url) as store:
        return prompt_versions(store)


def _version(kept: list[PromptVersion], given: str) -> PromptVersion:
    """The one version of a label or of the beginning of a hash."""
    found = [one for one in kept if given in one.labels]
    found = found or [one for one in kept if one.hash.startswith(given)]
    if not found:
        known = [name for one in kept for name in (one.hash[:HASH_CHARS], *one.labels)]
        raise NotFound(f"no prompt has the hash or label {given!r}{suggestion(given, known)}")
    if len(found) > 1:
        some = ", ".join(one.hash[:HASH_CHARS] for one in found[:3])
        raise UsageError(f"{given!r} names several prompts: {some}; give one by its hash")
    return found[0]


def _line(one: PromptVersion) -> Iterator[str]:
    labels = ", ".join([*one.agents, *one.labels])
    name = output.styled(one.hash[:HASH_CHARS], bold=True)
    yield (
        f"{name}  {one.first_at[:16]} to {one.last_at[:16]}  "
        f"{counted(len(one.streams), 'conversation')}  {clean(labels)}".rstrip()
    )
    yield f"    {one_line(one.text, TEXT_CHARS)}"
