"""Chat requests for the demo agent, built turn by turn."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from refold.demo.agent import MODEL, AgentReply, answer
from refold.demo.clinic import TOOLS

Message = dict[str, Any]

SLOTS = [
    {"slot_id": "S-001", "starts_at": "2026-03-03T09:10", "doctor": "Dr Hale"},
    {"slot_id": "S-002", "starts_at": "2026-03-03T09:50", "doctor": "Dr Okafor"},
    {"slot_id": "S-003", "starts_at": "2026-03-03T14:10", "doctor": "Dr Hale"},
]
APPOINTMENT = {"appointment_id": "A-001", "starts_at": "2026-03-05T10:30", "doctor": "Dr Hale"}
PATIENT = {"patient_id": "P-1001", "name": "Ada Alder", "upcoming": [APPOINTMENT]}


def user(text: str) -> list[Message]:
    """Something the caller says."""
    return [{"role": "user", "content": text}]


def agent(text: str) -> list[Message]:
    """Something the agent said."""
    return [{"role": "assistant", "content": text}]


def used(name: str, result: object, /, **arguments: Any) -> list[Message]:
    """A tool that the agent called, and what it gave back."""
    function = {"name": name, "arguments": json.dumps(arguments)}
    call = {"id": f"c-{name}", "type": "function", "function": function}
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"c-{name}", "content": json.dumps(result)},
    ]


FOUND = used("find_patient", PATIENT, name="Ada Alder", date_of_birth="1985-03-04")
LISTED = used("list_slots", {"slots": SLOTS}, count=1)
OFFERED = agent("The earliest is Tuesday 3 March at 9:10 with Dr Hale. Would that suit you?")


def ask(prompt: str, *turns: list[Message], tools: Any = TOOLS, **options: Any) -> AgentReply:
    """What the agent answers under a prompt after these turns."""
    messages = [{"role": "system", "content": prompt}, *(m for turn in turns for m in turn)]
    request = {"model": MODEL, "messages": messages, "tools": list(tools), **options}
    asked = json.dumps(request, sort_keys=True).encode()
    return answer(request, int(hashlib.sha256(asked).hexdigest()[:12], 16))
