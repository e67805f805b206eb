"""nbgrader's gradebook as a database: make one, and see whether this nbgrader can read it.

SQLite is a file in the class folder and takes one writer. PostgreSQL is a server, for a class that
is graded or looked at from several machines.
"""

from __future__ import annotations

import contextlib
import warnings
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from autograder.errors import AutograderError

__all__ = ["check_database", "hold_database", "make_database", "normal_url", "quiet", "shown_url"]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Keep warnings off the screen that nbgrader's use of SQLAlchemy causes."""
    from sqlalchemy.exc import SAWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SAWarning)
        yield


def normal_url(url: str) -> str:
    """A gradebook's URL with the driver that this project installs.

    >>> normal_url("postgresql://ann@host/grades")
    'postgresql+psycopg://ann@host/grades'
    >>> normal_url("sqlite:////class/gradebook.db")
    'sqlite:////class/gradebook.db'

    Raises:
        AutograderError: it is no URL of a database that nbgrader can use.
    """
    scheme, colon, rest = url.partition("://")
    if scheme in ("postgres", "postgresql"):
        return f"postgresql+psycopg://{rest}"
    if not colon or scheme.partition("+")[0] not in ("sqlite", "postgresql"):
        raise AutograderError(
            f"no URL of a gradebook: {url!r}; write sqlite:////folder/gradebook.db or "
            "postgresql://user@host/name",
            code=2,
        )
    return url


def shown_url(url: str) -> str:
    """A URL for people: the file of SQLite, else the URL without its password.

    >>> shown_url("sqlite:////class/gradebook.db")
    '/class/gradebook.db'
    >>> shown_url("postgresql+psycopg://ann:secret@host/grades")
    'postgresql+psycopg://ann:***@host/grades'
    """
    from sqlalchemy import make_url

    if url.startswith("sqlite:///"):
        return url.removeprefix("sqlite:///")
    return make_url(url).render_as_string(hide_password=True)


def make_database(url: str) -> None:
    """Make the tables of a new gradebook, as nbgrader does.

    nbgrader itself runs the program `alembic` for it, which takes seconds and has to be on PATH.

    Raises:
        AutograderError: the server does not answer, or refuses.
    """
    from nbgrader.api import Base
    from sqlalchemy import inspect, text

    with _connected(url) as connection:
        if inspect(connection).get_table_names():
            return
        Base.metadata.create_all(bind=connection)
        create = "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"
        connection.execute(text(create))
        insert = text("INSERT INTO alembic_version (version_num) VALUES (:head)")
        connection.execute(insert, {"head": _schema()})
        connection.commit()


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
    from sqlalchemy import inspect, text

    place = shown_url(url)
    if url.startswith("sqlite:///") and not Path(place).is_file():
        raise AutograderError(f"there is no gradebook at {place}: release a lab first")
    with _connected(url) as connection:
        if not inspect(connection).has_table("alembic_version"):
            raise AutograderError(
                f"{place} is not a gradebook: it has no tables of nbgrader's; `autograder collect` "
                "with the same class and database makes them"
            )
        found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    wanted = _schema()
    if found != wanted:
        raise AutograderError(
            f"{place} was written by another version of nbgrader (schema {found}, this one reads "
            f"{wanted}): copy it to a safe place, then run `nbgrader db upgrade` there"
        )


@contextlib.contextmanager
def _connected(url: str) -> Iterator[Any]:
    """A connection that is closed at the end.

    Raises:
        AutograderError: the driver is not installed, the server does not answer or refuses, or the
            file is no database.
    """
    from sqlalchemy import create_engine
    from sqlalchemy.exc import DBAPIError, NoSuchModuleError, SQLAlchemyError

    place = shown_url(url)
    try:
        engine = create_engine(url)
    except (ImportError, NoSuchModuleError) as error:
        raise AutograderError(
            f"no driver for {place} ({error}): pip install 'psycopg[binary]'"
        ) from error
    try:
        with engine.connect() as connection:
            yield connection
    except DBAPIError as error:
        reason = str(error.orig).strip().splitlines()[-1]
        if "locked" in reason:
            raise AutograderError(
                f"the gradebook {place} is locked by another program (formgrader?): close it, "
                "then the same command goes on"
            ) from error
        if url.startswith("sqlite"):
            raise AutograderError(f"{place} is not a gradebook: {reason}") from error
        raise AutograderError(f"cannot open the gradebook {place}: {reason}") from error
    except SQLAlchemyError as error:
        raise AutograderError(f"cannot open the gradebook {place}: {error}") from error
    finally:
        engine.dispose()


@contextlib.contextmanager
def hold_database(url: str, what: str) -> Iterator[bool]:
    """Hold a lock in a database that several machines may write to; True if this process has it.

    SQLite needs none: the class folder is held by a lock on a file.

    Args:
        what: the lock's name, such as the class; another name is another lock.
    """
    from sqlalchemy import text

    if not url.startswith("postgresql"):
        yield True
        return
    with _connected(url) as connection:
        # The lock goes when the connection does, also when this process is killed.
        number = zlib.crc32(f"autograder {what}".encode())
        got = connection.execute(text("SELECT pg_try_advisory_lock(:n)"), {"n": number}).scalar()
        connection.commit()
        yield bool(got)
