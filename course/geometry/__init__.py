"""Arithmetic of convolutional networks: sizes, receptive fields, cost. Nothing here is timed.

Four rooms, all of integers that you can check by hand:

* `course.geometry.layers`: output sizes of one layer, receptive field of a chain of layers;
* `course.geometry.modules`: that chain, read from the modules of a network;
* `course.geometry.unet_path`: the 572→388 arithmetic of a U-Net without padding;
* `course.geometry.cost`: multiply-accumulates of a module, counted without running it.

>>> from course.geometry import conv_output_size, unet_output
>>> conv_output_size(224, 7, stride=2, padding=3), unet_output(572)
(112, 388)
"""

from course.geometry.cost import count_macs, macs_by_layer
from course.geometry.layers import (
    Layer,
    ReceptiveField,
    conv_output_size,
    conv_transpose_output_size,
    output_sizes,
    pool_output_size,
    receptive_field,
)
from course.geometry.modules import layers_of
from course.geometry.unet_path import (
    unet_border,
    unet_output,
    unet_receptive_field,
    unet_sizes,
    valid_input_for,
)

__all__ = [
    "Layer",
    "ReceptiveField",
    "conv_output_size",
    "conv_transpose_output_size",
    "count_macs",
    "layers_of",
    "macs_by_layer",
    "output_sizes",
    "pool_output_size",
    "receptive_field",
    "unet_border",
    "unet_output",
    "unet_receptive_field",
    "unet_sizes",
    "valid_input_for",
]
