"""Legal holds: what they cover stays, whatever else was asked for, until they are released."""

from __future__ import annotations

from collections.abc import Sequence

from refold.conversation.governance import HoldPlaced, HoldReleased
from refold.engine.store import Store
from refold.errors import NotFound, UsageError, refuse_unless
from refold.privacy.decisions import Decisions, decide, decisions
from refold.privacy.policy import Hold
from refold.privacy.pseudonyms import pseudonym, pseudonyms


def place_hold(
    store: Store,
    subject: str = "",
    *,
    category: str = "",
    reason: str,
    by: str | None = None,
) -> Hold:
    """Place a hold on a subject (or a stream by its name), or on a whole category.

    Until it is released nothing it covers is redacted, erased or emptied when its time has passed.
    :class:`~refold.errors.UsageError` where an erasure of the subject has begun: what it destroyed
    cannot be held any more.
    """
    refuse_unless(bool(subject) != bool(category), "one of the two", subject=subject)
    refuse_unless(reason.strip(), "why it is held", reason=reason)
    known = pseudonyms(store, subject) if subject else []
    name = pseudonym(store, subject) if subject else ""

    def choose(found: Decisions) -> Sequence[HoldPlaced]:
        for asked in found.erasures.values():
            if asked.subject in (name, *known):
                why = f"the erasure {asked.erasure} of this subject has begun"
                raise UsageError(f"{why}: there may be nothing left to hold", code="erasing")
        hold = f"hold-{found.hold_count + 1}"
        return [HoldPlaced(hold, name, reason, category, by)]

    found = decide(store, choose)
    return decisions(store).holds[f"hold-{found.hold_count + 1}"]


def release_hold(store: Store, hold: str, *, reason: str = "", by: str | None = None) -> None:
    """End a hold; :class:`~refold.errors.NotFound` where there is none of this name."""

    def choose(found: Decisions) -> Sequence[HoldReleased]:
        if hold not in found.holds:
            listed = ", ".join(found.holds) or "there is none"
            raise NotFound(f"there is no hold {hold!r}: {listed}", hold=hold)
        return [HoldReleased(hold, reason, by)]

    decide(store, choose)


def holds(store: Store) -> list[Hold]:
    """The holds in force, the oldest first."""
    return [*decisions(store).holds.values()]
