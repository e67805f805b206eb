"""Print a deck with the Chromium that is installed, headless."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path
from tempfile import TemporaryDirectory

from course.lectures.catalogue import LectureError

__all__ = ["find_chromium", "print_pdf"]

_NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
_SECONDS = 180


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


def print_pdf(deck: Path, target: Path, chromium: str) -> None:
    """Write the PDF of a deck, one page per slide.

    Raises:
        LectureError: Chromium left no PDF.
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
    if not target.is_file() or target.read_bytes()[:5] != b"%PDF-":
        reason = said[-1] if said else "no reason given"
        raise LectureError(f"Chromium printed no PDF of {deck.name}: {reason}")
