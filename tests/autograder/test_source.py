"""The source format: what is read from it, and what the linter says about every way to break it."""

from pathlib import Path

import pytest
from tiny_course import LAB, SOURCE

from autograder.errors import AutograderError
from autograder.lint import lint
from autograder.regions import CODE_STUB, HIDDEN_TESTS, SOLUTION, RegionError, regions, visible
from autograder.source import ROLES, exercise_call, parse_lab

ROOT = Path(__file__).resolve().parents[2]
PATH = Path("solutions") / f"{LAB}.py"


def line_of(text: str, source: str = SOURCE) -> int:
    """The line of the first occurrence, from 1; the text must be there for a test to mean much."""
    return source[: source.index(text)].count("\n") + 1


def errors(source: str) -> list[str]:
    return [str(f) for f in lint(parse_lab(source, PATH)) if f.level == "error"]


def broken(old: str, new: str) -> str:
    assert SOURCE.count(old) >= 1, f"the tiny lab no longer holds {old!r}"
    return SOURCE.replace(old, new, 1)


def test_reads_exercises_points_and_metadata() -> None:
    lab = parse_lab(SOURCE, PATH)
    assert (lab.name, lab.title) == (LAB, "Lab 9 · Tiny")
    assert [e.number for e in lab.exercises] == ["9.1", "9.2"]
    first, second = lab.exercises
    assert (first.title, first.minutes) == ("Windows on a line", 5)
    assert (first.test_points, first.written_points, first.points) == (6, 2, 8)
    assert (second.test_points, second.written_points) == (4, 0)
    assert lab.cells[1].metadata == {"tags": ["parameters"]}


def test_lines_above_the_first_cell_stay_with_the_authors() -> None:
    lab = parse_lab(SOURCE, PATH)
    assert not any("Authors read this" in cell.source for cell in lab.cells)
    assert lab.cells[0].source.startswith("# Lab 9")


def test_cells_know_their_lines() -> None:
    lab = parse_lab(SOURCE, PATH)
    for cell in lab.cells:
        assert SOURCE.split("\n")[cell.line - 1].startswith("# %%")
    gap = lab.exercises[0].cell("gap")
    assert gap is not None
    assert SOURCE.split("\n")[gap.file_line(0) - 1].startswith("def window_count")


def test_a_cell_marker_inside_a_string_is_text() -> None:
    source = '# %% [markdown]\n# # T\n\n# %%\nx = """\n# %%\n"""\n\n# %%\ny = 1\n'
    lab = parse_lab(source, PATH)
    assert [(cell.line, cell.kind) for cell in lab.cells] == [
        (1, "markdown"),
        (4, "code"),
        (9, "code"),
    ]


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ("x = 1\n", "09_tiny.py:1: no cells"),
        ("# %%\nx = (\n", "not Python"),
        ("# %%\nif x:\n  a\n b\n", "09_tiny.py:4: not Python: unindent"),
    ],
)
def test_what_is_no_percent_file_is_refused(source: str, says: str) -> None:
    with pytest.raises(AutograderError, match=says):
        parse_lab(source, PATH)


def test_points_must_be_written_as_a_number() -> None:
    check = parse_lab(SOURCE, PATH).exercises[0].cell("check")
    assert check is not None
    assert exercise_call(check)[:2] == ("9.1", 6)
    for text in ('Exercise("9.1", points=p)', 'Exercise("9.1", points=True)', 'Exercise("9.1")'):
        lab = parse_lab(broken('Exercise("9.1", points=6)', text), PATH)
        assert lab.exercises[0].test_points == 0


def test_the_tiny_lab_has_no_errors_but_advice() -> None:
    findings = lint(parse_lab(SOURCE, PATH))
    assert {f.level for f in findings} == {"warning"}
    texts = "\n".join(map(str, findings))
    assert "the idea has 15 words; 60 to 120" in texts
    assert "exercise 9.2 lacks idea, look, hints, picture, see" in texts
    assert "the solution has 2 lines; 3 to 12" in texts


