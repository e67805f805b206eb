"""Every public function that takes tensors: on CUDA it stays there and has the CPU's values.

`CALLS` names each function with a small call of it. `test_every_function_is_called` finds them all
and runs without a GPU, so a new function cannot be forgotten.
"""

import dataclasses
import inspect
import pkgutil
import re
from collections.abc import Iterator
from importlib import import_module
from typing import Any, TypeVar

import pytest
import torch
from function_calls import CALLS, NO_TENSOR, NOT_CALLED
from torch import Tensor, nn

import course.models
from course import data
from course.models.fast_rcnn import FastRCNN
from course.models.rcnn import RCNN
from course.models.yolo import YOLO


def on_gpu(test):
    """Mark a test that needs CUDA, and skip it elsewhere."""
    no_cuda = not torch.cuda.is_available()
    return pytest.mark.gpu(pytest.mark.skipif(no_cuda, reason="no CUDA device")(test))


def to(device: str, value: Any) -> Any:
    """The value with all its tensors and networks on a device."""
    if isinstance(value, Tensor | nn.Module | data.Scenes):
        return value.to(device)
    if isinstance(value, dict):
        return {key: to(device, one) for key, one in value.items()}
    if isinstance(value, list | tuple):
        moved = [to(device, one) for one in value]
        return type(value)(*moved) if hasattr(value, "_fields") else type(value)(moved)
    return value


def run(name: str, device: str) -> Any:
    torch.manual_seed(0)
    function, args, kwargs = CALLS[name]()
    return function(*to(device, args), **to(device, kwargs))


def leaves(value: Any) -> Iterator[Any]:
    """What a result is made of: tensors, numbers, text."""
    if dataclasses.is_dataclass(value):
        value = [getattr(value, field.name) for field in dataclasses.fields(value)]
    if isinstance(value, dict):
        value = [part for item in value.items() for part in item]
    if not isinstance(value, list | tuple):
        yield value
        return
    for part in value:
        yield from leaves(part)


def check_on_cuda(result: Any, expected: Any) -> None:
    """The result has the CPU's values, and its tensors are on CUDA."""
    found, wanted = list(leaves(result)), list(leaves(expected))
    assert len(found) == len(wanted)
    for ours, theirs in zip(found, wanted):
        if isinstance(theirs, Tensor):
            assert ours.is_cuda
            close = {"rtol": 1e-4, "atol": 1e-5} if theirs.is_floating_point() else {}
            torch.testing.assert_close(ours.cpu(), theirs, equal_nan=True, **close)
        else:
            assert ours == (pytest.approx(theirs) if isinstance(theirs, float) else theirs)


@on_gpu
@pytest.mark.parametrize("name", CALLS)
def test_cuda_has_the_values_of_the_cpu(name, monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)
    check_on_cuda(run(name, "cuda"), run(name, "cpu"))


@on_gpu
@pytest.mark.parametrize("detector", [FastRCNN, RCNN, YOLO])
@pytest.mark.parametrize("method", ["loss", "detect"])
def test_detectors_take_boxes_from_the_cpu(detector, method):
    name = f"{detector.__module__[7:]}.{detector.__name__}.{method}"
    torch.manual_seed(0)
    function, (model, pictures, *others), options = CALLS[name]()
    result = function(model.cuda(), pictures.cuda(), *others, **options)
    check_on_cuda(result, run(name, "cpu"))


@pytest.mark.parametrize("name", CALLS)
def test_the_call_runs(name):
    result = [part for part in leaves(run(name, "cpu")) if isinstance(part, Tensor)]
    assert bool(result) != (name in NO_TENSOR)
    assert all(part.numel() for part in result[:1])


def public() -> Iterator[tuple[str, Any]]:
    """Names and values of what the packages offer, of the models also what is not a network."""
    for room in ("boxes", "windows", "geometry", "upsampling", "crf", "metrics", "losses",
                 "tiling", "data", "plots"):  # fmt: skip
        package = import_module(f"course.{room}")
        yield from ((f"{room}.{name}", getattr(package, name)) for name in package.__all__)
    models = [f"models.{found.name}" for found in pkgutil.iter_modules(course.models.__path__)]
    for room in ("proposals", *models):
        module = import_module(f"course.{room}")
        for name, value in vars(module).items():
            if not name.startswith("_") and getattr(value, "__module__", "") == module.__name__:
                yield f"{room}.{name}", value


def takes_tensors(function: Any) -> bool:
    kinds = [parameter.annotation for parameter in inspect.signature(function).parameters.values()]
    kinds += [part for kind in kinds if isinstance(kind, TypeVar) for part in kind.__constraints__]
    holds = r"\b(Tensor|Module|Sequential|Linear|Target|Samples?|Scenes|PyramidLevel|RCNN)\b"
    return any(re.search(holds, str(kind)) for kind in kinds)


def test_every_function_is_called():
    """Methods too; `forward` of the networks is in `test_models_on_gpu.py`."""
    expected = set()
    for name, value in public():
        if inspect.isfunction(value) and (takes_tensors(value) or name.startswith("plots.")):
            expected.add(name)
        if inspect.isclass(value):
            methods = {key: getattr(one, "__func__", one) for key, one in vars(value).items()}
            expected |= {
                f"{name}.{key}"
                for key, one in methods.items()
                if key[0] != "_" and key != "forward" and inspect.isfunction(one)
                if takes_tensors(one)
            }
    assert expected - CALLS.keys() == NOT_CALLED.keys()
