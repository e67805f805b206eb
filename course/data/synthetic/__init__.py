"""Seeded scenes that need no file: every lab trains on them within seconds."""

from course.data.synthetic.context import scenes
from course.data.synthetic.microscopy import cells
from course.data.synthetic.shapes import boxes, lines
from course.data.synthetic.textures import textures

__all__ = ["boxes", "cells", "lines", "scenes", "textures"]
