"""The replays of a store are found again, by id, its beginning, or label."""

import pytest

import refold
from refold.errors import NotFound, UsageError
from refold.replay import Action, Variant, find_replay, replay, replays
from tests.replay.stories import VARIANT, as_recorded, record


@pytest.fixture
def store() -> refold.Store:
    store = refold.open("memory:")
    for stream in ("call-1", "call-2", "mail-1"):
        record(store, stream)
    replay(store, ["call-1", "call-2"], VARIANT, as_recorded)
    replay(store, ["mail-1"], Variant(prompt="Be brief."), lambda _: Action(), sample=2)
    return store


def test_every_replay_is_found_with_its_samples(store: refold.Store) -> None:
    """By variant, and by the category of the conversations."""
    found = {one.variant.id: one.streams for one in replays(store)}
    assert found == {
        VARIANT.id: {0: ["call-1", "call-2"]},
        Variant(prompt="Be brief.").id: {2: ["mail-1"]},
    }
    assert [one.variant for one in replays(store, category="call")] == [VARIANT]


def test_a_run_says_what_it_came_to(store: refold.Store) -> None:
    """How many decisions were answered, when, and what the variant changed."""
    run = find_replay(replays(store), Variant(prompt="Be brief.").id[:6]).run(store, 2)
    assert (run.answered, run.failed, run.streams) == (2, 0, ["mail-1"])
    assert (run.changes, run.label) == ({"prompt": "Be brief."}, None)
    assert run.first_at <= run.last_at


def test_a_replay_is_named_by_id_beginning_or_label(store: refold.Store) -> None:
    """Without a name it is the only one there is; what fits none or several is refused."""
    found = replays(store)
    assert find_replay(found, VARIANT.label).variant == VARIANT
    assert find_replay(replays(store, category="mail")).variant == Variant(prompt="Be brief.")
    with pytest.raises(UsageError):
        find_replay(found)
    with pytest.raises(NotFound):
        find_replay(found, "nobody")
    with pytest.raises(NotFound):
        find_replay([])


def test_a_sample_that_was_not_run_is_not_found(store: refold.Store) -> None:
    """Nor is a category that it was not run on."""
    one = find_replay(replays(store), VARIANT.id)
    assert one.conversations(category="call") == ["call-1", "call-2"]
    with pytest.raises(NotFound):
        one.conversations(7)
    with pytest.raises(NotFound):
        one.conversations(category="mail")


def test_a_replay_of_a_branch_is_of_the_category_of_its_stream(store: refold.Store) -> None:
    """Where the name of the branch has a hyphen, too."""
    store.save_branch(store.branch("call-1"), "call~what-if")
    replay(store, ["call~what-if"], VARIANT, as_recorded)
    one = find_replay(replays(store, category="call"))
    assert one.conversations(category="call") == ["call-1", "call-2", "call~what-if"]
