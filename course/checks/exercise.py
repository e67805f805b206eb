"""One exercise: named checks with points, each on its own, and the score at the end.

A failing check never stops the next one and never raises, so that "Run All" reaches the end of a
notebook. What the student's code prints, warns or writes to the error stream is caught: nbgrader
would score any of it with zero.
"""

from __future__ import annotations

import contextlib
import io
import linecache
import sys
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from course.checks.compare import difference, kind
from course.checks.forbid import Guard
from course.checks.report import Line, Report
from course.checks.student import observe

__all__ = ["CheckFailed", "Exercise", "Score"]


class CheckFailed(AssertionError):
    """A comparison inside a check did not hold; carries what the report shows."""

    def __init__(self, message: str, detail: str, expected: Any = None, actual: Any = None) -> None:
        super().__init__(message or detail)
        self.message, self.detail = message, detail
        self.expected, self.actual = expected, actual


class Score(float):
    """Points of an exercise. Shown as a sentence, read by nbgrader as a number."""

    sentence = ""

    def __repr__(self) -> str:
        return f"{float(self):.2f}".rstrip("0").rstrip(".")

    def _repr_mimebundle_(self, **_: Any) -> dict[str, str]:
        return {"text/plain": repr(self), "text/html": f"<small>{self.sentence}</small>"}


