"""Seeded scenes that need no file: every lab trains on them within seconds."""

from course.data.synthetic.microscopy import cells

__all__ = ["cells"]
