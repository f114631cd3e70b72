"""What the benchmark of protected values measures."""

from __future__ import annotations

from pathlib import Path

from bench.subjects.refold_protected import FIELDS, RefoldProtected
from refold.privacy.envelope import OPENING


def test_what_is_loaded_was_closed(tmp_path: Path) -> None:
    """A log that is built and read holds an envelope for each personal value, and no such text.

    What is folded of it is the values themselves.
    """
    subject = RefoldProtected(tmp_path)
    subject.use(count=60)
    subject.build(name="log", events=60, size=10)
    stored = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    personal = [event for event in subject.events if event.type in FIELDS]
    assert stored.count(OPENING) >= len(personal) == 50
    texts = [event.data["text"].encode() for event in personal if "text" in event.data]
    assert texts
    assert not any(text in stored for text in texts)
    said = [event for event in subject.events if event.type == "user.utterance"]
    assert subject.kept["log"].load(0).last == said[-1].data["text"]
    subject.drop(name="log")
