"""Make the pictures of the report: run the demo in a temporary folder, and look at it in Chromium.

    python tools/screenshot.py docs/images

writes `report.png` (the top of the page) and `report-turns.png` (one conversation side by side),
and both as who prefers dark pages sees them (`report-dark.png`, `report-turns-dark.png`).
Set in Inter where that font is installed (Debian: fonts-inter).
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
TIMEOUT_S = 120

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
    done = chromium(
        page.absolute().as_uri(),
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


def main(folder: Path) -> None:
    """Make the pictures."""
    from refold.demo import Demo

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


if __name__ == "__main__":
    main(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/images"))
