"""nbgrader's gradebook as a database: make one, and see whether this nbgrader can read it."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from pathlib import Path

from autograder.errors import AutograderError

__all__ = ["check_database", "make_database", "quiet"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings off the screen that nbgrader's use of SQLAlchemy causes."""
    from sqlalchemy.exc import SAWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)
        yield


def make_database(url: str) -> None:
    """Make the tables of a new gradebook, as nbgrader does.

    nbgrader itself runs the program `alembic` for it, which takes seconds and has to be on PATH.
    """
    from nbgrader.api import Base
    from sqlalchemy import create_engine, inspect, text

    engine = create_engine(url)
    try:
        if inspect(engine).get_table_names():
            return
        Base.metadata.create_all(bind=engine)
        with engine.begin() as connection:
            create = "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"
            connection.execute(text(create))
            insert = text("INSERT INTO alembic_version (version_num) VALUES (:head)")
            connection.execute(insert, {"head": _schema()})
    finally:
        engine.dispose()


def _schema() -> str:
    """The version of gradebook that the installed nbgrader writes."""
    from alembic.script import ScriptDirectory
    from nbgrader.dbutil import ALEMBIC_DIR

    return ScriptDirectory(ALEMBIC_DIR).get_current_head() or ""


def check_database(url: str) -> None:
    """See that a gradebook is there and that this nbgrader can read it.

    Raises:
        AutograderError: it is missing, something else, or of another version.
    """
    from sqlalchemy import create_engine, text
    from sqlalchemy.exc import DatabaseError, SQLAlchemyError

    place = url.removeprefix("sqlite:///")
    if url.startswith("sqlite:///") and not Path(place).is_file():
        raise AutograderError(f"there is no gradebook at {place}: release a lab first")
    engine = create_engine(url)
    try:
        with engine.connect() as connection:
            found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    except DatabaseError as error:
        raise AutograderError(f"{place} is not a gradebook: {error.orig}") from error
    except SQLAlchemyError as error:
        raise AutograderError(f"cannot open the gradebook {place}: {error}") from error
    finally:
        engine.dispose()
    wanted = _schema()
    if found != wanted:
        raise AutograderError(
            f"{place} was written by another version of nbgrader (schema {found}, this one reads "
            f"{wanted}): copy it to a safe place, then run `nbgrader db upgrade` there"
        )
