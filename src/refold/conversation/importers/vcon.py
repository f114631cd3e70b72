"""vCon: conversations between parties, as the IETF's container holds them.

Messages are dialogs of the type ``text``; what was said in a recording stands in the analysis of
the type ``transcript``, if anywhere (https://datatracker.ietf.org/doc/draft-ietf-vcon-vcon-core/).
A signed vCon is read without checking its signature; an encrypted one is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from dataclasses import replace
from email import message_from_string
from email.message import EmailMessage
from email.policy import default as mime_rules
from functools import partial
from typing import Any, Final

import msgspec

from refold import jsontext
from refold.conversation import events, voice
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers.base import ODD, Conversations, Found, Options, read_each
from refold.conversation.importers.dialects import decoded
from refold.conversation.importers.fields import FieldReader, reason_of, time_us
from refold.conversation.importers.json_array import Value
from refold.conversation.importers.source import ImportSource
from refold.core.event import Event
from refold.core.registry import default_registry

Row = dict[str, Any]
Placed = tuple[str, Event]
"""An event, and the JSON Pointer of where it is said."""

EVENTS_PURPOSE: Final = "refold-events"
EVENTS_FORMAT: Final = "refold-events/1"
"""Of the attachment in which an export keeps what a vCon has no place for."""
PLACE: Final = "vcon_at"
"""In an event's metadata: the JSON Pointer of where its vCon says it."""
_AGENTS: Final = ("agent", "assistant", "bot", "ai")
_ADDRESSES: Final = ("tel", "mailto", "sip", "did")


def read_vcon(source: ImportSource, options: Options) -> Conversations:
    """Import vCons: messages, emails, and transcripts of calls, each said by its party.

    The streams are called CATEGORY-UUID; the category is by default vcon. Which party is the
    agent its role says, or --agent NAME; all others are people.

        refold import vcon call.vcon --agent Bob
    """
    return read_each(source, source.values(), partial(_found, options, source.stem))


def _found(options: Options, run: str, given: FieldReader, _value: Value) -> Found:
    vcon = FieldReader(_unsigned(given), given.unread)
    talk = _talk(vcon, options)
    dialogs = list(vcon.each("dialog"))
    made, beside = talk.said(vcon, dialogs), _beside(vcon, dialogs)
    own_id, name = vcon.typed("uuid", str) or run, options.category or "vcon"
    kept = _kept_events(vcon)
    if kept is not None:
        return Found(f"{name}-{own_id}", _restored(kept, made, beside), run=run)
    words = sorted(made.values(), key=lambda event: event.occurred_at or 0)
    is_call = any(one.holder.get("type") == "recording" for one in dialogs)
    if not words and not is_call:
        raise ValueError("a vCon without a dialog")
    is_email = any("mailto" in party for party in talk.parties)
    started = events.SessionStarted(
        "voice" if is_call else "email" if is_email else "chat",
        parties=[talk.party(number) for number in range(len(talk.parties))],
    )
    at_us = words[0].occurred_at if words else vcon.time("created_at")
    start = Event.of(started, metadata={"vcon": beside}, occurred_at=at_us)
    return Found(f"{name}-{own_id}", [start, *words], run=run)


def said_in(vcon: Row) -> dict[str, tuple[str, Row, Any]]:
    """Type, payload and time (microseconds UTC) of what a vCon says, by its place, in order."""
    reader = FieldReader(vcon, [])
    made = _talk(reader, Options()).said(reader, list(reader.each("dialog")))
    ordered = sorted(made.items(), key=lambda one: one[1].occurred_at or 0)
    return {place: (*_stored(event.data), event.occurred_at) for place, event in ordered}


def _stored(event: Any) -> tuple[str, Row]:
    """Type and payload of an event, as they are stored."""
    return default_registry.kind_of(event).tag, msgspec.to_builtins(event)


def _talk(vcon: FieldReader, options: Options) -> _VconTalk:
    parties = vcon.typed("parties", list[Row])
    if parties is None:
        raise ValueError("a vCon has parties")
    return _VconTalk(vcon, parties, options)


