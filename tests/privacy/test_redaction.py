"""A value that is redacted is gone from wherever it was repeated, and proofs hold."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import refold
from refold.conversation import AgentUtterance, ToolCall, UserUtterance
from refold.errors import UsageError
from refold.privacy.decisions import OUT_OF_REACH
from refold.privacy.holds import place_hold
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from tests.privacy.erasable import KINDS
from tests.support.stores import url_of

WHY = Removal("asked for", by="dpo")
CARD = "4242 4242 4242 4242"


@pytest.fixture(params=KINDS)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[refold.Store]:
    """A store of each kind, with a conversation and one of somebody else."""
    with refold.open(url_of(request.param, tmp_path)) as opened:
        said = [
            UserUtterance(f"my card is {CARD}, thanks"),
            ToolCall("c1", "charge", arguments=f'{{"card": "{CARD}"}}', parsed={"card": CARD}),
            AgentUtterance(f"Charged {CARD}."),
        ]
        opened.append("call-1", said)
        opened.append("call-2", [UserUtterance(f"mine is {CARD} too")])
        yield opened


def test_a_span_goes_from_all_of_its_conversation(store: refold.Store) -> None:
    """Texts, arguments as text and parsed; another's conversation stays as it is."""
    removed = redact(store, ["call-1@0"], field="text", span=(11, 30), wanted=WHY)
    assert [one.event.id for one in removed.changes] == ["call-1@0", "call-1@1", "call-1@2"]
    assert not [one for one in removed.checks if not one.good and one.name != OUT_OF_REACH]
    texts = [one.data for one in store.read("call-1")]
    assert texts[0]["text"] == "my card is [redacted], thanks"
    assert texts[1]["arguments"] == '{"card": "[redacted]"}'
    assert texts[1]["parsed"] == {"card": "[redacted]"}
    assert texts[2]["text"] == "Charged [redacted]."
    assert CARD in next(iter(store.read("call-2"))).data["text"]


def test_a_dry_run_lists_just_what_goes(store: refold.Store) -> None:
    """And changes nothing."""
    before = [one.raw for one in store.read_all()]
    how = {"field": "", "match": r"(\d{4} ){3}\d{4}", "wanted": WHY}
    told = redact(store, ["call-1"], **how, dry_run=True)  # type: ignore[arg-type]
    assert [one.raw for one in store.read_all()] == before
    done = redact(store, ["call-1"], **how)  # type: ignore[arg-type]
    listed = [(one.event.id, one.pointer, one.method) for one in told.changes]
    assert listed == [(one.event.id, one.pointer, one.method) for one in done.changes]
    assert listed[0] == ("call-1@0", "/text", "span")


def test_what_is_held_stays(store: refold.Store) -> None:
    """The hold is named, and nothing has changed."""
    place_hold(store, "call-1", reason="claim 7")
    before = [one.raw for one in store.read_all()]
    with pytest.raises(UsageError, match="hold-1") as refused:
        redact(store, ["call-1@0"], field="text", wanted=WHY)
    assert (refused.value.code, refused.value.hold) == ("held", "hold-1")
    assert [one.raw for one in store.read_all()] == before
