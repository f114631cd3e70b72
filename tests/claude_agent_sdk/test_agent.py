"""The agent that comes with the Claude Agent SDK, run against a local server of its model's API."""

import asyncio
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from claude_agent_sdk import ClaudeAgentOptions, ResultMessage, query

import refold
from refold.claude_agent_sdk import RefoldSessionStore
from refold.conversation import Conversation
from tests.capture.model_server import ModelServer, messages_stream, serving

ENDS_AFTER_S = 120.0


@pytest.fixture
def server() -> Iterator[ModelServer]:
    """A scripted model server."""
    with serving() as made:
        yield made


async def ask(sessions: RefoldSessionStore, server: ModelServer, home: Path, **more: Any) -> str:
    """One run of the agent; the session that it was."""
    env = {
        "ANTHROPIC_BASE_URL": server.url,
        "ANTHROPIC_API_KEY": "none",
        "CLAUDE_CONFIG_DIR": str(home / "config"),
        "HOME": str(home),
        "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
        "IS_SANDBOX": "1",
    }
    prompt = more.pop("prompt")
    options = ClaudeAgentOptions(session_store=sessions, env=env, cwd=home, max_turns=1, **more)
    session = ""
    async for message in query(prompt=prompt, options=options):
        if isinstance(message, ResultMessage):
            assert not message.is_error, message.result
            session = message.session_id
    return session


def test_an_agent_goes_on_from_the_store(server: ModelServer, tmp_path: Path) -> None:
    """Its entries are those of its own file, and without that file it remembers all the same."""
    server.script = [messages_stream()]
    home = tmp_path / "home"
    home.mkdir()

    async def talk(sessions: RefoldSessionStore) -> str:
        session = await ask(sessions, server, home, prompt="Is nine free?")
        (own,) = (home / "config" / "projects").glob(f"*/{session}.jsonl")
        key: Any = {"project_key": own.parent.name, "session_id": session}
        lines = [json.loads(line) for line in own.read_text().splitlines()]
        # Of what is no message, the agent does not give all away.
        kept: Any = await sessions.load(key)
        assert [one for one in kept if "uuid" in one] == [one for one in lines if "uuid" in one]
        assert all(one in lines for one in kept)
        shutil.rmtree(home / "config")
        assert await ask(sessions, server, home, prompt="And ten?", resume=session) == session
        return f"claude-{own.parent.name}/{session}"

    with refold.open(str(tmp_path / "agents.db")) as store:
        talking = talk(RefoldSessionStore(store))
        stream = asyncio.run(asyncio.wait_for(talking, ENDS_AFTER_S))
        said = store.fold(stream, Conversation).state.transcript
        words = [(one.role, one.text) for one in said]
    answer = ("agent", "Hi café … \U0001f600 done")
    assert words == [("user", "Is nine free?"), answer, ("user", "And ten?"), answer]
    sent = [json.loads(one.body)["messages"] for one in server.received if "messages" in one.path]
    assert "Is nine free?" in json.dumps(sent[-1])
