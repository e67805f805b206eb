"""Image segmentation, from sliding windows to reverse attention.

The library that the labs and lectures import, in four floors; imports only go down:

1. ground: `geometry`, `tiling`, `losses`, `metrics`, `boxes`, `windows`, `upsampling`, `crf`
2. systems: `models`, one paper per module
3. practice: `data`, `training`, `plots`
4. classroom: `checks`, `demos`, `lectures`

Importing `course` loads nothing else, so a kernel starts as fast as torch allows.
"""

__version__ = "0.1.0"
