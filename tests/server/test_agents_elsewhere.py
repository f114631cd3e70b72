"""Agents in Node record to `refold serve`; Python folds, and the pages show it as it comes."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import refold
from refold.conversation import Conversation
from tests.server.node import LIMIT_S, MODULES, compiled, node, program
from tests.server.process import serving
from tests.server.waiting import conversation
from tests.support.browser import browser
from tests.ui.serving import served as shown

TALK = "call-42 ü/1"


def test_agents_in_node_record_and_are_seen_as_they_do(tmp_path: Path) -> None:
    """One with an SDK of OpenTelemetry and an environment variable, one with the client."""
    db = tmp_path / "agents.db"
    client = compiled(tmp_path / "compiled") / "refold.js"
    with serving(db) as server, refold.open(db) as store, shown(store) as pages, browser() as tab:
        tab.go(str(pages.base_url.join("/live")))
        for kind in ("proto", "http"):
            instrumented(server.url, kind)
        node(program("talk"), client, server.url)
        tab.until("document.body.innerText.includes('How much?')")
        for kind in ("proto", "http"):
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
        assert all(name in listed for name in ("otlp-by_proto", "otlp-by_http", TALK))


def instrumented(url: str, kind: str) -> None:
    """Run an instrumented agent to its end."""
    environment = {**os.environ, "OTEL_EXPORTER_OTLP_ENDPOINT": url}
    command = ["node", str(program("instrumented")), str(MODULES.parent), kind, f"by {kind}"]
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=LIMIT_S, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
