"""Values in envelopes are redacted, whole or in part, and stay under their keys."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import refold
from refold.conversation import AgentUtterance, UserUtterance
from refold.errors import UsageError
from refold.privacy.keyring import new_keyring
from refold.privacy.privacy import Privacy
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal
from refold.privacy.stored import stored_backend
from tests.privacy.erasable import ON_DISK
from tests.support.stores import url_of

WHY = Removal("asked for")
FIELDS = {"user.utterance": ["/text"], "agent.utterance": ["/text"]}
CARD = "4242 4242 4242 4242"
KEYRING = new_keyring()


@pytest.fixture(params=ON_DISK)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a store of each kind."""
    return url_of(request.param, tmp_path)


@pytest.fixture
def store(url: str) -> Iterator[refold.Store]:
    """A store whose texts are under a key."""
    with refold.open(url, privacy=Privacy(KEYRING, FIELDS, actor="dpo", purpose="x")) as opened:
        said = [UserUtterance(f"my card is {CARD}, ok?"), AgentUtterance(f"Charged {CARD}.")]
        opened.append("call-1", said, metadata={"subject": "ann"})
        yield opened


def stored(store: refold.Store) -> bytes:
    """What the storage holds of the conversation."""
    rows = stored_backend(store).rows("call-1", first=0, last=9, backward=False, events_max=9)
    return b"".join(row.body.encode() if isinstance(row.body, str) else row.body for row in rows)


def test_a_part_of_an_encrypted_text_goes(store: refold.Store) -> None:
    """What is left of it is encrypted again."""
    removed = redact(store, ["call-1@0"], field="text", match="([0-9]{4} ?){4}", wanted=WHY)
    assert [one.event.id for one in removed.changes] == ["call-1@0", "call-1@1"]
    texts = [one.data["text"] for one in store.read("call-1")]
    assert texts == [
        "my card is [redacted], ok?", "Charged [redacted].",
    ]  # fmt: skip
    assert stored(store).count(b"refold:personal") == 2
    assert b"card" not in stored(store)


def test_a_whole_encrypted_text_keeps_its_commitment(store: refold.Store) -> None:
    """Only its secret goes."""
    commitment = stored(store).split(b'","')[1]
    redact(store, ["call-1@0"], field="text", wanted=WHY)
    assert next(iter(store.read("call-1"))).data["text"] == "[redacted]"
    assert commitment in stored(store)


def test_who_has_no_key_redacts_nothing(url: str, store: refold.Store) -> None:
    """What is not readable cannot be looked for elsewhere."""
    assert store.log_head() > 0
    with refold.open(url) as keyless, pytest.raises(UsageError, match="keyring") as refused:
        redact(keyless, ["call-1@0"], field="text", wanted=WHY)
    assert refused.value.code == "no_key"
