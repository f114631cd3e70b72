"""What stands in a bundle to say what it is, and how it is verified."""

from __future__ import annotations

from typing import Final

from refold.audit.evidence.gathering import Gathered

_TEXT: Final = """\
Evidence of {what}
{line}

{count} events of one conversation, as they were sealed in the log {origin}.

To verify it: take refold_verify.py from where you trust it (`refold verify --print-verifier`; the
one in here is for who has none), and the log's verifying key from where you trust it. The bundle
names this one, which proves nothing by itself:

    {key}

    python refold_verify.py --key KEY BUNDLE.zip

It needs Python 3.9 or newer and nothing else, and no network. Add --show to print what is
disclosed.

What is verified then: the files are those that the log's key signed, each bit of them; every event
is in the log, at its place, and says what is disclosed; no event of the conversation is left out
between the first and the last; {rest}.

{stamps}What is not verified: that what was recorded was true when it was recorded. {began}

index.html          the conversation to be read, in any browser
conversation.vcon   the same for programs (draft-ietf-vcon-vcon-core-04)
checkpoint          the signed head of the log under which all of it is proved
manifest            the hash of each file here, signed by the log's key
refold_verify.py    the verifier
proof/events.jsonl  a proof of each event, with what is disclosed of it
proof/older.jsonl   proofs that the head continues those that first held the events
proof/rest.jsonl    the log's entries behind the last event: none is of the conversation
"""
_STAMPS: Final = """\
A time stamp (RFC 3161) is another authority's word that a head of the log was there at a time. With
that authority's certificate, which it gives out itself:

    openssl ts -verify -data timestamps/FILE.checkpoint -in timestamps/FILE.tsr -CAfile TSA.pem
    openssl ts -reply -in timestamps/FILE.tsr -text

"""


def instructions(found: Gathered, key: str) -> str:
    """The text of README.txt; ``key`` is the verifying key."""
    title = f"Evidence of {found.what}"
    rest = (
        "none came after the last"
        if not found.unproved
        else (
            f"none came after the last among the next {len(found.rest):,} events of the log "
            f"(the {found.unproved:,} after those were not looked at)"
        )
    )
    return _TEXT.format(
        what=found.what,
        line="=" * len(title),
        count=len(found.history),
        origin=found.events[0]["origin"],
        key=key,
        rest=rest,
        stamps=_STAMPS if found.stamps else "",
        began=found.began,
    )
