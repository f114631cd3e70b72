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

from refold.core.projection import Projection
from refold.core.rows import Rows
from refold.core.table import Table
from refold.engine.projecting.books import Parked
from refold.engine.projecting.status import ProjectionStatus
from refold.engine.projector import Projector

__all__ = ["Parked", "Projection", "ProjectionStatus", "Projector", "Rows", "Table"]
