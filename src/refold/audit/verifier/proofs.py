"""Entries, what is disclosed and told of them, proofs, and exports.

Layout of an entry, and of the files: docs/reference/audit-format.md of refold.
"""

from __future__ import annotations

import base64
import hashlib
import re
import struct
import sys
from typing import Any, BinaryIO, NamedTuple

from refold.audit.verifier.heads import (
    Json,
    SignedHead,
    TrustedKey,
    bytes_of,
    check_continued,
    check_leaf,
    check_root,
    fields,
    leaf_hash,
    list_of,
    loaded,
    number_of,
    object_of,
    refuse,
    root_of,
    shown_time,
    signed_head,
    text_of,
)

NAMES = {"0": "payload", "1": "metadata", "2": "key of its append", "3": "name of its stream"}
HOLE = re.compile(rb'{"refold:personal":\["[0-9a-f]*","([A-Za-z0-9_-]{43})",""\]}')
"""What stands in a payload in the place of a personal field: the value's commitment."""
REDACTION = re.compile(r"redaction\.applied(\.v[0-9]+)?")
Chains = dict[bytes, Any]
"""Version, leaf and name of the last event of each pseudonym, and of all; version of each leaf."""
Named = dict[str, bytes]


class SealedEntry(NamedTuple):
    """What a leaf holds of an event."""

    pseudonym: bytes
    version: int
    previous: bytes
    recorded_at: int
    occurred_at: int
    kind: str
    commitments: dict[int, bytes]


def sealed_entry(data: bytes, where: str) -> SealedEntry:
    """An entry from its bytes."""
    try:
        form, *head, length = struct.unpack_from(">B16sQ32sqqH", data)
        kind = data[75 : 75 + length].decode()
        count, rest = data[75 + length], data[76 + length :]
    except (struct.error, IndexError, UnicodeDecodeError) as error:
        refuse(where, f"the entry cannot be read: {error}")
    ordinals = list(rest[::33])
    if form != 1 or len(rest) != 33 * count or ordinals != sorted(set(ordinals)):
        refuse(where, "the entry is not of format 1")
    commitments = {rest[at]: rest[at + 1 : at + 33] for at in range(0, len(rest), 33)}
    return SealedEntry._make([*head, kind, commitments])


def disclosed_of(entry: SealedEntry, disclosed: Any, where: str) -> tuple[Named, Named]:
    """What is disclosed of an entry, when it is what was committed to, and all commitments.

    By ordinal; personal fields, for which the payload has the commitments, by the text of theirs.
    """
    wanted = {str(ordinal): one for ordinal, one in entry.commitments.items()}
    values: Named = {}
    for key, one in object_of(disclosed, where).items():
        if key not in wanted:
            refuse(where, f"it discloses {key!r:.99}, which its entry does not commit to")
        ordinal = int(key) if key.isdigit() and len(key) < 4 else 16
        values[key] = committed(ordinal, wanted[key], one, f"{where}, {named(key)}")
        for hole in HOLE.findall(values[key] if key == "0" else b""):
            wanted[hole.decode()] = base64.urlsafe_b64decode(hole + b"=")
    return values, wanted


def committed(ordinal: int, commitment: bytes, disclosed: Any, where: str) -> bytes:
    """The bytes that are disclosed, when they are what was committed to."""
    value = bytes_of(fields(disclosed, where, "salt", "bytes")["bytes"], where)
    told = bytes([ordinal]) + bytes_of(disclosed["salt"], where, 32) + struct.pack(">Q", len(value))
    if hashlib.sha256(b"refold/commitment/1" + told + value).digest() != commitment:
        refuse(where, "what is disclosed, with its salt, is not what was committed to")
    return value


def remaining(told: Any, where: str) -> tuple[Named, str]:
    """What is said to stand in a redacted event, and the commitment of redactions to it."""
    told = fields(told, where, "salt", "payload", "metadata", "redaction")
    values = {"0": bytes_of(told["payload"], where)}
    values |= {"1": bytes_of(told["metadata"], where)} if told["metadata"] != "" else {}
    value = struct.pack(">Q", len(values["0"])) + b"".join(values.values())
    made = bytes([16]) + bytes_of(told["salt"], where, 32) + struct.pack(">Q", len(value)) + value
    hashed = hashlib.sha256(b"refold/commitment/1" + made).digest()
    return values, base64.urlsafe_b64encode(hashed).decode().rstrip("=")


