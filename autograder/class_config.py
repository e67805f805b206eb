"""The configuration file of a new class, which nbgrader and JupyterLab read."""

from __future__ import annotations

from autograder.database import normal_url

__all__ = ["config_text"]

_CONFIG = '''\
"""nbgrader's configuration of this class; JupyterLab reads it when it is started in this folder."""

from pathlib import Path

c = get_config()  # noqa: F821
root = Path(__file__).resolve().parent

c.CourseDirectory.root = str(root)
c.CourseDirectory.course_id = "class"
c.Exchange.root = str(root / ".autograder" / "exchange")
c.Exchange.cache = str(root / ".autograder" / "cache")
# Feedback that is made in formgrader keeps hidden tests hidden too.
c.GenerateFeedback.preprocessors = [
    "nbgrader.preprocessors.GetGrades",
    "autograder.recorder.WithoutHiddenTests",
    "nbconvert.preprocessors.CSSHTMLHeaderPreprocessor",
]
'''

_DATABASE = """
# A password belongs into ~/.pgpass or PGPASSWORD.
c.CourseDirectory.db_url = "{url}"
"""


def config_text(database: str = "") -> str:
    """The text of nbgrader_config.py.

    Args:
        database: URL of the gradebook, "" for a file in the class folder.

    Raises:
        AutograderError: it is no URL of a gradebook.
    """
    return _CONFIG + (_DATABASE.format(url=_without_password(database)) if database else "")


def _without_password(database: str) -> str:
    """A password does not go into a file that is copied and shared; ~/.pgpass holds it."""
    from sqlalchemy import make_url

    return make_url(normal_url(database))._replace(password=None).render_as_string(False)
