"""What is withheld from who reads goes to no model, whichever command would ask one."""

from __future__ import annotations

import pytest

import refold
from refold.conversation.events import AgentConfigured, AgentUtterance, UserUtterance
from refold.privacy import CONVERSATION, Privacy, new_keyring, save_keyring
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from tests.cli.endpoints import says, serving
from tests.cli.running import Refold

READS = ("--actor", "ann", "--keyring", "k.keyring")


@pytest.fixture(autouse=True)
def closed() -> None:
    """A conversation under keys in `refold.db`, and their keyring beside it."""
    keyring = new_keyring()
    save_keyring(keyring, "k.keyring")
    with refold.open("refold.db", privacy=Privacy(keyring, CONVERSATION)) as store:
        said = [UserUtterance("I am Ann."), AgentUtterance("Hello Ann.")]
        store.append("call-1", [AgentConfigured(model="m-1"), *said, *said])


@pytest.mark.parametrize(
    "command",
    [
        ("replay", "call-1"),
        ("replay", "call-1", "--mode", "free-run"),
        ("replay", "call-1", "--mode", "free-run", "--user", "openai:m-1"),
        ("bisect", "call-1", "--prompt", "Be kind.", "--fails", "never_says=refund"),
        ("what-if", "call-1", "--without", "1", "--ask", "--samples", "1"),
        ("goals", "call-1", "--propose", "openai:m-1"),
    ],
    ids=" ".join,
)
def test_it_is_refused_with_what_to_say_and_asked_when_it_is_said(
    run: Refold, command: tuple[str, ...]
) -> None:
    """Exit code 2, the event, and how it is read; the endpoint hears nothing until then."""
    with serving(says('{"text": "###STOP###"}')) as at:
        refused = run(*command, "--base-url", at.url)
        assert at.requests == []
        read = run(*command, "--base-url", at.url, *READS)
        assert at.requests, read.err
    assert refused.code == 2
    assert "withheld" in refused.err and "call-1" in refused.err
    assert "--actor NAME --keyring FILE" in refused.err
    assert "withheld" not in read.err
    assert not any("[withheld]" in str(request) for request in at.requests)


def test_what_is_gone_is_told_of(run: Refold) -> None:
    """Beside what was answered: how many decisions nobody was asked for, and why."""
    with refold.open("clear.db") as store:
        words = [UserUtterance("Hi."), AgentUtterance("Who?"), UserUtterance("Ann Example.")]
        store.append("call-1", [AgentConfigured(model="m-1"), *words, AgentUtterance("And?")])
        redact(store, ["call-1@3"], field="text", wanted=Removal("a name", by="dpo"))
    with serving(says("Yes?")) as at:
        asked = ("replay", "call-1", "--db", "clear.db", "--prompt", "Be kind.")
        said = run(*asked, "--base-url", at.url)
        (told,) = run(*asked, "--base-url", at.url, "--json").lines
    assert "1 decision excluded: what led there is redacted or erased" in said.err
    assert (told["decisions"], told["kept"], told["excluded"]) == (1, 1, 1)
    compared = run("compare", "--db", "clear.db", "--json").lines[0]
    assert compared["figures"]["accounting"]["excluded"] == 1
