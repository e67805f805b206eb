"""Let an experiment wait for the exercises it stands on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

__all__ = ["attempt"]


@contextlib.contextmanager
def attempt(needs: str) -> Iterator[None]:
    """Run a cell that uses a student's functions; say which exercises are missing otherwise.

    Only `NotImplementedError`, which every untouched gap raises, is caught, so that "Run All" goes
    through a notebook that is half done. Real errors stay errors.

    Args:
        needs: the exercises the cell stands on, such as "8.3 to 8.6".

    >>> with attempt("8.5"):
    ...     raise NotImplementedError
    This cell runs when exercise 8.5 is written.
    """
    try:
        yield
    except NotImplementedError:
        many = any(word in needs for word in (" to ", " and ", ","))
        print(
            f"This cell runs when exercise{'s' if many else ''} {needs} "
            f"{'are' if many else 'is'} written."
        )
