"""The last steps on an executed notebook, as nbgrader takes them, and what it then says."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from autograder.errors import AutograderError

__all__ = ["Finish", "NotTaken", "remarks_in", "scores_in"]


class NotTaken(AutograderError):
    """nbgrader does not take one notebook; the others can still be written."""


class Finish:
    """Makes notebooks what nbgrader would keep.

    Args:
        config: the class's configuration; log: where nbgrader's steps write.
        kernelspec: of the released notebook, None where it has none.
        checksums: grade id → checksum of our cell.
    """

    def __init__(
        self, config: Any, log: Any, kernelspec: Any, checksums: Mapping[str, str]
    ) -> None:
        from nbconvert.preprocessors import ClearMetadataPreprocessor
        from nbgrader.preprocessors import CheckCellMetadata, IgnorePattern, LimitOutput

        self._kernelspec = kernelspec
        self._checksums = checksums
        # The steps that nbgrader takes behind the execution, each as the class configures it.
        steps = (IgnorePattern, ClearMetadataPreprocessor, LimitOutput)
        self._steps = [step(config=config, log=log) for step in steps]
        self._check = CheckCellMetadata(config=config, log=log)
        self._valid: set[str] = set()

    def __call__(self, notebook: Any) -> Any:
        """The notebook as nbgrader would keep it: its kernel, its checksums, its limits.

        Args:
            notebook: executed; it is changed.

        Raises:
            NotTaken: nbgrader's metadata in it is not valid.
        """
        from nbgrader.nbgraderformat import ValidationError

        if self._kernelspec:
            notebook.metadata["kernelspec"] = dict(self._kernelspec)
        for cell in notebook.cells:
            course = cell.metadata.get("nbgrader", {})
            if course.get("grade_id") in self._checksums:
                course["checksum"] = self._checksums[course["grade_id"]]
        for step in self._steps:
            notebook, _ = step(notebook, {})
        # nbgrader looks at kinds and metadata only, which are ours, so mostly the same as before.
        kinds = json.dumps([[c.cell_type, c.metadata.get("nbgrader")] for c in notebook.cells])
        if kinds not in self._valid:
            try:
                self._check.preprocess(notebook, {})
            except ValidationError as error:
                raise NotTaken(f"nbgrader does not take this notebook: {error}") from error
            self._valid.add(kinds)
        return notebook


def scores_in(notebook: Any) -> dict[str, float | None]:
    """Grade id → points by nbgrader's own rule, None where a person decides."""
    from nbgrader import utils

    graded = [cell for cell in notebook.cells if utils.is_grade(cell)]
    return {c.metadata.nbgrader.grade_id: utils.determine_grade(c)[0] for c in graded}


def remarks_in(notebook: Any) -> dict[str, str | None]:
    """Grade id → "No response." for an answer that nobody touched, else None."""
    from nbgrader import utils

    remarks = {}
    for cell in notebook.cells:
        if utils.is_solution(cell) or utils.is_task(cell):
            course = cell.metadata.nbgrader
            same = course.get("checksum") == utils.compute_checksum(cell)
            empty = same and not utils.is_task(cell)
            remarks[course.grade_id] = "No response." if empty else None
    return remarks
