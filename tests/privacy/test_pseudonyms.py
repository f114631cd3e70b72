"""What a subject is called where nobody is to be named, with a keyring and without."""

from __future__ import annotations

import hmac
from collections.abc import Iterator
from pathlib import Path

import pytest

import refold
from refold import Event
from refold.conversation.governance import HoldPlaced
from refold.errors import UsageError
from refold.privacy.decisions import STREAM
from refold.privacy.erasure import erase
from refold.privacy.holds import holds, place_hold, release_hold
from refold.privacy.keyring import new_keyring
from refold.privacy.pseudonyms import pseudonyms
from refold.privacy.removing import Removal
from refold.privacy.stored import check_in_clear
from refold.privacy.subject_keys import shown_as
from tests.privacy.erasable import ON_DISK
from tests.privacy.protecting import KEYRING, behind, opened
from tests.support.stores import url_of

ADA = "ada@example.com"
FIELDS = {"said": ["/text"]}
_INDEX = "SELECT wrapped, tenant_key FROM privacy_keys WHERE subject = ?"


@pytest.fixture(params=ON_DISK)
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store without a keyring in which something personal is declared."""
    url = url_of(request.param, tmp_path)
    with opened(url, fields=FIELDS, keyring=None) as store:
        store.append("call-1", [Event("said", {"text": "hello"})], metadata={"subject": ADA})
    yield url


def index_of(store: refold.Store) -> tuple[bytes, str]:
    """The key of the HMAC as it is stored, and what it is wrapped by."""
    ((wrapped, tenant_key),) = behind(store).keys._keeper.query(_INDEX, (b"refold/index/1",))
    return bytes(wrapped), str(tenant_key)


def test_without_a_keyring_no_name_can_be_tried_on_a_decision(url: str) -> None:
    """The key of the HMAC stands in the clear then: so the pseudonym is drawn, and forgotten."""
    with opened(url, fields=FIELDS, keyring=None) as store:
        secret, tenant_key = index_of(store)
        assert tenant_key == ""
        guess = shown_as(hmac.digest(secret, b"\0" + ADA.encode(), "sha256"))
        held = place_hold(store, ADA, reason="claim 7")
        assert held.subject == pseudonyms(store, ADA)[0] != guess
        release_hold(store, held.name)
        gone = erase(store, ADA, wanted=Removal("asked"))
        assert gone.is_finished
        decided = b"".join(one.raw for one in store.read(STREAM))
        assert gone.subject.encode() in decided
        assert guess.encode() not in decided
        assert held.subject not in pseudonyms(store, ADA)


def test_a_hold_from_when_the_pseudonym_followed_from_the_name_is_in_force(url: str) -> None:
    """An older program called a subject by the HMAC; what it held stays held."""
    with opened(url, fields=FIELDS, keyring=None) as store:
        called = shown_as(behind(store).keys.pseudonym(ADA))
        store.append(STREAM, [HoldPlaced("hold-1", called, "claim 7", "", None)])
        assert [one.subject for one in holds(store)] == [called]
        with pytest.raises(UsageError, match="hold-1"):
            erase(store, ADA, wanted=Removal("asked"))


def test_what_stood_in_the_clear_is_wrapped_when_a_keyring_comes(url: str) -> None:
    """By the first value that is encrypted; it is the same key, so nobody is called otherwise."""
    with opened(url, fields=FIELDS, keyring=None) as store:
        place_hold(store, ADA, reason="claim 7")
        before, secret = pseudonyms(store, ADA), index_of(store)[0]
        assert [good for _, good, _ in check_in_clear(store)] == [True]
    keyring = new_keyring()
    with opened(url, fields=FIELDS, keyring=keyring) as store:
        store.append("call-2", [Event("said", {"text": "again"})], metadata={"subject": ADA})
        wrapped, tenant_key = index_of(store)
        assert tenant_key == keyring.newest
        assert secret not in wrapped
        assert {*pseudonyms(store, ADA)} == {*before}
        assert not [*check_in_clear(store)]
    with opened(url, fields=FIELDS, keyring=keyring) as store:
        assert {*pseudonyms(store, ADA)} == {*before}


def test_a_file_that_is_only_read_stays_as_it_is(tmp_path: Path) -> None:
    """What was declared there without a keyring is read, whoever gives one."""
    path = tmp_path / "log.db"
    with opened(path, fields=FIELDS, keyring=None) as store:
        store.append("call-1", [Event("said", {"text": "hello"})], metadata={"subject": ADA})
    with refold.open(
        path, mode="read", privacy=behind(opened("memory:", keyring=KEYRING)).privacy
    ) as store:
        assert pseudonyms(store, ADA)
        assert [one.data for one in store.read("call-1")] == [{"text": "hello"}]
        assert index_of(store)[1] == ""
