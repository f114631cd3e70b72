"""How a run of the command is looked at, and the call that most tests record."""

import json
from collections.abc import Callable
from typing import Any, NamedTuple


class Ran(NamedTuple):
    """How a run of the command ended."""

    code: int
    out: str
    err: str

    @property
    def lines(self) -> list[Any]:
        """What it printed, each line read as JSON."""
        return [json.loads(line) for line in self.out.splitlines()]

    @property
    def error(self) -> dict[str, Any]:
        """The error object that it ended with."""
        found = json.loads(self.err.splitlines()[-1])["error"]
        assert isinstance(found, dict)
        return found


Refold = Callable[..., Ran]


CALL = [
    ("session.started", {"channel": "voice"}),
    ("agent.configured", {"prompt": {"text": "Be brief."}, "model": "m-1"}),
    ("user.utterance", {"text": "Is Tuesday free?"}),
    ("tool.call", {"call_id": "c1", "name": "slots", "arguments": '{"day": "Tue"}'}),
    ("tool.result", {"call_id": "c1", "result": ["09:00"]}),
    ("agent.utterance", {"text": "Yes, at nine."}),
    ("session.ended", {}),
]
