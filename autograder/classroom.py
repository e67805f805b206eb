"""One class: an nbgrader course folder, and what the commands keep beside it.

    nbgrader_config.py  gradebook.db  source/  release/  submitted/  autograded/  feedback/
    .autograder/LAB/collected.json, results/STUDENT.json, outcomes/, journal.jsonl, events.jsonl,
    released.json, nbgrader.log

Everything nbgrader knows is in nbgrader's own places, so that formgrader opens it.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from autograder.class_config import config_text
from autograder.database import check_database, hold_database, make_database, normal_url, quiet
from autograder.errors import AutograderError
from autograder.history import with_history
from autograder.records import write_whole
from autograder.template import Template, read_template

__all__ = ["Classroom", "create_classroom", "open_classroom"]


@dataclass(frozen=True)
class Classroom:
    """The folders of one class.

    Attributes:
        root: the course folder, absolute.
        database: URL of its gradebook, "" for what the class's configuration says.
    """

    root: Path
    database: str = ""

    def source(self, lab: str) -> Path:
        """The notebook with solutions."""
        return self.root / "source" / lab / f"{lab}.ipynb"

    def release(self, lab: str) -> Path:
        """The notebook that students received."""
        return self.root / "release" / lab / f"{lab}.ipynb"

    def submitted(self, student: str, lab: str) -> Path:
        """What a student handed in."""
        return self.root / "submitted" / student / lab / f"{lab}.ipynb"

    def autograded(self, student: str, lab: str) -> Path:
        """The executed notebook."""
        return self.root / "autograded" / student / lab / f"{lab}.ipynb"

    def feedback(self, student: str, lab: str) -> Path:
        """The student's feedback page."""
        return self.root / "feedback" / student / lab / f"{lab}.html"

    def state(self, lab: str) -> Path:
        """What the commands keep about a lab."""
        return self.root / ".autograder" / lab

    def manifest(self, lab: str) -> Path:
        """Who handed in what."""
        return self.state(lab) / "collected.json"

    def result(self, student: str, lab: str) -> Path:
        """The result record of one student."""
        return self.state(lab) / "results" / f"{student}.json"

    def journal(self, lab: str) -> Path:
        """What was written where, see `autograder.schedule.journal`."""
        return self.state(lab) / "journal.jsonl"

    def events(self, lab: str) -> Path:
        """What happened when, see `autograder.schedule.events`."""
        return self.state(lab) / "events.jsonl"

    def outcomes(self, lab: str) -> Path:
        """Results under their keys, see `autograder.schedule.store`."""
        return self.state(lab) / "outcomes"

    @property
    def labs(self) -> list[str]:
        """Labs that were released here."""
        return sorted(
            p.stem for p in self.root.glob("release/*/*.ipynb") if p.stem == p.parent.name
        )

    @cached_property
    def config(self) -> Any:
        """nbgrader's configuration of this class.

        Raises:
            AutograderError: nbgrader_config.py cannot be run.
        """
        from traitlets.config import Config
        from traitlets.config.loader import ConfigFileNotFound, PyFileConfigLoader

        try:
            config = PyFileConfigLoader("nbgrader_config.py", path=str(self.root)).load_config()
        except ConfigFileNotFound:
            config = Config()
        except Exception as error:
            raise AutograderError(f"{self.root / 'nbgrader_config.py'}: {error}") from error
        config.CourseDirectory.root = str(self.root)
        if self.database:
            config.CourseDirectory.db_url = normal_url(self.database)
        elif isinstance(configured := config.CourseDirectory.get("db_url"), str):
            config.CourseDirectory.db_url = normal_url(configured)
        return config

    def directory(self) -> Any:
        """nbgrader's own object for this course."""
        from nbgrader.coursedir import CourseDirectory

        return CourseDirectory(config=self.config)

    def gradebook(self) -> Any:
        """Open the gradebook.

        Raises:
            AutograderError: it is missing, no gradebook, or another nbgrader's.
        """
        from nbgrader.api import Gradebook

        directory = self.directory()
        check_database(directory.db_url)
        return Gradebook(directory.db_url, directory.course_id)

    def template(self, lab: str) -> Template:
        """Our cells of a lab, hidden tests included.

        Raises:
            AutograderError: no such lab here.
        """
        from nbgrader.api import MissingEntry

        if not self.release(lab).is_file():
            known = ", ".join(self.labs) or "none"
            raise AutograderError(f"no lab {lab} in {self.root}; there is {known}", code=2)
        with self.gradebook() as gradebook:
            try:
                cells = gradebook.find_notebook(lab, lab).source_cells
            except MissingEntry:
                raise AutograderError(
                    f"the gradebook does not know {lab}: release the lab again"
                ) from None
            template = read_template(self.release(lab), lab, {c.name: c.source for c in cells})
        past = self.state(lab) / "released.json"
        return replace(template, cells=with_history(template.cells, past))

    def log(self, lab: str) -> logging.Logger:
        """Where nbgrader's own messages go."""
        logger = logging.getLogger(f"autograder.nbgrader.{self.root}.{lab}")
        if not logger.handlers:
            self.state(lab).mkdir(parents=True, exist_ok=True)
            handler = logging.FileHandler(self.state(lab) / "nbgrader.log", encoding="utf-8")
            handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
            logger.addHandler(handler)
            logger.propagate = False
            logger.setLevel(logging.INFO)
        return logger

    @contextlib.contextmanager
    def only_one(self) -> Iterator[None]:
        """Hold the class: the gradebook has one writer.

        Raises:
            AutograderError: another command holds it, here or, where the gradebook is on a server,
                on another machine.
        """
        import fcntl

        busy = f"another autograder command is at work in {self.root}"
        path = self.root / ".autograder" / "lock"
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a")
        except OSError as error:
            raise AutograderError(f"cannot write in {self.root}: {error.strerror}") from error
        with file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                raise AutograderError(busy) from None
            directory = self.directory()
            with hold_database(directory.db_url, directory.course_id) as held:
                if not held:
                    raise AutograderError(f"{busy}, or on another machine with its gradebook")
                yield

    def add_lab(self, lab: str, notebook: bytes, files: dict[str, bytes] | None = None) -> None:
        """Put a lab into source/ and let nbgrader release it here.

        Args:
            notebook: with solutions and hidden tests.
            files: path relative to the notebook → content.

        Raises:
            AutograderError: nbgrader refuses it.
        """
        from nbgrader.converters import GenerateAssignment
        from nbgrader.converters.base import NbGraderException

        with contextlib.suppress(AutograderError):
            self.template(lab)  # what was given so far is remembered, see autograder.history
        for name, content in (files or {}).items():
            write_whole(self.source(lab).parent / name, content)
        write_whole(self.source(lab), notebook)
        directory = self.directory()
        directory.assignment_id = lab
        make_database(directory.db_url)
        converter = GenerateAssignment(
            coursedir=directory, config=self.config, log=self.log(lab), force=True
        )
        try:
            with quiet():
                converter.start()
        except NbGraderException as error:
            log = self.state(lab) / "nbgrader.log"
            raise AutograderError(f"nbgrader refuses {lab}: {error} (see {log})") from error


