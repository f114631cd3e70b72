"""What the agent must know and the log must not: its API key, in a file of its own."""

from __future__ import annotations

import os
import secrets
from pathlib import Path

import msgspec

from examples.casino.client import CasinoClient


class Credentials(msgspec.Struct, frozen=True, kw_only=True):
    """``registration`` is the key under which the account is opened, before there is an API key."""

    registration: str
    client_seed: str
    api_key: str = ""


def registered(path: Path, url: str, agent_id: str, *, timeout_s: float) -> Credentials:
    """The credentials of a file; where it has none yet, the agent is registered at the casino.

    A process that is killed meanwhile finds its own account again: the registration is written
    down before it is used.
    """
    if path.exists():
        credentials = msgspec.json.decode(path.read_bytes(), type=Credentials)
    else:
        seed, registration = secrets.token_hex(16), secrets.token_hex(16)
        credentials = Credentials(registration=registration, client_seed=seed)
        _write(path, credentials)
    if credentials.api_key:
        return credentials
    casino = CasinoClient(url, timeout_s=timeout_s)
    try:
        key = casino.register(agent_id, credentials.registration, credentials.client_seed)
    finally:
        casino.close()
    credentials = msgspec.structs.replace(credentials, api_key=key)
    _write(path, credentials)
    return credentials


def _write(path: Path, credentials: Credentials) -> None:
    """Replace the file as a whole, readable by its owner alone."""
    beside = path.with_name(f"{path.name}.new")
    with os.fdopen(os.open(beside, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as file:
        file.write(msgspec.json.encode(credentials))
        file.flush()
        os.fsync(file.fileno())
    beside.replace(path)