def _beside(vcon: FieldReader, dialogs: list[FieldReader]) -> Row:
    """A vCon without the words of its dialogs, which are events, and what we added to it."""
    beside = {key: value for key, value in vcon.holder.items() if key != "dialog"}
    beside["dialog"] = [{k: v for k, v in one.holder.items() if k != "body"} for one in dialogs]
    if isinstance(attachments := beside.get("attachments"), list):
        beside["attachments"] = [one for one in attachments if not _is_ours(one)]
    return beside


def _is_ours(attachment: Any) -> bool:
    return isinstance(attachment, dict) and attachment.get("purpose") == EVENTS_PURPOSE


def _kept_events(vcon: FieldReader) -> list[Row] | None:
    """What our own export put beside the words: every event, or where it is said."""
    for one in vcon.each("attachments"):
        body = decoded(one.holder.get("body"))
        if _is_ours(one.holder) and isinstance(body, dict) and body.get("format") == EVENTS_FORMAT:
            return one.inside("body").typed("events", list[Row])
    return None


def _restored(kept: list[Row], made: dict[str, Event], beside: Row) -> list[Event]:
    """The events of a history that was exported, from what is kept of each."""
    found = []
    for item in kept:
        tag, data, at_us = item.get("type"), item.get("data"), item.get("at")
        if "said" in item:
            said = made[item["said"]]
            own_tag, own = _stored(said.data)
            left = {key: one for key, one in own.items() if key not in item.get("unset", ())}
            tag, data = tag or own_tag, left | item.get("set", {})
            at_us = at_us or said.occurred_at
        more = {"vcon": beside} if tag == "session.started" else {}
        more |= {PLACE: item["said"]} if "said" in item else {}
        metadata = {**item.get("metadata", {}), **more}
        moment = time_us(at_us) if isinstance(at_us, str) else at_us
        found.append(Event(str(tag), data, metadata=metadata or None, occurred_at=moment))
    return found


def _unsigned(given: FieldReader) -> Any:
    holder = given.holder
    if not isinstance(holder, dict):
        raise ValueError("a vCon is an object")
    if "ciphertext" in holder:
        raise ValueError("the vCon is encrypted: decrypt it first")
    if not isinstance(payload := holder.get("payload"), str):
        return holder
    given.lose("signatures", "the signature was not checked")
    return jsontext.read(_of_base64(payload))