def check_remains(by: SealedEntry, said: bytes, event: Any, commitment: str, where: str) -> None:
    """Refuse what stands in an event where the redaction does not say that it remains of it."""
    told = loaded(text_of(said, where), where) if REDACTION.fullmatch(by.kind) else {}
    if event is None or (told.get("event"), told.get("remains")) != (event, commitment):
        refuse(where, f"it is not what the redaction in the log says remains of {event}")


def standing(told: Any, event: Any, head: SignedHead, where: str) -> Named:
    """What stands in a redacted event, when a redaction in the log says that it remains."""
    where += ", what remains"
    values, commitment = remaining(told, where)
    redaction, said = elsewhere(told["redaction"], 0, head, where)
    check_remains(redaction, said, event, commitment, where)
    return values


def elsewhere(told: Any, ordinal: int, head: SignedHead, where: str) -> tuple[SealedEntry, bytes]:
    """Another event of the log, and the one value that is disclosed of it."""
    fields(told, where, "salt", "bytes", "index", "entry", "path")
    entry = included(told, head, where)
    disclosed = {"salt": told["salt"], "bytes": told["bytes"]}
    return entry, committed(ordinal, entry.commitments.get(ordinal, b""), disclosed, where)


def withheld_of(record: Json, wanted: Named, where: str) -> str:
    """What is withheld and why, by the word of who made the proof; nothing is left unsaid."""
    told = [fields(one, where, "ordinal", "why") for one in list_of(record["withheld"], where)]
    said = [*record["disclosed"], *(str(one["ordinal"]) for one in told)]
    if sorted(said) != sorted({*wanted, "3"}):
        refuse(where, "it must say once of all that was committed to: disclosed, or withheld")
    return "".join(f"; withheld: {named(one['ordinal'])} ({one['why']!r:.99})" for one in told)


def named(key: Any) -> str:
    """What an ordinal stands for, or the commitment of a field."""
    return NAMES.get(str(key), f"field {key}")


def words_of(entry: SealedEntry, index: int, name: bytes | None) -> Json:
    """What an entry says, as proofs say it in words."""
    said = None if name is None else f"{name.decode(errors='backslashreplace')}@{entry.version}"
    return {
        "id": said,
        "position": index + 1,
        "type": entry.kind,
        "recorded_at": shown_time(entry.recorded_at),
        "occurred_at": shown_time(entry.occurred_at),
    }


def said_of(words: Json) -> str:
    """The same for people."""
    when = f"recorded {words['recorded_at']}, occurred {words['occurred_at']}"
    return f"{words['id'] or 'an event'} ({words['type']}, position {words['position']}, {when})"


def included(record: Json, head: SignedHead, where: str) -> SealedEntry:
    """The entry of a record, when it is in the log."""
    index, data = number_of(record["index"], where), bytes_of(record["entry"], where)
    path = [bytes_of(one, where, 32) for one in list_of(record["path"], where)]
    check_leaf(leaf_hash(data), index, path, head, where)
    return sealed_entry(data, where)


def name_by_first(told: Any, entry: SealedEntry, head: SignedHead, where: str) -> bytes:
    """A stream's name, which its first event commits to."""
    where += f", {NAMES['3']}"
    first, name = elsewhere(told, 3, head, where)
    if first.pseudonym != entry.pseudonym:
        refuse(where, "what names the stream is not its first event")
    return name


def follow(chains: Chains, entry: SealedEntry, leaf: bytes, name: Any, where: str) -> Any:
    """The name of an event's stream; refuse one that is not next there, or a branch of nothing."""
    version, last, name = chains.get(entry.pseudonym, (-1, bytes(32), name))
    parent = None if entry.pseudonym in chains else chains.get(entry.previous)
    if (version, last) != (entry.version - 1, entry.previous) and parent != entry.version - 1:
        refuse(where, f"version {entry.version} does not follow what was before it")
    chains[b""] = chains[entry.pseudonym] = (entry.version, leaf, name)
    chains[leaf] = entry.version
    return name


class VerifierOptions(NamedTuple):
    """Keys that must have signed, older checkpoints, whether to print what is disclosed."""

    keys: list[TrustedKey]
    against: list[SignedHead]
    show: bool


