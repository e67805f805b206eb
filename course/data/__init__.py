"""Data: seeded synthetic scenes that need no file, and readers for real sets."""

from course.data.container import IGNORE, Sample, Scenes, collate
from course.data.synthetic import cells

__all__ = ["IGNORE", "Sample", "Scenes", "cells", "collate"]
