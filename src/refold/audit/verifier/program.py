"""Entries, what is disclosed and told of them, and the program that verifies files.

Layout of an entry, and of the files: docs/reference/audit-format.md of refold.
"""

from __future__ import annotations

import argparse
import hashlib
import struct
import sys
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple

from refold.audit.verifier.heads import (
    SignedHead,
    TrustedKey,
    Unverified,
    WrongUse,
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
    trusted_key,
)

NAMES = {0: "payload", 1: "metadata", 2: "key of its append", 3: "name of its stream"}


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


def disclosed_of(entry: SealedEntry, disclosed: Any, where: str) -> dict[int, bytes]:
    """What is disclosed of an entry, by ordinal, when all of it is what was committed to."""
    commitments, values = {str(key): value for key, value in entry.commitments.items()}, {}
    for key, one in object_of(disclosed, where).items():
        if key not in commitments:
            refuse(where, f"it discloses {key!r:.99}, which its entry does not commit to")
        values[int(key)] = committed(int(key), commitments[key], one, where)
    return values


def committed(ordinal: int, commitment: bytes, disclosed: Any, where: str) -> bytes:
    """The bytes that are disclosed, when they are what was committed to."""
    where += f", {named(ordinal)}"
    value = bytes_of(fields(disclosed, where, "salt", "bytes")["bytes"], where)
    told = bytes([ordinal]) + bytes_of(disclosed["salt"], where, 32) + struct.pack(">Q", len(value))
    if hashlib.sha256(b"refold/commitment/1" + told + value).digest() != commitment:
        refuse(where, "what is disclosed, with its salt, is not what was committed to")
    return value


def withheld_of(entry: SealedEntry, record: dict[str, Any], where: str) -> str:
    """What is withheld and why, by the word of who made the proof; nothing is left unsaid."""
    told = [fields(one, where, "ordinal", "why") for one in list_of(record["withheld"], where)]
    ordinals = [number_of(one["ordinal"], where) for one in told]
    said = sorted([*map(int, record["disclosed"]), *ordinals])
    if said != sorted({*entry.commitments, *({3} & {*said})}):
        refuse(where, "it must say once of all that was committed to: disclosed, or withheld")
    return "".join(f"; withheld: {named(one['ordinal'])} ({one['why']!r:.99})" for one in told)


def named(ordinal: int) -> str:
    """What an ordinal stands for."""
    return NAMES.get(ordinal, f"field {ordinal}")


def words_of(entry: SealedEntry, index: int, name: bytes | None) -> dict[str, Any]:
    """What an entry says, as proofs say it in words."""
    said = None if name is None else f"{name.decode(errors='backslashreplace')}@{entry.version}"
    return {
        "id": said,
        "position": index + 1,
        "type": entry.kind,
        "recorded_at": shown_time(entry.recorded_at),
        "occurred_at": shown_time(entry.occurred_at),
    }


def included(record: dict[str, Any], head: SignedHead, where: str) -> SealedEntry:
    """The entry of a record, when it is in the log."""
    index, data = number_of(record["index"], where), bytes_of(record["entry"], where)
    path = [bytes_of(one, where, 32) for one in list_of(record["path"], where)]
    check_leaf(leaf_hash(data), index, path, head, where)
    return sealed_entry(data, where)


def name_by_first(told: Any, entry: SealedEntry, head: SignedHead, where: str) -> bytes:
    """A stream's name, which its first event commits to."""
    where += f", {NAMES[3]}"
    told = {**fields(told, where, "salt", "bytes", "index", "entry", "path")}
    first = included(told, head, where)
    if first.pseudonym != entry.pseudonym or 3 not in first.commitments:
        refuse(where, "what names the stream is not its first event")
    disclosed = {"salt": told["salt"], "bytes": told["bytes"]}
    return committed(3, first.commitments[3], disclosed, where)


class WholeLog:
    """The events of a log from its first, one after another."""

    def __init__(self) -> None:
        self.leaves: dict[bytes, int] = {}
        """The hash of each leaf in order, and which version of its stream it is."""
        self._last: dict[bytes, tuple[int, bytes]] = {}
        self._names: dict[bytes, bytes] = {}

    def add(self, record: dict[str, Any], where: str) -> tuple[dict[str, Any], dict[int, bytes]]:
        """The next event, in words, and what is disclosed of it."""
        if number_of(record["index"], where) != len(self.leaves):
            refuse(where, f"index {record['index']} stands where {len(self.leaves)} must")
        data = bytes_of(record["entry"], where)
        entry, leaf = sealed_entry(data, where), leaf_hash(data)
        self._check_follows(entry, where)
        values = disclosed_of(entry, record["disclosed"], where)
        if 3 in values:
            self._names[entry.pseudonym] = values[3]
        self._last[entry.pseudonym] = entry.version, leaf
        self.leaves[leaf] = entry.version
        return words_of(entry, record["index"], self._names.get(entry.pseudonym)), values

    def _check_follows(self, entry: SealedEntry, where: str) -> None:
        """Refuse an event that is not next in its stream, or a branch of nothing."""
        before = self._last.get(entry.pseudonym, (-1, bytes(32)))
        parent = None if entry.pseudonym in self._last else self.leaves.get(entry.previous)
        if before != (entry.version - 1, entry.previous) and parent != entry.version - 1:
            refuse(where, f"version {entry.version} does not follow what was before it")