GAP = "    ### BEGIN SOLUTION\n    last_start"
CONTRACT_2 = '# %% [markdown] exercise="9.2" role="contract" title="Scaling" minutes=10'
BREAKAGES = {
    "no begin marker": (GAP, "    last_start", "without `### BEGIN SOLUTION`"),
    "misspelt marker": ("### END SOLUTION", "# END SOLUTION", "write the marker as"),
    "no end marker": ("    ### END SOLUTION\n\n\n# %% ex", "\n\n# %% ex", "without `### END SOL"),
    "hidden tests without end": (
        "### END HIDDEN TESTS\n",
        "",
        "without `### END HIDDEN TESTS`",
    ),
    "answer without markers": (
        "### BEGIN SOLUTION\n    for value in values:\n"
        "        result.append(value * factor)\n    ### END SOLUTION",
        "result = [value * factor for value in values]",
        "nbgrader would clear the whole cell",
    ),
    "signature inside markers": (
        "def scaled(values: list[float], factor: float) -> list[float]:\n"
        '    """Every value times the factor; `scaled([1, 2], 3)` is `[3, 6]`."""\n'
        "    result = []\n    ### BEGIN SOLUTION\n",
        "### BEGIN SOLUTION\ndef scaled(values, factor):\n    result = []\n",
        # The rest, `return result`, is no Python without its function.
        "syntax error in the students' version",
    ),
    "no signature": (
        "def scaled(values: list[float], factor: float) -> list[float]:\n"
        '    """Every value times the factor; `scaled([1, 2], 3)` is `[3, 6]`."""\n'
        "    result = []\n    ### BEGIN SOLUTION\n    for value in values:\n"
        "        result.append(value * factor)\n    ### END SOLUTION\n    return result",
        "### BEGIN SOLUTION\nscaled = max\n### END SOLUTION",
        "the gap shows no signature",
    ),
    "empty region": (
        "    for value in values:\n        result.append(value * factor)\n",
        "",
        "the solution region is empty",
    ),
    "region in the wrong cell": (
        "print(list(range(5)))",
        "### BEGIN SOLUTION\nprint(1)\n### END SOLUTION",
        "belongs into a gap or think cell",
    ),
    "unknown role": ('role="look"', 'role="peek"', "unknown role 'peek'"),
    "misspelt key": (" minutes=10", " minuets=10", "unknown cell metadata `minuets`"),
    "no minutes": (" minutes=10", "", "needs minutes="),
    "no title": (' title="Scaling"', "", 'needs title="…"'),
    "role without exercise": (' exercise="9.1" role="look"', ' role="look"', "needs exercise="),
    "exercise without role": (' exercise="9.1" role="look"', ' exercise="9.1"', "needs a role"),
    "unquoted number": ('exercise="9.1" role="look"', 'exercise=9.1 role="look"', "quote the"),
    "foreign number": (
        'exercise="9.1" role="look"',
        'exercise="8.1" role="look"',
        "expected 9.1",
    ),
    "wrong kind": (
        '# %% exercise="9.1" role="gap"',
        '# %% [raw] exercise="9.1" role="gap"',
        "a gap cell is code, this one is raw",
    ),
    "order": (
        '# %% exercise="9.1" role="look"\nprint(list(range(5)))\n\n',
        '# %% exercise="9.1" role="picture"\nprint(list(range(5)))\n\n',
        "contract stands after picture",
    ),
    "duplicate gap": (
        '# %% exercise="9.2" role="check"',
        '# %% exercise="9.2" role="gap"\ndef f(x: int) -> int:\n    """F."""\n'
        "    ### BEGIN SOLUTION\n    return x\n    ### END SOLUTION\n\n"
        '# %% exercise="9.2" role="check"',
        "has 2 gap cells",
    ),
    "two hint cells": (
        CONTRACT_2,
        '# %% [markdown] exercise="9.1" role="hints"\n# 1. a\n# 2. b\n# 3. c\n\n' + CONTRACT_2,
        "has 2 hints cells",
    ),
    "two hints": ("# 3. `last = length - size`\n", "", "hints are a list"),
    "heading written twice": ("# - `values`: a list", "# ### Scaling\n# - `values`: a", "leave it"),
    "points mismatch": ('"9.1", points=6', '"9.1", points=7', "Exercise says 7, its checks add up"),
    "points not literal": ('"9.1", points=6', '"9.1", points=3 + 3', "with literal values"),
    "number mismatch": ('Exercise("9.2"', 'Exercise("9.1"', 'Exercise("9.1") in a cell of'),
    "no score": ("check.score()\n\n# %% exercise", "\n# %% exercise", "end with `check.score()`"),
    "silenced score": (
        "check.score()\n\n# %% ex",
        "check.score();\n\n# %% ex",
        "end with `check.s",
    ),
    "hidden check in the open": (
        "### BEGIN HIDDEN TESTS\nwith check.hidden",
        'with check.hidden("x", points=0):\n    pass\n### BEGIN HIDDEN TESTS\nwith check.hidden',
        "must stand between the hidden-test markers",
    ),
    "open check among the hidden": ("check.hidden(", "check(", "write `check.hidden(…)`"),
    "only hidden": (
        'with check("three values", points=1):\n    '
        "check.equal(scaled([1, 2, 5], scale), [scale, 2 * scale, 5 * scale])\n",
        "",
        "no visible check",
    ),
    "check of something else": (
        "scaled(values: l",
        "scale_all(values: l",
        "never uses `scale_all`",
    ),
    "think without answer": (
        "# ### BEGIN SOLUTION\n# Because scaling is linear.\n# ### END SOLUTION\n",
        "# Why?\n",
        "no answer between solution markers",
    ),
    "syntax error": ("result = []", "result = 1 +", "syntax error: invalid syntax"),
    "interrupted exercise": (
        '# %% [markdown] exercise="9.2" role="think"',
        '# %% [markdown] exercise="9.1" role="experiment"\n# Play.\n\n'
        '# %% [markdown] exercise="9.2" role="think"',
        "exercise 9.1 is interrupted",
    ),
    "no title cell": ("# # Lab 9 · Tiny", "# Lab 9", "start with the `# ` title"),
}


