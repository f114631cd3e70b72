"""Files and bundles of files, and the program that verifies them."""

from __future__ import annotations

import argparse
import hashlib
import struct
import sys
import zlib
from pathlib import Path
from typing import Any, BinaryIO

from refold.audit.verifier.heads import (
    Json,
    Unverified,
    WrongUse,
    fields,
    loaded,
    refuse,
    signed_head,
    signed_text,
    text_of,
    trusted_key,
)
from refold.audit.verifier.proofs import (
    Chains,
    Named,
    VerifierOptions,
    head_of,
    included,
    proved,
    said_of,
    say,
    verify_consistency,
    verify_export,
)


def zipped(members: Named) -> bytes:
    """The one zip of some members: as they are, in order, without anything else."""
    local, central = bytearray(), bytearray()
    for name, data in members.items():
        raw = name.encode()
        sizes = (zlib.crc32(data), len(data), len(data), len(raw), 0)
        told = struct.pack("<5H3L2H", 20, 0x800, 0, 0, 33, *sizes)
        central += b"PK\1\2\x14\0" + told + struct.pack("<3H2L", 0, 0, 0, 0, len(local)) + raw
        local += b"PK\3\4" + told + raw + data
    ends = (0, 0, len(members), len(members), len(central), len(local), 0)
    return bytes(local + central) + b"PK\5\6" + struct.pack("<4H2LH", *ends)


def unzipped(data: bytes, where: str) -> Named:
    """The members of a zip as :func:`zipped` makes it, which is not checked yet."""
    members, at = {"manifest": b"", "checkpoint": b""}, 0
    while data[at : at + 4] == b"PK\3\4":
        start = at + 30 + int.from_bytes(data[at + 26 : at + 28], "little")
        name = text_of(data[at + 30 : start], where)
        at = start + int.from_bytes(data[at + 22 : at + 26], "little")
        members[name] = data[start:at]
    return members


def check_zip(members: Named, data: bytes, title: list[str], listed: list[str], where: str) -> None:
    """Refuse a zip of anything but what a manifest, which begins with a title, lists in lines."""
    for name, content in members.items():
        line = f"{hashlib.sha256(content).hexdigest()}  {name}"
        if name != "manifest" and line not in listed:
            refuse(f"{where}, {name}", "it is not what the manifest lists")
    made = zipped(members)
    if len(members) != len(listed) - 2 or made != data or listed[:2] != title:
        other = (at for at, byte in enumerate(made) if data[at : at + 1] != bytes([byte]))
        refuse(where, f"from byte {next(other, len(made))} on it is no zip of its manifest")


def records(members: Named, name: str, head: str, where: str) -> Any:
    """Where each record of a member stands, and what it is; of no other head than the bundle."""
    for number, line in enumerate(members.get(f"proof/{name}.jsonl", b"").splitlines(), 1):
        at = f"{where}, proof/{name}.jsonl, line {number}"
        record = loaded(text_of(line, at), at)
        if record.get("new", record.get("checkpoint", head)) != head:
            refuse(at, "it is of another checkpoint than the bundle")
        yield at, record


def verify_bundle(data: bytes, options: VerifierOptions, where: str) -> str:
    """A bundle of evidence about one stream; what its files show is said one by one."""
    # Who must witness its head need not have seen the heads before that one.
    members, own = unzipped(data, where), options._replace(keys=options.keys[:1])
    manifest, _ = signed_text(text_of(members["manifest"], where), own.keys, f"{where}, manifest")
    note = text_of(members["checkpoint"], where)
    head = signed_head(note, options.keys, f"{where}, checkpoint")
    check_zip(members, data, ["refold-evidence/1", head.origin], manifest.split("\n"), where)
    chains, heads, words = Chains({b"": ()}), [note], list[Json]()
    for at, record in records(members, "older", note, where):
        say(f"  {verify_consistency(record, own, at)}")
        heads.append(record["old"])
    for name in ("events", "governance"):
        for at, record in records(members, name, note, where):
            event, told = proved(record, chains if name == "events" else {}, own, at)
            words += [event] * (name == "events")
            if "; withheld" in told or name != "events":
                say(f"  {name}: {told}")
    behind = words[-1]["position"] if words else refuse(where, "it proves no event")
    for at, record in records(members, "rest", note, where):
        entry = included(fields(record, at, "index", "entry", "path"), head, at)
        if record["index"] != behind or chains.get(entry.pseudonym) == chains[b""]:
            refuse(at, "it is not the next event of the log, or one of the stream that is left out")
        behind += 1
    for name in [name for name in members if name.endswith(".tsr")]:
        if not any(hashlib.sha256(one.encode()).digest() in members[name] for one in heads):
            refuse(f"{where}, {name}", "it is no time stamp of a checkpoint that is here")
        say(f"  {name} is a time stamp: openssl checks it, as README.txt says")
    every = f"all {len(words)} events of a stream, from {said_of(words[0])} to {said_of(words[-1])}"
    none = f"none came after up to position {behind} ({head.size - behind} behind it not looked at)"
    return f"{every}; {none}; in {head}; the other files are as they were signed"


def verify(file: BinaryIO, options: VerifierOptions, where: str) -> str:
    """What is verified of a file, in words; it says itself what it is."""
    first = file.readline()
    file.seek(0)
    if b'"refold-sealed-export/1"' in first[:200]:
        return verify_export(file, options, where)
    if options.against:
        raise WrongUse("--against is for whole exports; else make a proof of consistency")
    if first[:2] == b"PK":
        return verify_bundle(file.read(), options, where)
    text = text_of(file.read(), where)
    if not text.startswith("{"):
        return str(signed_head(text, options.keys, where))
    record = loaded(text, where)
    if record.get("format") == "refold-consistency/1":
        return verify_consistency(record, options, where)
    if record.get("format") != "refold-proof/1":
        refuse(where, f"format {record.get('format')!r:.99} is none that is known here")
    told = proved(record, {}, options, where)[1]
    return f"{told}; it is in {head_of(record, options, where)}"


def read_options(given: argparse.Namespace) -> VerifierOptions:
    """What was asked for on the command line."""
    keys = [trusted_key(text) for text in [given.key, *given.witness]]
    kept = [(path, text_of(Path(path).read_bytes(), path)) for path in given.against]
    return VerifierOptions(keys, [signed_head(text, keys[:1], at) for at, text in kept], given.show)


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
