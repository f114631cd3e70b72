"""A conversation as a vCon, the IETF's container of conversations.

The draft is draft-ietf-vcon-vcon-core-04, its syntax 0.4.0: parties; messages as dialogs of the
type ``text``; of a voice conversation a dialog for the recording and what was said in an analysis
of the type ``transcript``. What a vCon has no place for stands in an attachment, in the order of
the history; :func:`refold.conversation.importers.vcon.read_vcon` reads it back.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

from refold.conversation.chat_export import Loss
from refold.conversation.importers.vcon import EVENTS_FORMAT, EVENTS_PURPOSE, PLACE, said_in
from refold.core.clock import from_us
from refold.core.recorded import Recorded, history_of

SYNTAX: Final = "0.4.0"
_WORDS: Final = ("user.utterance", "agent.utterance")
_ADDRESS: Final = (
    ("sip", re.compile(r"sips?:.+")),
    ("did", re.compile(r"did:.+")),
    ("mailto", re.compile(r"(mailto:)?[^\s@]+@[^\s@]+")),
    ("tel", re.compile(r"(tel:)?\+?[\d(][\d\s().-]*")),
)
_IMPORTED: Final = ("source", "origin", "run")
"""What an import notes of itself; another import of the vCon notes it again."""

Json = dict[str, Any]


class Vcon(dict[str, Any]):
    """An unsigned vCon; ``loss`` is what of its history is not in it."""

    loss: list[Loss]


def to_vcon(history: Iterable[Recorded]) -> Vcon:
    """The vCon of a history; the same history, the same vCon.

    The exact bytes of captured calls (``wire.*``) are left out, and listed in ``loss``. A history
    that was imported from a vCon is that vCon again, with what came after it.
    """
    known = list(history_of(history, call="to_vcon"))
    parts = [part for whole in known for part in whole.parts() or (whole,)]
    told = [one for one in parts if not one.type.startswith("wire.")]
    vcon = Vcon(_container(told))
    vcon.loss = [Loss(one.id, one.type) for one in parts if one.type.startswith("wire.")]
    places = _said(vcon, told)
    items = _items(vcon, told, places)
    if items:
        body = {"format": EVENTS_FORMAT, "events": items}
        vcon["attachments"] = [*vcon["attachments"], _attachment(vcon, body)]
    return vcon


def _container(history: Sequence[Recorded]) -> Json:
    """All but what is said: as it came, of an imported one."""
    start = next((one for one in history if one.type == "session.started"), None)
    kept = start.metadata.get("vcon") if start is not None else None
    kept = dict(kept) if isinstance(kept, dict) else {}
    at = _time(history[0].occurred_at_us) if history else "1970-01-01T00:00:00+00:00"
    parties = kept.get("parties")
    if not isinstance(parties, list):
        said = start.data.get("parties") if start is not None else None
        parties = [_party(one) for one in said or () if isinstance(one, dict)]
    roles = any("role" in party for party in parties)
    return {
        "vcon": SYNTAX,
        "uuid": kept.get("uuid") or _uuid(history),
        "created_at": kept.get("created_at") or at,
        **({"extensions": ["CC"]} if roles else {}),
        **{key: one for key, one in kept.items() if key not in ("vcon", "uuid", "created_at")},
        "parties": parties,
        "dialog": [dict(one) for one in kept.get("dialog") or ()],
        "analysis": list(kept.get("analysis") or ()),
        "attachments": list(kept.get("attachments") or ()),
    }


def _party(party: Mapping[str, Any]) -> Json:
    """A party as the draft has one; ``role`` is that of its extension for contact centres."""
    role, address = party.get("role"), party.get("address")
    kinds = [kind for kind, form in _ADDRESS if address and form.fullmatch(address)][:1]
    made = {"name": party.get("name"), "uuid": party.get("id"), "role": role}
    made["type"] = "bot" if role == "agent" else None
    return {key: one for key, one in {**made, **dict.fromkeys(kinds, address)}.items() if one}


def _said(vcon: Vcon, history: Sequence[Recorded]) -> dict[str, str]:
    """Put words into dialogs, or into a transcript; where each event's are, by its id."""
    places: dict[str, str] = {}
    start: Json = next((one.data for one in history if one.type == "session.started"), {})
    turns: list[Json] = []
    for recorded in history:
        place = recorded.metadata.get(PLACE)
        if recorded.type not in _WORDS:
            continue
        if isinstance(place, str) and _is_kept(vcon, place):
            _restore(vcon, place, recorded)
            places[recorded.id] = place
        elif start.get("channel") == "voice":
            who = _speaker(vcon, recorded)
            turn = {"parties": who, "start": _time(recorded.occurred_at_us)}
            turns.append({**turn, "text": recorded.data.get("text", "")})
            places[recorded.id] = f"/analysis/{len(vcon['analysis'])}/body/{len(turns) - 1}"
        else:
            vcon["dialog"].append(_message(vcon, recorded))
            places[recorded.id] = f"/dialog/{len(vcon['dialog']) - 1}"
    if turns:
        _transcribe(vcon, turns)
    return places