@pytest.mark.parametrize("name", BREAKAGES)
def test_every_breakage_is_an_error_with_its_place(name: str) -> None:
    old, new, says = BREAKAGES[name]
    try:
        found = errors(broken(old, new))
    except AutograderError as error:
        found = [str(error)]
    assert found, f"nothing was said about: {name}"
    assert all(text.startswith("solutions/09_tiny.py:") for text in found)
    assert any(says in text for text in found), found


@pytest.mark.parametrize("role", ["contract", "gap", "check"])
def test_an_exercise_needs_its_three_cells(role: str) -> None:
    lab = parse_lab(SOURCE, PATH)
    kept = tuple(c for c in lab.cells if (c.exercise, c.role) != ("9.2", role))
    found = [str(f) for f in lint(type(lab)(lab.name, lab.path, kept)) if f.level == "error"]
    assert any(f"exercise 9.2 has no {role} cell" in text for text in found)


def test_an_error_points_at_its_line() -> None:
    source = broken("check.score()\n\n# %% exercise", "check.points()\n\n# %% exercise")
    (error,) = errors(source)
    assert error.startswith(f"solutions/09_tiny.py:{line_of('check.points()', source)}: error: end")


def test_a_solution_that_is_readable_elsewhere_is_reported() -> None:
    leak = "print(list(range(5)))\n        result.append(value * factor)"
    source = broken("print(list(range(5)))", "for value in []:\n    result.append(value * factor)")
    assert leak not in source
    texts = [str(f) for f in lint(parse_lab(source, PATH))]
    assert any("readable in line" in t and "result.append(value * factor)" in t for t in texts)


