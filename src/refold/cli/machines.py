"""Which machines are to ask: the option `--on`."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from refold.cli.options import option, read_by

if TYPE_CHECKING:
    from refold.ray import OnRay


def _cluster(text: str) -> str:
    if text != "ray" and not text.startswith("ray://"):
        raise click.BadParameter(f"{text!r} is neither ray nor ray://HOST:PORT")
    return text


machines_option = option(
    "--on",
    type=read_by(_cluster),
    metavar="ray|ray://HOST:PORT",
    help="Have a Ray cluster ask, --workers at a time of each of its processors; ray alone is that "
    "of RAY_ADDRESS, or of this machine.",
)


def machines_of(url: str, options: dict[str, Any]) -> OnRay | None:
    """The machines that are to ask; None for this one."""
    if options["on"] is None:
        return None
    from refold.ray import OnRay

    return OnRay(url, None if options["on"] == "ray" else options["on"])