def open_classroom(root: Path, database: str = "") -> Classroom:
    """An existing class.

    Args:
        database: URL of its gradebook, "" for what the class's configuration says.

    Raises:
        AutograderError: there is none.
    """
    if not root.is_dir():
        raise AutograderError(f"no class at {root}: the folder does not exist", code=2)
    if not any((root / name).exists() for name in ("nbgrader_config.py", "release", "source")):
        raise AutograderError(
            f"no class at {root}: expected nbgrader_config.py, source/ or release/ in it", code=2
        )
    return Classroom(root.resolve(), database)


def create_classroom(root: Path, database: str = "") -> Classroom:
    """A class in a new or existing folder; nothing that is there is changed.

    Args:
        database: URL of its gradebook, which a new class keeps in its configuration, but for a
            password; "" for a file in the folder.

    Raises:
        AutograderError: the folder holds something else.
    """
    if root.exists() and not root.is_dir():
        raise AutograderError(f"{root} is a file, not a folder", code=2)
    if root.is_dir() and any(root.iterdir()):
        return open_classroom(root, database)
    text = config_text(database)
    # nbgrader wants its exchange to be there, even where a learning platform takes its place.
    (root / ".autograder" / "exchange").mkdir(parents=True, exist_ok=True)
    write_whole(root / "nbgrader_config.py", text)
    return Classroom(root.resolve(), database)
