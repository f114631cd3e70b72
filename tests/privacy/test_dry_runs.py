"""A dry run lists exactly what the run then changes, whatever was said and asked for."""

import json
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

import refold
from refold import Event
from refold.audit import verify
from refold.conversation import UserUtterance
from refold.errors import NotFound
from refold.privacy.erasure import erase
from refold.privacy.policy import read_classes
from refold.privacy.redaction import redact
from refold.privacy.removing import Removal, Removed
from refold.privacy.retention import apply_retention
from tests.audit.sealed import sealed_by

SECRETS = ("Ann Example of Main Street 12", "4242 4242", "yes", 'say "no"\n\\end')
YEAR_US = 365 * 86_400_000_000
# A stream, whom it names, what is said, how often it is wrapped in JSON.
SAID = st.lists(
    st.tuples(
        st.sampled_from(["call-1", "call-2", "mail-1", "call-1~b"]),
        st.sampled_from([None, "ann", "bob"]),
        st.sampled_from([*SECRETS, *(f"well, {one}, so" for one in SECRETS), "hello"]),
        st.integers(0, 2),
    ),
    min_size=1,
    max_size=12,
)


def told(store: refold.Store, said: list[tuple[str, str | None, str, int]]) -> None:
    """The conversations, each thing in an append of its own."""
    for stream, subject, text, depth in said:
        metadata = None if subject is None else {"subject": subject}
        event: Any = UserUtterance(text)
        for _ in range(depth):
            text = json.dumps({"content": text})
            event = Event("x.y", {"sent": text})
        if "~" in stream and store._backend.head(stream) is None:
            if store._backend.head("call-1") is None:
                store.append("call-1", [UserUtterance("first")])
            store.branch("call-1", at=0).adding(event).save(stream)
        else:
            store.append(stream, [event], metadata=metadata)


def listed(removed: Removed | Any) -> list[tuple[str, str, str]]:
    """What went, or would."""
    return [(one.event.id, one.pointer, one.method) for one in removed.changes]


def payloads(store: refold.Store) -> dict[str, tuple[bytes, str]]:
    """What each event says, but those that say what was decided."""
    read = (one for one in store.read_all() if one.stream != "refold-privacy")
    return {one.id: (one.raw, json.dumps(dict(one.metadata))) for one in read}


@settings(max_examples=40)
@given(said=SAID, which=st.integers(0, 11), command=st.sampled_from(["redact", "erase", "empty"]))
def test_a_dry_run_lists_just_what_the_run_changes(
    said: list[tuple[str, str | None, str, int]], which: int, command: str
) -> None:
    """No event more and none less; a second run finds nothing left; proofs hold throughout."""
    now = [YEAR_US * 40]
    with refold.open("memory:", clock=lambda: now[0]) as store:
        told(store, said)
        sealed_by(store).checkpoint()
        now[0] += YEAR_US
        spoken = [one for one in store.read_all() if {"text", "sent"} & set(one.data)]
        target = spoken[which % len(spoken)]
        wanted = Removal("asked for", "dpo", read_classes({"call": {"ceiling": "6mo"}}))
        field = "text" if "text" in target.data else "sent"

        def run(*, dry_run: bool) -> Any:
            if command == "redact":
                return redact(store, [target.id], field=field, wanted=wanted, dry_run=dry_run)
            if command == "erase":
                fields = {"x.y": ["/sent"]}
                return erase(store, "ann", wanted=wanted, fields=fields, dry_run=dry_run)
            return apply_retention(store, wanted=wanted, dry_run=dry_run)

        before = payloads(store)
        try:
            would = listed(run(dry_run=True))
        except NotFound:
            assert not any(one.metadata.get("subject") == "ann" for one in store.read_all())
            return
        assert payloads(store) == before
        assert listed(run(dry_run=False)) == would
        after = payloads(store)
        assert {name for name, one in after.items() if one != before[name]} == {
            name for name, *_ in would
        }
        assert verify(store, deep=True).findings == []
        try:
            assert listed(run(dry_run=True)) == []
        except NotFound:
            assert command == "erase"
