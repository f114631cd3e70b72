"""refold with the personal values of every event encrypted, under a key a subject."""

from __future__ import annotations

from typing import Final

import refold
from bench.subject import serve
from bench.subjects.refold import Refold
from refold.privacy.keyring import new_keyring
from refold.privacy.privacy import Privacy

FIELDS: Final = {
    "user.utterance": ["/text"],
    "model.response": ["/text"],
    "tool.call": ["/arguments"],
    "tool.result": ["/output"],
    "turn.ended": ["/summary"],
}
"""Whatever somebody said, asked for or was told: a value in five of six events."""


class RefoldProtected(Refold):
    """The same calls; a stream is a subject. Who reads is recorded in memory."""

    def prepare(self) -> None:
        super().prepare()
        reads = refold.open("memory:")
        self.how = {"privacy": Privacy(new_keyring(), FIELDS, actor="bench", journal=reads)}
        self.built = self.how


if __name__ == "__main__":
    serve(RefoldProtected)
