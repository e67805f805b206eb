"""Fully connected conditional random field: exact kernels, permutohedral lattice, mean field."""

from course.crf.inference import mean_field, mean_field_step
from course.crf.kernels import normalize_symmetric, pairwise_kernel
from course.crf.lattice import PermutohedralLattice

__all__ = [
    "PermutohedralLattice",
    "mean_field",
    "mean_field_step",
    "normalize_symmetric",
    "pairwise_kernel",
]
