"""README and docs stay true: what they show is run, and prints what they say."""

from pathlib import Path

import pytest

from tests.house import snippet_runner
from tests.house.snippet_runner import (
    needs_brokers,
    needs_postgres,
    needs_strangers,
    reasons_not_run,
    run_page,
)
from tests.house.tree import ROOT, files_under, shown
from tests.support import postgres

PAGES = files_under(ROOT, suffix=".md")
# Raising this number is a decision: each block left out is one that nothing keeps true.
NOT_RUN_MAX = 19


# Those that need brokers or strangers are run where these are: tests/feeds/kafka/test_pages.py,
# tests/audit/test_pages.py.
ALONE = [page for page in PAGES if not (needs_brokers(page) or needs_strangers(page))]


@pytest.mark.parametrize("page", ALONE, ids=shown)
def test_the_blocks_of_a_page_run_as_shown(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every Python and console block of the page runs and prints what the page shows."""
    if needs_postgres(page):
        monkeypatch.setenv("POSTGRES", postgres.schema_of_its_own())
    assert run_page(page, tmp_path) == []


def test_few_blocks_are_left_out() -> None:
    """At most a stated number of blocks is left out, each with its reason."""
    reasons = [reason for page in PAGES for reason in reasons_not_run(page)]
    assert len(reasons) <= NOT_RUN_MAX, "\n".join(reasons)


def findings(text: str, folder: Path) -> list[str]:
    """What the checker says of a page with this text."""
    page = folder / "page.md"
    page.write_text(text)
    return run_page(page, folder)


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("Words alone.\n", id="no block"),
        pytest.param("```python\nx = 1\n```\n\n```python\nassert x\n```\n", id="shared names"),
        pytest.param("```python\nprint(4)\n```\n\n```output\n4\n```\n", id="printed"),
        pytest.param(
            "```python\njson = 1\ntry: 1/0\nexcept ZeroDivisionError as error: line = None\n```\n"
            "```python\nassert json == 1\n```\n",
            id="names of the runner",
        ),
        pytest.param("```python\nimport asyncio\nawait asyncio.sleep(0)\n```\n", id="await"),
        pytest.param("```console\n$ echo one; echo two\none\n...\n```\n", id="any lines"),
        pytest.param("```console\n$ echo one two three\none ... three\n```\n", id="any text"),
        pytest.param("```console\n$ A=1\n$ echo $A\n1\n```\n", id="one shell a block"),
        pytest.param("```console\n$ cat <<END\n> x\n> END\nx\n```\n", id="continued lines"),
        pytest.param("<!-- exits 3 -->\n```console\n$ (exit 3)\n```\n", id="stated exit"),
        pytest.param("<!-- not run: costs money -->\n```python\n1/0\n```\n", id="left out"),
        pytest.param(
            "```toml\n# file: a/b.toml\n```\n```console\n$ cat a/b.toml\n# file: a/b.toml\n```\n",
            id="file",
        ),
        pytest.param("1. then\n\n   ```python\n   if True:\n       pass\n   ```\n", id="in a list"),
    ],
)
def test_a_true_page_passes(text: str, tmp_path: Path) -> None:
    """Each thing a writer can use works."""
    assert findings(text, tmp_path) == []


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("```python\n1/0\n```\n", "ZeroDivisionError", id="raises"),
        pytest.param(
            "```python\nprint(4)\n```\n```output\n5\n```\n", "prints\n4", id="other output"
        ),
        pytest.param(
            "```python\nimport os; os._exit(0)\n```\n", "the interpreter ended", id="ends"
        ),
        pytest.param("```console\n$ false\n```\n", "exits 1, not 0", id="fails"),
        pytest.param("```console\n$ false\n$ true\n```\n", "`false` exits 1", id="fails midway"),
        pytest.param(
            "<!-- exits 1 -->\n```console\n$ true\n```\n", "exits 0, not 1", id="no failure"
        ),
        pytest.param("```console\n$ echo a\nb\n```\n", "`echo a` prints\na", id="other line"),
        pytest.param("```console\n$ echo a\na\nb\n```\n", "`echo a` prints\na", id="a line short"),
        pytest.param("```console\n$ exit 0\n$ true\n```\n", "ended the shell", id="ends the shell"),
        pytest.param("```bash\nls\n```\n", "not run by anything", id="unknown language"),
        pytest.param("<!-- not run: -->\n```python\n1/0\n```\n", "ZeroDivision", id="no reason"),
    ],
)
def test_a_false_page_is_found(text: str, said: str, tmp_path: Path) -> None:
    """Each way in which a page can be untrue is reported once, with its place."""
    (finding,) = findings(text, tmp_path)
    assert said in finding
    assert finding.startswith(f"{tmp_path}/page.md:")


@pytest.mark.parametrize(
    "text", ["```python\nx = 1\n", "```console\nls\n```\n"], ids=["open fence", "no prompt"]
)
def test_a_page_that_cannot_be_read_is_refused(text: str, tmp_path: Path) -> None:
    """A fence left open or a console block without a command is an error, not an empty page."""
    with pytest.raises(ValueError, match="line 1"):
        findings(text, tmp_path)


@pytest.mark.parametrize("fence", ["python\nwhile True: pass", "console\n$ sleep 60"])
def test_a_block_that_never_ends_is_ended(
    fence: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A block has a bound; what runs over it is killed and reported."""
    monkeypatch.setattr(snippet_runner, "BLOCK_SECONDS_MAX", 0.2)
    (finding,) = findings(f"```{fence}\n```\n", tmp_path)
    assert "took over 0.2 s" in finding


def test_reasons_are_counted_with_their_place(tmp_path: Path) -> None:
    """A block left out is listed with file, line and reason."""
    page = tmp_path / "page.md"
    page.write_text("<!-- not run: costs money -->\n```python\n1/0\n```\n")
    assert reasons_not_run(page) == [f"{page}:2: costs money"]
