"""vCon: conversations between parties, as the IETF's container holds them.

Messages are dialogs of the type ``text``; what was said in a recording stands in the analysis of
the type ``transcript``, if anywhere (https://datatracker.ietf.org/doc/draft-ietf-vcon-vcon-core/).
A signed vCon is read without checking its signature; an encrypted one is refused.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator
from email import message_from_string
from email.message import EmailMessage
from email.policy import default as mime_rules
from functools import partial
from typing import Any, Final

from refold.conversation import events, voice
from refold.conversation.chat_shapes import Unread
from refold.conversation.importers.base import ODD, Conversations, Found, Options, read_each
from refold.conversation.importers.dialects import decoded
from refold.conversation.importers.fields import FieldReader
from refold.conversation.importers.json_array import Value
from refold.conversation.importers.source import ImportSource
from refold.core import jsonvalue
from refold.core.event import Event

Row = dict[str, Any]

_AGENTS: Final = ("agent", "assistant", "bot", "ai")


def read_vcon(source: ImportSource, options: Options) -> Conversations:
    """Import vCons: messages, emails, and transcripts of calls, each said by its party.

    The streams are called CATEGORY-UUID; the category is by default vcon. Which party is the
    agent its role says, or --agent NAME; all others are people.

        refold import vcon call.vcon --agent Bob
    """
    return read_each(source, source.values(), partial(_found, options, source.stem))


def _found(options: Options, run: str, given: FieldReader, _value: Value) -> Found:
    vcon = FieldReader(_unsigned(given), given.unread)
    parties = vcon.typed("parties", list[Row])
    if parties is None:
        raise ValueError("a vCon has parties")
    talk = _VconTalk(vcon, parties, options)
    dialogs = vcon.typed("dialog", list[Row]) or []
    analyses = vcon.typed("analysis", list[Row]) or []
    made = [
        *(one for n, row in enumerate(dialogs) for one in talk.dialog(row, f"/dialog/{n}")),
        *(
            one
            for n, row in enumerate(analyses)
            for one in talk.analysis(row, f"/analysis/{n}", dialogs)
        ),
    ]
    made.sort(key=lambda event: event.occurred_at or 0)
    is_call = any(row.get("type") == "recording" for row in dialogs)
    is_email = any("mailto" in party for party in parties)
    started = events.SessionStarted(
        "voice" if is_call else "email" if is_email else "chat",
        parties=[talk.party(number) for number in range(len(parties))],
    )
    beside = {key: value for key, value in vcon.holder.items() if key != "dialog"}
    beside["dialog"] = [{k: v for k, v in row.items() if k != "body"} for row in dialogs]
    at_us = made[0].occurred_at if made else vcon.time("created_at")
    start = Event.of(started, metadata={"vcon": beside}, occurred_at=at_us)
    if not made and not is_call:
        raise ValueError("a vCon without a dialog")
    own_id = vcon.typed("uuid", str) or run
    return Found(f"{options.category or 'vcon'}-{own_id}", [start, *made], run=run)


def _unsigned(given: FieldReader) -> Any:
    holder = given.holder
    if not isinstance(holder, dict):
        raise ValueError("a vCon is an object")
    if "ciphertext" in holder:
        raise ValueError("the vCon is encrypted: decrypt it first")
    if not isinstance(payload := holder.get("payload"), str):
        return holder
    given.note("signatures", [Unread("field", "", "the signature was not checked")])
    return jsonvalue.read(base64.urlsafe_b64decode(payload + "=" * (-len(payload) % 4)))


class _VconTalk:
    """What the parties of a vCon say."""

    def __init__(self, vcon: FieldReader, parties: list[Row], options: Options) -> None:
        self._vcon, self._parties = vcon, parties
        self._agents = {
            number
            for number, party in enumerate(parties)
            if str(party.get("role")).lower() in _AGENTS
            or (options.agent and party.get("name") == options.agent)
        }
        if not self._agents:
            why = "no role says which party is the agent: none is taken for it (--agent NAME does)"
            vcon.note("parties", [Unread("field", "", why)])

    def party(self, number: int) -> events.Party:
        row = self._parties[number]
        role = "agent" if number in self._agents else "customer" if self._agents else "human"
        address = next((row[key] for key in ("tel", "mailto", "sip", "did") if row.get(key)), None)
        name = row.get("name")
        return events.Party(role, name and str(name), None, address and str(address))

    def dialog(self, row: Row, at: str) -> Iterator[Event]:
        """The events of a dialog; a recording has none of its own."""
        one = FieldReader(row, self._vcon.unread, at)
        at_us = one.time("start")
        match row.get("type"):
            case "text":
                text, parts = self._body(one)
                who = row.get("originator", row.get("parties"))
                yield self._said(who, text, parts, at_us)
            case "transfer":
                target, source = (
                    row.get("transfer_target", row.get("transfer-target")),
                    row.get("transferor"),
                )
                event = voice.CallTransferred(str(self._name(target)), self._name(source))
                yield Event.of(event, occurred_at=at_us)
            case "incomplete":
                yield Event.of(events.SessionEnded(str(row.get("disposition"))), occurred_at=at_us)
            case "recording":
                return
            case kind:
                one.note(
                    "type", [Unread("field", "", f"a dialog of the type {kind!r} is not read")]
                )

    def analysis(self, row: Row, at: str, dialogs: list[Row]) -> Iterator[Event]:
        """What a transcript says, each of its turns; other analyses are kept beside only."""
        one, kind = FieldReader(row, self._vcon.unread, at), str(row.get("type"))
        if not kind.startswith("transcript"):
            return
        number = row.get("dialog")
        number = number[0] if isinstance(number, list) and number else number
        about = dict(enumerate(dialogs)).get(number if isinstance(number, int) else -1, {})
        start_us = FieldReader(about, []).time("start")
        match decoded(row.get("body")):
            case [{"text": _}, *_] as turns:
                for turn in turns:
                    own_us = FieldReader(turn, []).time("start")
                    yield self._said(
                        turn.get("parties"), str(turn["text"]), None, own_us or start_us
                    )
            case {"results": {"channels": [*channels]}}:
                try:
                    yield from list(self._heard(one, channels, start_us))
                except ODD as error:
                    one.note("body", [Unread("words", "", f"a transcript that is odd: {error!r}")])
            case body:
                why = "a transcript in no shape that is known"
                one.note("body", [Unread("words", "", why)] if body else [])

    def _heard(
        self, one: FieldReader, channels: list[Any], start_us: int | None
    ) -> Iterator[Event]:
        """Deepgram's: a channel each, and its guess at the speaker, who is none of the parties."""
        one.note(
            "body", [Unread("field", "", "who of the parties each speaker is, it does not say")]
        )
        for number, channel in enumerate(channels):
            best = channel["alternatives"][0]
            paragraphs = best.get("paragraphs", {}).get("paragraphs")
            for part in paragraphs or [{"sentences": [{"text": best["transcript"]}]}]:
                text = " ".join(sentence["text"] for sentence in part["sentences"])
                at_us = start_us and start_us + int(part.get("start", 0) * 1_000_000)
                speaker = f"speaker {part.get('speaker', number)}"
                yield Event.of(events.UserUtterance(text, party=speaker), occurred_at=at_us)

    def _said(self, who: Any, text: str, parts: Any, at_us: int | None) -> Event:
        number = who[0] if isinstance(who, list) and who else who
        name = self._name(number)
        if number in self._agents:
            return Event.of(events.AgentUtterance(text, parts, party=name), occurred_at=at_us)
        return Event.of(events.UserUtterance(text, parts, party=name), occurred_at=at_us)

    def _name(self, number: Any) -> str | None:
        """How a party is called: its name, or its address."""
        if type(number) is not int or not 0 <= number < len(self._parties):
            return None
        party = self.party(number)
        return party.name or party.address

    def _body(self, one: FieldReader) -> tuple[str, list[Row] | None]:
        """The words of a text, and its parts where it is an email with more than words."""
        body = one.typed("body", str) or ""
        if not body and one.holder.get("url"):
            one.note("url", [Unread("words", "", "the text is kept elsewhere")])
        if one.holder.get("encoding") == "base64url":
            body = base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)).decode(errors="replace")
        media = str(one.holder.get("mediatype", one.holder.get("mimetype")) or "text/plain")
        if not media.startswith("multipart/"):
            return body, None
        mail = message_from_string(
            f"Content-Type: {media}\r\n\r\n{body}", EmailMessage, policy=mime_rules
        )
        words = mail.get_body(("plain", "html"))
        text = str(words.get_content()).strip() if words else ""
        more = [
            {"type": part.get_content_type(), "filename": part.get_filename()}
            for part in mail.iter_attachments()
        ]
        return text, [{"type": "text", "text": text}, *more] if more else None
