"""Protected values in a shared store whose logins may each do something else."""

from __future__ import annotations

import pytest

import refold
from refold.conversation import UserUtterance
from refold.errors import UsageError
from refold.privacy.decisions import STREAM
from refold.privacy.holds import holds, place_hold, release_hold
from tests.privacy.protecting import privacy
from tests.support import roles


def test_whoever_may_only_append_goes_on_under_keys_that_a_maintainer_made() -> None:
    """One for a new subject it cannot make: nothing is appended, and the error says who can."""
    made = roles.shared(None)
    made.any_clock()
    writes, keeps = (
        made.url(made.login(group, tenants=[870]), tenant=870) for group in ("writer", "maintainer")
    )
    said = [UserUtterance(text="I am Ada Example")]
    with refold.open(writes, privacy=privacy()) as store:
        with pytest.raises(UsageError, match="let a maintainer append for that subject") as refusal:
            store.append("call-1", said)
        assert refusal.value.code == "not_writable"
        assert store.head("call-1") == -1
    with refold.open(keeps, privacy=privacy()) as store:
        store.append("call-1", said)
    with refold.open(writes, privacy=privacy()) as store:
        store.append("call-1", said)
        assert [one.data["text"] for one in store.read("call-1")] == ["I am Ada Example"] * 2
        with pytest.raises(UsageError, match="maintainer"):
            store.append("call-2", said)


def test_whoever_may_only_append_ends_no_hold() -> None:
    """What is decided about personal data a maintainer decides: placed, released, or made up."""
    made = roles.shared(None)
    made.any_clock()
    writes, keeps = (
        made.url(made.login(group, tenants=[871]), tenant=871) for group in ("writer", "maintainer")
    )
    with refold.open(keeps) as store:
        store.append("call-1", [refold.Event("x.y", {"n": 1})])
        held = place_hold(store, category="call", reason="claim 7")
    with refold.open(writes) as store:
        store.append("call-1", [refold.Event("x.y", {"n": 2})])
        for decide in (
            lambda: release_hold(store, held.name),
            lambda: place_hold(store, category="mail", reason="audit"),
            lambda: store.append(STREAM, [refold.Event("hold.released", {"hold": held.name})]),
        ):
            with pytest.raises(UsageError, match="a maintainer") as refusal:
                decide()
            assert refusal.value.code == "not_writable"
        assert [one.name for one in holds(store)] == [held.name]
    with refold.open(keeps) as store:
        release_hold(store, held.name)
        assert not holds(store)
