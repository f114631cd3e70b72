"""Read models: tables that are kept from the events of the log, for SQL and for programs.

::

    import msgspec
    from refold.conversation import ToolCall
    from refold.projections import Projection, Table

    class CallRow(msgspec.Struct):
        stream: str
        call_id: str
        name: str

    calls = Table("tool_calls", CallRow, key=("stream", "call_id"))
    tools = Projection("tools", tables=[calls])

    @tools.on(ToolCall)
    def _called(rows, event, recorded):
        rows.put(calls, CallRow(recorded.stream, event.call_id, event.name))
"""

from refold.projections.projection import Projection
from refold.projections.projector import Projector
from refold.projections.rows import Rows
from refold.projections.table import Table

__all__ = ["Projection", "Projector", "Rows", "Table"]
