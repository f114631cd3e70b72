"""A server of tools, with the package's own server: over stdio when it is run."""

from __future__ import annotations

import asyncio
from typing import Any

from mcp import MCPError
from mcp.server.mcpserver import Image, MCPServer
from mcp.types import ToolAnnotations

ORDERS = {"A-1": {"total_cents": 900, "items": ["lamp"]}}


def made() -> MCPServer:
    """A shop's tools."""
    server = MCPServer("shop", version="1.2")

    @server.tool(annotations=ToolAnnotations(read_only_hint=True))
    def lookup(order: str) -> dict[str, Any]:
        """What was ordered."""
        return ORDERS[order]

    @server.tool(
        annotations=ToolAnnotations(
            read_only_hint=False, destructive_hint=True, idempotent_hint=False
        )
    )
    def refund(order: str, cents: int = 0) -> str:
        """Give money back."""
        if cents > 1_000:
            raise ValueError("over the limit")
        return f"refunded {cents}"

    @server.tool(annotations=ToolAnnotations(destructive_hint=False, idempotent_hint=True))
    def label(order: str) -> str:
        """Put a label on an order."""
        return f"labelled {order}"

    @server.tool()
    def picture() -> Image:
        """A picture."""
        return Image(data=b"\x89PNG-ish", format="png")

    @server.tool()
    def broken() -> str:
        """Answer with an error of the protocol."""
        raise MCPError(-32603, "the shop is on fire")

    @server.tool()
    async def wait(seconds: float) -> str:
        """Take some time."""
        await asyncio.sleep(seconds)
        return "waited"

    return server


if __name__ == "__main__":
    made().run()
