"""A command that another process does at this very moment: one outcome, whoever hears of it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest

import refold
from refold import Appended, Decider, Event, Fold, Rejected
from refold.engine.commands import Execution, executed
from refold.engine.store import Store
from refold.errors import UsageError
from refold.ports import Kept


class Open(msgspec.Struct, frozen=True):
    """Open an account, which can be done once."""

    account: str


accounts: Fold[set[str]] = Fold("accounts", set)


@accounts.on("account.opened")
def _opened(state: set[str], event: dict[str, str]) -> set[str]:
    return state | {event["account"]}


def refuse(command: Open, state: set[str]) -> Sequence[object]:
    """A second time is refused."""
    if command.account in state:
        raise Rejected("is_open", account=command.account)
    return [Event("account.opened", {"account": command.account})]


def pass_over(command: Open, state: set[str]) -> Sequence[object]:
    """A second time is nothing to do."""
    return [] if command.account in state else refuse(command, state)


class Overtaken:
    """A store of which another does a command just after its id was looked up here."""

    def __init__(self, store: Store, other: Store, command: Execution) -> None:
        self.fold, self.event = store.fold, store.event
        self._append_command = store._append_command
        self._store, self._other = store, other
        self._waiting = [command]
        self.first: Appended | None = None

    def _kept_under(self, key: str) -> Kept | None:
        kept = self._store._kept_under(key)
        while self._waiting:
            self.first = executed(self._other, self._waiting.pop())
        return kept


@pytest.fixture(name="stores")
def _stores(tmp_path: Path) -> Iterator[tuple[Store, Store]]:
    path = tmp_path / "log.db"
    with refold.open(path) as store, refold.open(path) as other:
        store.append("bank-1", [Event("account.opened", {"account": "first"})])
        yield store, other


def command(decider: Decider[set[str], Open], account: str) -> Execution:
    """To open an account, under one id."""
    return Execution("bank-1", decider, Open(account), "cmd-1", None, (), None)


@pytest.mark.parametrize("decide", [refuse, pass_over])
@pytest.mark.parametrize("rejections", ["raised", "recorded"])
def test_what_was_done_meanwhile_is_the_outcome(
    stores: tuple[Store, Store], decide: Any, rejections: Any
) -> None:
    """Not the refusal, or nothing, that a decision after it comes to."""
    asked = command(Decider(accounts, decide, rejections=rejections), "new")
    store = Overtaken(*stores, asked)
    outcome = executed(store, asked)
    assert store.first is not None
    assert outcome == store.first._replace(duplicate=True)
    assert stores[0].head("bank-1") == 1


@pytest.mark.parametrize("decide", [refuse, pass_over])
def test_another_command_under_the_id_is_told(stores: tuple[Store, Store], decide: Any) -> None:
    """Where its events are what this one is refused for."""
    decider = Decider(accounts, decide)
    store = Overtaken(*stores, command(decider, "new"))
    with pytest.raises(UsageError) as caught:
        executed(store, command(decider, "first"))
    assert caught.value.code == "key_reused"
