"""Print a deck with the Chromium that is installed, headless."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from course.lectures.catalogue import LectureError

__all__ = ["find_chromium", "print_pdf"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SECONDS = 180
_PAGE = re.compile(rb"/Type\s*/Page\b")


def find_chromium() -> str:
    """The program; the environment variable CHROMIUM comes before the usual names.

    Raises:
        LectureError: none is installed.
    """
    found = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)
    if found is None:
        raise LectureError(
            "--pdf needs Chromium: apt-get install chromium, or set CHROMIUM to its path"
        )
    return found


def print_pdf(deck: Path, target: Path, chromium: str, slides: int) -> None:
    """Write the PDF of a deck, one page per slide.

    Raises:
        LectureError: Chromium left no PDF, or one with fewer pages than the deck has slides.
    """
    with TemporaryDirectory(prefix="chromium-") as profile:
        command = [chromium, "--headless", "--disable-gpu", f"--user-data-dir={profile}"]
        command += ["--no-first-run", "--disable-background-networking", "--no-pdf-header-footer"]
        command += ["--virtual-time-budget=60000", f"--print-to-pdf={target}"]
        if hasattr(os, "geteuid") and os.geteuid() == 0:
            command.append("--no-sandbox")  # Chromium refuses to run as root with it
        command.append(f"{deck.resolve().as_uri()}?print-pdf")
        try:
            ran = subprocess.run(command, capture_output=True, text=True, timeout=_SECONDS)
            said = ran.stderr.strip().splitlines()
        except (OSError, subprocess.TimeoutExpired) as error:
            said = [str(error)]
    pages = len(_PAGE.findall(target.read_bytes())) if target.is_file() else 0
    if pages < slides:
        reason = said[-1] if said else "no reason given"
        raise LectureError(f"Chromium printed {pages} of {slides} slides of {deck.name}: {reason}")
