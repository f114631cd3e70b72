"""Time stamps of RFC 3161 over heads, by a real authority (OpenSSL's), checked by others."""

from __future__ import annotations

import subprocess
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography import x509
from rfc3161_client import VerifierBuilder, decode_timestamp_response
from rfc3161_client.errors import VerificationError

import refold
from refold import Event
from refold.audit import copy_seals, evidence_bundle
from refold.audit.evidence.checking import check_file
from refold.audit.tables import keeper_of
from refold.audit.timestamps import parts_of, stamped_at, timestamped, timestamps
from refold.audit.verifier.program import unzipped
from refold.errors import ProofError, Rejected, Unavailable
from tests.audit.sealed import KINDS, key_of, sealed_by
from tests.support.stores import url_of

CONFIG = """
[tsa]
default_tsa = here
[here]
dir = .
serial = ./serial
crypto_device = builtin
signer_cert = ./tsa.pem
signer_key = ./tsa.key
signer_digest = sha256
default_policy = 1.2.3.4.1
digests = sha256
accuracy = secs:1
ess_cert_id_chain = no
ess_cert_id_alg = sha256
"""
CERTIFICATE = ("-subj", "/CN=Time Example", "-addext", "extendedKeyUsage=critical,timeStamping")


class Authority(NamedTuple):
    """A time-stamping authority: where it is, its certificate, and what it is to do wrong."""

    url: str
    folder: Path
    faults: list[bytes]


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Authority]:
    """OpenSSL's authority behind HTTP; ``faults`` are answers that it gives instead."""
    folder, faults = tmp_path_factory.mktemp("tsa"), list[bytes]()
    (folder / "tsa.cnf").write_text(CONFIG)
    (folder / "serial").write_text("01")
    made = ("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2")
    files = ("-keyout", "tsa.key", "-out", "tsa.pem")
    subprocess.run([*made, *files, *CERTIFICATE], cwd=folder, check=True, capture_output=True)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            (folder / "query").write_bytes(self.rfile.read(int(self.headers["content-length"])))
            reply = ("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query", "-out", "reply")
            subprocess.run(["openssl", *reply], cwd=folder, check=True, capture_output=True)
            content = faults.pop() if faults else (folder / "reply").read_bytes()
            self.send_response(200 if content else 500)
            self.send_header("content-type", "application/timestamp-reply")
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield Authority(f"http://127.0.0.1:{server.server_port}/tsa", folder, faults)
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def store() -> refold.Store:
    """A sealed log of one event."""
    made = refold.open("memory:")
    made.append("call-1", [Event("k")])
    sealed_by(made).checkpoint()
    return made


@pytest.mark.parametrize("kind", KINDS)
def test_a_head_is_stamped_and_others_agree(
    kind: str, authority: Authority, tmp_path: Path
) -> None:
    """The time is the authority's; its client and OpenSSL verify what is kept."""
    with refold.open(url_of(kind, tmp_path), synchronous="NORMAL") as store:
        store.append("call-1", [Event("k")])
        note = sealed_by(store).checkpoint()
        assert timestamps(store, first=0, last=9) == []
        before = datetime.now(UTC).timestamp()
        made = timestamped(store, authority.url)
        assert timestamps(store, first=1, last=1) == [made]
        assert timestamps(store, first=2, last=9) == []
    assert (made.size, made.note) == (1, note)
    assert abs(made.stamped_at / 1e6 - before) < 60
    certificate = x509.load_pem_x509_certificate((authority.folder / "tsa.pem").read_bytes())
    verifier = VerifierBuilder().add_root_certificate(certificate).build()
    answer = decode_timestamp_response(made.answer)
    assert verifier.verify(answer, sha256(note.encode()).digest())
    with pytest.raises(VerificationError):
        verifier.verify(answer, sha256(note.encode() + b" ").digest())


def test_a_stamp_stands_in_a_bundle_and_openssl_verifies_it(
    store: refold.Store, authority: Authority, tmp_path: Path
) -> None:
    """Over an older head too, which the newest continues; the command is that of README.txt."""
    timestamped(store, authority.url)
    store.append("call-2", [Event("k")])
    sealed_by(store).checkpoint()
    timestamped(store, authority.url)
    bundle = evidence_bundle(store, "call-1", key_of())
    (tmp_path / "bundle.zip").write_bytes(bundle)
    checked = check_file(tmp_path / "bundle.zip", keys=[str(key_of().verifying)])
    assert checked.is_verified, checked.said
    assert sum("is a time stamp" in line for line in checked.details) == 2
    members = unzipped(bundle, "")
    stamps = [name for name in members if name.endswith(".tsr")]
    assert len(stamps) == 2
    for name in (*stamps, *(f"{name[:-4]}.checkpoint" for name in stamps)):
        (tmp_path / Path(name).name).write_bytes(members[name])
    said = "openssl ts -verify -data timestamps/FILE.checkpoint -in timestamps/FILE.tsr -CAfile"
    assert said in members["README.txt"].decode()
    for name in stamps:
        own, root = tmp_path / Path(name).name, authority.folder / "tsa.pem"
        files = ("-data", own.with_suffix(".checkpoint"), "-in", own, "-CAfile", root)
        subprocess.run(["openssl", "ts", "-verify", *files], check=True, capture_output=True)


def test_a_copy_takes_the_stamps_along(
    store: refold.Store, authority: Authority, tmp_path: Path
) -> None:
    """Beside the other seals; of a log from before there were any it takes none."""
    made = timestamped(store, authority.url)
    with refold.open(tmp_path / "copy.db") as copy:
        copy.append("call-1", [Event("k")])
        copy_seals(store, copy)
        assert timestamps(copy, first=0, last=9) == [made]
    keeper_of(store).write(lambda begin: begin().execute("DROP TABLE audit_timestamps"))
    assert timestamps(store, first=0, last=9) == []
    with refold.open(tmp_path / "other.db") as copy:
        copy.append("call-1", [Event("k")])
        copy_seals(store, copy)
        assert timestamps(copy, first=0, last=9) == []


def test_an_answer_to_something_else_is_none(store: refold.Store, authority: Authority) -> None:
    """A replayed one, one that refuses, one of another kind, cut at every byte, and none."""
    timestamped(store, authority.url)
    kept = timestamps(store, first=0, last=9)
    for answer, error in (
        (kept[0].answer, ProofError),
        (bytes.fromhex("3005 3003 020102".replace(" ", "")), Rejected),
        (b"hello", ProofError),
        (b"", Unavailable),
    ):
        authority.faults.append(answer)
        with pytest.raises(error):
            timestamped(store, authority.url)
    with pytest.raises(Unavailable):
        timestamped(store, "http://127.0.0.1:1/")
    assert timestamps(store, first=0, last=9) == kept
    digest = sha256(kept[0].note.encode()).digest()
    for end in range(len(kept[0].answer)):
        with pytest.raises(ProofError):
            stamped_at(kept[0].answer[:end], digest, 1)


def test_long_elements_are_read() -> None:
    """Lengths of one byte, and of one and two bytes after the first (X.690 section 8.1.3)."""
    assert parts_of(b"\x04\x01a\x02\x00") == [(4, b"a"), (2, b"")]
    for size, head in ((200, b"\x04\x81\xc8"), (300, b"\x04\x82\x01\x2c")):
        assert parts_of(head + b"x" * size) == [(4, b"x" * size)]
