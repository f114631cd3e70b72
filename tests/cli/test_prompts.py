"""`--prompt`: the name of a file or the text itself, and never one taken for the other."""

from __future__ import annotations

from pathlib import Path

import click
import pytest

from refold.cli.endpoint import prompt_text


@pytest.mark.parametrize(
    "given",
    [
        "missing.txt",
        "my new prompt.txt",
        "new prompt.MD",
        "prompts/new one",
        "my prompts/new prompt",
        "/no/such place",
        "./prompt of mine",
        "~/prompt of mine",
        "../prompt of mine",
        "brief",
    ],
)
def test_a_file_that_is_not_there_is_an_error(given: str) -> None:
    """Whoever misspells a file must not ask hundreds of questions with its name as the prompt."""
    with pytest.raises(click.BadParameter) as caught:
        prompt_text(given)
    assert caught.value.message.startswith(f"{given}: there is no such file")


@pytest.mark.parametrize("given", ["", " ", "\n", "@empty.txt", "empty.txt", "blank.txt"])
def test_an_empty_prompt_is_refused(
    given: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Given as text, or by a file that holds nothing: an empty variable is no wish."""
    monkeypatch.chdir(tmp_path)
    Path("empty.txt").write_text("")
    Path("blank.txt").write_text(" \n")
    with pytest.raises(click.BadParameter, match="it is empty"):
        prompt_text(given)


@pytest.mark.parametrize(
    "given",
    [
        "Be brief.",
        "Be brief and kind",
        "Answer yes/no.",
        "You may read docs/readme.md and nothing else.",
        "Line one\nsee notes/other.txt",
        "Read " + "a/b " * 100,
    ],
)
def test_a_prompt_is_taken_as_it_is(given: str) -> None:
    """A sentence may hold slashes and names of files."""
    assert prompt_text(given) == given


@pytest.mark.parametrize("name", ["new prompt.txt", "brief", "folder of mine/new.txt"])
def test_a_file_that_is_there_is_read(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever its name looks like, with an @ or without."""
    monkeypatch.chdir(tmp_path)
    Path(name).parent.mkdir(exist_ok=True)
    Path(name).write_text("Be brief.\n")
    assert prompt_text(name) == prompt_text(f"@{name}") == "Be brief.\n"
