"""Pictures with a description: one style, colours that survive colour blindness, and alt text.

Every function returns a `Picture`: a notebook shows it where it stands last in a cell, `show()`
shows it elsewhere, `alt` says what it shows and with which numbers, `save(path)` keeps the PNG and
`figure` is the matplotlib figure.
"""

from course.plots.charts import bars, curves, heat, table
from course.plots.compare import compare, compare_values
from course.plots.images import show_images, show_masks
from course.plots.objects import outlines, show_boxes, show_instances
from course.plots.picture import Note, Picture, Table, render
from course.plots.style import PALETTE, canvas
from course.plots.tiles import draw_tiles

__all__ = [
    "PALETTE",
    "Note",
    "Picture",
    "Table",
    "bars",
    "canvas",
    "compare",
    "compare_values",
    "curves",
    "draw_tiles",
    "heat",
    "outlines",
    "render",
    "show_boxes",
    "show_images",
    "show_instances",
    "show_masks",
    "table",
]
