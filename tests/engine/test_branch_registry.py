"""Saving a branch in a store that has a registry of its own.

`session.forked` was encoded by its class, which only the default registry knows, so such a store
refused to save any branch.
"""

import msgspec

import refold


def test_a_store_with_its_own_registry_saves_branches() -> None:
    """A saved branch starts with `session.forked`, whatever classes the store's registry holds."""
    registry = refold.Registry()

    @registry.event("note.taken")
    class NoteTaken(msgspec.Struct):
        text: str

    with refold.open("memory:", registry=registry) as store:
        store.append("call-1", [NoteTaken("a"), NoteTaken("b")])
        store.branch("call-1").without("call-1@0").save("call-1~b")
        first, second = store.read("call-1~b")
    assert (first.type, first.data["from_stream"]) == ("session.forked", "call-1")
    assert second.event == NoteTaken("b")
