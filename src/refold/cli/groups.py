"""Groups of commands: what their help says, and what is done where no command of one is named."""

from __future__ import annotations

import click


class Group(click.Group):
    """A group whose help says the whole first sentence of each of its commands."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Sentences that are too long for a line go on in the next."""
        rows = [
            (name, self.commands[name].get_short_help_str(999)) for name in self.list_commands(ctx)
        ]
        with formatter.section("Commands"):
            formatter.write_dl(rows)


class Listing(Group):
    """A group that lists what there is where no command of it is named."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Options without a command are those of ``list``."""
        is_list = not args or (args[0].startswith("-") and args[0] not in ctx.help_option_names)
        return super().parse_args(ctx, ["list", *args] if is_list else args)
