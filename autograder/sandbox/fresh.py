"""A worker whose server cannot be forked safely: a new interpreter that imports for itself.

`python -m autograder.sandbox.fresh TARGET CHANNEL ARGUMENTS MODULE...`, started by `box.main` when
the process is already confined; CHANNEL and ARGUMENTS are descriptors.
"""

from __future__ import annotations

import importlib
import os
import sys

from autograder.sandbox.box import call

__all__ = ["main"]


def main() -> None:
    """Import what the server would have imported, then call the target."""
    target, channel, arguments, *preload = sys.argv[1:]
    with open(int(arguments), "rb") as file:
        text = file.read()
    os.set_inheritable(int(channel), False)
    for name in preload:
        importlib.import_module(name)
    call(target, int(channel), text)


if __name__ == "__main__":
    main()
