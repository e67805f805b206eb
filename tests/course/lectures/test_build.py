"""Decks: what a cell shows is on its slide; what fails leaves the old deck and says where."""

from __future__ import annotations

import importlib.util
import os
import re
import stat
from html.parser import HTMLParser
from pathlib import Path

import psutil
import pytest

from course.cli import main
from course.lectures import assets, commands
from course.lectures.build import Built, Site, build
from course.lectures.catalogue import Lecture, LectureError
from course.lectures.execute import execute
from course.lectures.pdf import find_chromium
from tests.course.lectures.small import TEXT, lecture

VOID = ("meta", "link", "img", "input", "br", "hr")
START = '# %% [markdown] tags=["slide"]\n# # T\n\n# %%\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the deck of the small lecture, and beside it in the index one not built."""
    tmp_path = tmp_path_factory.mktemp("built")
    small = lecture(tmp_path)
    other = lecture(tmp_path, TEXT.replace("A small", "Another"), "12_other")
    (result,) = build([small], tmp_path / "out", catalogue=[small, other])
    assert result.problem == ""
    return tmp_path / "out"


@pytest.fixture
def few_sources(monkeypatch: pytest.MonkeyPatch) -> None:
    """Most tests look at decks only: the many pages of source would take most of their time."""
    monkeypatch.setattr("course.lectures.build.shown_sources", list)


