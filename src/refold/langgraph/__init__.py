"""LangGraph's threads in a refold store: a thread is a stream, a fork of it a branch.

::

    import refold
    from refold.langgraph import RefoldSaver

    graph = builder.compile(checkpointer=RefoldSaver(refold.open("agents.db")))
    graph.invoke({"messages": [("user", "Hi")]}, {"configurable": {"thread_id": "42"}})

Needs the extra: ``pip install 'refold[langgraph]'``.
"""

from importlib.util import find_spec

from refold.extras import needs

if find_spec("langgraph") is None or find_spec("langgraph.checkpoint") is None:
    raise ModuleNotFoundError(
        needs("refold.langgraph needs LangGraph's checkpointers", "langgraph")
    )

from refold.langgraph.saver import RefoldSaver

__all__ = ["RefoldSaver"]