def test_an_experiment_may_belong_to_the_whole_lab() -> None:
    assert not errors(SOURCE + '\n# %% role="experiment"\nprint(scaled([1], 2))\n')
    assert errors(SOURCE + '\n# %% role="picture"\nprint(scaled([1], 2))\n')


def test_no_hidden_tests_is_a_warning() -> None:
    source = broken("### BEGIN HIDDEN TESTS\nwith check.hidden", "with check").replace(
        "### END HIDDEN TESTS\n", "", 1
    )
    findings = lint(parse_lab(source, PATH))
    assert any("no hidden tests" in f.message and f.level == "warning" for f in findings)


def test_points_of_checks_in_a_loop_are_not_added_up() -> None:
    loop = (
        'for n in (3, 5):\n    with check(f"{n}", points=1):\n        check.equal(n, n)\n'
        "### BEGIN HIDDEN TESTS\n"
    )
    assert not errors(broken("### BEGIN HIDDEN TESTS\n", loop))


class TestRegions:
    def test_stub_takes_the_indent_of_its_marker(self) -> None:
        text = (
            "def f():\n    if x:\n        ### BEGIN SOLUTION\n        y\n        ### END SOLUTION"
        )
        assert visible(text, CODE_STUB).split("\n")[2:] == [
            "        # YOUR CODE HERE",
            "        raise NotImplementedError()",
        ]

    def test_two_regions(self) -> None:
        text = "### BEGIN SOLUTION\na\n### END SOLUTION\nb\n### BEGIN SOLUTION\nc\n### END SOLUTION"
        assert regions(text, SOLUTION) == [(0, 2), (4, 6)]
        assert visible(text) == "b"

    @pytest.mark.parametrize(
        ("text", "offset"),
        [
            ("### BEGIN HIDDEN TESTS\n### BEGIN HIDDEN TESTS", 1),
            ("a\n### END HIDDEN TESTS", 1),
            ("a\nb\n### BEGIN HIDDEN TESTS", 2),
            ("### begin hidden tests", 0),
            ("### BEGIN HIDDEN_TESTS", 0),
            ("x = 1  ### BEGIN HIDDEN TESTS", 0),
        ],
    )
    def test_what_does_not_pair_up(self, text: str, offset: int) -> None:
        with pytest.raises(RegionError, match="HIDDEN TESTS") as caught:
            regions(text, HIDDEN_TESTS)
        assert caught.value.offset == offset


class TestDocumentation:
    def test_the_skeleton_for_authors_is_sound(self) -> None:
        text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        skeleton = text.split("```python\n")[1].split("```")[0]
        lab = parse_lab(skeleton, Path("solutions/15_topic.py"))
        assert [f for f in lint(lab) if f.level == "error"] == []
        assert lab.exercises[0].points == 10

    def test_every_role_is_documented(self) -> None:
        text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
        assert ", ".join(f"`{role}`" for role in ROLES) in text


@pytest.mark.parametrize(
    ("code", "name"),
    [
        ("for steps in (1, 2):\n    pass", "steps"),
        ("with check('a', points=1) as steps:\n    pass", "steps"),
        ("if True:\n    steps += 1", "steps"),
        ("a, (steps, b) = 1, (2, 3)", "steps"),
        ("def steps(): ...", "steps"),
        ("Exercise = 3", "Exercise"),
        ("[steps for steps in range(3)]", ""),
        ("def f():\n    steps = 1", ""),
        ("f = lambda steps: steps", ""),
        ("print(steps)", ""),
    ],
)
def test_no_cell_may_take_a_name_that_later_cells_need(code: str, name: str) -> None:
    source = (
        '# %% [markdown]\n# # T\n\n# %% tags=["parameters"]\nsteps = 3\n\n'
        '# %% role="setup"\nfrom course.checks import Exercise\n\n# %%\n' + code + "\n"
    )
    found = [text for text in errors(source) if "choose another name" in text]
    assert len(found) == bool(name)
    assert all(f"`{name}`" in text for text in found)
