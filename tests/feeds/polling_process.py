"""A process that polls until it is killed: ``python -m tests.feeds.polling_process DB URL``."""

import sys

import refold
from refold.errors import Unavailable
from refold.feeds import JsonService, Poller, Source
from tests.feeds.listing import to_appends

OVERLAP_S = 300.0


def main(path: str, url: str) -> None:
    """Poll again and again, in small rounds."""
    with refold.open(path, synchronous="NORMAL") as store:
        service = JsonService(url, timeout_s=5, first_delay_s=0.001)
        poller = Poller(
            store, service, Source(name="bank"), to_appends, overlap_s=OVERLAP_S, pages_max=3
        )
        print("polling", flush=True)
        while True:
            try:
                poller.poll()
            except Unavailable:
                continue


if __name__ == "__main__":
    main(*sys.argv[1:])