class Exercise:
    """The checks of one exercise.

    Args:
        number: such as "8.1".
        points: what the exercise is worth, visible and hidden checks together.
        forbid: dotted names that the answer may not call, modules with all they contain.

    Use `with check("name", points=1):` for a check that students see, and
    `with check.hidden("name", points=3):` between nbgrader's hidden-test markers. The last line of
    the cell is `check.score()`.

    >>> check = Exercise("8.1", points=2)
    >>> with check("one third", points=1):
    ...     check.equal(1 / 3, 0.333333)
    >>> with check("ten", points=1, hint="Start counting at one."):
    ...     check.equal(9, 10)
    >>> print(check.report.text())
    Exercise 8.1: 1 of 2 visible checks pass
      ✓ one third (1)
      ✗ ten (1)
          → Start counting at one.
          expected 10, got 9
    """

    def __init__(self, number: str, *, points: float, forbid: Iterable[str] = ()) -> None:
        caller = sys._getframe(1)
        self._namespace = caller.f_globals
        self._file = caller.f_code.co_filename
        self._forbid = (forbid,) if isinstance(forbid, str) else tuple(forbid)
        self.report = Report(number, float(points))

    @contextlib.contextmanager
    def __call__(
        self, name: str, *, points: float, hint: str = "", hidden: bool = False
    ) -> Iterator[None]:
        """Run one named check; whatever goes wrong inside becomes its message.

        Args:
            name: what the student reads.
            points: what it is worth.
            hint: shown on failure unless a known mistake says more.
            hidden: see `hidden`.
        """
        line = Line(name, float(points), "passed", hidden)
        self.report.lines.append(line)
        guard = Guard(self._forbid, self._namespace, self._file)
        printed = io.StringIO()
        try:
            with (
                contextlib.redirect_stdout(printed),
                contextlib.redirect_stderr(printed),
                warnings.catch_warnings(),
            ):
                warnings.simplefilter("ignore")
                with guard:
                    yield
        except NotImplementedError as problem:
            own = str(problem)
            line.status = "todo"
            line.detail = own or "not written yet: replace `raise NotImplementedError()`"
        except CheckFailed as problem:
            line.status = "failed"
            line.message, line.detail = problem.message or hint, problem.detail
            line.expected, line.actual = problem.expected, problem.actual
        except (Exception, SystemExit) as problem:
            line.status = "failed"
            line.message = hint
            line.detail = self._explain(problem)
        line.printed = _shorten(printed.getvalue())
        for violation in guard.violations:
            if str(violation) not in self.report.forbidden:
                self.report.forbidden.append(str(violation))

    def hidden(self, name: str, *, points: float, hint: str = "") -> Any:
        """A check that only the graded notebook contains; its details stay with the instructor."""
        return self(name, points=points, hint=hint, hidden=True)

    def equal(
        self,
        actual: Any,
        expected: Any,
        *,
        tolerance: float = 1e-5,
        mistakes: Mapping[str, Any] | None = None,
        dtype: bool = False,
        what: str = "",
    ) -> None:
        """Compare by value, see `course.checks.compare.difference`.

        Args:
            mistakes: message → the value which that known mistake gives for this case.
            what: what the value is, put in front of the sentence.

        Raises:
            CheckFailed: they differ.
        """
        found = difference(actual, expected, tolerance=tolerance, mistakes=mistakes, dtype=dtype)
        if found is not None:
            detail = f"{what}: {found.summary}" if what else found.summary
            raise CheckFailed(found.mistake, detail, found.expected, found.actual)

    def true(self, condition: Any, message: str, detail: str = "") -> None:
        """Require a condition that our own code computed from data.

        Raises:
            CheckFailed: it does not hold, or is no truth value.
        """
        if type(condition).__module__ not in ("builtins", "numpy", "torch") or not bool(condition):
            raise CheckFailed(message, detail)

    def raises(
        self,
        error: type[BaseException],
        function: Callable[..., Any],
        *args: Any,
        says: Iterable[str] = (),
        message: str = "",
        **kwargs: Any,
    ) -> None:
        """Require that a call is refused with an exception of the given class.

        Args:
            says: words that the exception's text must contain.
            message: hint where it is not refused.

        Raises:
            CheckFailed: it returned, raised something else, or said too little.
        """
        call = f"{_name(function)}({', '.join(map(_brief, args))})"
        seen = observe(function, *args, **kwargs)
        if not seen.error:
            raise CheckFailed(
                message, f"{call} must raise {error.__name__}, it returned {kind(seen.value)}"
            )
        if error.__name__ not in seen.error_bases:
            detail = f"{call} must raise {error.__name__}, it raised {seen.error}: {seen.message}"
            raise CheckFailed(message, detail)
        for word in (says,) if isinstance(says, str) else says:
            if word not in seen.message:
                detail = f"the error of {call} should mention {word!r}; it says: {seen.message}"
                raise CheckFailed(message, detail)

    def unchanged(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Require that a call leaves its arguments as they were.

        Raises:
            CheckFailed: an argument was modified.
        """
        seen = observe(function, *args, **kwargs)
        if seen.error:
            raise CheckFailed("", f"your code raised {seen.error}: {seen.message}")
        if seen.changed:
            which = ", ".join(str(c) for c in seen.changed)
            raise CheckFailed(
                "Work on a copy: your function modifies its argument.", f"changed argument: {which}"
            )

    def score(self, show: bool = True) -> Score:
        """Show the report and return the points; the last line of every check cell."""
        if show:
            _display(self.report)
        score = Score(self.report.earned)
        score.sentence = f"exercise {self.report.exercise} done"
        if self.report.earned < self.report.points:
            score.sentence = "the report above says what to mend"
        elif not any(line.hidden for line in self.report.lines):
            score.sentence = "all visible checks pass; hidden checks follow when you hand in"
        return score

    def _explain(self, problem: BaseException) -> str:
        """What was raised, and the last line of the student's own code on the way there."""
        text = f"{type(problem).__name__}: {problem}".strip().removesuffix(":")
        missing = getattr(problem, "name", None) if isinstance(problem, NameError) else None
        if missing and missing not in self._namespace:
            return f"`{missing}` is not defined: run the cell above this one first"
        line = ""
        for frame, number in traceback.walk_tb(problem.__traceback__):
            inside = frame.f_globals is self._namespace
            if inside and frame.f_code.co_filename != self._file:
                code = linecache.getline(frame.f_code.co_filename, number).strip()
                line = f" (line {number} of your cell: `{code}`)" if code else ""
        return f"your code raised {text}{line}"


def _display(report: Report) -> None:
    try:
        from IPython.core.getipython import get_ipython
    except ImportError:
        get_ipython = None
    if get_ipython is not None and get_ipython() is not None:
        from IPython.display import display

        display(report)
    else:
        print(report.text())


def _name(function: Any) -> str:
    return getattr(function, "__name__", type(function).__name__)


def _brief(value: Any) -> str:
    return repr(value) if isinstance(value, int | float | str | bool | None) else kind(value)


def _shorten(text: str, limit: int = 300) -> str:
    text = text.strip()
    return text if len(text) <= limit else text[:limit] + " …"
