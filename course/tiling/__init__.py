"""Overlap-tile strategy: segment an image of any size with bounded memory [U-Net, Fig. 2].

A network without padding returns less than it sees: a border of m pixels per side is lost. Cut
the image into output tiles that touch, feed each with m pixels more on every side, and fill what
lies outside the image by mirroring. Nothing is averaged, because each pixel is predicted once.

* `course.tiling.plan`: mirroring, and where the tiles lie;
* `course.tiling.predict`: `predict_tiled`, which runs a network over them.

>>> from course.tiling import tile_plan
>>> len(tile_plan(512, 512, 388).boxes)
4
"""

from course.tiling.plan import TilePlan, mirror_pad, mirrored_window, tile_plan
from course.tiling.predict import predict_tiled

__all__ = ["TilePlan", "mirror_pad", "mirrored_window", "predict_tiled", "tile_plan"]
