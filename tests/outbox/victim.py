"""A worker process that performs effects over HTTP until it is killed."""

from __future__ import annotations

import json
import signal
from http.client import HTTPConnection

import refold
from refold.outbox import EffectRequested, Outbox


def work(path: str, port: int) -> None:
    """Follow the log and perform what it asks for; end in order when told to."""

    def charge(effect: EffectRequested, key: str) -> str:
        connection = HTTPConnection("127.0.0.1", port, timeout=60)
        body = json.dumps(effect.arguments)
        connection.request("POST", "/effects", body, {"Idempotency-Key": key})
        answer: str = json.loads(connection.getresponse().read())["reference"]
        connection.close()
        return answer

    with refold.open(path, mode="write") as store:
        outbox = Outbox(store, {"charge": charge}, first_delay_s=0.01, workers=3)
        signal.signal(signal.SIGTERM, lambda *_: outbox.close())
        outbox.run()