class Slides(HTMLParser):
    """The texts of a deck by slide: outside and inside of fragments, and in notes."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.slides: list[dict[str, str]] = []
        self.stack: list[str] = []
        self.feed(page)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag == "section":
            self.slides.append({"open": "", "fragment": "", "notes": ""})
        if tag not in VOID:
            self.stack.append(dict(attrs).get("class") or tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            self.stack.pop()

    def handle_data(self, data: str) -> None:
        if "section" in self.stack:
            inside = next((kind for kind in ("notes", "fragment") if kind in self.stack), "open")
            self.slides[-1][inside] += data


def test_what_cells_show_is_on_their_slides(folder: Path) -> None:
    page = (folder / "11_small.html").read_text(encoding="utf-8")
    first, second, third = Slides(page).slides
    assert "You will be able to build it." in first["open"]
    assert "PyramidPooling" in first["open"]
    assert "Say hello first." in first["notes"]
    assert r"$\bar{x} = \frac{1}{n}\sum_i x_i$" in second["open"]
    assert "Appears later." in second["fragment"]
    assert "with its fragment" in second["fragment"]
    assert second["notes"].strip() == "What comes later is said later."
    assert "6 * 7" in third["open"]
    assert "42" in third["open"]
    assert "plots.bars" not in page, "only code with the tag is shown"
    assert "import os" not in page, "what is skipped is on no slide"
    assert 'alt="Two bars. Bar chart of 2 values: a 1, b 3."' in page
    assert "No description has been provided" not in page


def test_pages_ask_nothing_of_other_hosts(folder: Path) -> None:
    for path in folder.rglob("*.html"):
        text = path.read_text(encoding="utf-8")
        loaded = re.findall(r'<(?:script|img|link|iframe)\b[^>]*?(?:src|href)="([^"]*)"', text)
        assert loaded
        for address in loaded:
            if not address.startswith("data:"):
                assert ":" not in address, f"{path.name} loads {address}"
                assert (path.parent / address).is_file(), f"{path.name} loads {address}"
    for path in folder.rglob("*.css"):
        for address in re.findall(r"url\(([^)]*)\)", path.read_text(encoding="utf-8")):
            address = address.strip("\"'")
            assert address.startswith("data:") or (path.parent / address).is_file(), address


def test_pictures_are_drawn_for_a_projector(folder: Path) -> None:
    page = (folder / "11_small.html").read_text(encoding="utf-8")
    widths = [int(width) for width in re.findall(r'<img alt="Two bars[^>]*width="(\d+)"', page)]
    assert min(widths) > 1000, "180 dots per inch, seven inches"


def test_the_index_lists_what_is_built_and_what_is_not(folder: Path) -> None:
    index = (folder / "index.html").read_text(encoding="utf-8")
    assert '<a class="deck" href="11_small.html">' in index
    assert (folder / "thumbnails" / "11_small.png").stat().st_size < 40_000
    assert "not built: course lectures build 12" in index
    assert "3 slides" in index
    assert not [path for path in folder.iterdir() if path.name.startswith(".")]
    assert not list(folder.rglob("*.part"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("x = 1\n\nx / 0", "cell 2, 11_small.py line 7: ZeroDivisionError: division by zero"),
        ("x = (1\n", "cell 2, 11_small.py line 5: SyntaxError"),
        ("import os\nos._exit(3)", "cell 2, 11_small.py line 4: the kernel died"),
        (
            "from IPython.display import HTML\nHTML('<img src=\"data:,x\">')",
            "line 4: a picture without a description",
        ),
        (
            "from matplotlib.figure import Figure\nfrom IPython.display import display\n"
            "display({'image/png': 'aa', 'text/plain': 'a'}, raw=True)",
            "line 4: a picture without a description",
        ),
        ("import ipywidgets\nipywidgets.IntSlider()", "line 4: shows a widget"),
        ("object()", "line 4: would show '<object at 0x"),
        (
            "class A:\n    def _repr_html_(self):\n        raise KeyError('lost')\nA()",
            "line 7: KeyError: 'lost'",
        ),
    ],
)
def test_a_failure_names_lecture_cell_and_line(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(LectureError) as failure:
        execute(lecture(tmp_path, START + text + "\n"))
    assert says in str(failure.value)
    assert str(failure.value).startswith("lecture 11_small, ")
    assert "\x1b" not in str(failure.value)


def kernels() -> set[int]:
    """Kernels that this process has started and not stopped."""
    children = psutil.Process().children(recursive=True)
    return {each.pid for each in children if "ipykernel_launcher" in " ".join(each.cmdline())}


def test_a_cell_that_never_ends_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = kernels()
    monkeypatch.setattr("course.lectures.execute.SECONDS", 1)
    with pytest.raises(LectureError, match="line 4: not done after 1 s"):
        execute(lecture(tmp_path, START + "while True: pass\n"))
    assert kernels() <= before


def test_no_kernel_is_left_behind(tmp_path: Path) -> None:
    before = kernels()
    execute(lecture(tmp_path))
    with pytest.raises(LectureError, match="ZeroDivisionError"):
        execute(lecture(tmp_path, START + "1 / 0\n"))
    assert kernels() <= before


@pytest.mark.usefixtures("few_sources")
def test_a_failed_lecture_leaves_the_old_deck_and_the_others_go_on(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / "11_small.html").write_text("the old deck")
    broken = lecture(tmp_path, START + "1 / 0\n")
    fine = lecture(tmp_path, START + "print('fine')\n", "12_fine")
    seen: list[Built] = []
    results = build([broken, fine], out, jobs=2, catalogue=[broken, fine], done=seen.append)
    assert [result.lecture.number for result in results] == [11, 12]
    assert results[0].deck is None
    assert "ZeroDivisionError" in results[0].problem
    assert (out / "11_small.html").read_text() == "the old deck"
    assert "fine" in (out / "12_fine.html").read_text(encoding="utf-8")
    assert {result.lecture.number for result in seen} == {11, 12}
    assert results[1].seconds > 0


@pytest.mark.usefixtures("few_sources")
def test_kernels_get_the_address_of_the_site(tmp_path: Path) -> None:
    small = lecture(tmp_path, START + "from course import lectures\nlectures.links(8)\n")
    build([small], tmp_path / "out", site=Site("../labs/{name}.html", None), catalogue=[small])
    page = (tmp_path / "out" / "11_small.html").read_text(encoding="utf-8")
    assert 'href="../labs/08_unet.html"' in page
    with pytest.raises(LectureError, match=r"an address with \{name\} in it, got '../\{lab\}'"):
        build([small], tmp_path / "out", site=Site("../{lab}", None))


@pytest.mark.parametrize("package", ["sphinx_revealjs", "sphinx-mathjax-offline"])
def test_a_missing_package_is_one_line(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    package: str,
) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(assets, "find_spec", lambda name: None if name == package else found(name))
    small = lecture(tmp_path)
    monkeypatch.setattr(commands, "choose", lambda numbers: [small])
    with pytest.raises(SystemExit) as leaving:
        main(["lectures", "build", "--out", str(tmp_path / "out")])
    assert leaving.value.code == 1
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert said[0].endswith("pip install 'segmentation-course[lectures]'")
    assert not (tmp_path / "out").exists()


@pytest.mark.usefixtures("few_sources")
def test_the_command_says_what_became_of_each(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    chosen = [lecture(tmp_path, START + "1 / 0\n"), lecture(tmp_path, START + "1\n", "12_fine")]
    monkeypatch.setattr(commands, "choose", lambda numbers: chosen)
    monkeypatch.setattr("course.lectures.build.lectures", lambda: chosen)
    with pytest.raises(SystemExit) as leaving:
        main(["lectures", "build", "11", "12", "--out", str(tmp_path / "out"), "--jobs", "2"])
    assert leaving.value.code == 1
    said = capsys.readouterr()
    assert "index.html" in said.out
    assert re.search(r"^12_fine: 1 slides?, [\d.]+ s of processor time$", said.err, re.MULTILINE)
    assert re.search(
        r"^error: lecture 11_small, cell 2, .* line 5: ZeroDiv", said.err, re.MULTILINE
    )


def test_pdf_without_chromium_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setenv("PATH", os.fspath(tmp_path))
    with pytest.raises(LectureError, match="apt-get install chromium") as refusal:
        build([lecture(tmp_path)], tmp_path / "out", pdf=True)
    assert "\n" not in str(refusal.value)
    with pytest.raises(LectureError):
        find_chromium()


@pytest.mark.usefixtures("few_sources")
def test_a_chromium_that_prints_nothing_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake = tmp_path / "chromium"
    fake.write_text("#!/bin/sh\necho 'no screen, no letters' >&2\nexit 1\n")
    fake.chmod(fake.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("CHROMIUM", os.fspath(fake))
    small: Lecture = lecture(tmp_path, START + "1\n")
    (result,) = build([small], tmp_path / "out", pdf=True, catalogue=[small])
    assert result.deck is None
    assert "printed 0 of 1 slides of 11_small.html: no screen, no letters" in result.problem
