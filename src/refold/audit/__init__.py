"""Proof: a Merkle tree over the log, its signed heads, and what anyone can check of them.

Sealing follows the log behind the append; docs/explanation/proof.md says what it shows::

    with refold.open("agents.db") as store, Sealing(store, key, last_head="agents.head"):
        ...  # What is appended is sealed and signed within a second.

    verify(store, deep=True).findings
    prove(store, "call-42@7")
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from refold.audit.copying import copy_seals
    from refold.audit.keys import load_key, new_key, save_key
    from refold.audit.proving import prove, prove_continued, sealed_export
    from refold.audit.sealing import Sealing
    from refold.audit.verifying import verify

__all__ = [
    "Sealing",
    "copy_seals",
    "load_key",
    "new_key",
    "prove",
    "prove_continued",
    "save_key",
    "sealed_export",
    "verify",
]

# Imported when first asked for: whoever names one pays for it alone.
_MODULE_OF = {
    "Sealing": "sealing",
    "copy_seals": "copying",
    "load_key": "keys",
    "new_key": "keys",
    "prove": "proving",
    "prove_continued": "proving",
    "save_key": "keys",
    "sealed_export": "proving",
    "verify": "verifying",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULE_OF[name]}"), name)