def _of_base64(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


class _VconTalk:
    """What the parties of a vCon say."""

    def __init__(self, vcon: FieldReader, parties: list[Row], options: Options) -> None:
        self.parties = parties
        self._agents = {
            number
            for number, party in enumerate(parties)
            if str(party.get("role")).lower() in _AGENTS
            or (options.agent and party.get("name") == options.agent)
        }
        if not self._agents:
            why = "no role says which party is the agent: none is taken for it (--agent NAME does)"
            vcon.lose("parties", why)

    def said(self, vcon: FieldReader, dialogs: list[FieldReader]) -> dict[str, Event]:
        """What dialogs and analyses say, by the JSON Pointer of its place."""
        found = [one for dialog in dialogs for one in self.dialog(dialog)]
        found += [one for part in vcon.each("analysis") for one in self.analysis(part, dialogs)]
        return {place: replace(event, metadata={PLACE: place}) for place, event in found}

    def party(self, number: int) -> events.Party:
        row = self.parties[number]
        role = "agent" if number in self._agents else "customer" if self._agents else "human"
        address = next((row[key] for key in _ADDRESSES if row.get(key)), None)
        name = row.get("name")
        return events.Party(role, name and str(name), None, address and str(address))

    def dialog(self, one: FieldReader) -> Iterator[Placed]:
        """The events of a dialog; a recording has none of its own."""
        row, at_us = one.holder, one.time("start")
        match row.get("type"):
            case "text":
                who = row.get("originator", row.get("parties"))
                yield one.at, self._said(who, *_body(one), at_us)
            case "transfer":
                target = row.get("transfer_target", row.get("transfer-target"))
                source = self._name(row.get("transferor"))
                event = voice.CallTransferred(str(self._name(target)), source)
                yield one.at, Event.of(event, occurred_at=at_us)
            case "incomplete":
                ended = events.SessionEnded(str(row.get("disposition")))
                yield one.at, Event.of(ended, occurred_at=at_us)
            case "recording":
                return
            case kind:
                one.lose("type", f"a dialog of the type {kind!r} is not read")

    def analysis(self, one: FieldReader, dialogs: list[FieldReader]) -> Iterator[Placed]:
        """What a transcript says, each of its turns; other analyses are kept beside only."""
        if not str(one.holder.get("type")).startswith("transcript"):
            return
        number = _first(one.holder.get("dialog"))
        about = dict(enumerate(dialogs)).get(number if isinstance(number, int) else -1)
        start_us = about.time("start") if about else None
        match decoded(one.holder.get("body")):
            case [{"text": _}, *_] as turns:
                for at, turn in enumerate(turns):
                    own_us = FieldReader(turn, []).time("start") or start_us
                    place = f"{one.at}/body/{at}"
                    yield place, self._said(turn.get("parties"), str(turn["text"]), None, own_us)
            case {"results": {"channels": [*channels]}}:
                one.lose("body", "who of the parties each speaker is, it does not say")
                try:
                    heard = list(_heard(channels, start_us))
                    yield from [(f"{one.at}/body/{at}", event) for at, event in enumerate(heard)]
                except ODD as error:
                    odd = f"a transcript that is odd: {reason_of(error)}"
                    one.note("body", [Unread("words", "", odd)])
            case body if body:
                why = "a transcript in no shape that is known"
                one.note("body", [Unread("words", "", why)])

    def _said(self, who: Any, text: str, parts: Any, at_us: int | None) -> Event:
        number = _first(who)
        is_agents = number in self._agents
        said = events.AgentUtterance if is_agents else events.UserUtterance
        return Event.of(said(text, parts, party=self._name(number)), occurred_at=at_us)

    def _name(self, number: Any) -> str | None:
        """How a party is called: its name, or its address."""
        if type(number) is not int or not 0 <= number < len(self.parties):
            return None
        party = self.party(number)
        return party.name or party.address


def _first(who: Any) -> Any:
    return who[0] if isinstance(who, list) and who else who


def _heard(channels: list[Any], start_us: int | None) -> Iterator[Event]:
    """Deepgram's: a channel each, and its guess at the speaker, who is none of the parties."""
    for number, channel in enumerate(channels):
        best = channel["alternatives"][0]
        paragraphs = best.get("paragraphs", {}).get("paragraphs")
        for part in paragraphs or [{"sentences": [{"text": best["transcript"]}]}]:
            text = " ".join(sentence["text"] for sentence in part["sentences"])
            at_us = start_us and start_us + int(part.get("start", 0) * 1_000_000)
            speaker = f"speaker {part.get('speaker', number)}"
            yield Event.of(events.UserUtterance(text, party=speaker), occurred_at=at_us)


def _body(one: FieldReader) -> tuple[str, list[Row] | None]:
    """The words of a text, and its parts where it is an email with more than words."""
    body = one.typed("body", str) or ""
    if not body and one.holder.get("url"):
        one.note("url", [Unread("words", "", "the text is kept elsewhere")])
    if one.holder.get("encoding") == "base64url":
        body = _of_base64(body).decode(errors="replace")
    media = str(one.holder.get("mediatype", one.holder.get("mimetype")) or "text/plain")
    if not media.startswith("multipart/"):
        return body, None
    typed = f"Content-Type: {media}\r\n\r\n{body}"
    mail = message_from_string(typed, EmailMessage, policy=mime_rules)
    words = mail.get_body(("plain", "html"))
    text = str(words.get_content()).strip() if words else ""
    attached = ((part.get_content_type(), part.get_filename()) for part in mail.iter_attachments())
    more = [{"type": kind, "filename": name} for kind, name in attached]
    return text, [{"type": "text", "text": text}, *more] if more else None
