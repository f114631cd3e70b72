"""Proof: a Merkle tree over the log, its signed heads, and what anyone can check of them.

Sealing follows the log behind the append; docs/explanation/proof.md says what it shows::

    with refold.open("agents.db") as store, Sealing(store, key, last_head="agents.head"):
        ...  # What is appended is sealed and signed within a second.

    verify(store, deep=True).findings
    prove(store, "call-42@7")
"""

from __future__ import annotations

from refold.audit.copying import copy_seals
from refold.audit.evidence.bundle import evidence_bundle
from refold.audit.keys import load_key, new_key, save_key
from refold.audit.proving import prove, prove_continued, sealed_export
from refold.audit.sealing import Sealing
from refold.audit.verifying import verify

__all__ = [
    "Sealing",
    "copy_seals",
    "evidence_bundle",
    "load_key",
    "new_key",
    "prove",
    "prove_continued",
    "save_key",
    "sealed_export",
    "verify",
]
