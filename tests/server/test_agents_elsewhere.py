"""Agents in other languages record to `refold serve`; Python folds, and the pages show it."""

from __future__ import annotations

import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import refold
from refold.conversation import Conversation
from tests.audit import others
from tests.house.tree import ROOT
from tests.server.node import LIMIT_S, MODULES, compiled, node, program
from tests.server.process import serving
from tests.server.waiting import conversation
from tests.support.browser import browser
from tests.ui.serving import served as shown

TALK = "call-42 ü/1"


@pytest.fixture(scope="module")
def agents() -> dict[str, list[str]]:
    """How each agent that an SDK of OpenTelemetry instruments is run, by what it says it is."""
    node_of = ["node", str(program("instrumented")), str(MODULES.parent)]
    subprocess.run(["sh", "tools/java.sh"], cwd=ROOT, check=True, timeout=5 * LIMIT_S)
    jars = ROOT / ".cache" / "java"
    return {
        "proto": [*node_of, "proto"],
        "http": [*node_of, "http"],
        "go": [str(others.program().with_name("agent"))],
        "java": ["java", "-cp", f"{jars}/classes:{jars}/*", "Agent"],
    }


def test_agents_in_other_languages_record_and_are_seen_as_they_do(
    tmp_path: Path, agents: dict[str, list[str]]
) -> None:
    """Each with its SDK of OpenTelemetry and environment variables; one with the client."""
    db = tmp_path / "agents.db"
    client = compiled(tmp_path / "compiled") / "refold.js"
    with serving(db) as server, refold.open(db) as store, shown(store) as pages, browser() as tab:
        tab.go(str(pages.base_url.join("/live")))
        with ThreadPoolExecutor() as pool:
            runs = [
                pool.submit(instrumented, server.url, [*command, f"by {kind}"])
                for kind, command in agents.items()
            ]
        for run in runs:
            run.result()
        node(program("talk"), client, server.url)
        tab.until("document.body.innerText.includes('How much?')")
        for kind in agents:
            tab.until(f"document.body.innerText.includes('Sunny, says {kind}.')")
            conversation(store, f"otlp-by_{kind}")
            state = store.fold(f"otlp-by_{kind}", Conversation).state
            assert [turn.text for turn in state.transcript] == [
                f"Weather, by {kind}?",
                f"Sunny, says {kind}.",
            ]
            assert state.agent is not None
            assert (state.agent.agent, state.agent.model) == ("Ada", "gpt-5")
            assert [use.answer is not None for use in state.tool_calls] == [True]
        talk = store.fold(TALK, Conversation).state
        assert [turn.text for turn in talk.transcript] == ["How much?", "17."]
        tab.go(str(pages.base_url.join("/")))
        listed = tab.value("document.body.innerText")
        assert all(name in listed for name in (*(f"otlp-by_{kind}" for kind in agents), TALK))


def instrumented(url: str, command: list[str]) -> None:
    """Run an instrumented agent to its end."""
    said = {
        "OTEL_EXPORTER_OTLP_ENDPOINT": url,
        "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf",
        "OTEL_METRICS_EXPORTER": "none",
    }
    environment = {**os.environ, **said}
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
