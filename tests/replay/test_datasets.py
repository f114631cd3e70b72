"""Datasets: lists of conversations that stay as they were; labels: what people say of them."""

import pytest

import refold
from refold.conversation import (
    AgentUtterance,
    Attributes,
    LabelRecorded,
    ScoreRecorded,
    UserUtterance,
)
from refold.errors import Conflict, NotFound, UsageError
from refold.projections import Projector
from refold.readmodels import conversations
from refold.replay import Action, Dataset, Variant, compare, label, replay


def store_of(*streams: str) -> refold.Store:
    """A store of these streams, each with two utterances."""
    store = refold.open("memory:")
    for stream in streams:
        store.append(stream, [UserUtterance("hi"), UserUtterance("bye")])
    return store


def test_a_dataset_stays_as_it_was_made() -> None:
    """Up to the last event of each then, in the order given, whatever comes after."""
    with store_of("call-1", "call-2", "call-3") as store:
        made = Dataset.make(store, "hard", ["call-2", "call-1@0"], chosen_by={"tool": "refund"})
        store.append("call-2", [UserUtterance("again")])
        assert Dataset.named(store, "hard") == made
        assert (made.version, made.items) == (0, ["call-2@1", "call-1@0"])
        assert (made.versions, made.chosen_by) == ({"call-2": 1, "call-1": 0}, {"tool": "refund"})


def test_a_replay_asks_a_conversation_as_far_as_it_is_in_the_dataset() -> None:
    """What came later is none of it, and stands in no denominator."""
    with refold.open("memory:") as store:
        store.append("call-1", [UserUtterance("hi"), AgentUtterance("Hello.")])
        made = Dataset.make(store, "hard", ["call-1"])
        store.append("call-1", [UserUtterance("bye"), AgentUtterance("Goodbye.")])
        variant = Variant(label="again")
        asked = replay(store, made.versions, variant, lambda _: Action("Hello."))
        assert (asked.decisions, asked.answered) == (1, 1)
        counted = compare(store, ["call-1"], variant).figures
        assert (counted.decisions, counted.counts["missing"]) == (1, 0)
        whole = replay(store, ["call-1"], Variant(label="all"), lambda _: Action("Hello."))
        assert whole.decisions == 2


def test_who_makes_it_again_makes_its_next_version() -> None:
    """Each version can be had; the same again is the same version."""
    with store_of("call-1", "call-2") as store:
        first = Dataset.make(store, "hard", ["call-1"])
        second = Dataset.make(store, "hard", ["call-1", "call-2"])
        assert Dataset.make(store, "hard", ["call-1", "call-2"]) == second
        assert [first.version, second.version] == [0, 1]
        assert Dataset.named(store, "hard@0") == first
        assert Dataset.named(store, "hard") == Dataset.named(store, "hard@1") == second
        Dataset.make(store, "a-b.c", ["call-2"])
        assert [one.name for one in Dataset.all(store)] == ["a-b.c", "hard"]


