"""What a lecturer can move in a demo: sliders, choices, switches, boxes, points and cells to paint.

A control is a description: its name in the state, what it is called on screen, and which values it
takes. The view (`view.js`) builds it in the browser from `spec()`; `accept` checks every value that
comes back, so that a drawing function never meets an impossible state.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

__all__ = ["Area", "Boxes", "Choice", "Control", "Paint", "Point", "Slider", "Toggle"]


@dataclass(frozen=True)
class Area:
    """The part of the picture on which a control is dragged, painted or clicked.

    Attributes:
        left, top: corner of the area in the picture, pixels.
        width, height: its size in the control's own units (feature cells, image pixels, ...).
        scale: pixels of the picture per unit.

    Example:
        >>> Area(left=20, top=40, width=8, height=8, scale=40).box
        (20, 40, 340, 360)
    """

    left: float
    top: float
    width: float
    height: float
    scale: float

    @property
    def box(self) -> tuple[float, float, float, float]:
        """Corners (x0, y0, x1, y1) in the picture, pixels."""
        right, bottom = self.width * self.scale, self.height * self.scale
        return (self.left, self.top, self.left + right, self.top + bottom)

    def place(self, x: float, y: float) -> tuple[float, float]:
        """Pixel of the picture at which the point (x, y), in units, lies."""
        return (self.left + x * self.scale, self.top + y * self.scale)

    def place_box(self, box: Sequence[float]) -> tuple[float, float, float, float]:
        """Pixels of the picture for a box (x0, y0, x1, y1) in units."""
        return (*self.place(box[0], box[1]), *self.place(box[2], box[3]))

    def spec(self) -> dict[str, float]:
        """The same as plain data for the browser."""
        return {
            "left": self.left,
            "top": self.top,
            "width": self.width,
            "height": self.height,
            "scale": self.scale,
        }


@dataclass(frozen=True)
class Control:
    """What all controls share.

    Attributes:
        name: key of the value in the demo's state.
        label: what the screen and a screen reader call it.
        default: the value at the start and after a reset.
    """

    name: str
    label: str
    default: Any

    def accept(self, value: Any) -> Any:
        """The value in the form that drawing functions get.

        Raises:
            ValueError: the control cannot take this value; the text says which it takes.
        """
        raise NotImplementedError

    def spec(self) -> dict[str, Any]:
        """The control as plain data for the browser."""
        return {"kind": type(self).__name__.lower(), "name": self.name, "label": self.label}

    def _refuse(self, value: Any, expected: str) -> ValueError:
        return ValueError(f"{self.name}: expected {expected}, got {value!r}")


@dataclass(frozen=True)
class Slider(Control):
    """A number between two ends; whole numbers where `step` is a whole number.

    Example:
        >>> threshold = Slider("threshold", "IoU threshold", 0.5, 0.0, 1.0, 0.05)
        >>> threshold.accept(0.3)
        0.3
        >>> threshold.accept(2)
        Traceback (most recent call last):
        ValueError: threshold: expected a number from 0.0 to 1.0, got 2
    """

    low: float
    high: float
    step: float = 1
    unit: str = ""

    def accept(self, value: Any) -> float | int:
        number = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not number or not self.low <= value <= self.high:
            raise self._refuse(value, f"a number from {self.low} to {self.high}")
        steps = round((value - self.low) / self.step)
        value = self.low + steps * self.step
        whole = float(self.step).is_integer() and float(self.low).is_integer()
        return int(value) if whole else round(value, 6)

    def spec(self) -> dict[str, Any]:
        ends = {"low": self.low, "high": self.high, "step": self.step, "unit": self.unit}
        return {**super().spec(), **ends}


@dataclass(frozen=True)
class Choice(Control):
    """One of several words.

    Example:
        >>> Choice("mode", "Upsampling", "nearest", ("nearest", "switches")).accept("switches")
        'switches'
    """

    options: tuple[str, ...]

    def accept(self, value: Any) -> str:
        if value not in self.options:
            raise self._refuse(value, "one of " + ", ".join(self.options))
        return value

    def spec(self) -> dict[str, Any]:
        return {**super().spec(), "options": list(self.options)}


@dataclass(frozen=True)
class Toggle(Control):
    """A switch, on or off.

    Example:
        >>> Toggle("align", "RoIAlign", False).accept(True)
        True
    """

    def accept(self, value: Any) -> bool:
        if not isinstance(value, bool):
            raise self._refuse(value, "True or False")
        return value


@dataclass(frozen=True)
class Boxes(Control):
    """Boxes to drag and resize: a list of (x0, y0, x1, y1) in the units of `area`.

    `names` calls the boxes; their number is fixed. `snap` is the grid on which corners lie and the
    step of the arrow keys, `smallest` the least side. With `movable_only` the size is kept.

    Example:
        >>> area = Area(0, 0, 100, 50, 4)
        >>> boxes = Boxes("boxes", "Boxes", ((0, 0, 10, 10),), area, ("A",))
        >>> boxes.accept([[5, 5, 20.2, 30]])
        ((5, 5, 20, 30),)
    """

    area: Area
    names: tuple[str, ...]
    snap: float = 1
    smallest: float = 1
    movable_only: bool = False

    def accept(self, value: Any) -> tuple[tuple[float, ...], ...]:
        count = len(self.names)
        try:
            boxes = [tuple(self.snap * round(float(v) / self.snap) for v in box) for box in value]
        except (TypeError, ValueError) as error:
            raise self._refuse(value, f"{count} boxes (x0, y0, x1, y1)") from error
        width, height, least = self.area.width, self.area.height, self.smallest
        fits = all(
            len(b) == 4
            and 0 <= b[0] <= b[2] - least
            and b[2] <= width
            and 0 <= b[1] <= b[3] - least
            and b[3] <= height
            for b in boxes
        )
        if len(boxes) != count or not fits:
            expected = f"{count} boxes (x0, y0, x1, y1) of sides {least} and more"
            raise self._refuse(value, f"{expected} within {width} x {height}")
        return tuple(tuple(round(v, 6) for v in box) for box in boxes)

    def spec(self) -> dict[str, Any]:
        return {
            **super().spec(),
            "area": self.area.spec(),
            "names": list(self.names),
            "snap": self.snap,
            "smallest": self.smallest,
            "movable_only": self.movable_only,
        }


@dataclass(frozen=True)
class Point(Control):
    """A cell to click: (x, y) whole numbers in the units of `area`.

    Example:
        >>> Point("pixel", "Pixel", (3, 4), Area(0, 0, 16, 16, 20)).accept([15, 0])
        (15, 0)
    """

    area: Area

    def accept(self, value: Any) -> tuple[int, int]:
        try:
            x, y = (int(v) for v in value)
        except (TypeError, ValueError) as error:
            raise self._refuse(value, "a cell (x, y)") from error
        if not (0 <= x < self.area.width and 0 <= y < self.area.height):
            raise self._refuse(value, f"a cell within {self.area.width} x {self.area.height}")
        return (x, y)

    def spec(self) -> dict[str, Any]:
        return {**super().spec(), "area": self.area.spec()}


@dataclass(frozen=True)
class Paint(Control):
    """Cells to paint: rows of whole numbers from 0 to `levels` - 1, one per unit of `area`.

    A click or the space bar raises a cell to the next level (the last goes back to 0); dragging
    gives every cell that is crossed the level of the first.

    Example:
        >>> Paint("mask", "Mask", ((0, 1), (0, 0)), Area(0, 0, 2, 2, 50)).accept([[1, 1], [0, 0]])
        ((1, 1), (0, 0))
    """

    area: Area
    levels: int = 2

    def accept(self, value: Any) -> tuple[tuple[int, ...], ...]:
        width, height = int(self.area.width), int(self.area.height)
        try:
            rows = tuple(tuple(int(v) for v in row) for row in value)
        except (TypeError, ValueError) as error:
            raise self._refuse(value, f"{height} rows of {width} whole numbers") from error
        shaped = len(rows) == height and all(len(row) == width for row in rows)
        if not shaped or any(not 0 <= v < self.levels for row in rows for v in row):
            expected = f"{height} rows of {width} whole numbers from 0 to {self.levels - 1}"
            raise self._refuse(value, expected)
        return rows

    def spec(self) -> dict[str, Any]:
        return {**super().spec(), "area": self.area.spec(), "levels": self.levels}
