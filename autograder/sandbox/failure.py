"""The one exception of the sandbox."""

from autograder.errors import AutograderError

__all__ = ["SandboxError"]


class SandboxError(AutograderError):
    """No box can be made here; the message says why and what to do."""
