"""What is kept of sealed events before something of them goes, and what goes of the seals after."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from refold.audit.reading import appends_after
from refold.audit.redacted import commitments_in, forget_entry, keep_entries, pending, settle
from refold.audit.remaking import Remaker
from refold.audit.sealer import Sealer
from refold.audit.tables import is_sealed, tables_of
from refold.engine.store import Store
from refold.errors import ProofError
from refold.ports import Begin
from refold.privacy.pseudonyms import keeper_of_tables
from refold.privacy.stored import stored_backend
from refold.privacy.texts import LookedEvent


def keep_sealed(store: Store, events: Sequence[LookedEvent], salts: Mapping[int, bytes]) -> None:
    """Keep the entries of what was sealed; what is not sealed yet is sealed first."""
    if not salts:
        return
    Sealer(store).seal()
    tables, keeper = tables_of(store), keeper_of_tables(store)
    remaker, entries = Remaker(stored_backend(store), tables), {}
    for event in (one for one in events if one.position in salts):
        sealed = remaker.one(event.row)[event.version - event.row.version]
        if sealed.leaf != sealed.sealed:
            why = f"{event.id} is not what was sealed, so nothing is taken out of it"
            raise ProofError(f"{why}: `refold verify --deep` says more", proof="event")
        entries[event.position] = (sealed.entry, salts[event.position])
    sql = getattr(keeper, "sql", "sqlite")
    keeper.write(lambda begin: keep_entries(begin(), sql, entries))


def settle_all(store: Store) -> None:
    """Destroy the salts that bind entries to what is gone.

    Of an event that stands as it was sealed the entry is forgotten. One that is neither that nor
    what was to remain stays as it is: `verify` finds it.
    """
    keeper, log = keeper_of_tables(store), stored_backend(store)
    positions = pending(keeper) if is_sealed(store) else []
    if not positions:
        return
    remaker = Remaker(log, tables_of(store))
    untouched, gone = list[int](), dict[int, tuple[Sequence[int], bytes]]()
    for position in positions:
        row = appends_after(log, position - 1, gaps=True)[0]
        event = remaker.one(row, is_raw=True)[position - row.position]
        redaction, salt = remaker.redacted.standing(row, position)
        if event.leaf == event.sealed:
            untouched.append(position)
        elif redaction is not None:
            kept, now = (commitments_in(one) for one in (
                remaker.redacted.kept[position].entry, event.entry))  # fmt: skip
            gone[position] = [one for one, bound in kept.items() if now.get(one) != bound], salt

    def within(begin: Begin) -> None:
        transaction = begin()
        settle(transaction, gone)
        for position in untouched:
            forget_entry(transaction, position)

    keeper.write(within)
