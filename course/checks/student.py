"""Helpers that touch a student's code, the same in one process or across two.

In a kernel the student's function is the function itself. In a grader it is a stand-in whose
`__remote__(helper, args, kwargs)` runs the helper of the same name where the function lives and
returns data. A test that uses these helpers cannot tell the difference.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

__all__ = ["ModuleHandle", "Observation", "Spy", "build", "gradients", "observe", "spy"]


class Spy:
    """A callable for a student's code to call: counted, remembered, limited.

    Args:
        function: what each call runs.
        limit: calls after which `RuntimeError` is raised.

    Attributes:
        count: calls so far.
        shapes: shape of the first tensor argument of each call, as tuples.
        seconds: time spent inside.

    >>> net = spy(lambda x: x + 1)
    >>> net(torch.zeros(2, 3)).sum().item(), net.count, net.shapes
    (6.0, 1, [(2, 3)])
    """

    def __init__(self, function: Callable[..., Any], limit: int = 100_000) -> None:
        if not callable(function):
            raise TypeError(f"spy needs something callable, got {type(function).__name__}")
        self.function = function
        self.limit = limit
        self.reset()

    def reset(self) -> None:
        """Forget all calls."""
        self.count = 0
        self.seconds = 0.0
        self.shapes: list[tuple[int, ...]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        self.count += 1
        if self.count > self.limit:
            raise RuntimeError(f"called more than {self.limit} times: is there an endless loop?")
        first = next((a for a in args if isinstance(a, Tensor)), None)
        self.shapes.append(tuple(first.shape) if first is not None else ())
        start = time.perf_counter()
        try:
            return self.function(*args, **kwargs)
        finally:
            self.seconds += time.perf_counter() - start

    def __repr__(self) -> str:
        return f"spy(called {self.count} times)"


def spy(function: Callable[..., Any], limit: int = 100_000) -> Spy:
    """Wrap a callable that goes into student code; see `Spy`."""
    return Spy(function, limit)


@dataclass(frozen=True)
class Observation:
    """What one call of a student's function did.

    Attributes:
        value: what it returned, or None.
        error: name of the exception it raised, or "".
        error_bases: names of that exception's class and its bases.
        message: the exception's text.
        changed: positions and names of arguments that the call modified.
        seconds: wall time, for information; never grade it.
    """

    value: Any
    error: str
    error_bases: tuple[str, ...]
    message: str
    changed: tuple[int | str, ...]
    seconds: float


def observe(function: Callable[..., Any], *args: Any, **kwargs: Any) -> Observation:
    """Call a student's function with copies of the arguments and report what happened.

    `NotImplementedError` passes through, so that an untouched stub is recognised as one.

    >>> observe(lambda x: x.zero_(), torch.ones(2)).changed
    (0,)
    >>> observe(lambda x: 1 / x, 0).error
    'ZeroDivisionError'
    """
    if hasattr(type(function), "__remote__"):
        return Observation(*function.__remote__("observe", args, kwargs))  # type: ignore[attr-defined]
    given = {**dict(enumerate(args)), **kwargs}
    taken = {key: _copied(value) for key, value in given.items()}
    positional = [taken[i] for i in range(len(args))]
    named = {key: taken[key] for key in kwargs}
    value, error, bases, message = None, "", (), ""
    start = time.perf_counter()
    try:
        value = function(*positional, **named)
    except NotImplementedError:
        raise
    except Exception as problem:
        error, message = type(problem).__name__, str(problem)
        bases = tuple(base.__name__ for base in type(problem).__mro__)
    seconds = time.perf_counter() - start
    changed = tuple(key for key in given if not _same(given[key], taken[key]))
    return Observation(value, error, bases, message, changed, seconds)


def gradients(
    function: Callable[..., Any], *args: Any, wrt: tuple[int, ...] = (0,), **kwargs: Any
) -> list[Tensor]:
    """Gradients of the sum of a student's function with respect to some of its arguments.

    Args:
        function: returns one floating-point tensor of any shape.
        wrt: positions in `args` of the tensors to differentiate for.

    Returns:
        One tensor per position in `wrt`, zeros where the result does not depend on it.

    Raises:
        TypeError: the function did not return a tensor that gradients can flow through.

    >>> gradients(lambda x: x**2, torch.tensor([1.0, 3.0]))
    [tensor([2., 6.])]
    """
    if hasattr(type(function), "__remote__"):
        return function.__remote__("gradients", args, {**kwargs, "wrt": wrt})  # type: ignore[attr-defined]
    taken = [_copied(value) for value in args]
    for position in wrt:
        taken[position] = taken[position].detach().clone().requires_grad_(True)
    value = function(*taken, **kwargs)
    if not isinstance(value, Tensor):
        raise TypeError(f"a tensor was expected to differentiate, got {type(value).__name__}")
    sources = [taken[position] for position in wrt]
    if not value.requires_grad:
        raise TypeError("the result carries no gradient: was it detached or made from numbers?")
    found = torch.autograd.grad(value.sum(), sources, allow_unused=True)
    return [
        torch.zeros_like(s) if g is None else g.detach()
        for s, g in zip(sources, found, strict=True)
    ]


class ModuleHandle:
    """A student's `nn.Module`, used from outside: load, run, count, differentiate.

    Made by `build`. Everything that goes in or comes out is data.
    """

    def __init__(self, module: nn.Module) -> None:
        self._module = module

    def __call__(self, *inputs: Any) -> Any:
        """Forward pass without gradients."""
        with torch.no_grad():
            return self._module(*inputs)

    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Name and shape of every parameter."""
        return {name: tuple(p.shape) for name, p in self._module.named_parameters()}

    def parameter_count(self) -> int:
        """Number of trainable values."""
        return sum(p.numel() for p in self._module.parameters() if p.requires_grad)

    def state(self) -> dict[str, Tensor]:
        """A copy of the state dictionary."""
        return {key: value.detach().clone() for key, value in self._module.state_dict().items()}

    def load(self, state: dict[str, Tensor]) -> None:
        """Load a state dictionary, strictly."""
        self._module.load_state_dict(state)

    def fill(self, seed: int) -> None:
        """Give every parameter values that depend only on the seed and on its place."""
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for parameter in self._module.parameters():
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.1)

    def train(self, mode: bool = True) -> None:
        """Switch between training and evaluation."""
        self._module.train(mode)

    def gradients(self, *inputs: Any) -> dict[str, Tensor]:
        """Gradient of the sum of the output for every parameter; zeros where there is none."""
        parameters = dict(self._module.named_parameters())
        value = self._module(*inputs)
        found = torch.autograd.grad(value.sum(), list(parameters.values()), allow_unused=True)
        return {
            name: torch.zeros_like(p) if g is None else g
            for (name, p), g in zip(parameters.items(), found, strict=True)
        }