class VerifierOptions(NamedTuple):
    """Keys that must have signed, older checkpoints, whether to print what is disclosed."""

    keys: list[TrustedKey]
    against: list[SignedHead]
    show: bool


def verify_proof(record: dict[str, Any], options: VerifierOptions, where: str) -> str:
    """A proof of one event."""
    names = ("index", "entry", "path", "disclosed", "withheld", "recorded")
    fields(record, where, "format", "origin", "checkpoint", *names)
    head = head_of(record, options, where)
    entry = included(record, head, where)
    own, name = {**object_of(record["disclosed"], where)}, None
    if 3 not in entry.commitments and "3" in own:
        name = name_by_first(own.pop("3"), entry, head, where)
    values = disclosed_of(entry, own, where)
    words = words_of(entry, record["index"], values.get(3, name))
    withheld = withheld_of(entry, record, where)
    for key, value in fields(record["recorded"], where, *words).items():
        if value != words[key] or type(value) is not type(words[key]):
            refuse(where, f"it says {key} {value!r:.99}, and what was signed {words[key]!r:.99}")
    show(words, values, options)
    disclosed = ", ".join(map(named, values)) or "nothing"
    return f"{words} is in {head}; disclosed: {disclosed}{withheld}"


def head_of(record: dict[str, Any], options: VerifierOptions, where: str) -> SignedHead:
    """The head of the log that a file is about."""
    head = signed_head(record["checkpoint"], options.keys, where)
    if record["origin"] != head.origin:
        refuse(where, f"it says origin {record['origin']!r:.99}, and its checkpoint {head.origin}")
    return head


def verify_consistency(record: dict[str, Any], options: VerifierOptions, where: str) -> str:
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
    head, log = head_of(header, options, where), WholeLog()
    for number, line in enumerate(file, 2):
        at = f"{where}, line {number}"
        event = fields(loaded(text_of(line, at), at), at, "index", "entry", "disclosed")
        show(*log.add(event, at), options)
    leaves = list(log.leaves)
    if len(leaves) != head.size:
        refuse(where, f"it has {len(leaves)} events, and not all {head.size} of the log")
    for one in (head, *options.against):
        if one.origin != head.origin or one.size > head.size:
            refuse(where, f"{head} does not continue {one}")
        root = root_of(leaves[: one.size])
        check_root(f"the root of {one.size} events", one.root, root, [], where)
    return f"every event of {head}" + "".join(f", which continues {old}" for old in options.against)


def show(words: dict[str, Any], values: dict[int, bytes], options: VerifierOptions) -> None:
    """Print what is disclosed, where that is wanted."""
    if options.show:
        say(f"{words}")
        for ordinal, value in values.items():
            say(f"  {named(ordinal)}: {value.decode(errors='backslashreplace')}")


def say(text: str) -> None:
    """Print what any terminal can show, and nothing that would steer it."""
    text = "".join(one if one.isprintable() else ascii(one)[1:-1] for one in text)
    print(text.encode(sys.stdout.encoding, "backslashreplace").decode(sys.stdout.encoding))


PROOFS = {"refold-proof/1": verify_proof, "refold-consistency/1": verify_consistency}


def verify(file: BinaryIO, options: VerifierOptions, where: str) -> str:
    """What is verified of a file, in words; it says itself what it is."""
    first = file.readline()
    file.seek(0)
    if b'"refold-sealed-export/1"' in first[:200]:
        return verify_export(file, options, where)
    if options.against:
        raise WrongUse("--against is for whole exports; else make a proof of consistency")
    text = text_of(file.read(), where)
    if not text.startswith("{"):
        return str(signed_head(text, options.keys, where))
    record = loaded(text, where)
    known = PROOFS.get(str(record.get("format")))
    if known is None:
        refuse(where, f"format {record.get('format')!r:.99} is none of {sorted(PROOFS)}")
    return known(record, options, where)


def read_options(given: argparse.Namespace) -> VerifierOptions:
    """What was asked for on the command line."""
    keys = [trusted_key(text) for text in [given.key, *given.witness]]
    olds = [(path, text_of(Path(path).read_bytes(), path)) for path in given.against]
    against = [signed_head(text, keys[:1], path) for path, text in olds]
    return VerifierOptions(keys, against, given.show)


def main(arguments: list[str] | None = None) -> int:
    """Verify the files that are named; see the top."""
    parser = argparse.ArgumentParser(description="Verify what refold proves.")
    parser.add_argument("--key", required=True, help="the log's verifying key, or its file")
    parser.add_argument("--witness", action="append", default=[], help="a key that must sign too")
    parser.add_argument("--against", action="append", default=[], help="an older checkpoint")
    parser.add_argument("--show", action="store_true", help="print what is disclosed")
    parser.add_argument("files", nargs="+", metavar="FILE")
    given, status = parser.parse_args(arguments), 0
    for path in given.files:
        try:
            with Path(path).open("rb") as file:
                say(f"{path}: verified: {verify(file, read_options(given), path)}")
        except Unverified as finding:
            say(f"NOT VERIFIED: {finding}")
            status = 1
        except (WrongUse, OSError, UnicodeDecodeError) as error:
            print(f"refold_verify: {error}", file=sys.stderr)
            return 2
    return status


if __name__ == "__main__":
    sys.exit(main())
