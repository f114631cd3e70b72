"""What the user declares of tools: what they do, what of a call does not count, and what else than
the record may answer.

::

    POLICIES = ToolPolicies(
        effects={"search": "read", "book": "write", "refund": "irreversible"},
        ignore=["book/request_id"],
        otherwise={"search": LiveRead(search), "book": Simulated(Bookings), "think": Fixed("")},
    )
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final, Protocol, get_args

import msgspec

from refold.conversation.events import Effect
from refold.core.fingerprint import code_of, digest_of
from refold.core.recorded import Recorded
from refold.errors import UsageError
from refold.recording.declared import declared_effects, effect_of
from refold.replay.checks.reading import named_object
from refold.replay.decision import Call
from refold.replay.normalising import NOTHING_IGNORED, Ignored, ignored

_WORST: Final[tuple[Effect, ...]] = ("read", "write", "irreversible")


class Simulation(Protocol):
    """The tools of one conversation over a state of their own, which starts from the recorded."""

    def perform(self, call: Call, /) -> tuple[str, bool]:
        """What the tool would give as text, and whether that is an error; changes the state."""
        ...


Simulator = Callable[[Sequence[Recorded]], Simulation]
"""Makes the simulation of a recorded conversation, in the state that this began in."""


class Fixed(msgspec.Struct, frozen=True):
    """Each call without a record is told the same; the tool does not run."""

    output: str
    is_error: bool = False


class Simulated(msgspec.Struct, frozen=True):
    """A simulator answers what is not on record, and follows what is; for reads and writes.

    Tools that share a state are given the same ``simulator``.
    """

    simulator: Simulator


class LiveRead(msgspec.Struct, frozen=True):
    """The tool itself is run with the call's arguments by name; for reads alone.

    The answer is marked ``live``: it is of the world as it is now.
    """

    run: Callable[..., Any]


Policy = Fixed | Simulated | LiveRead
_ALLOWED: Final[dict[type, tuple[Effect, ...]]] = {
    Fixed: get_args(Effect),
    Simulated: ("read", "write"),
    LiveRead: ("read",),
}


class ToolPolicies:
    """What the tools of conversations do, and what may stand in for them.

    ``effects`` says what each tool does to the world; of the others what ``refold.tool`` was told
    in this process, and what the record says. Where several say something, the worst counts.
    ``ignore`` names the fields of arguments that do not count (``book/request_id``, see
    ``--ignore``). ``otherwise`` gives what answers a call that the record does not; without it that
    call ends what can be compared. Raises :class:`~refold.errors.UsageError` for a policy that
    would run a tool whose effect is ``irreversible`` or ``unknown``, or a ``write`` outside a
    simulator.
    """

    def __init__(
        self,
        *,
        effects: Mapping[str, Effect] | None = None,
        ignore: Iterable[str] = NOTHING_IGNORED,
        otherwise: Mapping[str, Policy] | None = None,
    ) -> None:
        self.effects: dict[str, Effect] = dict(effects or {})
        self.ignored: Ignored = ignored(ignore)
        self.otherwise: dict[str, Policy] = dict(otherwise or {})
        for tool, effect in self.effects.items():
            if effect not in get_args(Effect):
                known = ", ".join(get_args(Effect))
                raise UsageError(f"effects[{tool!r}]={effect!r} is none of {known}", tool=tool)
        for tool, policy in self.otherwise.items():
            if type(policy) not in _ALLOWED:
                raise UsageError(
                    f"otherwise[{tool!r}] is {policy!r:.60}: give Fixed(…), Simulated(…) or "
                    "LiveRead(…), or leave the tool out for the record alone",
                    tool=tool,
                )
            if (why := forbidden(tool, self.effect(tool), policy)) is not None:
                raise UsageError(why, tool=tool, effect=self.effect(tool))

    @property
    def told(self) -> dict[str, Any]:
        """What stands on record of them, with what this process declared by now; {} for nothing.

        Functions and classes are told by their names, with a digest of what they do.
        """
        said = {
            "effects": dict(sorted(self.effects.items())),
            "declared": declared_effects(),
            "ignore": sorted(self.ignored),
            "otherwise": {tool: _told(one) for tool, one in sorted(self.otherwise.items())},
        }
        return {name: value for name, value in said.items() if value}

    def effect(self, tool: str, *recorded: Effect) -> Effect:
        """What a tool does: the worst that is said of it, ``unknown`` where nobody says anything.

        ``recorded`` is what the record says.
        """
        said = {self.effects.get(tool, "unknown"), effect_of(tool), *recorded} - {"unknown"}
        return max(said, key=_WORST.index, default="unknown")


def _told(policy: Policy) -> dict[str, Any]:
    match policy:
        case Fixed():
            return {"fixed": policy.output} | ({"is_error": True} if policy.is_error else {})
        case Simulated():
            return {"simulated": code_told(policy.simulator)}
    return {"live": code_told(policy.run)}


def code_told(code: Any) -> str:
    """The name of a function or class, or of an object's class, with a digest of what it does.

    As far as :mod:`refold.core.fingerprint` sees: not what is called in other modules.
    """
    own = code if hasattr(code, "__qualname__") else type(code)
    return f"{own.__module__}:{own.__qualname__} {digest_of(code_of(code))[:12]}"


def forbidden(tool: str, effect: Effect, policy: Policy) -> str | None:
    """Why a policy may not be used for a tool, and what to do; None where it may."""
    if effect in _ALLOWED[type(policy)]:
        return None
    kind = type(policy).__name__
    if effect == "unknown":
        fix = f"say what it does, as effects={{{tool!r}: 'read'}}, where that is so"
    elif effect == "irreversible":
        fix = "leave it to the record, or give Fixed(…), which runs nothing"
    else:
        fix = "give Simulated(…), over a state that starts from the recorded one"
    return f"{tool} is {effect}, which {kind} may not stand in for: {fix}"


def read_policies(text: str) -> ToolPolicies:
    """The policies that ``FILE.py:NAME`` or ``package.module:NAME`` has.

    Raises :class:`~refold.errors.UsageError` where there are none.
    """
    found = named_object(text, f"the tool policies {text}")
    if not isinstance(found, ToolPolicies):
        raise UsageError(f"{text} is no ToolPolicies", policies=text)
    return found
