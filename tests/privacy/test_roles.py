"""Protected values in a shared store whose logins may each do something else."""

from __future__ import annotations

import pytest

import refold
from refold.conversation import UserUtterance
from refold.errors import UsageError
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