def test_a_dataset_of_another_process_is_not_overwritten(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Of two that make the next version at once, one is told."""
    with store_of("call-1", "call-2") as store:
        Dataset.make(store, "hard", ["call-1"])
        really = store.head

        def head(stream: str) -> int:
            found = really(stream)
            if stream == "dataset~hard" and found == 0:
                monkeypatch.undo()
                Dataset.make(store, "hard", ["call-2"])
            return found

        monkeypatch.setattr(store, "head", head)
        with pytest.raises(Conflict):
            Dataset.make(store, "hard", ["call-1", "call-2"])


@pytest.mark.parametrize(
    ("name", "items", "error", "said"),
    [
        ("hard", [], UsageError, "1 to 20,000 conversations"),
        ("hard", ["call-1", "call-1@0"], UsageError, "in a dataset once"),
        ("hard", ["call-9"], NotFound, "no stream or event 'call-9'"),
        ("hard", ["call-1@2"], NotFound, "no stream or event 'call-1@2'"),
        ("hard", [7], UsageError, "the id of an event"),
        ("a~b", ["call-1"], UsageError, "a name of letters"),
        ("a@1", ["call-1"], UsageError, "a name of letters"),
        ("", ["call-1"], UsageError, "a name of letters"),
    ],
)
def test_what_is_no_dataset_is_refused(
    name: str, items: list[str], error: type[Exception], said: str
) -> None:
    """Before anything is written."""
    with store_of("call-1") as store:
        with pytest.raises(error, match=said):
            Dataset.make(store, name, items)
        assert Dataset.all(store) == []


def test_a_dataset_that_is_not_there_is_told_with_those_that_are() -> None:
    """By name and version."""
    with store_of("call-1") as store:
        with pytest.raises(NotFound, match="there is none"):
            Dataset.named(store, "hard")
        Dataset.make(store, "easy", ["call-1"])
        for name in ("hard", "easy@1"):
            with pytest.raises(NotFound, match="there is easy@0"):
                Dataset.named(store, name)


def test_what_is_given_back_is_what_was_made(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not the version that somebody else makes right after it."""
    with store_of("call-1", "call-2") as store:
        really = store.append_together

        def append_together(appends: list[refold.Append]) -> list[refold.Appended]:
            monkeypatch.undo()
            done = really(appends)
            Dataset.make(store, "hard", ["call-2"])
            return done

        monkeypatch.setattr(store, "append_together", append_together)
        made = Dataset.make(store, "hard", ["call-1"])
        assert (made.version, made.items) == (0, ["call-1@1"])
        assert Dataset.named(store, "hard").items == ["call-2@1"]


def test_a_stream_whose_name_looks_like_an_event_is_taken_by_its_name() -> None:
    """Where there is such a stream."""
    with store_of("call-1", "call-1@0") as store:
        assert Dataset.make(store, "odd", ["call-1@0"]).items == ["call-1@0@1"]


def test_what_people_say_is_recorded_once() -> None:
    """By each of them; another value, rater or event is another word, and the last counts."""
    with store_of("call-1") as store:
        given = {"outcome": "lost"}
        assert label(store, "call-1", rater="ann", labels=given, scores={"kind": 4}) == 2
        assert label(store, "call-1", rater="ann", labels=given, scores={"kind": 4.0}) == 0
        assert label(store, "call-1", rater="bo", labels=given, tags=["odd", "late"]) == 3
        assert label(store, "call-1", rater="bo", tags=["late", "odd"]) == 0
        assert label(store, "call-1", rater="ann", labels={"outcome": "won"}) == 1
        assert label(store, "call-1", rater="ann", labels=given) == 1
        assert label(store, "call-1", rater="ann", labels=given, at="call-1@0") == 1
        known = Attributes.of(store.read("call-1"))
        assert (known.outcome, known.scores, known.tags) == ("lost", {"kind": 4}, ["odd", "late"])
        first, second, *_ = list(store.read("call-1", from_version=2))
        assert first.event == LabelRecorded("outcome", "lost", "ann")
        assert second.event == ScoreRecorded("kind", 4, "ann")
        assert first.metadata["actor"] == "ann"


def test_who_says_what_of_what_must_be_said() -> None:
    """A rater, a list of tags, a conversation that is there."""
    with store_of("call-1") as store:
        with pytest.raises(UsageError, match="rater="):
            label(store, "call-1", rater="")
        with pytest.raises(UsageError, match="tags="):
            label(store, "call-1", rater="ann", tags="odd")
        with pytest.raises(NotFound):
            label(store, "call-9", rater="ann", tags=["odd"])


def test_the_last_word_of_all_counts_though_it_was_said_before() -> None:
    """Who says again what another has denied since is heard; a comment is one more word too."""
    with store_of("call-1") as store:
        for rater, outcome, count in (
            ("ann", "refunded", 1),
            ("bob", "denied", 1),
            ("ann", "refunded", 1),
            ("ann", "refunded", 0),
            ("bob", "refunded", 1),
            ("ann", "refunded", 0),
        ):
            assert label(store, "call-1", rater=rater, labels={"outcome": outcome}) == count
        assert Attributes.of(store.read("call-1")).outcome == "refunded"
        for count in (1, 0):
            said = {"outcome": "refunded"}
            told = label(store, "call-1", rater="ann", labels=said, comment="by card")
            assert told == count
        assert label(store, "call-1", rater="ann", tags=["a", "a"]) == 1


def test_a_score_of_one_event_is_none_of_its_conversation() -> None:
    """As a label is not; and what it is about must be an event of the conversation."""
    with store_of("call-1", "call-2") as store:
        assert label(store, "call-1", rater="ann", scores={"kind": 1}, at="call-1@0") == 1
        assert label(store, "call-1", rater="ann", scores={"kind": 1}, at="call-1@0") == 0
        (*_, last) = store.read("call-1")
        assert last.event == ScoreRecorded("kind", 1, "ann", at="call-1@0")
        assert Attributes.of(store.read("call-1")).scores == {}
        projector = Projector(store, [conversations])
        projector.catch_up()
        assert projector.query("SELECT score FROM conversations WHERE stream = 'call-1'") == [
            (None,)
        ]
        for at in ("nowhere@99", "call-2@0", "call-1@9", "call-1"):
            with pytest.raises(NotFound, match="there is no event"):
                label(store, "call-1", rater="ann", labels={"kind": "yes"}, at=at)
