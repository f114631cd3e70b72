"""The pages whose reader has brokers of Kafka: what they show is run."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.house.snippet_runner import needs_brokers, run_page
from tests.house.tree import ROOT, files_under, shown
from tests.support.kafka import Cluster

PAGES = [page for page in files_under(ROOT / "docs", suffix=".md") if needs_brokers(page)]


@pytest.mark.xdist_group("kafka")
@pytest.mark.parametrize("page", PAGES, ids=shown)
def test_the_blocks_of_a_page_run_as_shown(
    page: Path, brokers: Cluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every block runs and prints what the page shows, with the brokers of the tests."""
    monkeypatch.setenv("KAFKA", brokers.bootstrap)
    assert run_page(page, tmp_path) == []
