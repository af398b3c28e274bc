"""`python -m tests.screenshots`: take the pictures of the documentation, from a shop that runs for a minute or two."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from tests.support.environment import isolate

IMAGES = Path(__file__).resolve().parents[2] / "docs" / "images" / "admin"


def main() -> int:
    """Take them, or say why not."""
    parser = argparse.ArgumentParser(prog="python -m tests.screenshots", description=__doc__)
    parser.add_argument("--into", type=Path, default=IMAGES, help="directory of the pictures (default: %(default)s)")
    parser.add_argument("--stay", action="store_true", help="take none, and let the shop run until Ctrl-C")
    options = parser.parse_args()
    from tests.support.browser import find_chromium, launched

    if find_chromium() is None and not options.stay:
        say("skipped: there is no browser here; install Debian's chromium (apt-get install chromium)")
        return 0
    # Whoever ends it leaves no shop behind.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    directory = Path(tempfile.mkdtemp(prefix="queuesite-shop-"))
    isolate(os.environ)
    from tests.screenshots.shop import shop

    try:
        say(f"starting the shop; its logs are in {directory}")
        with shop(directory) as opened:
            if options.stay:
                say(f"{opened.address}/admin/ as alice, password {opened.password}; Ctrl-C ends it")
                with suppress(KeyboardInterrupt):
                    signal.pause()
                return 0
            from tests.screenshots.pictures import PICTURES, take

            options.into.mkdir(parents=True, exist_ok=True)
            with launched() as browser:
                for picture, size in take(opened, browser, options.into):
                    say(f"{picture.file:<24}{size // 1_000:>5} kB")
            names = {picture.file for picture in PICTURES}
            for old in options.into.glob("*.webp"):
                if old.name not in names:
                    old.unlink()
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    return 0


def say(line: str) -> None:
    """Print a line at once, into a pipe too."""
    print(line, flush=True)  # noqa: T201


if __name__ == "__main__":
    sys.exit(main())
