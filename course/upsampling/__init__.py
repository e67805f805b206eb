"""Upsampling: transposed convolution, bilinear kernels, unpooling."""

from course.upsampling.bilinear import (
    bilinear_kernel,
    bilinear_upsample,
    bilinear_weight,
    upsampled_argmax,
)
from course.upsampling.transposed import (
    conv_as_matrix,
    overlap_count,
    transposed_conv,
    transposed_conv_by_matrix,
)
from course.upsampling.unpooling import (
    SwitchMemory,
    bed_of_nails,
    max_pool_with_switches,
    nearest,
    switch_memory,
    unpool,
)

__all__ = [
    "SwitchMemory",
    "bed_of_nails",
    "bilinear_kernel",
    "bilinear_upsample",
    "bilinear_weight",
    "conv_as_matrix",
    "max_pool_with_switches",
    "nearest",
    "overlap_count",
    "switch_memory",
    "transposed_conv",
    "transposed_conv_by_matrix",
    "unpool",
    "upsampled_argmax",
]