def build(factory: Callable[..., nn.Module], *args: Any, **kwargs: Any) -> ModuleHandle:
    """Construct a student's `nn.Module` class and return a handle to it.

    Raises:
        TypeError: the factory did not return an `nn.Module`.

    >>> net = build(nn.Linear, 3, 2)
    >>> net.parameter_count(), net.shapes()["weight"]
    (8, (2, 3))
    """
    if hasattr(type(factory), "__remote__"):
        return factory.__remote__("build", args, kwargs)  # type: ignore[attr-defined]
    module = factory(*args, **kwargs)
    if not isinstance(module, nn.Module):
        raise TypeError(f"an nn.Module was expected, got {type(module).__name__}")
    return ModuleHandle(module)


def _copied(value: Any) -> Any:
    """A copy that a student may spoil; callables are passed as they are."""
    if isinstance(value, Tensor):
        return value.detach().clone()
    if callable(value):
        return value
    return copy.deepcopy(value)


def _same(before: Any, after: Any) -> bool:
    if isinstance(before, Tensor):
        return before.shape == after.shape and bool(torch.equal(before, after))
    if hasattr(before, "dtype") and hasattr(before, "tobytes"):
        return before.shape == after.shape and before.tobytes() == after.tobytes()
    if callable(before):
        return True
    return bool(before == after)
