"""Whatever a destroyed key would take with it is under holds and floors, however it is reached."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import refold
from refold import Event
from refold.errors import UsageError
from refold.privacy import erasure
from refold.privacy.erasure import erase
from refold.privacy.holds import place_hold
from refold.privacy.keyring import new_keyring
from refold.privacy.policy import read_classes
from refold.privacy.privacy import Privacy
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal, TakingOut, purged

ASKED = Removal("asked for")


def opened(path: Path, *, subject: Callable[[str], str] | None = None) -> refold.Store:
    """A store whose texts are personal."""
    privacy = Privacy(new_keyring(), {"said": ["/text"]}, subject=subject, actor="officer")
    return refold.open(path / "a.db", privacy=privacy, synchronous="NORMAL")


def texts(store: refold.Store, stream: str = "call-1") -> Sequence[str]:
    """What a stream says."""
    return [one.data["text"] for one in store.read(stream)]


def customer(_stream: str) -> str:
    """Whom every stream is about."""
    return "customer-7"


@pytest.mark.parametrize("hold", [{"category": "call"}, {"subject": "call-1"}])
def test_whom_the_store_was_told_a_stream_is_about_is_held_with_it(
    tmp_path: Path, hold: dict[str, str]
) -> None:
    """Also where no event names the subject whose key it is."""
    with opened(tmp_path, subject=customer) as store:
        store.append("call-1", [Event("said", {"text": "kept"})])
        store.append("mail-1", [Event("said", {"text": "too"})])
        place_hold(store, reason="court", **hold)
        with pytest.raises(UsageError) as raised:
            erase(store, "customer-7", wanted=ASKED)
        assert raised.value.code == "held"
        assert texts(store) == ["kept"]


def test_a_floor_keeps_the_key_and_the_others_go(tmp_path: Path) -> None:
    """Of what a stream says that is about the subject as the store was told."""
    with opened(tmp_path, subject=customer) as store:
        store.append("call-1", [Event("said", {"text": "kept"})])
        store.append("mail-1", [Event("said", {"text": "gone"})])
        told = erase(
            store, "customer-7",
            wanted=ASKED._replace(classes=read_classes({"call": {"floor": "6y"}})),
        )  # fmt: skip
        assert [one for one, _ in told.kept] == ["call-1@0"]
        assert (texts(store), texts(store, "mail-1")) == (["kept"], ["[redacted]"])
        assert not told.is_done


def test_a_hold_on_a_person_keeps_the_key_of_the_stream_that_is_about_them(tmp_path: Path) -> None:
    """One event names her, and another that does not is under the key of the stream."""
    with opened(tmp_path) as store:
        about_ada = Event("said", {"text": "of ada"}, metadata={"subject": "ada"})
        store.append("call-1", [Event("said", {"text": "before"}), about_ada])
        place_hold(store, "ada", reason="court")
        with pytest.raises(UsageError) as raised:
            erase(store, "call-1", wanted=ASKED)
        assert raised.value.code == "held"
        assert texts(store) == ["before", "of ada"]


def test_a_hold_that_comes_before_the_decision_counts(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing but a key was to go, too."""
    with opened(tmp_path) as store:
        store.append("call-1", [Event("said", {"text": "kept"})])

        def holding(*given: Any) -> TakingOut:
            place_hold(store, category="call", reason="court")
            return TakingOut(*given)

        monkeypatch.setattr(erasure, "TakingOut", holding)
        with pytest.raises(UsageError) as raised:
            erase(store, "call-1", wanted=ASKED)
        assert raised.value.code == "held"
        assert texts(store) == ["kept"]


def test_what_is_recorded_meanwhile_is_not_claimed_to_be_gone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It says so, until it is erased again."""
    with opened(tmp_path) as store:
        store.append("call-1", [Event("said", {"text": "before"})])

        def recording(*given: Any) -> Any:
            yield from purged(*given)
            store.append("call-1", [Event("said", {"text": "late"})])

        monkeypatch.setattr(erasure, "purged", recording)
        told = erase(store, "call-1", wanted=ASKED)
        assert [one.name for one in told.checks if not one.good] == ["recorded meanwhile"]
        monkeypatch.setattr(erasure, "purged", purged)
        assert texts(store) == ["[erased]", "late"]
        assert erase(store, "call-1", wanted=ASKED).is_done
        assert texts(store) == ["[erased]", "[erased]"]


def test_repetitions_are_looked_for_in_all_streams_about_the_subject(tmp_path: Path) -> None:
    """As the store was told whom they are about."""
    with opened(tmp_path, subject=customer) as store:
        for stream in ("call-1", "mail-1"):
            store.append(stream, [Event("said", {"text": "my number is 555-0100, thank you"})])
        redact(store, ["call-1@0"], field="text", wanted=ASKED)
        assert texts(store, "mail-1") == ["[redacted]"]
