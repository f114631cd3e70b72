"""The options of a replay in which a candidate goes on with its own answers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from refold.cli import endpoint
from refold.cli.options import ignored, no_effect, option, together
from refold.errors import UsageError

if TYPE_CHECKING:
    from refold.freerun import FreeRun

FREE: Final = "free-run"
KEY: Final = "REFOLD_USER_API_KEY"
_OWN: Final = ("user", "user_url", "tool_policies", "allow")
free_run_options: Final = together(
    option("--user", metavar="rules|openai:NAME", help="Who speaks after it parts (free-run)."),
    option("--user-url", metavar="URL", help="Where that model is served.  [default: --base-url]"),
    option(
        "--tool-policies",
        metavar="FILE.py:NAME",
        help="What answers a tool call that is not on record (free-run).",
    ),
    option(
        "--allow",
        multiple=True,
        metavar="URL",
        help="May be reached too (free-run): nothing but the models is.",
    ),
)


def free_run_of(mode: str, options: dict[str, Any], base_url: str) -> FreeRun | None:
    """The free run that a command's options ask for, which are taken out of them."""
    said = {name: options.pop(name) for name in _OWN}
    if mode != FREE:
        no_effect(f"without --mode {FREE}", *_OWN)
        return None
    from refold.freerun import FreeRun
    from refold.freerun.mode import RULES
    from refold.freerun.policies import read_policies

    policies = said["tool_policies"] and read_policies(said["tool_policies"])
    if said["user"] in (None, RULES):
        no_effect("without --user openai:NAME", "user_url")
        return FreeRun(tools=policies, user=said["user"], allow=said["allow"])
    model = endpoint.model_name(said["user"], of="--user")
    if file := ignored("user-url"):
        raise UsageError(f"{file} names who speaks: say so yourself, with --user-url or --config")
    url, of = (said["user_url"], "user_url") if said["user_url"] else (base_url, "base_url")
    user = endpoint.endpoint(url, of=of, key=KEY)
    user.model = model
    return FreeRun(tools=policies, user=user, allow=said["allow"])
