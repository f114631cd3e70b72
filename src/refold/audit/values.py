"""Whether the personal values of a sealed log are those that it is committed to.

A seal is of their commitments, so that they can be erased: it holds where a secret was changed.
"""

from __future__ import annotations

from typing import Final

from refold.audit.findings import Findings
from refold.audit.reading import pages
from refold.engine.store import Store
from refold.errors import Corrupt, RefoldError
from refold.privacy.envelope import holds_envelopes
from refold.privacy.opening import keys_in
from refold.privacy.protected import Protected
from refold.privacy.stored import has_keys, stored_backend

_PURPOSE: Final = "verification"
_CLOSED: Final = (
    "personal values were not opened, which needs the keyring: a changed one is not seen"
)


def check_values(store: Store, findings: Findings, *, until: int) -> list[str]:
    """Open every personal value up to a position that can be; what may be said of them then.

    That it was read for this is recorded, before a key is used.
    """
    log, protected = stored_backend(store), store._backend
    if not until or not has_keys(log):
        return []
    if not isinstance(protected, Protected):
        return [_CLOSED]
    reading, is_closed = protected.read_by_program(_PURPOSE), False
    for page in pages(log, after=0, until=until):
        for row in page:
            if holds_envelopes(row.body):
                is_closed |= bool(keys_in(row)) and protected.keys.keyring is None
                try:
                    reading.opened([row])
                except Corrupt as first:
                    for damage in reading.damaged(row) or [first]:
                        at = damage.facts.get("version", row.version) - row.version
                        said = damage.message.partition("; `refold verify")[0]
                        findings.add("value", said, row.position + at)
                except RefoldError as refused:
                    return [f"personal values were not opened: {refused.message}"]
    if is_closed:
        return [_CLOSED]
    return ["every personal value was opened whose key is here, and is the one committed to"]
