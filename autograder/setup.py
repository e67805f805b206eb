"""Release a lab of this repository into a class: the same notebook that lies in labs/."""

from __future__ import annotations

from autograder.classroom import Classroom
from autograder.layout import Layout

__all__ = ["set_up_lab"]


def set_up_lab(classroom: Classroom, layout: Layout, lab: str) -> None:
    """Put a lab with its files into source/ of a class and release it there.

    Raises:
        AutograderError: the lab's source cannot be read, or nbgrader refuses it.
    """
    import nbformat

    from autograder.current import present_figures
    from autograder.expand import expand
    from autograder.layout import read_folder
    from autograder.source import read_lab

    figures = present_figures(layout.notebook(lab))
    notebook = expand(read_lab(layout.source(lab)), figures=figures, answers=False)
    text = nbformat.writes(notebook) + "\n"
    classroom.add_lab(lab, text.encode("utf-8"), read_folder(layout.files(lab)))
