"""The pages whose reader has a witness, and a stranger's program in Go: what they show is run."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from refold.audit.note import COSIGNATURE, ED25519, SigningKey
from tests.audit.others import program, witnessing
from tests.house.snippet_runner import needs_strangers, run_page
from tests.house.snippets import blocks_of
from tests.house.tree import ROOT, files_under, shown

PAGES = [page for page in files_under(ROOT / "docs", suffix=".md") if needs_strangers(page)]
WITNESS = SigningKey("witness.example.org", bytes(range(1, 33)), COSIGNATURE)


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_the_blocks_of_a_page_run_as_shown(
    page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block runs and prints what the page shows, beside a witness of the log in it."""
    monkeypatch.setenv("PATH", f"{program().parent}:{os.environ['PATH']}")
    monkeypatch.setenv("WITNESS_KEY", str(WITNESS.verifying))
    with witnessing(f"@{tmp_path / 'key'}", str(WITNESS._replace(kind=ED25519))) as address:
        monkeypatch.setenv("WITNESS", address)
        assert run_page(page, tmp_path) == []


@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_the_program_that_is_shown_is_the_one_that_runs(page: Path) -> None:
    """To the byte."""
    (block,) = [one for one in blocks_of(page) if one.language == "go"]
    assert block.text == (ROOT / "tests/audit/go/stranger/main.go").read_text()
