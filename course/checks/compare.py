"""Compare what came with what was expected, and say where, how and why they differ.

Numbers, text, lists, tuples, dictionaries, numpy arrays and torch tensors compare by value; types
are read exactly, so an object that claims to equal everything equals nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

__all__ = ["Difference", "difference"]

_SCALARS = (bool, int, float, str, type(None))


@dataclass(frozen=True)
class Difference:
    """How two values differ.

    Attributes:
        summary: one sentence: what was expected, what came, where first.
        expected, actual: the values; numpy arrays where they were arrays or tensors.
        mistake: the message of the known mistake that gives the same value, or "".
    """

    summary: str
    expected: Any
    actual: Any
    mistake: str = ""


def difference(
    actual: Any,
    expected: Any,
    *,
    tolerance: float = 1e-5,
    mistakes: Mapping[str, Any] | None = None,
    dtype: bool = False,
) -> Difference | None:
    """The difference between two values, or None where there is none.

    Args:
        tolerance: for floating-point values, absolute, and relative to the expected magnitude.
        mistakes: message → the value that a known wrong answer gives here.
        dtype: also compare the dtypes of arrays and tensors.

    >>> difference([572, 570], [572, 570]) is None
    True
    >>> difference([572, 571], [572, 570]).summary
    'expected 570 at position 1, got 571'
    >>> difference(3, 4, mistakes={"one short": 3}).mistake
    'one short'
    """
    summary = _differs(actual, expected, tolerance, dtype, "")
    if summary is None:
        return None
    if dtype and _differs(actual, expected, tolerance, False, "") is None:
        mistake = "Right values; only the dtype is another."
        return Difference(summary, _plain(expected), _plain(actual), mistake)
    mistake = ""
    for message, wrong in (mistakes or {}).items():
        if _differs(actual, wrong, tolerance, False, "") is None:
            mistake = message
            break
    else:
        mistake = _shape_of_error(actual, expected, tolerance)
    return Difference(summary, _plain(expected), _plain(actual), mistake)


def _differs(actual: Any, expected: Any, tol: float, dtype: bool, where: str) -> str | None:
    at = f" at {where}" if where else ""
    if isinstance(expected, Tensor | np.ndarray):
        return _arrays_differ(actual, expected, tol, dtype, at)
    actual = _scalar(actual)
    if type(expected) in (list, tuple, torch.Size):
        if type(actual) not in (list, tuple, torch.Size):
            wanted = f"a {type(expected).__name__} of {len(expected)} values"
            return f"expected {wanted}{at}, got {kind(actual)}"
        for i, (a, e) in enumerate(zip(actual, expected)):
            inner = f"{where}[{i}]" if where else f"position {i}"
            if (found := _differs(a, e, tol, dtype, inner)) is not None:
                return found
        if len(actual) != len(expected):
            return f"expected {len(expected)} values{at}, got {len(actual)}"
        return None
    if type(expected) is dict:
        if type(actual) is not dict:
            return f"expected a dict{at}, got {kind(actual)}"
        if set(actual) != set(expected):
            keys = sorted(map(str, expected)), sorted(map(str, actual))
            return f"expected the keys {keys[0]}{at}, got {keys[1]}"
        found = (_differs(actual[k], expected[k], tol, dtype, f"{where}[{k!r}]") for k in expected)
        return next((f for f in found if f is not None), None)
    expected = _scalar(expected)
    if type(actual) not in _SCALARS:
        return f"expected {expected!r}{at}, got {kind(actual)}"
    numbers = (int, float)
    if type(actual) in numbers and type(expected) in numbers:
        if type(expected) is int and type(actual) is float and actual != expected:
            return f"expected {expected!r}{at}, got {actual!r}"
        same = actual == expected or (
            float in (type(actual), type(expected))
            and bool(np.isclose(actual, expected, rtol=tol, atol=tol, equal_nan=True))
        )
        return None if same else f"expected {_short(expected)}{at}, got {_short(actual)}"
    if type(actual) is type(expected) and actual == expected:
        return None
    return f"expected {expected!r}{at}, got {actual!r}"


def _arrays_differ(actual: Any, expected: Any, tol: float, dtype: bool, at: str) -> str | None:
    wanted = "a tensor" if isinstance(expected, Tensor) else "an array"
    if type(actual) not in (Tensor, torch.nn.Parameter, np.ndarray):
        return f"expected {wanted} of shape {tuple(expected.shape)}{at}, got {kind(actual)}"
    if isinstance(expected, Tensor) != isinstance(actual, Tensor):
        return f"expected {wanted}{at}, got {kind(actual)}"
    if tuple(actual.shape) != tuple(expected.shape):
        return f"expected shape {tuple(expected.shape)}{at}, got shape {tuple(actual.shape)}"
    if dtype and actual.dtype != expected.dtype:
        return f"expected dtype {expected.dtype}{at}, got {actual.dtype}"
    a, e = _plain(actual), _plain(expected)
    if e.dtype.kind in "fc" or a.dtype.kind in "fc":
        scale = float(np.max(np.abs(e), where=np.isfinite(e), initial=0.0))
        wrong = ~np.isclose(a, e, rtol=0, atol=tol * max(1.0, scale), equal_nan=True)
    else:
        wrong = a != e
    count = int(np.count_nonzero(wrong))
    if count == 0:
        return None
    place = np.unravel_index(int(np.argmax(wrong)), wrong.shape)
    index = ", ".join(str(int(i)) for i in place)
    of = f"{count} of {wrong.size} values differ" if wrong.size > 1 else "the value differs"
    return f"{of}{at}; first at [{index}]: expected {_short(e[place])}, got {_short(a[place])}"


def _shape_of_error(actual: Any, expected: Any, tol: float) -> str:
    """Name the general patterns: transposed, mirrored, shifted, scaled, wrong sign."""
    a, e = _plain(actual), _plain(expected)
    if not (isinstance(a, np.ndarray) and isinstance(e, np.ndarray)) or a.dtype.kind not in "biuf":
        return ""
    if e.dtype.kind not in "biuf" or e.size < 2 or not np.isfinite(a).all():
        return ""
    limit = tol * max(1.0, float(np.max(np.abs(np.nan_to_num(e)))))
    a, e = a.astype(float), e.astype(float)

    def same(x: np.ndarray, y: np.ndarray) -> bool:
        return x.shape == y.shape and bool(np.allclose(x, y, rtol=0, atol=limit))

    if a.ndim >= 2 and same(a.swapaxes(-1, -2), e):
        return "Rows and columns are swapped: your result is the transpose of the expected one."
    if a.shape != e.shape:
        return ""
    if a.ndim >= 2 and same(a[..., ::-1, ::-1], e):
        return "Your result is the expected one turned by 180 degrees: is a kernel flipped?"
    for axis, name in ((-1, "columns"), (-2, "rows")):
        if a.ndim >= -axis and same(np.flip(a, axis), e):
            return f"Right values, but the {name} are mirrored."
        if a.ndim >= -axis and a.shape[axis] > 2:
            for step in (1, -1):
                if same(np.roll(a, step, axis), e):
                    return f"Right values, but shifted by one along the {name}."
    if same(-a, e):
        return "The sign is wrong everywhere."
    used = np.abs(e) > limit
    if used.any():
        ratio = a[used] / e[used]
        factor = float(np.median(ratio))
        if factor and same(a, factor * e):
            return f"Your values are {factor:.4g} times the expected ones everywhere."
    offset = float(np.median(a - e))
    if same(a - offset, e):
        return f"Your values are off by {offset:+.4g} everywhere."
    return ""


def kind(value: Any) -> str:
    """A short description of any object, without calling its own code."""
    t = type(value)
    if t in (Tensor, torch.nn.Parameter, np.ndarray):
        name = "a numpy array" if t is np.ndarray else "a tensor"
        dtype = str(value.dtype).removeprefix("torch.")
        return f"{name} of shape {tuple(value.shape)} and dtype {dtype}"
    if t in _SCALARS:
        return "None" if value is None else f"{value!r} ({t.__name__})"
    if t in (list, tuple):
        return f"a {t.__name__} of {len(value)} values"
    return f"an object of type {t.__name__}"


def _plain(value: Any) -> Any:
    if type(value) in (Tensor, torch.nn.Parameter):
        value = value.detach().cpu()
        return (value.float() if value.dtype == torch.bfloat16 else value).numpy()
    return value


def _scalar(value: Any) -> Any:
    """Numpy numbers and 0-d tensors as Python numbers; everything else as it is."""
    if isinstance(value, np.generic):
        return value.item()
    if type(value) in (Tensor, torch.nn.Parameter) and value.ndim == 0:
        return value.detach().item()
    return value


def _short(value: Any) -> str:
    value = _scalar(value)
    return f"{value:.6g}" if type(value) is float else repr(value)