def _is_kept(vcon: Json, place: str) -> bool:
    """Whether a place in the vCon that was imported is there."""
    _, kind, number, *_ = [*place.split("/"), "", ""]
    return kind in ("dialog", "analysis") and number.isdecimal() and int(number) < len(vcon[kind])


def _restore(vcon: Vcon, place: str, recorded: Recorded) -> None:
    """Give an imported dialog its words again; the parts that a mail had are not kept."""
    _, kind, number, *_ = place.split("/")
    if kind == "dialog":
        dialog = vcon["dialog"][int(number)]
        if str(dialog.get("mediatype", "text/plain")) != "text/plain":
            vcon.loss.append(Loss(recorded.id, "the message as it was sent", f"{place}/body"))
        dialog.update(body=recorded.data.get("text", ""), encoding="none", mediatype="text/plain")


def _message(vcon: Json, recorded: Recorded) -> Json:
    who = _speaker(vcon, recorded)
    others = [number for number in range(len(vcon["parties"])) if number != who]
    return {
        "type": "text",
        "start": _time(recorded.occurred_at_us),
        "parties": [who, *others],
        "mediatype": "text/plain",
        "body": recorded.data.get("text", ""),
        "encoding": "none",
    }


def _transcribe(vcon: Json, turns: list[Json]) -> None:
    """Put turns into a transcript of a recording, which may be one that nobody has."""
    recordings = [at for at, one in enumerate(vcon["dialog"]) if one.get("type") == "recording"]
    if not recordings:
        parties = list(range(len(vcon["parties"])))
        recording = {"type": "recording", "start": turns[0]["start"], "parties": parties}
        recordings = [len(vcon["dialog"])]
        vcon["dialog"].append(recording)
    made = {"type": "transcript", "dialog": recordings[0], "vendor": "refold", "encoding": "json"}
    vcon["analysis"].append({**made, "body": turns})


def _speaker(vcon: Json, recorded: Recorded) -> int:
    """Who said it: the party of that name, or of the role; added where there is none."""
    name, is_agents = recorded.data.get("party"), recorded.type == "agent.utterance"
    names = [_called(party) for party in vcon["parties"]]
    if name in names:
        return names.index(name)
    roles = [party.get("role") == "agent" for party in vcon["parties"]]
    if name is None and is_agents in roles:
        return roles.index(is_agents)
    role = {"role": "agent", "type": "bot"} if is_agents else {"role": "customer"}
    vcon["parties"].append({**({"name": name} if name else {}), **role})
    vcon["extensions"] = ["CC"]
    return len(names)


def _called(party: Json) -> Any:
    keys = ("name", *(kind for kind, _ in _ADDRESS))
    return next((party[key] for key in keys if party.get(key)), None)


def _items(vcon: Json, history: Sequence[Recorded], places: Mapping[str, str]) -> list[Json]:
    """What an importer is to know beside the vCon; nothing where that says it all."""
    natural = said_in(vcon)
    items = [_item(one, natural, places.get(one.id)) for one in history]
    start = history[:1] and history[0].type == "session.started" and "vcon" in history[0].metadata
    plain = [{"said": place} for place in natural]
    return [] if start and items[1:] == plain else items


def _item(recorded: Recorded, natural: Mapping[str, Any], place: str | None) -> Json:
    """An event, or where the vCon says it and what of it that does not say."""
    apart = {"vcon", PLACE, *(_IMPORTED if recorded.metadata.get("source") == "vcon" else ())}
    metadata = {key: one for key, one in recorded.metadata.items() if key not in apart}
    beside = {"metadata": metadata} if metadata else {}
    at, kind = _time(recorded.occurred_at_us), recorded.stored_kind.tag
    said = natural.get(place) if place is not None else None
    if said is None:
        return {"type": kind, "at": at, "data": recorded.data, **beside}
    tag, data, at_us = said
    more = {key: one for key, one in recorded.data.items() if key not in data or data[key] != one}
    less = [key for key in data if key not in recorded.data]
    return {
        "said": place,
        **({"type": kind} if kind != tag else {}),
        **({"at": at} if recorded.occurred_at_us != at_us else {}),
        **({"set": more} if more else {}),
        **({"unset": less} if less else {}),
        **beside,
    }


def _attachment(vcon: Json, body: Json) -> Json:
    return {
        "purpose": EVENTS_PURPOSE,
        "start": vcon["created_at"],
        "party": 0,
        "dialog": 0,
        "mediatype": "application/json",
        "encoding": "json",
        "body": body,
    }


def _uuid(history: Sequence[Recorded]) -> str:
    """The uuid of a history: of its stream's name and its first event's time."""
    return uuid_of(f"{history[-1].stream} {history[0].recorded_at_us}" if history else "")


def uuid_of(text: str) -> str:
    """A version 8 UUID (RFC 9562) that is the same for the same text."""
    raw = bytearray(sha256(f"refold vcon {text}".encode()).digest()[:16])
    raw[6], raw[8] = raw[6] & 0x0F | 0x80, raw[8] & 0x3F | 0x80
    digits = raw.hex()
    return "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:]))


def _time(us: int) -> str:
    return from_us(us).isoformat()
