"""LangGraph's checkpoint saver on a refold store."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import Any, Final
from urllib.parse import unquote

import msgspec
from langchain_core.runnables import RunnableConfig as Config
from langgraph.checkpoint import base as langgraph
from langgraph.checkpoint.base import ChannelVersions as Versions
from langgraph.checkpoint.base import Checkpoint, CheckpointTuple
from langgraph.checkpoint.base import CheckpointMetadata as Metadata
from langgraph.checkpoint.serde.base import SerializerProtocol

from refold.core.jsonvalue import parse_pointer, pointer
from refold.engine.store import Store
from refold.errors import UsageError
from refold.langgraph.thread import Key, Thread
from refold.langgraph.values import read, shown, typed
from refold.verbatim import awaited, check_category, nameable, retried

THREADS_MAX: Final = 64
"""How many threads are held in memory; another is read from its streams again."""

_decode = msgspec.json.Decoder().decode


class RefoldSaver(langgraph.BaseCheckpointSaver[int]):
    """Saves the threads of LangGraph's graphs in a :class:`refold.Store`, for sync and async use.

    Thread ``42`` is the stream ``thread-42`` (``category`` names another one than ``thread``), a
    checkpoint an event that holds what is new in it, a fork a branch. ``serde`` serialises values,
    as for any saver. Threads, tasks and processes may share a store. What is deleted or pruned is
    not found any more, but stands in the log. Raises what ``append`` of the store raises, and
    :class:`~refold.Conflict` after 100 lost races.
    """

    def __init__(
        self, store: Store, *, category: str = "thread", serde: SerializerProtocol | None = None
    ) -> None:
        super().__init__(serde=serde)
        if not isinstance(store, Store):
            raise UsageError(f"RefoldSaver takes an open store: refold.open({store!r:.80})")
        check_category(category)
        self._store, self._category = store, category
        self._thread = lru_cache(THREADS_MAX)(lambda id: Thread(store, self._stream(id)))

    # -- read ---------------------------------------------------------------------------------

    def get_tuple(self, config: Config) -> CheckpointTuple | None:
        """The checkpoint that a config names, or the newest of its namespace."""
        named: Any = {"checkpoint_ns": "", **config["configurable"]}
        return next(self.list({"configurable": named}, limit=1), None)

    def list(
        self,
        config: Config | None,
        *,
        filter: dict[str, Any] | None = None,
        before: Config | None = None,
        limit: int | None = None,
    ) -> Iterator[CheckpointTuple]:
        """Checkpoints, newest first: of a config, with this metadata, older than ``before``."""
        named = config["configurable"] if config else {}
        ns, id = named.get("checkpoint_ns"), named.get("checkpoint_id")
        until = before["configurable"].get("checkpoint_id") if before else None
        threads = [str(named["thread_id"])] if config else self._thread_ids()
        found = [
            (key, thread_id)
            for thread_id in threads
            for key in self._visible(thread_id)
            if ns in (None, key[0]) and (not id or key[1] == id) and (not until or key[1] < until)
        ]
        left = len(found) if limit is None else limit
        for key, thread_id in sorted(found, key=lambda each: each[0][1], reverse=True):
            if left <= 0:
                return
            made = self._tuple(thread_id, key)
            if made and all(made.metadata.get(k) == v for k, v in (filter or {}).items()):
                left -= 1
                yield made

    def get_delta_channel_history(
        self, *, config: Config, channels: Sequence[str]
    ) -> Mapping[str, langgraph.DeltaChannelHistory]:
        """What makes the values of delta channels: along the ancestors of a checkpoint alone.

        A write belongs to the child that it led to: those of a branch that was left do not come
        back in a fork. What was pruned still counts.
        """
        found: dict[str, Any] = {channel: {"writes": []} for channel in channels}
        target, missing = self.get_tuple(config), set(channels)
        thread, key = self._place(target.config if target else config)
        with thread.lock:
            for parent, writes in thread.path_to(thread.saved[key]) if target and missing else ():
                for each in reversed(writes):
                    if each.channel in missing:
                        write = (each.task, each.channel, self._load(each.value))
                        found[each.channel]["writes"].insert(0, write)
                values = _values(thread.state(parent))
                for channel in missing & values.keys():
                    found[channel]["seed"] = self._load(values[channel])
                missing -= values.keys()
                if not missing:
                    break
        return found

    # -- write --------------------------------------------------------------------------------

    def put(
        self, config: Config, checkpoint: Checkpoint, metadata: Metadata, new_versions: Versions
    ) -> Config:
        """Save a checkpoint, the child of the one that the config names."""
        thread, (ns, parent) = self._place(config)
        key, versions = (ns, checkpoint["id"]), checkpoint["channel_versions"]
        rest = {name: part for name, part in checkpoint.items() if name != "channel_values"}
        made = {
            "checkpoint": self._show(rest),
            "metadata": self._show(langgraph.get_checkpoint_metadata(config, metadata)),
        }

        def state(parent_holds: Callable[[], dict[str, msgspec.Raw]]) -> dict[str, Any]:
            """A channel whose version did not change is as it was in the parent."""
            same = checkpoint["channel_values"].keys() & versions.keys() - new_versions.keys()
            before = parent_holds() if same else {}
            old = self._load(_decode(before["checkpoint"]))["channel_versions"] if before else {}
            parts: dict[str, Any] = dict(made)
            for name, value in checkpoint["channel_values"].items():
                is_old = name in same and versions[name] == old.get(name)
                kept = {k: v for k, v in before.items() if is_old and _channel(k) == name}
                parts |= kept or _flat(name, self._show(value))
            return parts

        *_, run = [("", ""), *(metadata.get("parents") or {}).items()]
        with thread.lock:
            retried(lambda: thread.save(key, (ns, parent) if parent else None, run, state))
        return _config(config["configurable"]["thread_id"], key)

    def put_writes(
        self, config: Config, writes: Sequence[tuple[str, Any]], task_id: str, task_path: str = ""
    ) -> None:
        """Save what a task wrote after a checkpoint; saved again, it counts once."""
        thread, key = self._place(config)
        listed = [
            (langgraph.WRITES_IDX_MAP.get(channel, index), channel, read(self._show(value)))
            for index, (channel, value) in enumerate(writes)
        ]
        with thread.lock:
            thread.write(key, task_id, task_path, listed)

    def delete_thread(self, thread_id: str) -> None:
        """Let nothing of a thread be found any more."""
        self._thread(str(thread_id)).hide(self._visible(thread_id))

    def delete_for_runs(self, run_ids: Sequence[str]) -> None:
        """Let the checkpoints of these runs be found no more, in whatever thread."""
        for thread_id in self._thread_ids():
            found = self.list({"configurable": {"thread_id": thread_id}})
            gone = (each.config for each in found if each.metadata.get("run_id") in run_ids)
            self._thread(thread_id).hide(self._place(config)[1] for config in gone)

    def prune(self, thread_ids: Sequence[str], *, strategy: str = "keep_latest") -> None:
        """Let only the newest checkpoint of each namespace be found, or with ``delete`` none.

        The delta channels of those that are kept keep their values.
        """
        if strategy not in ("keep_latest", "delete"):
            raise UsageError(f"strategy={strategy!r} is neither 'keep_latest' nor 'delete'")
        for thread_id in thread_ids:
            keys = self._visible(thread_id)
            kept = {key[0]: key for key in reversed(keys)} if strategy == "keep_latest" else {}
            self._thread(str(thread_id)).hide(set(keys) - set(kept.values()))

    def copy_thread(self, source_thread_id: str, target_thread_id: str) -> None:
        """Append all that a thread holds to a new one, a :class:`~refold.Conflict` otherwise."""
        source = self._thread(str(source_thread_id))
        with source.lock:
            source.copy_to(self._stream(str(target_thread_id)))

    async def alist(self, config: Config | None, **options: Any) -> AsyncIterator[CheckpointTuple]:
        """See :meth:`list`."""
        found = self.list(config, **options)
        while (each := await asyncio.to_thread(next, found, None)) is not None:
            yield each

    # -- values and threads -------------------------------------------------------------------

    def _show(self, value: Any) -> Any:
        return shown(self.serde.dumps_typed(value))

    def _load(self, node: Any) -> Any:
        return self.serde.loads_typed(typed(node))

    def _stream(self, thread_id: str) -> str:
        return f"{self._category}-{nameable(thread_id)}"

    def _thread_ids(self) -> Iterator[str]:
        # A fork is a branch, whose category is another.
        beginning = f"{self._category}-"
        for each in self._store.streams(category=self._category):
            if each.stream.startswith(beginning):
                yield unquote(each.stream.removeprefix(beginning))

    def _place(self, config: Config) -> tuple[Thread, Key]:
        named = config["configurable"]
        key = named.get("checkpoint_ns", ""), named.get("checkpoint_id") or ""
        return self._thread(str(named["thread_id"])), key

    def _visible(self, thread_id: str) -> Sequence[Key]:
        """The checkpoints of a thread that are not deleted, newest first."""
        thread = self._thread(str(thread_id))
        with thread.lock:
            thread.catch_up()
            keys = thread.visible()
        return sorted(keys, key=lambda key: key[1], reverse=True)

    def _tuple(self, thread_id: str, key: Key) -> CheckpointTuple:
        thread = self._thread(thread_id)
        with thread.lock:
            saved = thread.saved[key]
            state, pending = thread.state(saved), thread.pending(key)
        values = {name: self._load(node) for name, node in _values(state).items()}
        checkpoint: Any = {**self._load(_decode(state["checkpoint"])), "channel_values": values}
        return CheckpointTuple(
            _config(thread_id, key),
            checkpoint,
            self._load(_decode(state["metadata"])),
            _config(thread_id, saved.parent) if saved.parent else None,
            [(each.task, each.channel, self._load(each.value)) for each in pending],
        )


# The same to await, with the types that the base class declares.
for _name in (
    "get_tuple", "get_delta_channel_history", "put", "put_writes", "delete_thread",
    "delete_for_runs", "prune", "copy_thread",
):  # fmt: skip
    setattr(RefoldSaver, f"a{_name}", awaited(getattr(RefoldSaver, _name)))


def _flat(name: str, node: Any) -> dict[str, Any]:
    """The value of a channel by JSON Pointer, that of a dict by its keys: each is kept once."""
    if isinstance(node, dict) and node and all(key[:1] != "$" for key in node):
        return {pointer((name, key)): part for key, part in node.items()}
    return {pointer((name,)): node}


def _channel(path: str) -> str | None:
    return parse_pointer(path)[0] if path.startswith("/") else None


def _values(state: dict[str, msgspec.Raw]) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for path, raw in state.items():
        if path.startswith("/"):
            name, *keys = parse_pointer(path)
            if keys:
                values.setdefault(name, {})[keys[0]] = _decode(raw)
            else:
                values[name] = _decode(raw)
    return values


def _config(thread_id: str, key: Key) -> Config:
    named = {"thread_id": thread_id, "checkpoint_ns": key[0], "checkpoint_id": key[1]}
    return {"configurable": named}