def proved(record: Json, chains: Chains, options: VerifierOptions, where: str) -> tuple[Json, str]:
    """An event that is in a log: what is said of it, as values and in words; next in ``chains``."""
    names = ("index", "entry", "path", "disclosed", "withheld", "recorded")
    fields(record, where, "format", "origin", "checkpoint", *names, *{"remains"} & {*record})
    head = head_of(record, options, where)
    entry = included(record, head, where)
    own, name = {**object_of(record["disclosed"], where)}, None
    if 3 not in entry.commitments and "3" in own:
        name = name_by_first(own.pop("3"), entry, head, where)
    values, wanted = disclosed_of(entry, own, where)
    words = words_of(entry, record["index"], values.get("3", name))
    withheld, stands = withheld_of(record, wanted, where), Named()
    if "remains" in record:
        stands = standing(record["remains"], words["id"], head, where)
        withheld += "; what stands there is what its redaction says remains"
    for key, value in fields(record["recorded"], where, *words).items():
        if value != words[key] or type(value) is not type(words[key]):
            refuse(where, f"it says {key} {value!r:.99}, and what was signed {words[key]!r:.99}")
    if chains:
        if chains[b""] and chains[b""][1] != entry.previous:
            refuse(where, "it does not follow the event before it: one is left out, or of another")
        follow(chains, entry, leaf_hash(bytes_of(record["entry"], where)), None, where)
    show(words, values, options, stands)
    disclosed = ", ".join(map(named, values)) or "nothing"
    return words, f"{said_of(words)}; disclosed: {disclosed}{withheld}"


def head_of(record: Json, options: VerifierOptions, where: str) -> SignedHead:
    """The head of the log that a file is about."""
    head = signed_head(record["checkpoint"], options.keys, where)
    wrong = f"it says origin {record['origin']!r:.99}, and its checkpoint {head.origin}"
    return head if record["origin"] == head.origin else refuse(where, wrong)


def verify_consistency(record: Json, options: VerifierOptions, where: str) -> str:
    """A proof that one checkpoint continues another."""
    fields(record, where, "format", "old", "new", "path")
    old = signed_head(record["old"], options.keys, f"{where}, old checkpoint")
    new = signed_head(record["new"], options.keys, f"{where}, new checkpoint")
    path = [bytes_of(one, where, 32) for one in list_of(record["path"], where)]
    check_continued(old, new, path, where)
    return f"{new} continues {old}"


def verify_export(file: BinaryIO, options: VerifierOptions, where: str) -> str:
    """A whole export: every event of a log, from the first to the last."""
    header = loaded(text_of(file.readline(), where), where)
    fields(header, where, "format", "origin", "checkpoint")
    head, chains, leaves = head_of(header, options, where), Chains(), list[bytes]()
    claims: dict[int, list[Any]] = {}
    for number, line in enumerate(file, 2):
        at = f"{where}, line {number}"
        event = loaded(text_of(line, at), at)
        fields(event, at, "index", "entry", "disclosed", *{"remains"} & {*event})
        if number_of(event["index"], at) != len(leaves):
            refuse(at, f"index {event['index']} stands where {len(leaves)} must")
        data = bytes_of(event["entry"], at)
        leaves.append(leaf_hash(data))
        entry = sealed_entry(data, at)
        values, _ = disclosed_of(entry, event["disclosed"], at)
        name = follow(chains, entry, leaves[-1], values.get("3"), at)
        words, stands = words_of(entry, event["index"], name), Named()
        if "remains" in event:
            stands, commitment = remaining(event["remains"], at)
            by = number_of(event["remains"]["redaction"], at)
            claims.setdefault(by, []).append((words["id"], commitment, f"{at}, what remains"))
        for claim in claims.pop(event["index"], ()):
            check_remains(entry, values.get("0", b"{}"), *claim)
        show(words, values, options, stands)
    if len(leaves) != head.size:
        refuse(where, f"it has {len(leaves)} events, and not all {head.size} of the log")
    for *_, at in [claim for some in claims.values() for claim in some]:
        refuse(at, "the redaction that is to say so is not behind it")
    for one in (head, *options.against):
        if one.origin != head.origin or one.size > head.size:
            refuse(where, f"{head} does not continue {one}")
        check_root(f"the root of {one.size} events", one.root, root_of(leaves[: one.size]), where)
    return f"every event of {head}" + "".join(f", which continues {old}" for old in options.against)


def show(words: Json, values: Named, options: VerifierOptions, stands: Named) -> None:
    """Print what is disclosed, and what stands since a redaction, where that is wanted."""
    if options.show:
        told = {named(key): value for key, value in values.items()}
        told.update({f"{named(key)} since": value for key, value in stands.items()})
        say(said_of(words))
        for name, value in told.items():  # Before metadata stands a length.
            text = value[8:] if name.startswith(NAMES["1"]) else value
            say(f"  {name}: {text.decode(errors='backslashreplace')}")


def say(text: str) -> None:
    """Print what any terminal can show, and nothing that would steer it."""
    text = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
    print(text.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding))
