"""The one exception that a command turns into a line for the person at the keyboard."""


class AutograderError(Exception):
    """Something the user can put right: the message says what, and the command exits with `code`.

    >>> raise AutograderError("no such lab: 99")
    Traceback (most recent call last):
    autograder.errors.AutograderError: no such lab: 99
    """

    def __init__(self, message: str, *, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
