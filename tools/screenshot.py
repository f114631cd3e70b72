"""Make the pictures of the report: run the demo in a temporary folder, and look at it in Chromium.

    python tools/screenshot.py docs/images

writes `report.png` (the top of the page) and `report-turns.png` (one conversation side by side),
and both as who prefers dark pages sees them (`report-dark.png`, `report-turns-dark.png`).
Of `refold ui`, `ui.png` (the list) and `ui-conversation.png`, dark too, `ui-verdict.png` and
`ui-compare.png`; and `ui.sha256`, by which a test tells that the pages have changed since. Set in
Inter where that font is installed (Debian: fonts-inter).
"""

from __future__ import annotations

import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlencode
from urllib.request import urlopen

if TYPE_CHECKING:
    import refold

CANDIDATES = (
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "/Applications/Google Chrome.app/Contents/MacOS/Google Chrome",
    "/Applications/Chromium.app/Contents/MacOS/Chromium",
)
QUIET = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--disable-dev-shm-usage",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
)
SCHEMES = {"": "1", "-dark": "0"}
"""What the name of a picture ends in, and how Chromium is told what is preferred."""
LIGHT: Final[dict[str, Any]] = {"width": 1240, "height": 1010, "scale": 1, "scheme": "1"}
TIMEOUT_S = 120
PAGES = Path(__file__).resolve().parents[1] / "src" / "refold" / "ui"
PICTURED = (
    "templates/base.html",
    "templates/conversations.html",
    "templates/conversation.html",
    "templates/compare.html",
    "templates/replay.html",
    "templates/runs.html",
    "static/ui.css",
)
"""What the pictures of `refold ui` are made from."""

Run = subprocess.CompletedProcess[str]


def find_chromium() -> str | None:
    """The first Chromium there is; None where there is none."""
    return next((found for name in CANDIDATES if (found := shutil.which(name))), None)


def chromium(url: str, *options: str) -> Run:
    """Run a headless Chromium on one page, with a profile of its own that is thrown away."""
    program = find_chromium()
    if program is None:
        raise SystemExit("no Chromium found: run `make system`")
    with tempfile.TemporaryDirectory(prefix="refold-chromium-") as profile:
        return subprocess.run(
            [program, *QUIET, f"--user-data-dir={profile}", *options, url],
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )


def take_picture(
    page: Path, picture: Path, *, width: int, height: int, scale: float = 1, scheme: str = "1"
) -> None:
    """A picture of the top of a page in a window of this size (CSS pixels)."""
    size: dict[str, Any] = {"width": width, "height": height, "scale": scale}
    picture_at(page.absolute().as_uri(), picture, **size, scheme=scheme)


def picture_at(
    url: str, picture: Path, *, width: int, height: int, scale: float = 1, scheme: str = "1"
) -> None:
    """The same of an address."""
    done = chromium(
        url,
        "--hide-scrollbars",
        f"--window-size={width},{height}",
        f"--force-device-scale-factor={scale:g}",
        f"--blink-settings=preferredColorScheme={scheme}",
        f"--screenshot={picture.absolute()}",
    )
    if done.returncode or not picture.is_file():
        raise SystemExit(f"Chromium made no picture:\n{done.stderr}")


def only(page: Path, selectors: Sequence[str], opened: str) -> str:
    """The page with nothing but some of its parts, and one conversation open.

    Headless Chromium takes pictures of the top of a page, so the part has to be there.
    """
    hidden = "".join(f":not({selector})" for selector in selectors)
    style = f"main > *{hidden} {{ display: none }} main > section {{ margin-top: 0 }}"
    others = f'.conversation:not([id="{opened}"]) {{ display: none }}'
    text = page.read_text(encoding="utf-8").replace(f'id="{opened}"', f'id="{opened}" open', 1)
    return text.replace("</style>", f"{style}{others}</style>", 1)


def pictured() -> str:
    """A digest of what the pictures of `refold ui` are made from."""
    digest = sha256()
    for name in PICTURED:
        digest.update((PAGES / name).read_bytes())
    return digest.hexdigest()


def made(url: str) -> None:
    """Wait until a page that is made beside is there."""
    for _ in range(10 * TIMEOUT_S):
        if b'hx-trigger="every' not in urlopen(url, timeout=TIMEOUT_S).read():
            return
        time.sleep(0.1)
    raise TimeoutError(f"{url} is not there after {TIMEOUT_S} s")


@contextmanager
def served(store: refold.Store) -> Iterator[str]:
    """The address of the pages of a store, on a free port until the block ends."""
    import uvicorn

    from refold.projections import Projector
    from refold.ui import app
    from refold.ui.current import KEPT

    Projector(store, KEPT).catch_up()
    with socket.socket() as at:
        at.bind(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(app(store), log_level="warning", ws="none"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [at]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield f"http://127.0.0.1:{at.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(TIMEOUT_S)


def main(folder: Path) -> None:
    """Make the pictures."""
    import refold
    from refold.demo import Demo
    from refold.replay import branch_name

    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="refold-screenshot-") as temporary:
        here = Path(temporary)
        page, part = here / "report.html", here / "part.html"
        with Demo() as demo:
            result = demo.run(here / "demo.db", report_path=page)
        text = only(page, ["#side-by-side"], f"conversation:{result.shown}")
        part.write_text(text, encoding="utf-8")
        for ending, scheme in SCHEMES.items():
            how: dict[str, Any] = {"width": 1240, "scale": 1.5, "scheme": scheme}
            take_picture(page, folder / f"report{ending}.png", height=1080, **how)
            take_picture(part, folder / f"report-turns{ending}.png", height=1010, **how)
        with refold.open(here / "demo.db") as store, served(store) as address:
            one = f"{address}/conversations/{result.shown}"
            for ending, scheme in SCHEMES.items():
                how = {"width": 1240, "height": 1010, "scale": 1.5, "scheme": scheme}
                picture_at(f"{address}/", folder / f"ui{ending}.png", **how)
                picture_at(one, folder / f"ui-conversation{ending}.png", **how)
            other = branch_name(result.shown, result.replayed.variant)
            asked = {"a": result.shown, "b": other, "only": "differences"}
            of_ui = {
                "compare": f"compare?{urlencode(asked)}",
                "verdict": f"replays/{result.replayed.variant_id}",
            }
            for name, query in of_ui.items():
                made(f"{address}/{query}")
                picture_at(f"{address}/{query}", folder / f"ui-{name}.png", **LIGHT)
    (folder / "ui.sha256").write_text(f"{pictured()}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
