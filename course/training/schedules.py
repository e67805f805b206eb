"""Learning rate as a function of the step, so that a continued run needs no scheduler state."""

__all__ = ["poly_lr"]


def poly_lr(step: int, steps: int, *, base: float = 1.0, power: float = 0.9) -> float:
    """The "poly" policy of DeepLab v2 and PSPNet: base (1 - step / steps)^power.

    Args:
        step: updates done so far, 0 … `steps`.
        steps: updates of the whole run.
        base: learning rate at step 0. As the `schedule` of `fit`, leave it at 1.
        power: 0 is constant, 1 a straight line to 0.

    Returns:
        The learning rate of the next update; 0 after the last one.

    Raises:
        ValueError: `step` outside 0 … `steps`.

    Source: Chen et al. 2017 (DeepLab v2), section 4.1.1; Zhao et al. 2017 (PSPNet), section 5.1.

    Example:
        >>> [round(poly_lr(step, 20000, base=0.01), 6) for step in (0, 10000, 19999)]
        [0.01, 0.005359, 1e-06]
    """
    if not 0 <= step <= steps or steps < 1:
        raise ValueError(f"expected 0 <= step <= steps and steps >= 1, got {step} of {steps}")
    return base * (1 - step / steps) ** power
