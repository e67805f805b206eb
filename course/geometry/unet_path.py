"""Why 572 becomes 388: the sizes along a U-Net without padding [Ronneberger et al. 2015, Fig. 1].

Every 3×3 convolution without padding loses 2 samples, every pooling halves, every up-convolution
doubles. Let b be the size at the bottom after its two convolutions. Going back up the contracting
path (`n = 2·(…) + 4` per level) and forward along the expanding path gives, for d poolings,

    input n = 2^d·(b + 8) − 4        output = 2^d·(b − 4) + 4 = n − 2m        m = 6·2^d − 4

m is the border lost on each side: 92 samples for d = 4. Pooling needs an even size at every level
(the paper, §3, says so for the tile size), so only one input size in 2^d is legal:
188, 204, …, 572, 588, … for d = 4. A size of 570 or 512 is not.
"""

from operator import index


def unet_sizes(n: int, depth: int = 4) -> list[int]:
    """Every size along the path of a U-Net without padding, input first, output last.

    Three sizes per level: on arrival, after the first and after the second convolution. `depth`
    counts the poolings. Raises `ValueError` for a size that is odd at a pooling (it names the
    level and the nearest legal sizes) or too small to leave an output.

    >>> unet_sizes(572)
    [572, 570, 568, 284, 282, 280, 140, ..., 32, 30, 28, 56, 54, 52, ..., 392, 390, 388]
    """
    n, depth = _checked("n", n), _checked("depth", depth)
    smallest = valid_input_for(1, depth)
    if n < smallest:
        raise ValueError(
            f"input size {n} is too small for a U-Net of depth {depth} without padding: "
            f"the smallest legal size is {smallest}"
        )
    sizes, size = [], n
    for level in range(depth):
        sizes += [size, size - 2, size - 4]
        size -= 4
        if size % 2:
            raise ValueError(_odd_size(n, size, level, depth))
        size //= 2
    for _ in range(depth):
        sizes += [size, size - 2, size - 4]
        size = 2 * (size - 4)
    return [*sizes, size, size - 2, size - 4]


def unet_border(depth: int = 4) -> int:
    """Samples that a U-Net without padding loses on each side: `6·2^depth − 4`.

    >>> [unet_border(depth) for depth in range(1, 6)]
    [8, 20, 44, 92, 188]
    """
    return 6 * 2 ** _checked("depth", depth) - 4


def unet_output(n: int, depth: int = 4) -> int:
    """Output size of a U-Net without padding; raises like `unet_sizes` for an illegal input.

    >>> unet_output(572), unet_output(188)
    (388, 4)
    """
    return unet_sizes(n, depth)[-1]


def valid_input_for(out: int, depth: int = 4) -> int:
    """Smallest legal input of a U-Net without padding whose output is at least `out`.

    >>> valid_input_for(388), valid_input_for(389), valid_input_for(512)
    (572, 588, 700)
    """
    out, scale = _checked("out", out), 2 ** _checked("depth", depth)
    bottom = -(-(out - 4) // scale) + 4
    return scale * (bottom + 8) - 4


def unet_receptive_field(position: int, depth: int = 4) -> tuple[int, int]:
    """Half-open interval of input samples that one output sample of a U-Net depends on.

    `position` counts output samples without padding, so sample 0 lies `unet_border` samples
    inside the input. The width depends on the position in the pooling grid: 188 or 204 for
    depth 4, although all output samples share the same weights.

    >>> [b - a for a, b in (unet_receptive_field(position) for position in (0, 3, 4, 15))]
    [188, 188, 204, 204]
    """
    first = last = _checked("position", position, least=0)
    for _ in range(_checked("depth", depth)):  # up: two 3×3 convolutions, then 2×2 with stride 2
        first, last = first // 2, (last + 4) // 2
    last += 4  # the two convolutions at the bottom
    for _ in range(depth):  # down: one pooling, then two convolutions
        first, last = 2 * first, 2 * last + 1 + 4
    return first, last + 1


def _odd_size(n: int, size: int, level: int, depth: int) -> str:
    above = valid_input_for(n - 2 * unet_border(depth), depth)
    below = above - 2**depth
    legal = above if below < valid_input_for(1, depth) else f"{below} and {above}"
    return (
        f"input size {n} is not legal for a U-Net of depth {depth} without padding: "
        f"level {level} would pool the odd size {size}; nearest legal: {legal}"
    )


def _checked(name: str, value: int, *, least: int = 1) -> int:
    try:
        value = index(value)
    except TypeError:
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return value
